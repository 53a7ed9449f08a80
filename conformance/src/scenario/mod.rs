//! Scenarios, for specifications that need a process of their own: signals and descriptor limits belong to a process.
//!
//! ```text
//!   specification -- Performance::begin --> program `scenario` -- plays --> a function of scripts.rs
//!        ^  | signals, lines                     |
//!        |  +----------------------------------->|
//!        +-------- lines, exit status -----------+
//! ```
//!
//! Each side waits for lines of the other side, and never for a time.

mod children;
mod crowds;
mod dialogue;
#[cfg(target_os = "linux")]
mod groups;
#[cfg(target_os = "linux")]
mod network;
mod passing;
mod scripts;

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::Subject;

pub use scripts::play;

/// A scenario that is played in a child process. Dropping it kills the process.
pub struct Performance {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Performance {
    /// Starts the scenario called `name` on the subject's provider.
    pub fn begin(subject: &Subject, name: &str) -> Performance {
        Performance::of(Command::new(subject.scenarios()).args([name, subject.name()]))
    }

    /// Like [`begin`](Performance::begin), but in a process that ignores `signal`, such as `INT` under nohup(1).
    pub fn begin_ignoring(subject: &Subject, signal: &str, name: &str) -> Performance {
        let script = format!(r#"trap "" {signal}; exec "$0" "$@""#);
        Performance::of(Command::new("sh").args(["-c", &script, subject.scenarios(), name, subject.name()]))
    }

    /// Like [`begin`](Performance::begin), but with a variable in the environment.
    pub fn begin_with(subject: &Subject, name: &str, variable: &str, value: &str) -> Performance {
        Performance::of(Command::new(subject.scenarios()).args([name, subject.name()]).env(variable, value))
    }

    /// Starts a scenario by a custom command, such as under a tracer.
    pub fn of(command: &mut Command) -> Performance {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Performance { child, lines }
    }

    /// Returns the next line of the scenario's output, or `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("it speaks UTF-8"))
    }

    /// Fails unless these are the next lines of the scenario's output.
    #[track_caller]
    pub fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            assert_eq!(self.line().as_deref(), Some(*expected));
        }
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Returns the process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a line to the scenario's input.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").expect("the scenario listens");
    }

    /// Waits until the process has ended, but not for its children. Then closes the scenario's input.
    pub fn outlive(&mut self) {
        let ended = waitid(WaitId::Pid(self.pid()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        ended.expect("the child is ours");
        drop(self.child.stdin.take());
    }

    /// Fails unless the scenario prints no more lines, then returns the exit status of its process.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        assert_eq!(self.line(), None);
        self.child.wait().expect("the child is ours")
    }

    /// Fails unless the scenario prints no more lines and its process exits successfully.
    #[track_caller]
    pub fn ends(self) {
        let status = self.end();
        assert!(status.success(), "{status}");
    }

    /// Fails unless the scenario prints no more lines and `signal` kills its process.
    #[track_caller]
    pub fn is_killed_by(self, signal: Signal) {
        assert_eq!(self.end().signal(), Some(signal.as_raw()));
    }
}

impl Drop for Performance {
    /// Kills the process after a failure.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
