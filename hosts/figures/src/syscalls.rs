//! `calls`: the system calls of the loop's thread, as strace counts them.
//!
//! ```text
//!   strace -c, a few messages  ──> start + few  * calls of a message
//!   strace -c, many messages   ──> start + many * calls of a message
//! ```
//!
//! The difference has neither the start nor the end of the process. Without `-f`, strace counts the first thread only,
//! which runs the loop. The client is in this process, so it is not counted.

use std::env;
use std::process::{Command, Stdio};

use crate::Result;
use crate::echo::Client;
use crate::server::{Arguments, Server};

const FEW: u32 = 500;
const MANY: u32 = 3500;

/// Returns the system calls for a message.
pub(crate) fn per_message(arguments: &Arguments) -> Result<Vec<f64>> {
    let few = of_server(arguments, FEW)?;
    let many = of_server(arguments, MANY)?;
    Ok(vec![(many - few) / f64::from(MANY - FEW)])
}

/// Returns the system calls of a server that echoes `messages`.
fn of_server(arguments: &Arguments, messages: u32) -> Result<f64> {
    let mut strace = Command::new("strace");
    strace.args(["-q", "-c"]).arg(env::current_exe()?).args(arguments).stderr(Stdio::piped());
    let server = Server::start_by(&mut strace).map_err(|error| format!("cannot trace by strace: {error}"))?;
    let mut client = Client::connect(server.address)?;
    for _ in 0..messages {
        client.round()?;
    }
    drop(client);
    counted(&server.wait()?)
}

/// Returns the sum of the column `calls`. The column `errors` is empty for most system calls.
fn counted(summary: &str) -> Result<f64> {
    let rows = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() >= 5 && row[0].parse::<f64>().is_ok() && row.last() != Some(&"total"));
    let calls: Vec<f64> = rows.map(|row| row[3].parse()).collect::<std::result::Result<_, _>>()?;
    if calls.is_empty() { Err(format!("strace counted nothing: {summary}").into()) } else { Ok(calls.iter().sum()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_strace_is_not_counted_again() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           epoll_wait
 40.00    0.000400           1       400        10 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1      1000        10 total
";
        assert_eq!(counted(summary).unwrap(), 1000.0);
    }

    #[test]
    fn a_summary_without_calls_is_an_error() {
        assert!(counted("strace: ptrace: Operation not permitted\n").is_err());
    }
}
