//! One connection that talks among many that do not: what waits must not make what moves dearer.

use std::io;

use super::echo::{over_window, start};
use super::{Metric, Plan, Unit};
use crate::candidate::Candidate;
use crate::client::{Client, Load};

const FEW: usize = 10;
/// With the client's own it stays below the 20,000 descriptors that many systems allow a process.
const MANY: usize = 15_000;

pub(super) fn metric() -> Metric {
    super::metric("crowd/64/15000", "1 among 15,000, of 1 among 10", Unit::TimesOfFew)
}

pub(super) fn sample(candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    Ok(cost_among(MANY, candidate, plan)? / cost_among(FEW, candidate, plan)?)
}

/// Nanoseconds of the server a message of the only connection that talks.
fn cost_among(idle: usize, candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    let server = start(candidate, plan)?;
    let load = |connections| Load { message_bytes: 64, connections, depth: 1 };
    let mut crowd = Client::new(server.port(), load(idle));
    crowd.connect()?;
    let mut talker = Client::new(server.port(), load(1));
    talker.connect()?;
    over_window(&server, plan, || talker.round())
}
