//! The system calls of a child: writing, reading, closing, waiting, catching signals, exiting.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::Key;
use ropewalk_sys::{ExitStatus, Ready, Received, SpawnPlan, Waker, WindowSize};

use super::calendar::Happening;
use super::children::{Alarm, Child, ChildEvent, ChildId, Life, Notice};
use super::machines::OUTSIDE;
use super::network::Network;
use crate::processes::Signal;

/// The signals without an effect on a program that does not catch them: signal(7). Programs cannot be stopped and
/// continued here.
const WITHOUT_EFFECT: [&str; 8] = ["CHLD", "CONT", "URG", "WINCH", "STOP", "TSTP", "TTIN", "TTOU"];

/// The most bytes that a child reads at once.
const CHUNK: usize = 16 * 1024;

/// Programs.
impl Network {
    /// Lets `parent` start a program of this name. Returns the owner of its children. `bell` makes the reactor run them.
    pub(crate) fn install_program(&mut self, parent: Key, name: &OsStr, bell: Waker) -> Option<Key> {
        let machine = self.machine_of(parent).ok()?;
        let known = self.owners.get(parent)?.installed.owner;
        let children = known.unwrap_or_else(|| self.add_owner_of_children(machine, parent));
        let installed = &mut self.owners.get_mut(parent)?.installed;
        installed.names.insert(name.to_owned());
        (installed.owner, installed.bell) = (Some(children), Some(bell));
        Some(children)
    }

    /// Returns the bell of `parent`, if its children have something to do.
    pub(super) fn bell(&self, parent: Key) -> Option<Waker> {
        let bell = self.owners.get(parent)?.installed.bell.clone();
        bell.filter(|_| self.have_children_events(parent))
    }

    /// Takes everything for which closures of children are to be called now, in the order of the calls.
    pub(crate) fn take_child_events(&mut self, owner: Key) -> Vec<(ChildId, ChildEvent)> {
        self.take_woken(owner);
        let mut events = self.children.take_notices(owner);
        let files = self.children.files.iter().filter(|(_, file)| file.owner == owner);
        for (file, source) in Vec::from_iter(files.map(|(key, file)| (key, file.source))) {
            let ready = self.take_ready(source);
            if ready.contains(Ready::WRITE) {
                self.flush(file);
            }
            if ready.contains(Ready::READ) {
                events.extend(self.read_file(file, source));
            }
        }
        if self.faults.shuffled {
            self.random.shuffle(&mut events);
        }
        events
    }

    fn read_file(&mut self, file: Key, source: Key) -> Option<(ChildId, ChildEvent)> {
        let (child, number) = self.children.reader(file)?;
        let mut chunk = vec![0; CHUNK];
        let data = match self.receive(source, &mut chunk) {
            Ok(Received::Filled(count) | Received::Drained(count)) => {
                chunk.truncate(count);
                chunk
            }
            Ok(Received::Lent(bytes)) => bytes.to_vec(),
            Ok(Received::Empty) => return None,
            Ok(Received::Eof) | Err(_) => {
                self.children.running(child)?.reads.remove(&number);
                self.update_reading(file);
                return Some((child, ChildEvent::End(number)));
            }
        };
        Some((child, ChildEvent::Data(number, data)))
    }

    /// Runs the alarms that are due.
    pub(super) fn run_alarms(&mut self) {
        while let Some((child, alarm)) = self.children.pop_alarm(self.now) {
            match alarm {
                Alarm::Call(token) => self.notify(child, Notice::Call(token)),
                Alarm::Death => self.die(child, Signal::KILL),
            }
        }
    }

    fn notify(&mut self, child: ChildId, notice: Notice) {
        let Some(found) = self.children.running(child) else { return };
        found.notices.push_back(notice);
        let owner = found.owner;
        self.wake(owner);
    }
}

/// Calls of a program. They do nothing when the program has ended.
impl Network {
    pub(crate) fn child_plan(&self, child: ChildId) -> Arc<SpawnPlan> {
        self.children.plan(child)
    }

    pub(crate) fn child_status(&self, child: ChildId) -> Option<ExitStatus> {
        self.children.status(child)
    }

    /// Whether closures of the child may be called.
    pub(crate) fn is_child_running(&mut self, child: ChildId) -> bool {
        self.children.running(child).is_some()
    }

    /// Queues a copy of `bytes`, and sends as many of them as there is room for.
    pub(crate) fn child_write(&mut self, child: ChildId, number: u32, bytes: &[u8]) {
        let open = self.children.running(child).and_then(|running| running.numbers.get(&number).copied());
        let Some(file) = open.flatten() else { return };
        if let Some(open) = self.children.files.get_mut(file) {
            open.writer = Some(child);
            open.outbox.write(bytes);
            self.flush(file);
        }
    }

    /// Reads the descriptor from now on.
    pub(crate) fn child_reads(&mut self, child: ChildId, number: u32) {
        let Some(running) = self.children.running(child) else { return };
        if let Some(file) = running.numbers.get(&number).copied() {
            let is_new = running.reads.insert(number);
            match file {
                Some(file) => self.update_reading(file),
                // null(4) has nothing but its end.
                None if is_new => self.notify(child, Notice::End(number)),
                None => {}
            }
        }
    }

    pub(crate) fn child_close(&mut self, child: ChildId, number: u32) {
        let Some(running) = self.children.running(child) else { return };
        running.reads.remove(&number);
        if let Some(file) = running.numbers.remove(&number).flatten() {
            self.update_reading(file);
            self.close_if_unused(file);
        }
    }

    /// Schedules a call, and returns its token.
    pub(crate) fn child_call(&mut self, child: ChildId, delay: Duration) -> Option<u64> {
        self.children.running(child)?;
        Some(self.children.schedule(self.now + delay, child, Alarm::Call))
    }

    pub(crate) fn child_catches(&mut self, child: ChildId, signal: Signal) {
        if let Some(running) = self.children.running(child) {
            running.caught.insert(signal.number());
        }
    }

    pub(crate) fn child_window(&self, child: ChildId) -> Option<WindowSize> {
        self.children.files.get(self.children.get(child)?.terminal?)?.window
    }

    /// Starts a process with the same descriptors, in the same group.
    pub(crate) fn child_forks(&mut self, parent: ChildId) -> Option<ChildId> {
        let id = self.children.next_id();
        let parent_of = self.children.running(parent)?;
        let child = Child {
            owner: parent_of.owner,
            process: None,
            group: parent_of.group,
            numbers: parent_of.numbers.clone(),
            terminal: parent_of.terminal,
            reads: Default::default(),
            caught: parent_of.caught.clone(),
            notices: [Notice::Start].into(),
            life: Life::Running,
        };
        let (owner, plan) = (child.owner, self.children.plan(parent));
        self.children.add(id, child, plan);
        self.wake(owner);
        Some(id)
    }

    /// Exits as soon as everything that the program wrote has been taken.
    pub(crate) fn child_exit(&mut self, child: ChildId, code: i32) {
        let Some(running) = self.children.running(child) else { return };
        // exit(3): "the least significant byte".
        running.life = Life::Exiting(ExitStatus::Exited(code & 0xff));
        running.notices.clear();
        running.reads.clear();
        self.update_all_reading(child);
        self.exit_if_done(child);
    }
}

/// Signals and the end.
impl Network {
    /// Delivers a signal: kill(2).
    pub(crate) fn deliver(&mut self, child: ChildId, signal: Signal) {
        let Some(found) = self.children.get(child) else { return };
        let is_refusable = signal != Signal::KILL && signal != Signal::STOP;
        if is_refusable && found.caught.contains(&signal.number()) {
            return self.notify(child, Notice::Signal(signal.number()));
        }
        if !WITHOUT_EFFECT.iter().any(|name| name.parse() == Ok(signal)) {
            self.die(child, signal);
        }
    }

    fn die(&mut self, child: ChildId, signal: Signal) {
        if self.children.get(child).is_none() {
            return;
        }
        let written = self.children.files.iter_mut().filter(|(_, file)| file.writer == Some(child));
        written.for_each(|(_, file)| file.outbox.clear());
        self.end_child(child, ExitStatus::Killed { signal: signal.number(), core_dumped: false });
    }

    fn exit_if_done(&mut self, child: ChildId) {
        let Some(Life::Exiting(status)) = self.children.get(child).map(|child| child.life) else { return };
        if !self.children.is_blocked(child) {
            self.end_child(child, status);
        }
    }

    /// Notes the end of a child. A fault separates the exit from the end of its pipes, in either order.
    fn end_child(&mut self, child: ChildId, status: ExitStatus) {
        self.children.end(child, status);
        self.update_all_reading(child);
        if self.faults.exit_jitter.is_zero() {
            self.release_descriptors(child);
            return self.reveal_exit(child);
        }
        let later = self.now + self.random.duration(self.faults.exit_jitter);
        if self.random.chance(0.5) {
            self.release_descriptors(child);
            self.calendar.enter(later, OUTSIDE, Happening::Exited { child });
        } else {
            self.reveal_exit(child);
            self.calendar.enter(later, OUTSIDE, Happening::Released { child });
        }
    }

    /// Closes the descriptors of a child that has ended.
    pub(super) fn release_descriptors(&mut self, child: ChildId) {
        for file in self.children.close(child) {
            self.close_if_unused(file);
        }
    }

    /// Sends SIGHUP to the programs in a terminal whose other side was closed.
    pub(super) fn hang_up(&mut self, source: Key) {
        let Some(file) = self.children.file_of(source) else { return };
        for child in self.children.holders(file) {
            self.deliver(child, Signal::HUP);
        }
    }

    /// Kills the child at a random moment, if the faults ask for it.
    pub(super) fn schedule_death(&mut self, child: ChildId) {
        if self.faults.deaths > 0.0 && self.random.chance(self.faults.deaths) {
            let at = self.now + self.random.duration(self.faults.death_within);
            self.children.schedule(at, child, |_| Alarm::Death);
        }
    }
}

/// Files.
impl Network {
    /// Sends the bytes for which there is room. A writer without a reader gets SIGPIPE.
    fn flush(&mut self, file: Key) {
        let Some(open) = self.children.files.get_mut(file) else { return };
        let (source, writer) = (open.source, open.writer);
        let mut outbox = std::mem::take(&mut open.outbox);
        let sent = self.send(source, &mut outbox);
        if let Some(open) = self.children.files.get_mut(file).filter(|_| sent.is_ok()) {
            open.outbox = outbox;
        }
        let Some(writer) = writer else { return };
        if sent.is_err() {
            self.deliver(writer, Signal::PIPE);
        }
        self.update_all_reading(writer);
        self.close_if_unused(file);
        self.exit_if_done(writer);
    }

    fn close_if_unused(&mut self, file: Key) {
        let is_sent = self.children.files.get(file).is_some_and(|file| file.outbox.is_empty());
        if is_sent && self.children.holders(file).is_empty() {
            if let Some(unused) = self.children.files.remove(file) {
                self.close(unused.source);
            }
        }
    }

    fn update_all_reading(&mut self, child: ChildId) {
        let files: Vec<Key> = self.children.files.iter().map(|(key, _)| key).collect();
        let of_child = |file: &Key| self.children.holders(*file).contains(&child);
        for file in Vec::from_iter(files.into_iter().filter(of_child)) {
            self.update_reading(file);
        }
    }

    /// Reads a file as long as a program wants its bytes. A program that waits in a write reads nothing.
    fn update_reading(&mut self, file: Key) {
        let wanted = self.children.reader(file).is_some();
        let Some(source) = self.children.files.get(file).map(|file| file.source) else { return };
        if self.connection(source).is_ok_and(|connection| connection.reading != wanted) {
            // This fails only for a stale key.
            drop(self.set_reading(source, wanted));
        }
    }
}
