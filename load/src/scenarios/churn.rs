//! Short connections, one after the other, leave nothing behind.

use std::io;
use std::thread;
use std::time::Duration;

use ropewalk_bench::client::{Client, Load};

use super::{Plan, thousands};
use crate::figure::{Bar, Figure};
use crate::server::{Server, descriptors, program, resident_bytes};

pub(super) const NAME: &str = "churn";

/// The number of connections at once.
const AT_ONCE: usize = 50;

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let lives = plan.amount(100_000);
    let (server, address) = Server::start(program(plan.reactor, None)?, &["echo"])?;
    let mut client = Client::new(address.port(), Load { message_bytes: 64, connections: AT_ONCE, depth: 1 });
    // The first connections grow the tables and the allocator's pools.
    churn(&mut client, lives / 10)?;
    let before = (resident_bytes(server.id())?, descriptors(server.id())?);
    churn(&mut client, lives)?;
    let after = (resident_bytes(server.id())?, descriptors(server.id())?);
    let kibibytes = after.0.saturating_sub(before.0) as f64 / 1024.0;
    let opened = after.1 as f64 - before.1 as f64;
    let lives = thousands(lives);
    Ok(vec![
        plan.figure(NAME, format!("memory more after {lives} connections, KiB"), kibibytes, Bar::AtMost(512.0)),
        plan.figure(NAME, format!("descriptors more after {lives} connections"), opened, Bar::Exactly(0.0)),
    ])
}

fn churn(client: &mut Client, lives: usize) -> io::Result<()> {
    for _ in 0..lives / AT_ONCE {
        client.churn()?;
    }
    // The server notices the last ends.
    thread::sleep(Duration::from_secs(1));
    Ok(())
}
