//! A protocol of child processes for specifications, and the commands that they run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk::Reactor;
use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};

use crate::script::{Log, stop};

type Hook = Rc<dyn Fn(&Process)>;
type DataHook = Rc<dyn Fn(&Process, u32, &[u8])>;

/// Records everything that happens to a process.
///
/// The log gets `made`, `N lost`, `exited STATUS` and `ended STATUS`. Bytes are collected for each descriptor.
#[derive(Clone, Default)]
pub struct Child {
    log: Log,
    received: Rc<RefCell<BTreeMap<u32, Vec<u8>>>>,
    made: Option<Hook>,
    data: Option<DataHook>,
    exited: Option<Hook>,
    ended: Option<Hook>,
}

impl Child {
    /// Creates a protocol that only records.
    pub fn new() -> Child {
        Child::default()
    }

    /// Creates a protocol that records, and stops the reactor when the process has ended.
    pub fn stopping() -> Child {
        Child::new().on_ended(|process| stop(&process.reactor()))
    }

    /// Sets the closure that runs in `connection_made`.
    #[must_use]
    pub fn on_made(self, hook: impl Fn(&Process) + 'static) -> Child {
        Child { made: Some(Rc::new(hook)), ..self }
    }

    /// Sets the closure that runs for received bytes.
    #[must_use]
    pub fn on_data(self, hook: impl Fn(&Process, u32, &[u8]) + 'static) -> Child {
        Child { data: Some(Rc::new(hook)), ..self }
    }

    /// Sets the closure that runs when the process has exited.
    #[must_use]
    pub fn on_exited(self, hook: impl Fn(&Process) + 'static) -> Child {
        Child { exited: Some(Rc::new(hook)), ..self }
    }

    /// Sets the closure that runs when the process has ended.
    #[must_use]
    pub fn on_ended(self, hook: impl Fn(&Process) + 'static) -> Child {
        Child { ended: Some(Rc::new(hook)), ..self }
    }

    /// Returns the log of events.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the bytes that arrived from a descriptor of the child.
    pub fn received(&self, fd: u32) -> Vec<u8> {
        self.received.borrow().get(&fd).cloned().unwrap_or_default()
    }

    /// Returns the bytes as text.
    pub fn text(&self, fd: u32) -> String {
        String::from_utf8(self.received(fd)).expect("the program writes text")
    }
}

fn call(hook: &Option<Hook>, process: &Process) {
    if let Some(hook) = hook {
        hook(process);
    }
}

impl ProcessProtocol for Child {
    fn connection_made(&mut self, process: &Process) {
        self.log.add("made");
        call(&self.made, process);
    }

    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        self.received.borrow_mut().entry(fd).or_default().extend_from_slice(data);
        if let Some(hook) = &self.data {
            hook(process, fd, data);
        }
    }

    fn child_connection_lost(&mut self, _process: &Process, fd: u32) {
        self.log.add(format!("{fd} lost"));
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.log.add(format!("exited {}", short(status)));
        call(&self.exited, process);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.log.add(format!("ended {}", short(status)));
        call(&self.ended, process);
    }
}

/// Writes a status as the number of the exit, or as the number of the signal with a minus.
pub fn short(status: ExitStatus) -> String {
    match status {
        ExitStatus::Exited(code) => code.to_string(),
        ExitStatus::Killed { signal, .. } => format!("-{signal}"),
        ExitStatus::Unknown => "?".into(),
        ExitStatus::Abandoned => "abandoned".into(),
    }
}

/// Returns the command that runs a script of sh(1).
pub fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// Runs a command to its end, and returns what was recorded.
pub fn run_child(reactor: &Reactor, command: &Command) -> Child {
    let child = Child::stopping();
    reactor.spawn_process(command, child.clone()).expect("the program starts");
    crate::run(reactor);
    child
}
