//! Memory of connections that have echoed once and are idle since.
//!
//! There are two measures, both without kernel memory: the allocator's live bytes (exact), and the pages that the
//! process has written to (whole pages, the allocator's own book-keeping included).

use std::io;

use super::{Metric, Plan, Unit, metric};
use crate::candidate::Candidate;
use crate::client::{Client, Load};
use crate::process::{Launch, Server, Service, counted_program};
use crate::servers::BUFFER_BYTES;

const IDLE: Load = Load { message_bytes: 64, connections: 10_000, depth: 1 };

/// Connections that come before the measured ones, so that memory that a server allocates only once is not counted.
const FIRST: Load = Load { message_bytes: 64, connections: 100, depth: 1 };

/// tokio's buffer belongs to a task, so an idle connection keeps it. This is the size in its own examples.
pub(super) const TOKIO_BUFFER_BYTES: usize = 1024;

pub(super) fn metrics() -> Vec<Metric> {
    vec![
        metric("idle/allocated", "idle, allocated", Unit::BytesPerConnection),
        metric("idle/private", "idle, private pages", Unit::BytesPerConnection),
    ]
}

/// Returns the bytes per connection: allocated, and private dirty.
pub(super) fn sample(candidate: Candidate, plan: &Plan) -> io::Result<Vec<f64>> {
    let buffer_bytes = if candidate == Candidate::Tokio { TOKIO_BUFFER_BYTES } else { BUFFER_BYTES };
    let program = counted_program()?;
    let launch = Launch {
        program: &program,
        candidate,
        core: plan.core,
        buffer_bytes,
        tracer: Vec::new(),
        service: Service::Streams,
    };
    let mut server = launch.start()?;
    let mut first = Client::new(server.port(), FIRST);
    first.connect()?;
    let before = memory(&mut server)?;
    let mut idle = Client::new(server.port(), IDLE);
    idle.connect()?;
    Ok(each(before, memory(&mut server)?, IDLE.connections))
}

/// Returns the growth for each of `connections`.
pub(super) fn each(before: (u64, u64), after: (u64, u64), connections: usize) -> Vec<f64> {
    let growth = |before: u64, after: u64| (after as f64 - before as f64) / connections as f64;
    vec![growth(before.0, after.0), growth(before.1, after.1)]
}

/// Returns the server's memory: allocated, and private dirty.
pub(super) fn memory(server: &mut Server) -> io::Result<(u64, u64)> {
    Ok((server.live_bytes()?, server.private_dirty_bytes()?))
}
