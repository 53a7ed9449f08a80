//! Processor time per message: lock-step, pipelined and short-lived connections.

use std::io;
use std::time::Instant;

use super::{Metric, Plan, Unit, metric, size};
use crate::candidate::Candidate;
use crate::client::{Client, Load};
use crate::process::{Launch, Server, Service};
use crate::servers::BUFFER_BYTES;

const TIMED: Load = Load { message_bytes: 64, connections: 50, depth: 1 };
const CHURN: Load = Load { message_bytes: 64, connections: 50, depth: 1 };

/// The part of the window that is skipped at its start, until caches and socket buffers have settled.
const WARM_UP: u32 = 4;

pub(super) fn echo_metric(load: Load) -> Metric {
    let Load { message_bytes, connections, depth } = load;
    let kind = if depth == 1 { "echo" } else { "pipelined" };
    let deep = if depth == 1 { String::new() } else { format!(", {depth} deep") };
    let title = format!("{kind} {} x {connections}{deep}", size(message_bytes));
    metric(format!("{kind}/{message_bytes}/{connections}"), title, Unit::NanosPerMessage)
}

pub(super) fn latency_metric() -> Metric {
    metric("latency/64/50/p99", "echo 64 B x 50", Unit::NanosToAnswer)
}

pub(super) fn churn_metric() -> Metric {
    metric("churn/64/50", "churn 64 B x 50", Unit::NanosPerMessage)
}

/// Returns the server's nanoseconds for a message.
pub(super) fn echo_sample(candidate: Candidate, load: Load, plan: &Plan) -> io::Result<f64> {
    let server = start(candidate, plan)?;
    let mut client = Client::new(server.port(), load);
    client.connect()?;
    over_window(&server, plan, || client.round())
}

/// Returns the 99th percentile of the time from a request to the end of its answer, in lock-step. The server finds all
/// requests of a round waiting, so the figure mostly shows how evenly it serves them.
pub(super) fn latency_sample(candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    let server = start(candidate, plan)?;
    let mut client = Client::new(server.port(), TIMED);
    client.connect()?;
    over_window(&server, plan, || client.round())?;
    let mut times = Vec::new();
    let end = Instant::now() + plan.window;
    while Instant::now() < end {
        client.timed_round(&mut times)?;
    }
    times.sort_unstable();
    Ok(times[times.len() * 99 / 100].as_nanos() as f64)
}

/// Returns the server's nanoseconds for a connection with one message.
pub(super) fn churn_sample(candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    let server = start(candidate, plan)?;
    let mut client = Client::new(server.port(), CHURN);
    over_window(&server, plan, || client.churn())
}

pub(super) fn start(candidate: Candidate, plan: &Plan) -> io::Result<Server> {
    launch(candidate, plan).start()
}

pub(super) fn launch(candidate: Candidate, plan: &Plan) -> Launch<'_> {
    let (program, core) = (plan.program.as_path(), plan.core);
    Launch { program, candidate, core, buffer_bytes: BUFFER_BYTES, tracer: Vec::new(), service: Service::Streams }
}

pub(super) fn over_window(server: &Server, plan: &Plan, mut round: impl FnMut() -> io::Result<u64>) -> io::Result<f64> {
    let warm = Instant::now() + plan.window / WARM_UP;
    while Instant::now() < warm {
        round()?;
    }
    let mut messages = 0;
    let begun = server.processor_time()?;
    let end = Instant::now() + plan.window;
    while Instant::now() < end {
        messages += round()?;
    }
    let used = server.processor_time()? - begun;
    Ok(used.as_nanos() as f64 / messages as f64)
}
