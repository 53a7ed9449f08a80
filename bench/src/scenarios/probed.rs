//! Timers and calls from another thread: a probe in a process of its own, which prints its figures.

use std::io;
use std::process::{Command, Stdio};

use super::{Metric, Plan, Unit, metric};
use crate::arguments::Probe;
use crate::candidate::Candidate;

pub(super) fn metrics(probe: Probe) -> Vec<Metric> {
    let named: &[(&str, &str)] = match probe {
        Probe::Timers => &[
            ("timers/schedule", "schedule a timer"),
            ("timers/cancel", "set and cancel one"),
            ("timers/fire", "fire one"),
        ],
        Probe::Spawns => &[("spawns/small", "start a program"), ("spawns/large", "the same, from 1 GiB")],
        Probe::Calls => &[("calls/burst", "call from a thread"), ("calls/single", "the same, awaited")],
    };
    named.iter().map(|(name, title)| metric(*name, *title, Unit::NanosPerOperation)).collect()
}

/// Parses the probe's output: one figure for each of its metrics.
pub(super) fn sample(probe: Probe, candidate: Candidate, plan: &Plan) -> io::Result<Vec<f64>> {
    let kind = match probe {
        Probe::Timers => "timers",
        Probe::Calls => "calls",
        Probe::Spawns => "spawns",
    };
    let mut command = Command::new(&plan.program);
    command.args(["probe", kind, candidate.name(), "--core", &plan.core.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("the probe ended with {}", output.status)));
    }
    parse(&String::from_utf8_lossy(&output.stdout), metrics(probe).len())
}

fn parse(text: &str, count: usize) -> io::Result<Vec<f64>> {
    let figures: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    figures
        .filter(|figures| figures.len() == count)
        .ok_or_else(|| io::Error::other(format!("the probe printed {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_prints_one_figure_for_each_metric() {
        assert_eq!(parse("283.5 277 213.1\n", 3).unwrap(), [283.5, 277.0, 213.1]);
        assert!(parse("283.5 277\n", 3).is_err());
        assert!(parse("a b c", 3).is_err());
    }
}
