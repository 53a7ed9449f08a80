//! Thousands of connections that all exchange messages: no byte is lost, and the memory is given back.

use std::io;
use std::time::{Duration, Instant};

use ropewalk_bench::client::{Client, Load};

use super::{Plan, megabytes, thousands};
use crate::figure::{Bar, Figure};
use crate::server::{Server, program, resident_bytes};

pub(super) const NAME: &str = "crowd";

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let connections = plan.connections(9_000, 1);
    let lasts = Duration::from_secs(if plan.quick { 2 } else { 20 });
    let (server, address) = Server::start(program(plan.reactor, None)?, &["echo"])?;
    let start = resident_bytes(server.id())?;
    let mut client = Client::new(address.port(), Load { message_bytes: 64, connections, depth: 1 });
    client.connect()?;
    let (began, mut echoed, mut lost) = (Instant::now(), 0, 0);
    while began.elapsed() < lasts {
        match client.checked_round() {
            Ok(()) => echoed += connections,
            // The first loss closes the connection that has it, so a later round would only repeat it.
            Err(_) => {
                lost += 1;
                break;
            }
        }
    }
    let used = megabytes(resident_bytes(server.id())?.saturating_sub(start));
    drop(client);
    let (connections, seconds) = (thousands(connections), lasts.as_secs());
    let title = format!("rounds with a loss on {connections} connections in {seconds} s");
    let kept = plan.kept_memory(NAME, server.id(), start)?;
    let progress = io::Error::other("no message was echoed");
    let bytes = "memory of the server above its start, MB";
    if echoed == 0 && lost == 0 {
        return Err(progress);
    }
    Ok(vec![
        plan.figure(NAME, title, f64::from(lost), Bar::Exactly(0.0)),
        plan.figure(NAME, format!("{bytes}, with {connections} connections"), used, Bar::AtMost(100.0)),
        kept,
    ])
}
