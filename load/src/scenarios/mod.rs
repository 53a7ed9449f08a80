//! The scenarios: a file for each, which puts one reactor under a load and returns figures.

mod churn;
mod crowd;
mod descriptors;
mod idle;
mod lateness;
mod leaks;
mod signals;
mod slow_readers;
mod spawns;

use std::io;
use std::thread;
use std::time::Duration;

use crate::figure::{Bar, Figure};
use crate::server::resident_bytes;

/// A scenario puts a reactor under a load.
pub(crate) type Scenario = fn(&Plan<'_>) -> io::Result<Vec<Figure>>;

/// All scenarios with their names, in the order of a run.
pub(crate) const SCENARIOS: [(&str, Scenario); 9] = [
    (idle::NAME, idle::run),
    (descriptors::NAME, descriptors::run),
    (slow_readers::NAME, slow_readers::run),
    (lateness::NAME, lateness::run),
    (signals::NAME, signals::run),
    (crowd::NAME, crowd::run),
    (churn::NAME, churn::run),
    (leaks::NAME, leaks::run),
    (spawns::NAME, spawns::run),
];

/// The reactor of a scenario, and its size.
pub(crate) struct Plan<'a> {
    pub(crate) reactor: &'a str,
    pub(crate) quick: bool,
}

/// The one number of descriptors that select(2) cannot exceed: `FD_SETSIZE`.
const SELECT_MAX: usize = 1024;

/// The memory that a server may keep after a load.
const KEPT_MEGABYTES: f64 = 20.0;

impl Plan<'_> {
    /// Returns a tenth of `whole` in a quick run.
    fn amount(&self, whole: usize) -> usize {
        if self.quick { whole / 10 } else { whole }
    }

    /// Returns the number of connections, as far as the reactor can watch them. The server holds `descriptors_each` of
    /// its descriptors for a connection.
    fn connections(&self, whole: usize, descriptors_each: usize) -> usize {
        let most = if self.reactor == "select" { (SELECT_MAX - 124) / descriptors_each } else { usize::MAX };
        self.amount(whole).min(most)
    }

    fn figure(&self, scenario: &'static str, title: String, measured: f64, bar: Bar) -> Figure {
        Figure { scenario, reactor: self.reactor.to_owned(), title, measured, bar, is_timed: false }
    }

    fn timed_figure(&self, scenario: &'static str, title: String, measured: f64, bar: Bar) -> Figure {
        Figure { is_timed: true, ..self.figure(scenario, title, measured, bar) }
    }

    /// Returns the memory that a server still holds five seconds after its load has gone, above `start` bytes.
    fn kept_memory(&self, scenario: &'static str, pid: u32, start: u64) -> io::Result<Figure> {
        thread::sleep(Duration::from_secs(5));
        let kept = megabytes(resident_bytes(pid)?.saturating_sub(start));
        let title = "memory above the start, 5 s after the load, MB".to_owned();
        Ok(self.figure(scenario, title, kept, Bar::AtMost(KEPT_MEGABYTES)))
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Returns a count with commas between thousands.
fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_commas_between_thousands() {
        assert_eq!([9, 900, 9_000, 100_000].map(thousands), ["9", "900", "9,000", "100,000"]);
    }

    #[test]
    fn a_crowd_on_select_fits_into_its_set() {
        let connections = |reactor, quick| Plan { reactor, quick }.connections(9_000, 1);
        assert_eq!([connections("select", false), connections("poll", false)], [900, 9_000]);
        assert_eq!(connections("select", true), 900);
        assert_eq!(Plan { reactor: "select", quick: false }.connections(9_000, 2), 450);
    }
}
