//! Who was measured, and the colour of each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server of the benchmark, in the order of the tables and of the bars.
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
    /// Who the others are compared with: what `Reactor::new` takes on Linux.
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

    /// Told apart on white and on black, and by most who see no red or no green: Okabe and Ito's palette, "Color
    /// Universal Design" (2008), and greys for who is only there as a yardstick.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Candidate::RopewalkEpoll => "#0072b2",
            Candidate::RopewalkUring => "#56b4e9",
            Candidate::RopewalkPoll => "#009e73",
            Candidate::RopewalkSelect => "#d55e00",
            Candidate::Mio => "#cc79a7",
            Candidate::Tokio => "#e69f00",
            Candidate::RawEpoll => "#6e7781",
            Candidate::RawUring => "#afb8c1",
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
    fn a_name_is_the_one_in_the_file() {
        let candidate: Candidate = serde_json::from_str("\"ropewalk-select\"").unwrap();
        assert_eq!(candidate.name(), "ropewalk-select");
        let name = serde_json::to_string(&Candidate::RawUring).unwrap();
        assert_eq!(name, format!("\"{}\"", Candidate::RawUring));
    }
}
