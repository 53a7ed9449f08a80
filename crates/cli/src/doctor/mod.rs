//! `ropewalk doctor`: checks what works on this machine, and says why the rest does not.
//!
//! No check leaves the machine: the only name that is resolved is `localhost`.

#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(not(unix))]
#[path = "other.rs"]
mod system;

use std::net::{TcpListener, ToSocketAddrs};
use std::process::ExitCode;

use ropewalk::{DEFAULT_BACKLOG, ReactorInfo};
use ropewalk_runner::console;

use crate::arguments::PROGRAM;
use crate::descriptors::{CONNECTIONS_MAX, connection_limit};

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Works,
    /// Works, but with less than the program could use.
    Limited,
    Missing,
}

/// A line of the report.
#[derive(Debug)]
struct Finding {
    subject: String,
    state: State,
    /// The facts, and for a limited or missing subject the remedy.
    text: String,
}

impl Finding {
    fn new(subject: impl Into<String>, state: State, text: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), state, text: text.into() }
    }
}

/// Prints the report. Returns a failure if no reactor works, or if the report cannot be printed.
pub(crate) fn run() -> ExitCode {
    let reactors = ropewalk::reactors();
    let mut findings: Vec<Finding> = reactors.iter().map(reactor).collect();
    findings.push(open_files(connection_limit(None, 1)));
    findings.extend(system::listen_queue().map(listen_queue));
    findings.extend(system::low_ports());
    findings.push(ipv6(TcpListener::bind("[::1]:0").map(drop)));
    findings.push(names(("localhost", 0).to_socket_addrs().map(Iterator::count)));
    findings.extend(system::services());
    if let Err(error) = console::print(&report(&findings)) {
        console::print_error(PROGRAM, &format!("cannot write to standard output: {error}"));
        return ExitCode::FAILURE;
    }
    match reactors.iter().any(|reactor| reactor.unavailable.is_none()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn report(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    let line = |Finding { subject, state, text }: &Finding| {
        let state = match state {
            State::Works => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        format!("{state:7}  {subject:width$}  {text}\n")
    };
    findings.iter().map(line).collect()
}

fn reactor(reactor: &ReactorInfo) -> Finding {
    let subject = format!("reactor {}", reactor.name);
    match &reactor.unavailable {
        None => Finding::new(subject, State::Works, reactor.description),
        Some(error) => Finding::new(subject, State::Missing, error.to_string()),
    }
}

fn open_files(connections: usize) -> Finding {
    let text = format!("enough for {connections} connections of echo");
    match connections < CONNECTIONS_MAX {
        true => {
            let remedy = "raise the hard limit with 'ulimit -Hn' or LimitNOFILE= in a unit";
            Finding::new("open files", State::Limited, format!("{text}: {remedy}"))
        }
        false => Finding::new("open files", State::Works, text),
    }
}

fn listen_queue(longest: u32) -> Finding {
    let text = format!("at most {longest} connections wait to be accepted");
    match longest < DEFAULT_BACKLOG {
        true => {
            let remedy = format!("set net.core.somaxconn to {DEFAULT_BACKLOG} or more with sysctl");
            Finding::new("listen queue", State::Limited, format!("{text}: {remedy}"))
        }
        false => Finding::new("listen queue", State::Works, text),
    }
}

fn ipv6(bound: std::io::Result<()>) -> Finding {
    match bound {
        Ok(()) => Finding::new("IPv6", State::Works, "::1 can be listened on"),
        Err(error) => {
            Finding::new("IPv6", State::Missing, format!("{error}: tcp: endpoints use IPv4 alone, tcp6: ones fail"))
        }
    }
}

fn names(found: std::io::Result<usize>) -> Finding {
    match (found, system::name_servers()) {
        (Ok(_), Some(0)) => {
            let text = "localhost resolves, but no name server is configured: see resolv.conf(5)";
            Finding::new("names", State::Limited, text)
        }
        (Ok(_), Some(servers)) => {
            Finding::new("names", State::Works, format!("localhost resolves, name servers: {servers}"))
        }
        (Ok(_), None) => Finding::new("names", State::Works, "localhost resolves"),
        (Err(error), _) => {
            Finding::new("names", State::Missing, format!("{error}: check nsswitch.conf(5), hosts(5), resolv.conf(5)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_aligned_line() {
        let findings = [Finding::new("a", State::Works, "x"), Finding::new("long", State::Missing, "y: z")];
        assert_eq!(report(&findings), "ok       a     x\nmissing  long  y: z\n");
    }

    #[test]
    fn a_small_limit_names_its_remedy() {
        let few = open_files(1000);
        assert!(few.state == State::Limited && few.text.contains("LimitNOFILE="), "{few:?}");
        assert_eq!(open_files(CONNECTIONS_MAX).state, State::Works);
        let short = listen_queue(DEFAULT_BACKLOG - 1);
        assert!(short.state == State::Limited && short.text.contains("net.core.somaxconn"), "{short:?}");
        assert_eq!(listen_queue(DEFAULT_BACKLOG).state, State::Works);
    }

    #[test]
    fn a_missing_protocol_family_names_the_effect() {
        let missing = ipv6(Err(std::io::ErrorKind::AddrNotAvailable.into()));
        assert!(missing.state == State::Missing && missing.text.contains("tcp6: ones fail"), "{missing:?}");
        assert_eq!(names(Err(std::io::ErrorKind::NotFound.into())).state, State::Missing);
    }
}
