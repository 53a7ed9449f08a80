//! `idle`: the context switches of a reactor that has nothing to do.

use std::fs;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crate::Result;
use crate::server::{Arguments, Server};

/// The time after which a server has nothing left to do.
const SETTLING: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(10);

/// Returns the context switches of all threads in ten seconds, with a port, a connection and a distant delayed call.
pub(crate) fn idle(arguments: &Arguments) -> Result<Vec<f64>> {
    let server = Server::start(arguments)?;
    let connection = TcpStream::connect(server.address)?;
    sleep(SETTLING);
    let before = of_process(server.id())?;
    sleep(TIME);
    let after = of_process(server.id())?;
    drop(connection);
    server.wait()?;
    Ok(vec![f64::from(after - before)])
}

/// Returns the context switches of all threads of a process.
fn of_process(id: u32) -> Result<u32> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        sum += counted(&fs::read_to_string(task?.path().join("status"))?)?;
    }
    Ok(sum)
}

/// Returns the sum of `voluntary_ctxt_switches` and `nonvoluntary_ctxt_switches` of proc(5).
fn counted(status: &str) -> Result<u32> {
    let lines = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
    let counts = lines.map(|(_, count)| count.trim().parse::<u32>());
    Ok(counts.sum::<std::result::Result<u32, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_switches_are_counted() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(counted(status).unwrap(), 9);
    }
}
