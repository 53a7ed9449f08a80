//! Processor time per echoed datagram.

use std::io;

use super::echo::{launch, over_window};
use super::{Metric, Plan, Unit, metric, size};
use crate::candidate::Candidate;
use crate::peers::{Peers, Volley};
use crate::process::{Launch, Service};

/// The points: a datagram alone, peers that each wait for their echo, and peers with many datagrams in flight.
pub(super) const VOLLEYS: [Volley; 4] = [
    Volley { bytes: 64, peers: 1, each: 1 },
    Volley { bytes: 64, peers: 10, each: 1 },
    Volley { bytes: 64, peers: 10, each: 16 },
    Volley { bytes: 1200, peers: 10, each: 16 },
];

pub(super) fn datagram_metric(volley: Volley) -> Metric {
    let Volley { bytes, peers, each } = volley;
    let deep = if each == 1 { String::new() } else { format!(", {each} each") };
    let title = format!("datagrams {} x {peers}{deep}", size(bytes));
    metric(format!("datagrams/{bytes}/{peers}/{each}"), title, Unit::NanosPerMessage)
}

/// Returns the server's nanoseconds for an echoed datagram.
pub(super) fn sample(candidate: Candidate, volley: Volley, plan: &Plan) -> io::Result<f64> {
    let server = Launch { service: Service::Datagrams, ..launch(candidate, plan) }.start()?;
    let mut peers = Peers::new(server.port(), volley)?;
    over_window(&server, plan, || peers.round())
}
