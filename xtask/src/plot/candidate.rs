//! The candidates of the benchmark, and the colour of each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A candidate of the benchmark, in the order of the tables.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Candidate {
    RopewalkEpoll,
    RopewalkUring,
    RopewalkPoll,
    RopewalkSelect,
    Mio,
    Tokio,
    RawEpoll,
    RawUring,
}

impl Candidate {
    /// The candidate whose figures divide those of the others. It is the provider that `Reactor::new` chooses on Linux.
    pub(super) const RULER: Candidate = Candidate::RopewalkEpoll;

    pub(super) fn name(self) -> &'static str {
        match self {
            Candidate::RopewalkEpoll => "ropewalk-epoll",
            Candidate::RopewalkUring => "ropewalk-uring",
            Candidate::RopewalkPoll => "ropewalk-poll",
            Candidate::RopewalkSelect => "ropewalk-select",
            Candidate::Mio => "mio",
            Candidate::Tokio => "tokio",
            Candidate::RawEpoll => "raw-epoll",
            Candidate::RawUring => "raw-uring",
        }
    }

    /// Returns the candidate's colour. Okabe and Ito's palette, "Color Universal Design" (2008), is legible on white
    /// and on black, also for most colour-blind readers. The raw loops, which only serve as a yardstick, are grey.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Candidate::RopewalkEpoll => "#0072b2",
            Candidate::RopewalkUring => "#56b4e9",
            Candidate::RopewalkPoll => "#009e73",
            Candidate::RopewalkSelect => "#d55e00",
            Candidate::Mio => "#cc79a7",
            Candidate::Tokio => "#e69f00",
            Candidate::RawEpoll => "#6e7781",
            Candidate::RawUring => "#9aa4af",
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_has_the_name_used_in_results() {
        let candidate: Candidate = serde_json::from_str("\"ropewalk-select\"").unwrap();
        assert_eq!(candidate.name(), "ropewalk-select");
        let name = serde_json::to_string(&Candidate::RawUring).unwrap();
        assert_eq!(name, format!("\"{}\"", Candidate::RawUring));
    }
}
