//! Facts of a Unix system. Files below /proc are read where they exist.

use std::env;
use std::fs;
use std::path::Path;

use rustix::process::geteuid;

use super::{Finding, State};

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns the longest queue of a listening socket: listen(2).
pub(super) fn listen_queue() -> Option<u32> {
    number("/proc/sys/net/core/somaxconn")
}

/// Returns whether this process may listen on ports such as 80.
pub(super) fn low_ports() -> Option<Finding> {
    let first_free = number("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024);
    let subject = "low ports";
    Some(match (geteuid().is_root(), first_free) {
        (_, 0) => Finding::new(subject, State::Works, "every user may listen on any port"),
        (true, _) => {
            Finding::new(subject, State::Works, "root may listen on any port: use --uid to give root up again")
        }
        (false, first) => Finding::new(
            subject,
            State::Limited,
            format!("ports below {first} need root, or a socket of systemd (--listen systemd:)"),
        ),
    })
}

/// Returns the number of configured name servers, or `None` without a configuration: resolv.conf(5).
pub(super) fn name_servers() -> Option<usize> {
    let text = fs::read_to_string("/etc/resolv.conf").ok()?;
    Some(text.lines().filter(|line| line.split_whitespace().next() == Some("nameserver")).count())
}

/// Returns what the supervisor and the system's log offer.
pub(super) fn services() -> Vec<Finding> {
    let systemd = match (env::var_os("NOTIFY_SOCKET"), Path::new("/run/systemd/system").exists()) {
        (Some(_), _) => Finding::new("systemd", State::Works, "runs this process as a service and is notified"),
        (None, true) => Finding::new("systemd", State::Works, "runs this machine: examples/systemd has units"),
        (None, false) => {
            Finding::new("systemd", State::Missing, "does not run this machine: use --daemon or another supervisor")
        }
    };
    let syslog = match Path::new("/dev/log").exists() {
        true => Finding::new("syslog", State::Works, "/dev/log exists: --syslog logs to it"),
        false => Finding::new("syslog", State::Missing, "/dev/log does not exist: use --logfile"),
    };
    vec![systemd, syslog]
}
