//! A server whose clients are silent sleeps without waking up.

use std::io;
use std::thread;
use std::time::Duration;

use ropewalk_bench::client::{Client, Load};

use super::Plan;
use crate::figure::{Bar, Figure};
use crate::server::{Server, program, sleeps};

pub(super) const NAME: &str = "idle";

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let seconds = if plan.quick { 2 } else { 10 };
    let (server, address) = Server::start(program(plan.reactor, None)?, &["echo"])?;
    let mut client = Client::new(address.port(), Load { message_bytes: 64, connections: 100, depth: 1 });
    client.connect()?;
    thread::sleep(Duration::from_secs(1));
    let before = sleeps(server.id())?;
    thread::sleep(Duration::from_secs(seconds));
    let wake_ups = sleeps(server.id())? - before;
    let title = format!("wake-ups in {seconds} s with 100 silent clients");
    Ok(vec![plan.figure(NAME, title, wake_ups as f64, Bar::Exactly(0.0))])
}
