//! A measured figure, its bar and its verdict.

use std::fmt;

use serde::Serialize;

/// A measured figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    pub(crate) reactor: String,
    /// The figure in words, with its unit.
    pub(crate) title: String,
    pub(crate) measured: f64,
    pub(crate) bar: Bar,
    /// Whether the figure depends on the speed of the machine.
    pub(crate) is_timed: bool,
}

/// The limit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtMost(f64),
    Exactly(f64),
}

impl Figure {
    pub(crate) fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtMost(bar) => self.measured <= bar,
            Bar::Exactly(bar) => self.measured == bar,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { scenario, reactor, title, measured, .. } = self;
        let bar = match self.bar {
            Bar::AtMost(bar) => format!("at most {bar}"),
            Bar::Exactly(bar) => format!("exactly {bar}"),
        };
        let verdict = if self.is_met() { "ok" } else { "MISSED" };
        let measured = (measured * 100.0).round() / 100.0;
        write!(f, "{reactor:<7} {scenario:<13} {title}: {measured} ({bar}) {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(measured: f64, bar: Bar) -> Figure {
        let title = "wake-ups".to_owned();
        Figure { scenario: "idle", reactor: "poll".to_owned(), title, measured, bar, is_timed: false }
    }

    #[test]
    fn a_bar_is_met_on_its_edge() {
        assert!(figure(30.0, Bar::AtMost(30.0)).is_met() && !figure(30.01, Bar::AtMost(30.0)).is_met());
        assert!(figure(0.0, Bar::Exactly(0.0)).is_met() && !figure(1.0, Bar::Exactly(0.0)).is_met());
    }

    #[test]
    fn a_line_shows_bar_with_verdict() {
        assert_eq!(figure(2.0, Bar::Exactly(0.0)).to_string(), "poll    idle          wake-ups: 2 (exactly 0) MISSED");
    }
}
