//! What needs a process of its own: signals, which belong to a whole process, and the end of one.
//!
//! ```text
//!   specification -- Performance::begin --> program `scenario` -- plays --> a function of scripts.rs
//!        ^  | signals, lines                     |
//!        |  +----------------------------------->|
//!        +-------- lines, exit status -----------+
//! ```
//!
//! Both sides wait for lines, never for time.

mod crowds;
mod scripts;

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Subject;

pub use scripts::play;

/// A scenario that is being played in a child process, which ends with this value.
pub struct Performance {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Performance {
    /// Begins to play the scenario called `name` on the subject's provider.
    pub fn begin(subject: &Subject, name: &str) -> Performance {
        Performance::of(Command::new(subject.scenarios()).args([name, subject.name()]))
    }

    /// As [`begin`](Performance::begin), in a process that ignores SIGINT, as under nohup(1) and in a shell's background.
    pub fn begin_ignoring_interrupts(subject: &Subject, name: &str) -> Performance {
        let script = r#"trap "" INT; exec "$0" "$@""#;
        Performance::of(Command::new("sh").args(["-c", script, subject.scenarios(), name, subject.name()]))
    }

    /// As [`begin`](Performance::begin), with a variable in the environment.
    pub fn begin_with(subject: &Subject, name: &str, variable: &str, value: &str) -> Performance {
        Performance::of(Command::new(subject.scenarios()).args([name, subject.name()]).env(variable, value))
    }

    /// Begins to play a scenario by a command of one's own, such as under a tracer.
    pub fn of(command: &mut Command) -> Performance {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Performance { child, lines }
    }

    /// The next line that the scenario says; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("it speaks UTF-8"))
    }

    /// Fails unless the scenario says these lines next.
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

    /// The process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Says something to the scenario.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").expect("the scenario listens");
    }

    /// Fails unless the scenario says no more and its process ends; returns how.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        assert_eq!(self.line(), None);
        self.child.wait().expect("the child is ours")
    }

    /// Fails unless the scenario says no more and its process ends in order.
    #[track_caller]
    pub fn ends(self) {
        let status = self.end();
        assert!(status.success(), "{status}");
    }

    /// Fails unless the scenario says no more and `signal` kills its process.
    #[track_caller]
    pub fn is_killed_by(self, signal: Signal) {
        assert_eq!(self.end().signal(), Some(signal.as_raw()));
    }
}

impl Drop for Performance {
    /// After a failure.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
