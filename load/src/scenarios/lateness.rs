//! A timer of 10 ms beside work that never ends: how late it fires at worst.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use super::Plan;
use crate::arguments::Task;
use crate::figure::{Bar, Figure};
use crate::subject::Subject;

pub(super) const NAME: &str = "lateness";

const BAR: Bar = Bar::AtMost(30.0);
const SENDERS: usize = 8;
const LOADS: [(Task, &str); 3] = [
    (Task::Firehose, "beside 8 clients that send without pause"),
    (Task::Calls, "beside 1,000 calls that reschedule themselves"),
    (Task::Threads, "beside calls from 4 threads"),
];

pub(super) fn run(plan: &Plan<'_>) -> io::Result<Vec<Figure>> {
    let millis = if plan.quick { 1000 } else { 5000 };
    let mut figures = Vec::new();
    for (task, words) in LOADS {
        let mut subject = Subject::start(task, plan.reactor, millis)?;
        if task == Task::Firehose {
            send_without_pause(subject.port()?)?;
        }
        let measured = subject.figures()?;
        let [lateness] = measured[..] else { return Err(io::Error::other("expected one figure")) };
        figures.push(plan.timed_figure(NAME, format!("worst lateness of a 10 ms timer {words}, ms"), lateness, BAR));
    }
    Ok(figures)
}

/// Starts the senders. Each sends until the subject exits.
fn send_without_pause(port: u16) -> io::Result<()> {
    for _ in 0..SENDERS {
        let mut client = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        thread::spawn(move || while client.write_all(&[0; 64 * 1024]).is_ok() {});
    }
    Ok(())
}
