//! Exit statuses and error messages of programs on the runner.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ropewalk-runner-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner-scenario"));
        command.args(arguments).arg("--rundir").arg(&self.0).stdin(Stdio::null());
        command.env_remove("ROPEWALK_LOG").env_remove("ROPEWALK_REACTOR").env_remove("NOTIFY_SOCKET");
        command
    }

    fn outcome(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.program(arguments).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    /// Returns the daemon that has written the pid file.
    fn daemon(&self) -> Option<Pid> {
        self.read("scenario.pid").trim().parse().ok().and_then(Pid::from_raw)
    }

    /// Whether a process holds the pid file: the command or the daemon, from before the fork to the end.
    fn is_held(&self) -> bool {
        let file = File::open(self.0.join("scenario.pid"));
        file.is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_err())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for a line on standard error that contains `text`, and returns the lines up to it.
fn wait_for(child: &mut Child, text: &str) -> String {
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap());
    let mut seen = String::new();
    while !seen.contains(text) {
        assert_ne!(lines.read_line(&mut seen).unwrap(), 0, "the program exited: {seen}");
    }
    seen
}

/// Waits until `condition` holds.
#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "timed out");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_stopping_panic_exits_with_status_101() {
    let directory = Directory::new("stop");
    let (status, said) = directory.outcome(&["panic-stop", "-n"]);
    assert_eq!(status, Some(101));
    // One line for the callback with its location, and one for the reason of the exit.
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(said.matches("runner-scenario.rs:").count(), 1, "{said}");
    assert!(said.lines().last().unwrap().starts_with("scenario: "), "{said}");
    assert!(said.trim_end().ends_with("panicked: no more"), "{said}");
}

#[test]
fn a_logged_panic_does_not_stop_the_program() {
    let directory = Directory::new("on");
    let mut child = directory.program(&["panic-on", "-n", "-v"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "no more");
    wait_for(&mut child, "alive");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_parent_reports_a_panic_during_start_up() {
    let directory = Directory::new("early");
    let (status, said) = directory.outcome(&["panic-early"]);
    assert_eq!((status, &*said), (Some(101), "scenario: panicked: too early\n"));
    let log = directory.read("scenario.log");
    assert!(log.contains("runner-scenario.rs:") && log.contains("panicked: too early"), "{log}");
    assert!(!directory.0.join("scenario.pid").exists());
}

#[test]
fn the_parent_reports_a_daemon_that_aborts() {
    let directory = Directory::new("abort");
    let (status, said) = directory.outcome(&["abort"]);
    assert_eq!((status, &*said), (Some(1), "scenario: the daemon exited during start-up without reporting an error\n"));
}

#[test]
fn a_stale_pid_file_does_not_prevent_a_start() {
    let directory = Directory::new("left");
    directory.outcome(&["abort"]);
    assert_ne!(directory.read("scenario.pid"), "");
    let (status, _) = directory.outcome(&["panic-early"]);
    assert_eq!(status, Some(101), "the start got past the pid file");
}

#[test]
fn a_second_signal_exits_with_its_status() {
    let directory = Directory::new("stuck");
    let mut child = directory.program(&["stuck", "-n", "-v"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "started");
    signal(&child, Signal::TERM);
    wait_for(&mut child, "stop requested");
    signal(&child, Signal::TERM);
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(rest.ends_with("scenario: a second signal arrived before the services had stopped\n"), "{rest}");
}

#[test]
fn a_signal_during_a_blocking_start_stops_the_program_after_it() {
    let directory = Directory::new("blocked");
    let mut child = directory.program(&["blocked", "-n"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "blocked");
    signal(&child, Signal::TERM);
    fs::write(directory.0.join("go"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_during_a_blocking_start_kills_the_program() {
    let directory = Directory::new("deaf");
    let mut child = directory.program(&["blocked", "-n"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "blocked");
    signal(&child, Signal::TERM);
    // Two signals within 0.1 seconds may be one request.
    signal(&child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(child.try_wait().unwrap(), None);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_program_may_be_a_daemon_by_default() {
    let directory = Directory::new("default");
    assert_eq!(directory.outcome(&["patient", "-v"]), (Some(0), String::new()));
    let pid = directory.daemon().unwrap();
    assert!(directory.read("scenario.log").contains("started"));
    kill_process(pid, Signal::TERM).unwrap();
    eventually(|| test_kill_process(pid).is_err() || !directory.0.join("scenario.pid").exists());
}

#[test]
fn a_blocked_start_ends_after_a_signal() {
    let directory = Directory::new("patience");
    let arguments = ["blocked", "-n", "--pidfile", "scenario.pid"];
    let mut child = directory.program(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "blocked");
    assert!(directory.is_held());
    let began = Instant::now();
    signal(&child, Signal::TERM);
    wait_for(&mut child, "signal 15 arrived, and the start of a service has blocked the reactor for 5 seconds");
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    let took = began.elapsed();
    assert!((Duration::from_secs(4)..PATIENCE).contains(&took), "a start gets five seconds to return: {took:?}");
    assert!(!directory.0.join("scenario.pid").exists());
}

#[test]
fn an_interrupted_command_leaves_no_daemon() {
    // No service will ever have started: there is no file `go`.
    let directory = Directory::new("interrupted");
    for interrupt in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let mut command = directory.program(&["slow"]).spawn().unwrap();
        eventually(|| directory.daemon().is_some());
        signal(&command, interrupt);
        assert_eq!(command.wait().unwrap().signal(), Some(interrupt.as_raw()));
        eventually(|| !directory.is_held());
        assert!(!directory.0.join("scenario.pid").exists());
        let log = directory.read("scenario.log");
        assert!(log.contains("the command that started this daemon was interrupted"), "{log}");
        fs::remove_file(directory.0.join("scenario.log")).unwrap();
    }
}

#[test]
fn an_interrupted_command_leaves_no_blocked_daemon() {
    let directory = Directory::new("interrupted-blocked");
    let mut command = directory.program(&["blocked"]).spawn().unwrap();
    eventually(|| directory.read("scenario.log").contains("blocked"));
    signal(&command, Signal::TERM);
    assert_eq!(command.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    assert!(directory.is_held(), "a start gets time to return");
    eventually(|| !directory.is_held());
    assert!(!directory.0.join("scenario.pid").exists());
    let log = directory.read("scenario.log");
    assert!(log.contains("the start of a service has blocked the reactor"), "{log}");
}

/// Ctrl-C reaches all processes of the terminal's foreground group.
#[test]
fn ctrl_c_leaves_a_daemon_only_if_the_command_succeeds() {
    let directory = Directory::new("moments");
    for milliseconds in 0..30 {
        let mut command = directory.program(&["patient"]).process_group(0).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        kill_process_group(Pid::from_child(&command), Signal::INT).unwrap();
        if command.wait().unwrap().success() {
            kill_process(directory.daemon().unwrap(), Signal::TERM).unwrap();
        }
        eventually(|| !directory.is_held());
    }
}

#[test]
fn a_process_with_threads_cannot_become_a_daemon() {
    let directory = Directory::new("threads");
    let (status, said) = directory.outcome(&["threads"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("a process with 2 threads cannot go into the background"), "{said}");
    let mut child = directory.program(&["threads", "-n", "-v"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "alive");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_daemon_cannot_listen_on_standard_streams() {
    let directory = Directory::new("stdio");
    let (status, said) = directory.outcome(&["stdio"]);
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(
        said,
        "scenario: cannot take standard input and output: a process in the background has no standard input and output\n"
    );
}
