//! The programs that are measured.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An echo server, or a timer queue and a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// Our own minimal loop on epoll, level-triggered. It shows the kernel's share of the cost.
    RawEpoll,
    /// Our own minimal loop on io_uring. It shows the kernel's share of the cost there.
    RawUring,
    /// mio without a framework.
    Mio,
    /// tokio's current_thread runtime with a task for each connection.
    Tokio,
    /// ropewalk on the event provider with this name.
    Ropewalk(&'static str),
}

impl Candidate {
    /// All candidates, in the order of the tables.
    pub(crate) const ALL: [Candidate; 8] = [
        Self::RawEpoll,
        Self::RawUring,
        Self::Mio,
        Self::Tokio,
        Self::ROPEWALK,
        Self::Ropewalk("uring"),
        Self::Ropewalk("poll"),
        Self::Ropewalk("select"),
    ];

    /// The candidate that the bars limit.
    pub(crate) const ROPEWALK: Candidate = Candidate::Ropewalk("epoll");

    /// Returns whether the candidate uses io_uring, which valgrind does not know.
    pub(crate) fn is_on_uring(self) -> bool {
        matches!(self, Candidate::RawUring | Candidate::Ropewalk("uring"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Candidate::RawEpoll => "raw-epoll",
            Candidate::RawUring => "raw-uring",
            Candidate::Mio => "mio",
            Candidate::Tokio => "tokio",
            Candidate::Ropewalk("epoll") => "ropewalk-epoll",
            Candidate::Ropewalk("uring") => "ropewalk-uring",
            Candidate::Ropewalk("poll") => "ropewalk-poll",
            Candidate::Ropewalk("select") => "ropewalk-select",
            Candidate::Ropewalk(provider) => provider,
        }
    }
}

impl FromStr for Candidate {
    type Err = String;

    fn from_str(name: &str) -> Result<Candidate, String> {
        let name = if name == "ropewalk" { "ropewalk-epoll" } else { name };
        Candidate::ALL.into_iter().find(|candidate| candidate.name() == name).ok_or_else(|| {
            let names: Vec<_> = Candidate::ALL.iter().map(|candidate| candidate.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Candidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_candidate() {
        for candidate in Candidate::ALL {
            assert_eq!(candidate.name().parse(), Ok(candidate));
        }
        assert_eq!("ropewalk".parse(), Ok(Candidate::ROPEWALK));
        assert!("nginx".parse::<Candidate>().is_err());
    }
}
