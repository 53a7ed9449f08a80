//! One active connection among many idle ones, which must not make its messages more expensive.

use std::io;

use super::echo::{over_window, start};
use super::{Metric, Plan, Unit};
use crate::candidate::Candidate;
use crate::client::{Client, Load};

const FEW: usize = 10;
/// The numbers of idle connections. select(2) can serve the second number. The last number and the client's descriptors
/// stay below the limit of 20,000 descriptors that many systems set.
pub(super) const CROWDS: [usize; 3] = [100, 900, 19_900];

pub(super) fn metric(many: usize) -> Metric {
    super::metric(format!("crowd/64/{many}"), format!("1 among {many}, of 1 among {FEW}"), Unit::TimesOfFew)
}

/// select(2) serves 1024 descriptors, the server's own among them.
pub(super) fn concerns(many: usize, candidate: Candidate) -> bool {
    many < 1000 || candidate != Candidate::Ropewalk("select")
}

pub(super) fn sample(many: usize, candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    Ok(cost_among(many, candidate, plan)? / cost_among(FEW, candidate, plan)?)
}

/// Returns the server's nanoseconds for a message of the only active connection.
fn cost_among(idle: usize, candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    let server = start(candidate, plan)?;
    let load = |connections| Load { message_bytes: 64, connections, depth: 1 };
    let mut crowd = Client::new(server.port(), load(idle));
    crowd.connect()?;
    let mut talker = Client::new(server.port(), load(1));
    talker.connect()?;
    over_window(&server, plan, || talker.round())
}
