//! A reactor with its host loop, and the arithmetic of samples.

use std::time::Duration;

use ropewalk::{Reactor, RunOptions};
use ropewalk_conformance::hosts::Hosted;

use crate::Result;
use crate::host::Host;

/// A reactor, and the host that it is a guest of.
pub(crate) struct Measured {
    pub(crate) reactor: Reactor,
    pub(crate) hosted: Option<Hosted>,
}

impl Measured {
    pub(crate) fn new(host: &Host, provider: &str) -> Result<Measured> {
        let reactor = Reactor::with(provider)?;
        let hosted = host.install.map(|install| install(&reactor));
        Ok(Measured { reactor, hosted })
    }

    /// Runs until the reactor stops.
    pub(crate) fn run(&self) -> Result<()> {
        Ok(self.reactor.run_with(RunOptions::default().without_signal_handlers())?)
    }

    /// Runs for a time.
    pub(crate) fn run_for(&self, time: Duration) -> Result<()> {
        self.reactor.call_later(time, stop);
        self.run()
    }
}

/// Stops a reactor that runs.
pub(crate) fn stop(reactor: &Reactor) {
    reactor.stop().expect("it runs");
}

/// Returns the median.
///
/// # Panics
/// Without samples.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_samples() {
        assert_eq!(median(vec![5.0, 1.0, 9.0]), 5.0);
        assert_eq!(median(vec![2.0]), 2.0);
    }
}
