//! The calls of a reactor for its child processes: spawn, exit_status, signal, resize_terminal, release_process.
//!
//! ```text
//!   Process (owned by the reactor) ---> Child ---> File, File     (owned by the owner of the children)
//!   Connection ("pipe to a child") <-----------> Connection
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{
    ChildDescriptor, ChildPipe, ExitStatus, PipeEnd, Ready, Recipient, SpawnError, SpawnPlan, SpawnStep, Spawned,
    WindowSize, explained_error, system_error,
};

use super::carrier::Carrier;
use super::children::{Child, ChildId, File, Life, Notice};
use super::connection::{Connection, Place};
use super::network::{Network, Source};
use crate::processes::Signal;

/// Asks whether a process exists: kill(2).
const PROBE: i32 = 0;

/// The highest number of a signal on Linux.
const LAST_SIGNAL: i32 = 64;

/// A child as its reactor knows it.
pub(super) struct Process {
    pub(super) owner: Key,
    child: ChildId,
    /// How the child ended, as soon as the reactor may know.
    status: Option<ExitStatus>,
    /// Whether the reactor has asked for the status.
    is_known: bool,
}

impl Process {
    pub(super) fn ready(&self) -> Ready {
        if self.status.is_some() && !self.is_known { Ready::READ } else { Ready::empty() }
    }

    pub(super) fn in_words(&self) -> String {
        format!("the end of process {}", self.child.pid())
    }
}

/// The ends of one descriptor: in the child, and of the reactor if it is a pipe.
type Ends = (Option<Key>, Option<(PipeEnd, Key)>);

/// Starting.
impl Network {
    pub(super) fn spawn(&mut self, owner: Key, plan: &SpawnPlan) -> Result<Spawned, SpawnError> {
        plan.check()?;
        let at = |step| move |error| SpawnError::new(step, &plan.program, error);
        self.check_descriptors(owner).map_err(at(SpawnStep::Descriptors))?;
        self.check_spawn(owner).map_err(at(SpawnStep::Process))?;
        let children = self.find_program(owner, plan)?;
        Ok(self.start(owner, children, plan))
    }

    fn check_spawn(&mut self, owner: Key) -> io::Result<()> {
        self.machine_of(owner)?;
        self.check_failure(owner, |failures| &mut failures.spawn)?;
        if self.faults.spawn_failures > 0.0 && self.random.chance(self.faults.spawn_failures) {
            return Err(system_error(io::ErrorKind::WouldBlock));
        }
        Ok(())
    }

    /// Returns the owner of the children, if the program is installed.
    fn find_program(&self, owner: Key, plan: &SpawnPlan) -> Result<Key, SpawnError> {
        let installed = self.owners.get(owner).map(|owner| &owner.installed);
        let found = installed.filter(|installed| installed.names.contains(&plan.program));
        found.and_then(|installed| installed.owner).ok_or_else(|| {
            let is_path = plan.program.as_encoded_bytes().contains(&b'/');
            let reason = match plan.program.is_empty() {
                true => "its name is empty",
                false if is_path => "there is no such file",
                false => "no folder in PATH has a program of this name",
            };
            let error = system_error(io::ErrorKind::NotFound);
            SpawnError::new(SpawnStep::Execute, &plan.program, error).with_reason(reason)
        })
    }

    fn start(&mut self, owner: Key, children: Key, plan: &SpawnPlan) -> Spawned {
        let id = self.children.next_id();
        let process = Process { owner, child: id, status: None, is_known: false };
        let mut spawned = Spawned::new(id.pid(), self.sources.insert(Source::Process(process)));
        let terminal = plan.terminal.map(|size| self.open_terminal(owner, children, size));
        spawned.terminal = terminal.map(|(_, ours)| [ours, ours]);
        let terminal = terminal.map(|(theirs, _)| theirs);
        let mut numbers = BTreeMap::new();
        for (&number, wanted) in &plan.descriptors {
            let (theirs, ours) = self.open_descriptor(owner, children, terminal, wanted);
            numbers.insert(number, theirs);
            spawned.pipes.extend(ours.map(|(end, key)| ChildPipe { number, key, end }));
        }
        for (&number, wanted) in &plan.descriptors {
            if let ChildDescriptor::Same(other) = wanted {
                numbers.insert(number, numbers.get(other).copied().flatten());
            }
        }
        self.children.add(
            id,
            Child {
                owner: children,
                process: Some(spawned.process),
                group: plan.leads_group().then_some(id),
                numbers,
                terminal,
                reads: Default::default(),
                caught: Default::default(),
                notices: VecDeque::from([Notice::Start]),
                life: Life::Running,
            },
            Arc::new(plan.clone()),
        );
        self.wake(children);
        self.schedule_death(id);
        if let Some(log) = self.log(owner) {
            log.spawned.push(id);
        }
        spawned
    }

    /// Opens one descriptor of a child. Descriptors of the real program are null(4) here.
    fn open_descriptor(&mut self, owner: Key, children: Key, terminal: Option<Key>, wanted: &ChildDescriptor) -> Ends {
        match *wanted {
            ChildDescriptor::Terminal => (terminal, None),
            ChildDescriptor::Pipe(end) => {
                let carriers = match end {
                    PipeEnd::Reader => [Carrier::Pipe(PipeEnd::Reader), Carrier::Pipe(PipeEnd::Writer)],
                    PipeEnd::Writer => [Carrier::Pipe(PipeEnd::Writer), Carrier::Pipe(PipeEnd::Reader)],
                    _ => [Carrier::SocketPair; 2],
                };
                let (ours, theirs) = self.open_pair(owner, children, carriers);
                (Some(self.children.files.insert(File::new(children, theirs))), Some((end, ours)))
            }
            _ => (None, None),
        }
    }

    fn open_terminal(&mut self, owner: Key, children: Key, size: WindowSize) -> (Key, Key) {
        let (master, slave) = self.open_pair(owner, children, [Carrier::Terminal; 2]);
        let file = File { window: Some(size), ..File::new(children, slave) };
        (self.children.files.insert(file), master)
    }

    fn open_pair(&mut self, owner: Key, children: Key, [ours, theirs]: [Carrier; 2]) -> (Key, Key) {
        let machine = self.machine_of(owner).expect("the owner exists");
        let place = |owner| Place {
            owner,
            machine,
            local: Address::Unnamed,
            remote_machine: machine,
            remote: Address::Unnamed,
        };
        let buffer = self.faults.buffer;
        let first = Connection::inside(place(owner), ours, buffer, None);
        let first = self.sources.insert(Source::Connection(Box::new(first)));
        let second = Connection::inside(place(children), theirs, buffer, Some(first));
        let second = self.sources.insert(Source::Connection(Box::new(second)));
        if let Ok(connection) = self.connection_mut(first) {
            connection.peer = Some(second);
        }
        (first, second)
    }
}

/// Running processes.
impl Network {
    pub(super) fn exit_status(&mut self, key: Key) -> io::Result<Option<ExitStatus>> {
        let process = self.process_mut(key)?;
        process.is_known = process.status.is_some();
        Ok(process.status)
    }

    pub(super) fn signal_process(&mut self, key: Key, number: i32, to: Recipient) -> io::Result<()> {
        if !(PROBE..=LAST_SIGNAL).contains(&number) {
            return Err(system_error(io::ErrorKind::InvalidInput));
        }
        let child = self.process_mut(key)?.child;
        let reached: Vec<ChildId> = match to {
            Recipient::Process => self.children.get(child).into_iter().map(|_| child).collect(),
            Recipient::Group => self.children.group_of(child),
        };
        if reached.is_empty() {
            let cause = system_error(io::ErrorKind::NotFound);
            return Err(explained_error(io::ErrorKind::NotFound, cause, "no such process is left"));
        }
        if number != PROBE {
            reached.into_iter().for_each(|child| self.deliver(child, Signal::from(number)));
        }
        Ok(())
    }

    pub(super) fn resize_terminal(&mut self, key: Key, size: WindowSize) -> io::Result<()> {
        let end = self.connection(key)?;
        let slave = end.peer.filter(|_| end.carrier == Carrier::Terminal).ok_or(io::ErrorKind::InvalidInput)?;
        let Some(file) = self.children.file_of(slave) else { return Ok(()) };
        if let Some(file) = self.children.files.get_mut(file) {
            file.window = Some(size);
        }
        for child in self.children.holders(file) {
            self.deliver(child, Signal::WINCH);
        }
        Ok(())
    }

    /// Makes the exit of a child known to its reactor.
    pub(super) fn reveal_exit(&mut self, child: ChildId) {
        let status = self.children.status(child);
        let released = self.children.process_of(child);
        if let Some(Source::Process(process)) = released.and_then(|key| self.sources.get_mut(key)) {
            process.status = status;
        }
    }

    fn process_mut(&mut self, key: Key) -> io::Result<&mut Process> {
        match self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Process(process) => Ok(process),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}
