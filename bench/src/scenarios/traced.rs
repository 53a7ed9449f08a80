//! Exact counts: instructions by callgrind, system calls by strace.
//!
//! A tracer counts a whole process. The difference of two runs with different numbers of messages excludes start-up,
//! connecting and shutdown.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Metric, Plan, Unit, metric};
use crate::accounting::per_message;
use crate::candidate::Candidate;
use crate::client::{Client, Load};
use crate::process::{Launch, Service};
use crate::servers::BUFFER_BYTES;

const COUNTED_INSTRUCTIONS: Load = Load { message_bytes: 64, connections: 50, depth: 1 };
const COUNTED_CALLS: Load = Load { message_bytes: 64, connections: 64, depth: 1 };

/// Rounds of the two runs.
pub(super) const FEW: usize = 40;
pub(super) const MANY: usize = 440;

/// Purposes of system calls, and the names under which strace may show them.
const PURPOSES: [(&str, &[&str]); 3] = [
    ("receiving", &["recvfrom", "recvmsg", "read", "readv"]),
    ("sending", &["sendto", "sendmsg", "write", "writev"]),
    (
        "waiting",
        &["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "io_uring_enter"],
    ),
];

pub(super) fn instructions_metric() -> Metric {
    metric("instructions/64/50", "instructions, 64 B x 50", Unit::InstructionsPerMessage)
}

pub(super) fn system_call_metrics() -> Vec<Metric> {
    let all = metric("syscalls/64/64/all", "system calls, 64 B x 64", Unit::SystemCallsPerMessage);
    let parts = PURPOSES.iter().map(|(purpose, _)| {
        metric(format!("syscalls/64/64/{purpose}"), format!("of them {purpose}"), Unit::SystemCallsPerMessage)
    });
    std::iter::once(all).chain(parts).collect()
}

/// Returns the user-space instructions per message.
pub(super) fn instructions(candidate: Candidate, plan: &Plan) -> io::Result<f64> {
    let count =
        |rounds| callgrind(candidate, |tracer| serve_traced(candidate, plan, tracer, COUNTED_INSTRUCTIONS, rounds));
    Ok(per_message(count(FEW)?, count(MANY)?))
}

/// Returns the number of messages that `serve` returns, and the instructions of the server that it starts with the
/// tracer.
pub(super) fn callgrind(
    candidate: Candidate,
    serve: impl FnOnce(Vec<OsString>) -> io::Result<u64>,
) -> io::Result<(u64, u64)> {
    if candidate.is_on_uring() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "valgrind does not know io_uring"));
    }
    let report = report_file("callgrind");
    let out = format!("--callgrind-out-file={}", report.display());
    let messages = serve(["valgrind", "--quiet", "--tool=callgrind", &out].map(OsString::from).into())?;
    Ok((messages, parse_callgrind(&take(&report)?)?))
}

/// Returns the system calls per message: all, then those of each purpose.
pub(super) fn system_calls(candidate: Candidate, plan: &Plan) -> io::Result<Vec<f64>> {
    let count = |rounds| -> io::Result<(u64, Vec<(String, u64)>)> {
        let report = report_file("strace");
        let tracer = ["strace", "-f", "-c", "-o"].map(OsString::from).into_iter().chain([report.clone().into()]);
        let messages = serve_traced(candidate, plan, tracer.collect(), COUNTED_CALLS, rounds)?;
        Ok((messages, parse_strace(&take(&report)?)?))
    };
    let (few, many) = (count(FEW)?, count(MANY)?);
    let of =
        |wanted: &dyn Fn(&str) -> bool| per_message((few.0, calls(&few.1, wanted)), (many.0, calls(&many.1, wanted)));
    let parts = PURPOSES.iter().map(|(_, names)| of(&|name| names.contains(&name)));
    Ok(std::iter::once(of(&|_| true)).chain(parts).collect())
}

/// Serves `rounds` rounds under the tracer, and returns the number of messages.
fn serve_traced(
    candidate: Candidate,
    plan: &Plan,
    tracer: Vec<OsString>,
    load: Load,
    rounds: usize,
) -> io::Result<u64> {
    let (program, core) = (plan.program.as_path(), plan.core);
    let server =
        Launch { program, candidate, core, buffer_bytes: BUFFER_BYTES, tracer, service: Service::Streams }.start()?;
    let mut client = Client::new(server.port(), load);
    client.connect()?;
    let mut messages = 0;
    for _ in 0..rounds {
        messages += client.round()?;
    }
    server.finish()?;
    Ok(messages)
}

fn report_file(tool: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ropewalk-bench-{}-{tool}.out", std::process::id()))
}

fn take(report: &PathBuf) -> io::Result<String> {
    let text = fs::read_to_string(report)?;
    fs::remove_file(report)?;
    Ok(text)
}

fn parse_callgrind(report: &str) -> io::Result<u64> {
    let total = report.lines().find_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| io::Error::other("callgrind wrote no total"))
}

/// Reads names and counts from strace's summary: `% time, seconds, usecs/call, calls, [errors], syscall`.
fn parse_strace(report: &str) -> io::Result<Vec<(String, u64)>> {
    let rows = report.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = *words.last()?;
        let count = words.get(3)?.parse().ok()?;
        (name != "total").then(|| (name.to_owned(), count))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() { Err(io::Error::other("strace wrote no summary")) } else { Ok(rows) }
}

fn calls(rows: &[(String, u64)], wanted: &dyn Fn(&str) -> bool) -> u64 {
    rows.iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_total_is_found() {
        assert_eq!(
            parse_callgrind("version: 1\nevents: Ir\nsummary: 5012345\n\ntotals: 5012345\n").unwrap(),
            5_012_345
        );
        assert!(parse_callgrind("version: 1\n").is_err());
    }

    #[test]
    fn straces_summary_is_read_despite_errors() {
        let report = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ----------------\n \
                      51.00    0.010000           1      6464           sendto\n \
                      48.00    0.009000           1      6600       136 recvfrom\n  \
                      1.00    0.000100           1       101           epoll_wait\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                      100.00    0.019100           1     13165       136 total\n";
        let rows = parse_strace(report).unwrap();
        assert_eq!(calls(&rows, &|_| true), 6464 + 6600 + 101);
        assert_eq!(calls(&rows, &|name| name == "recvfrom"), 6600);
        assert!(parse_strace("").is_err());
    }
}
