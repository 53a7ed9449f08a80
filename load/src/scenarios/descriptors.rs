//! More clients than descriptors: the clients that are accepted are served, and the others wait without loss.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::Plan;
use crate::figure::{Bar, Figure};
use crate::server::{Server, program};

pub(super) const NAME: &str = "descriptors";

const CLIENTS: usize = 500;
const DESCRIPTORS: u32 = 256;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    // The limit of the program on connections is far above, so that the descriptors are what runs out.
    let command = program(plan.reactor, Some(DESCRIPTORS))?;
    let (server, address) = Server::start(command, &["echo", "--max-connections", "10000"])?;
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(&message(number))?;
        clients.push(client);
    }
    thread::sleep(Duration::from_secs(1));
    let before = server.processor_time()?;
    thread::sleep(Duration::from_secs(2));
    let busy = (server.processor_time()? - before).as_secs_f64() / 2.0;
    let mut answered = 0;
    // Connections are accepted in their order, and each one that has been answered makes room for another.
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = [0; 8];
        client.read_exact(&mut answer)?;
        answered += usize::from(answer == message(number));
    }
    let share = "share of a core while the descriptors are used up, %".to_owned();
    let title = format!("clients answered of {CLIENTS}, with {DESCRIPTORS} descriptors");
    Ok(vec![
        plan.figure(NAME, title, answered as f64, Bar::Exactly(CLIENTS as f64)),
        plan.timed_figure(NAME, share, busy * 100.0, Bar::AtMost(5.0)),
    ])
}

fn message(number: usize) -> [u8; 8] {
    (number as u64).to_be_bytes()
}
