//! The child processes of all reactors, as their kernels know them.
//!
//! ```text
//!   Running --exit--> Exiting (until everything written is taken) --> Ended
//!          \--killed by a signal--------------------------------/
//! ```
//!
//! The code of a child is a closure, which runs in the reactor's loop and not under the lock of the network. So the
//! network only queues notices for the closures, and wakes their owner.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;

use ropewalk_proto::{Key, Moment, Outbox, Slab};
use ropewalk_sys::{ExitStatus, SpawnPlan, Waker, WindowSize};

/// The number of the first child. The system's own processes would have the numbers before it.
const FIRST_PID: u32 = 1000;

/// A child of the network, in the order of starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(u32);

impl ChildId {
    pub(crate) fn pid(self) -> u32 {
        FIRST_PID + self.0
    }
}

/// The programs that one reactor can start, and the owner of their descriptors.
#[derive(Default)]
pub(super) struct Installed {
    pub(super) names: BTreeSet<OsString>,
    pub(super) owner: Option<Key>,
    /// Makes the reactor run the closures of its children.
    pub(super) bell: Option<Waker>,
}

/// An event that calls a closure of a simulated child.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// The program begins.
    Start,
    /// A signal arrived that the program catches.
    Signal(i32),
    /// A call is due.
    Call(u64),
    /// Bytes arrived under this number.
    Data(u32, Vec<u8>),
    /// The input under this number has ended.
    End(u32),
}

/// An event that no descriptor reports.
#[derive(Clone, Copy)]
pub(super) enum Notice {
    Start,
    Signal(i32),
    Call(u64),
    End(u32),
}

impl From<Notice> for ChildEvent {
    fn from(notice: Notice) -> ChildEvent {
        match notice {
            Notice::Start => ChildEvent::Start,
            Notice::Signal(number) => ChildEvent::Signal(number),
            Notice::Call(token) => ChildEvent::Call(token),
            Notice::End(number) => ChildEvent::End(number),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// The program has called exit(3), but a pipe is full.
    Exiting(ExitStatus),
    Ended,
}

/// A process that runs, or whose descriptors are still open.
pub(super) struct Child {
    /// The owner of the descriptors.
    pub(super) owner: Key,
    /// The key under which the reactor knows the process. A process that a child has started has none.
    pub(super) process: Option<Key>,
    /// The leader of the group, unless the group is that of the reactor.
    pub(super) group: Option<ChildId>,
    /// The open files by their numbers. `None` is null(4).
    pub(super) numbers: BTreeMap<u32, Option<Key>>,
    /// The controlling terminal.
    pub(super) terminal: Option<Key>,
    /// The numbers that the program reads.
    pub(super) reads: BTreeSet<u32>,
    /// The numbers of the signals that the program catches or ignores.
    pub(super) caught: BTreeSet<i32>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) life: Life,
}

impl Child {
    pub(super) fn holds(&self, file: Key) -> bool {
        self.terminal == Some(file) || self.numbers.values().any(|open| *open == Some(file))
    }

    /// Returns the number under which the program reads `file`.
    fn reads(&self, file: Key) -> Option<u32> {
        self.reads.iter().copied().find(|number| self.numbers.get(number) == Some(&Some(file)))
    }
}

/// An open file: one end of a pipe, socket pair or terminal. Several processes may have it.
pub(super) struct File {
    pub(super) owner: Key,
    pub(super) source: Key,
    pub(super) outbox: Outbox,
    /// The process that wrote the outbox.
    pub(super) writer: Option<ChildId>,
    /// The size of a terminal.
    pub(super) window: Option<WindowSize>,
}

impl File {
    pub(super) fn new(owner: Key, source: Key) -> File {
        File { owner, source, outbox: Outbox::new(), writer: None, window: None }
    }
}

/// The facts of a process that outlive it.
struct Record {
    plan: Arc<SpawnPlan>,
    status: Option<ExitStatus>,
    process: Option<Key>,
}

#[derive(Clone, Copy)]
pub(super) enum Alarm {
    /// A call of the program is due.
    Call(u64),
    /// A fault kills the process.
    Death,
}

/// All children of a network.
#[derive(Default)]
pub(super) struct Children {
    /// The children by their numbers, except those that are over.
    open: BTreeMap<ChildId, Child>,
    records: Vec<Record>,
    pub(super) files: Slab<File>,
    alarms: BTreeMap<(Moment, u64), (ChildId, Alarm)>,
    next_token: u64,
}

impl Children {
    pub(super) fn next_id(&self) -> ChildId {
        ChildId(u32::try_from(self.records.len()).expect("fewer than 2^32 children"))
    }

    pub(super) fn add(&mut self, id: ChildId, child: Child, plan: Arc<SpawnPlan>) {
        self.records.push(Record { plan, status: None, process: child.process });
        self.open.insert(id, child);
    }

    /// Returns the child unless it has ended.
    pub(super) fn get(&self, id: ChildId) -> Option<&Child> {
        self.open.get(&id).filter(|child| child.life != Life::Ended)
    }

    /// Returns the child if its program can still do something.
    pub(super) fn running(&mut self, id: ChildId) -> Option<&mut Child> {
        self.open.get_mut(&id).filter(|child| child.life == Life::Running)
    }

    pub(super) fn plan(&self, id: ChildId) -> Arc<SpawnPlan> {
        self.records[id.0 as usize].plan.clone()
    }

    pub(super) fn status(&self, id: ChildId) -> Option<ExitStatus> {
        self.records[id.0 as usize].status
    }

    pub(super) fn process_of(&self, id: ChildId) -> Option<Key> {
        self.records[id.0 as usize].process
    }

    /// Notes the end of a child. Its descriptors are still open.
    pub(super) fn end(&mut self, id: ChildId, status: ExitStatus) {
        self.records[id.0 as usize].status = Some(status);
        self.alarms.retain(|_, (child, _)| *child != id);
        if let Some(child) = self.open.get_mut(&id) {
            child.life = Life::Ended;
            child.notices.clear();
            child.reads.clear();
        }
    }

    /// Closes all descriptors of a child that has ended, and returns the files that it had.
    pub(super) fn close(&mut self, id: ChildId) -> Vec<Key> {
        let Some(child) = self.open.remove(&id) else { return Vec::new() };
        let files: BTreeSet<Key> = child.numbers.into_values().flatten().chain(child.terminal).collect();
        Vec::from_iter(files)
    }

    /// Returns the living members of the group that a process leads.
    pub(super) fn group_of(&self, leader: ChildId) -> Vec<ChildId> {
        let members = self.open.iter().filter(|(_, child)| child.group == Some(leader) && child.life != Life::Ended);
        members.map(|(id, _)| *id).collect()
    }

    /// Returns the processes that have `file` open.
    pub(super) fn holders(&self, file: Key) -> Vec<ChildId> {
        self.open.iter().filter(|(_, child)| child.holds(file)).map(|(id, _)| *id).collect()
    }

    /// Returns the file whose end is `source`.
    pub(super) fn file_of(&self, source: Key) -> Option<Key> {
        self.files.iter().find(|(_, file)| file.source == source).map(|(key, _)| key)
    }

    /// Returns the process that reads `file`, and the number under which it does.
    pub(super) fn reader(&self, file: Key) -> Option<(ChildId, u32)> {
        let mut running = self.open.iter().filter(|(id, child)| child.life == Life::Running && !self.is_blocked(**id));
        running.find_map(|(id, child)| Some((*id, child.reads(file)?)))
    }

    /// Whether a write of the process waits for room.
    pub(super) fn is_blocked(&self, id: ChildId) -> bool {
        self.files.iter().any(|(_, file)| file.writer == Some(id) && !file.outbox.is_empty())
    }

    /// Takes the notices of all children of `owner`, in the order of the children.
    pub(super) fn take_notices(&mut self, owner: Key) -> Vec<(ChildId, ChildEvent)> {
        let own = self.open.iter_mut().filter(|(_, child)| child.owner == owner);
        own.flat_map(|(id, child)| child.notices.drain(..).map(|notice| (*id, notice.into()))).collect()
    }

    /// Schedules `alarm`, and returns the token of a call.
    pub(super) fn schedule(&mut self, at: Moment, id: ChildId, alarm: impl FnOnce(u64) -> Alarm) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.alarms.insert((at, token), (id, alarm(token)));
        token
    }

    pub(super) fn next_alarm(&self) -> Option<Moment> {
        self.alarms.keys().next().map(|(at, _)| *at)
    }

    /// Removes and returns the next alarm that is due at `now`.
    pub(super) fn pop_alarm(&mut self, now: Moment) -> Option<(ChildId, Alarm)> {
        let first = self.alarms.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Forgets the children whose descriptors `owner` had.
    pub(super) fn forget(&mut self, owner: Key) {
        let open = &mut self.open;
        open.retain(|_, child| child.owner != owner);
        self.alarms.retain(|_, (child, _)| open.contains_key(child));
        let gone: Vec<Key> = self.files.iter().filter(|(_, file)| file.owner == owner).map(|(key, _)| key).collect();
        gone.into_iter().for_each(|key| drop(self.files.remove(key)));
    }
}
