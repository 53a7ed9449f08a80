//! The scenarios: a file for each kind, which turns a candidate into samples.

mod crowd;
mod datagrams;
mod echo;
mod idle;
mod probed;
mod tls;
mod traced;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::Probe;
use crate::candidate::Candidate;
use crate::client::Load;
use crate::peers::Volley;
use crate::servers;
pub(crate) use tls::Tls;

/// Durations and place of a measurement.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) core: usize,
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
}

/// One figure of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Metric {
    /// The name for `--only`, in the results and in the bars.
    pub(crate) name: String,
    /// The title in tables.
    pub(crate) title: String,
    pub(crate) unit: Unit,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    NanosPerMessage,
    NanosToAnswer,
    NanosPerOperation,
    BytesPerConnection,
    InstructionsPerMessage,
    SystemCallsPerMessage,
    TimesOfFew,
}

/// A way to measure a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Lock-step echo, or pipelined if the load's depth is more than one.
    Echo(Load),
    /// The latency of an answer.
    Latency,
    /// Connect, one echo, close.
    Churn,
    /// Lock-step echo of datagrams.
    Datagrams(Volley),
    /// One active connection among many idle ones.
    Crowd(usize),
    /// The memory of idle connections.
    Idle,
    /// Operations inside one process.
    Probed(Probe),
    /// User-space instructions per message.
    Instructions,
    /// System calls per message.
    SystemCalls,
    /// Connections that speak TLS.
    Tls(Tls),
}

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 100 * 1024];
const CONNECTIONS: [usize; 3] = [1, 50, 1000];
const PIPELINED: Load = Load { message_bytes: 1024, connections: 50, depth: 16 };

impl Scenario {
    /// All scenarios, in the order of the tables.
    pub(crate) fn all() -> Vec<Scenario> {
        let echo = SIZES.iter().flat_map(|&message_bytes| {
            CONNECTIONS.map(|connections| Scenario::Echo(Load { message_bytes, connections, depth: 1 }))
        });
        let lively = [Scenario::Echo(PIPELINED), Scenario::Latency, Scenario::Churn];
        let others = [
            Scenario::Idle,
            Scenario::Probed(Probe::Timers),
            Scenario::Probed(Probe::Calls),
            Scenario::Probed(Probe::Spawns),
            Scenario::Instructions,
            Scenario::SystemCalls,
        ];
        let datagrams = datagrams::VOLLEYS.map(Scenario::Datagrams);
        let crowds = crowd::CROWDS.map(Scenario::Crowd);
        let tls = tls::PARTS.map(Scenario::Tls);
        echo.chain(lively).chain(datagrams).chain(crowds).chain(others).chain(tls).collect()
    }

    /// Returns whether the scenario is part of --quick.
    pub(crate) fn is_quick(self) -> bool {
        match self {
            Scenario::Echo(load) => load.connections == 50 || load.message_bytes == 64,
            Scenario::Crowd(_) => false,
            Scenario::Tls(part) => matches!(part, Tls::Echo(_)),
            _ => true,
        }
    }

    /// Returns whether one sample is exact, so that more would be equal.
    pub(crate) fn is_exact(self) -> bool {
        match self {
            Scenario::Idle | Scenario::Instructions | Scenario::SystemCalls => true,
            Scenario::Tls(part) => matches!(part, Tls::Idle | Tls::Instructions(_)),
            _ => false,
        }
    }

    /// Returns the tool that the scenario needs, if not every machine has it.
    pub(crate) fn tool(self) -> Option<&'static str> {
        match self {
            Scenario::Instructions | Scenario::Tls(Tls::Instructions(_)) => Some("valgrind"),
            Scenario::SystemCalls => Some("strace"),
            _ => None,
        }
    }

    /// Returns whether the scenario applies to that candidate.
    pub(crate) fn concerns(self, candidate: Candidate) -> bool {
        match self {
            Scenario::Probed(Probe::Spawns) => {
                matches!(candidate, Candidate::RawEpoll | Candidate::Tokio | Candidate::Ropewalk(_))
            }
            Scenario::Datagrams(_) => candidate != Candidate::RawUring,
            Scenario::Probed(_) => matches!(candidate, Candidate::Tokio | Candidate::ROPEWALK),
            Scenario::Crowd(many) => crowd::concerns(many, candidate),
            Scenario::Tls(_) => servers::tls::CANDIDATES.contains(&candidate),
            // select(2) serves 1024 descriptors.
            Scenario::Idle => candidate != Candidate::Ropewalk("select"),
            _ => true,
        }
    }

    /// Returns the metrics of a sample's figures, in the same order.
    pub(crate) fn metrics(self) -> Vec<Metric> {
        match self {
            Scenario::Echo(load) => vec![echo::echo_metric(load)],
            Scenario::Latency => vec![echo::latency_metric()],
            Scenario::Churn => vec![echo::churn_metric()],
            Scenario::Datagrams(volley) => vec![datagrams::datagram_metric(volley)],
            Scenario::Crowd(many) => vec![crowd::metric(many)],
            Scenario::Idle => idle::metrics(),
            Scenario::Probed(probe) => probed::metrics(probe),
            Scenario::Instructions => vec![traced::instructions_metric()],
            Scenario::SystemCalls => traced::system_call_metrics(),
            Scenario::Tls(part) => tls::metrics(part),
        }
    }

    /// Measures once.
    ///
    /// # Errors
    /// If the candidate cannot be started, breaks, or lacks the measured operation.
    pub(crate) fn sample(self, candidate: Candidate, plan: &Plan) -> io::Result<Vec<f64>> {
        match self {
            Scenario::Echo(load) => Ok(vec![echo::echo_sample(candidate, load, plan)?]),
            Scenario::Latency => Ok(vec![echo::latency_sample(candidate, plan)?]),
            Scenario::Datagrams(volley) => Ok(vec![datagrams::sample(candidate, volley, plan)?]),
            Scenario::Crowd(many) => Ok(vec![crowd::sample(many, candidate, plan)?]),
            Scenario::Churn => Ok(vec![echo::churn_sample(candidate, plan)?]),
            Scenario::Idle => idle::sample(candidate, plan),
            Scenario::Probed(probe) => probed::sample(probe, candidate, plan),
            Scenario::Instructions => Ok(vec![traced::instructions(candidate, plan)?]),
            Scenario::SystemCalls => traced::system_calls(candidate, plan),
            Scenario::Tls(part) => tls::sample(part, candidate, plan),
        }
    }
}

/// Formats a size for people.
fn size(bytes: usize) -> String {
    if bytes % 1024 == 0 { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

fn metric(name: impl Into<String>, title: impl Into<String>, unit: Unit) -> Metric {
    Metric { name: name.into(), title: title.into(), unit }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_figure_has_a_unique_name() {
        let metrics: Vec<Metric> = Scenario::all().into_iter().flat_map(Scenario::metrics).collect();
        let names: HashSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names.len(), metrics.len());
        assert!(names.contains("echo/16384/1000") && names.contains("pipelined/1024/50"));
    }
}
