//! Limits that ropewalk on epoll must reach, and goals that it should reach.

use serde::Serialize;

use crate::candidate::Candidate;

/// An upper limit for one figure of [`Candidate::ROPEWALK`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Bar {
    /// The candidate by whose figure ropewalk's is divided, or `None` for a limit in the figure's own unit.
    pub(crate) relative_to: Option<Candidate>,
    pub(crate) at_most: f64,
    /// Whether this is a goal: a missed goal is reported, but is not a failure.
    pub(crate) is_goal: bool,
}

/// Returns the limits of the metric with this name.
pub(crate) fn bars(metric: &str) -> Vec<Bar> {
    let parts: Vec<&str> = metric.split('/').collect();
    let bytes = parts.get(1).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    match parts[0] {
        "echo" => echo_bars(bytes),
        "pipelined" | "churn" => vec![ratio(Candidate::Mio, 1.05), ratio(Candidate::Tokio, 1.0), goal_raw(1.03)],
        "datagrams" => datagram_bars(metric),
        "instructions" => vec![absolute(350.0), goal(absolute(200.0))],
        "syscalls" if parts.last() == Some(&"all") => vec![absolute(2.25)],
        "idle" => vec![absolute(512.0), goal(absolute(256.0))],
        "latency" => vec![ratio(Candidate::Mio, 1.25)],
        "crowd" => vec![absolute(1.15)],
        "calls" => vec![ratio(Candidate::Tokio, 1.0)],
        "spawns" => vec![ratio(Candidate::RawEpoll, 1.05), ratio(Candidate::Tokio, 1.0)],
        "tls" => vec![tls_bar(&parts)],
        "timers" => vec![ratio(Candidate::Tokio, timer_bar(parts[1]))],
        _ => Vec::new(),
    }
}

fn echo_bars(bytes: usize) -> Vec<Bar> {
    match bytes {
        0..16_384 => vec![ratio(Candidate::Mio, 1.05), ratio(Candidate::Tokio, 1.0), goal_raw(1.03)],
        16_384 => vec![ratio(Candidate::Mio, 1.05), ratio(Candidate::Tokio, 0.9), goal_raw(1.03)],
        _ => vec![ratio(Candidate::Tokio, 0.9), goal_raw(0.8)],
    }
}

/// A train passes through the kernel once, so datagrams that wait together must be cheaper than one by one.
fn datagram_bars(metric: &str) -> Vec<Bar> {
    match metric {
        "datagrams/64/1/1" => vec![ratio(Candidate::Mio, 1.1)],
        "datagrams/64/10/1" => vec![ratio(Candidate::Mio, 1.0), ratio(Candidate::Tokio, 0.92)],
        "datagrams/64/10/16" => vec![ratio(Candidate::Mio, 0.65)],
        _ => vec![ratio(Candidate::Mio, 0.55)],
    }
}

fn tls_bar(parts: &[&str]) -> Bar {
    match parts[1..] {
        ["1024", "1"] => ratio(Candidate::Tokio, 0.98),
        ["16384", "1"] => ratio(Candidate::Tokio, 0.95),
        ["handshakes", "full"] => ratio(Candidate::Tokio, 1.03),
        ["handshakes", _] => ratio(Candidate::Tokio, 1.05),
        ["instructions", _] => ratio(Candidate::Tokio, 1.1),
        ["idle", _] => absolute(4608.0),
        _ => ratio(Candidate::Tokio, 0.9),
    }
}

fn timer_bar(operation: &str) -> f64 {
    match operation {
        "schedule" => 0.4,
        "cancel" => 0.3,
        _ => 1.4,
    }
}

fn ratio(to: Candidate, at_most: f64) -> Bar {
    Bar { relative_to: Some(to), at_most, is_goal: false }
}

fn absolute(at_most: f64) -> Bar {
    Bar { relative_to: None, at_most, is_goal: false }
}

fn goal(bar: Bar) -> Bar {
    Bar { is_goal: true, ..bar }
}

fn goal_raw(at_most: f64) -> Bar {
    goal(ratio(Candidate::RawEpoll, at_most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::Scenario;

    #[test]
    fn large_messages_must_be_cheaper_than_tokios() {
        let of_tokio = |metric| bars(metric).into_iter().find(|bar| bar.relative_to == Some(Candidate::Tokio)).unwrap();
        assert_eq!(of_tokio("echo/1024/50").at_most, 1.0);
        assert_eq!(of_tokio("echo/16384/1").at_most, 0.9);
        assert_eq!(of_tokio("echo/102400/1000").at_most, 0.9);
        assert_eq!(of_tokio("timers/cancel").at_most, 0.3);
    }

    #[test]
    fn every_figure_but_the_parts_of_the_system_calls_has_a_bar() {
        for metric in Scenario::all().into_iter().flat_map(Scenario::metrics) {
            let is_part = metric.name.starts_with("syscalls/") && !metric.name.ends_with("/all");
            assert_eq!(bars(&metric.name).iter().any(|bar| !bar.is_goal), !is_part, "{}", metric.name);
        }
    }
}
