//! Child processes whose programs act at random, each with a ledger of its pipes and its end.
//!
//! Each process ends exactly once, after its pipes. Bytes pass unchanged in both directions, and all of them if the
//! program exits by itself. The status is that of the program.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol, Signal};
use ropewalk::testing::{MemoryReactor, SimulatedChild};
use ropewalk::{Error, Reactor};

use crate::actions::act;
use crate::end::stream_byte;
use crate::world::World;

/// The name of the program.
const PROGRAM: &str = "walk";

/// The longest pause between two actions of a program.
const PAUSE: Duration = Duration::from_millis(20);

/// The time for which a program that was left behind holds the pipes.
const HELD: Duration = Duration::from_millis(30);

/// The bytes of one pipe.
#[derive(Default)]
struct Flow {
    written: Cell<u64>,
    received: Cell<u64>,
    /// True if written bytes may be lost.
    is_cut: Cell<bool>,
}

/// The ledger of one process.
#[derive(Default)]
pub(crate) struct Ledger {
    number: usize,
    process: RefCell<Option<Process>>,
    program: RefCell<Option<SimulatedChild>>,
    flows: [Flow; 3],
    open: RefCell<BTreeSet<u32>>,
    made: Cell<bool>,
    exited: Cell<Option<ExitStatus>>,
    ended: Cell<bool>,
    paused: Cell<bool>,
    /// True while a callback of its protocol is on the stack.
    busy: Cell<bool>,
    /// The code with which the program exits.
    code: Cell<Option<i32>>,
}

impl Ledger {
    fn stream(&self, fd: u32) -> u64 {
        (self.number * 3) as u64 + u64::from(fd)
    }

    /// Returns the next bytes of a pipe.
    fn next(&self, fd: u32, count: usize) -> Vec<u8> {
        let from = self.flows[fd as usize].written.get();
        (from..from + count as u64).map(|position| stream_byte(self.stream(fd), position)).collect()
    }

    fn wrote(&self, fd: u32, count: usize) {
        let written = &self.flows[fd as usize].written;
        written.set(written.get() + count as u64);
    }

    /// Checks and counts bytes that have arrived.
    fn receive(&self, world: &World, fd: u32, data: &[u8]) {
        let (flow, stream) = (&self.flows[fd as usize], self.stream(fd));
        let begin = flow.received.replace(flow.received.get() + data.len() as u64);
        let is_right = (begin..).zip(data).all(|(position, byte)| stream_byte(stream, position) == *byte);
        world.expect(is_right, || format!("pipe {fd} of child {} carried other bytes", self.number));
        let (received, written) = (flow.received.get(), flow.written.get());
        world.expect(received <= written, || format!("pipe {fd} of child {} carried more bytes", self.number));
    }

    /// Checks that the program's output has arrived, unless something has cut it short.
    fn check_whole(&self, world: &World, status: ExitStatus) {
        for fd in [1, 2] {
            let flow = &self.flows[fd];
            let is_whole = flow.received.get() == flow.written.get() || flow.is_cut.get();
            // A signal, or the end of the run, may come before the last bytes.
            let is_cut = !matches!(status, ExitStatus::Exited(_)) || world.shutting_down.get();
            world.expect(is_whole || is_cut, || {
                let (received, written) = (flow.received.get(), flow.written.get());
                format!("pipe {fd} of child {} carried {received} of {written} bytes", self.number)
            });
        }
    }

    /// Checks that the process has ended, with the status of its program.
    pub(crate) fn check_over(&self, world: &World) {
        let number = self.number;
        world.expect(self.made.get() == self.ended.get(), || format!("child {number} has not ended"));
        let shown = self.program.borrow().as_ref().and_then(SimulatedChild::status);
        let reported = self.exited.get().filter(|status| *status != ExitStatus::Abandoned);
        if let (Some(program), Some(reported)) = (shown, reported) {
            world.expect(program == reported, || format!("child {number} ended with {program}, not {reported}"));
        }
    }

    /// Drops the handles of the process.
    pub(crate) fn release(&self) {
        self.process.take();
        self.program.take();
    }
}

/// The protocol of a process.
struct Parent {
    world: Rc<World>,
    ledger: Rc<Ledger>,
}

impl Parent {
    /// Checks a callback, then takes random actions.
    fn called(&self, process: &Process, name: &str, check: impl FnOnce(&World, &Ledger)) {
        let (world, ledger, number) = (&self.world, &self.ledger, self.ledger.number);
        let reactor = process.reactor();
        world.event(&reactor, || format!("child {number} {name}"));
        world.expect(!ledger.busy.get(), || format!("{name} of child {number} came inside another callback"));
        world.expect(!ledger.ended.get(), || format!("{name} of child {number} came after process_ended"));
        let is_made = ledger.made.get() || name == "connection_made";
        world.expect(is_made, || format!("{name} of child {number} came before connection_made"));
        check(world, ledger);
        ledger.busy.set(true);
        while world.chance(0.4) && world.spend() {
            if world.chance(0.5) { act_on(world, ledger, process) } else { act(world, &reactor, None) }
        }
        ledger.busy.set(false);
    }

    fn check_status(&self, process: &Process, status: ExitStatus) {
        let (world, ledger) = (&self.world, &self.ledger);
        let fits = match status {
            ExitStatus::Exited(code) => ledger.code.get() == Some(code),
            ExitStatus::Killed { .. } => true,
            ExitStatus::Abandoned => world.shutting_down.get(),
            _ => false,
        };
        world.expect(fits, || format!("child {} ended with {status:?}", ledger.number));
        world.expect(process.status() == Some(status), || format!("child {} has another status", ledger.number));
    }
}

impl ProcessProtocol for Parent {
    fn connection_made(&mut self, process: &Process) {
        self.called(process, "connection_made", |world, ledger| {
            let is_first = !ledger.made.replace(true);
            world.expect(is_first, || format!("child {} was made twice", ledger.number));
            ledger.open.borrow_mut().extend([0, 1, 2]);
        });
    }

    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        self.called(process, "child_data_received", |world, ledger| {
            let is_open = fd != 0 && ledger.open.borrow().contains(&fd);
            world.expect(is_open, || format!("child {} sent from pipe {fd}", ledger.number));
            world.expect(!ledger.paused.get(), || format!("child {} sent while it was paused", ledger.number));
            ledger.receive(world, fd, data);
        });
    }

    fn child_connection_lost(&mut self, process: &Process, fd: u32) {
        self.called(process, "child_connection_lost", |world, ledger| {
            let was_open = ledger.open.borrow_mut().remove(&fd);
            world.expect(was_open, || format!("pipe {fd} of child {} was lost twice", ledger.number));
        });
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.check_status(process, status);
        self.called(process, "process_exited", |world, ledger| {
            let is_first = ledger.exited.replace(Some(status)).is_none();
            world.expect(is_first, || format!("child {} exited twice", ledger.number));
        });
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.called(process, "process_ended", |world, ledger| {
            let number = ledger.number;
            let same = ledger.exited.get() == Some(status);
            world.expect(same, || format!("child {number} ended with {status} after {:?}", ledger.exited.get()));
            let open = ledger.open.borrow().clone();
            world.expect(open.is_empty(), || format!("child {number} ended before its pipes {open:?}"));
            ledger.check_whole(world, status);
            ledger.ended.set(true);
        });
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.world.protocols.set(self.world.protocols.get() - 1);
    }
}

/// Installs the program of all children.
pub(crate) fn install(world: &Rc<World>, net: &MemoryReactor) {
    let world = Rc::downgrade(world);
    net.install_program(PROGRAM, move |child: &SimulatedChild| {
        let ledger = |world: &World| {
            let number: usize = child.args()[0].to_str()?.parse().ok()?;
            world.children.borrow().get(number).cloned()
        };
        if let Some((world, ledger)) = world.upgrade().and_then(|world| Some((world.clone(), ledger(&world)?))) {
            begin(&world, &ledger, child);
        }
    });
}

/// Starts a process, or takes a random action on one.
pub(crate) fn act_on_any(world: &Rc<World>, reactor: &Reactor) {
    if world.chance(0.3) {
        return spawn(world, reactor);
    }
    let children = world.children.borrow();
    if children.is_empty() {
        return;
    }
    let ledger = children[world.below(children.len())].clone();
    drop(children);
    let process = ledger.process.borrow().clone();
    process.iter().for_each(|process| act_on(world, &ledger, process));
}

pub(crate) fn spawn(world: &Rc<World>, reactor: &Reactor) {
    let mut children = world.children.borrow_mut();
    let ledger = Rc::new(Ledger { number: children.len(), ..Ledger::default() });
    children.push(ledger.clone());
    drop(children);
    let command = Command::new(PROGRAM).arg(ledger.number.to_string());
    let command = if world.chance(0.5) { command.own_group() } else { command };
    world.protocols.set(world.protocols.get() + 1);
    match reactor.spawn_process(&command, Parent { world: world.clone(), ledger: ledger.clone() }) {
        Ok(process) => {
            world.expect(ledger.made.get(), || format!("child {} was not made", ledger.number));
            *ledger.process.borrow_mut() = Some(process);
        }
        Err(error) => {
            world.expect(matches!(error, Error::Spawn(_)), || format!("spawn_process: {error:?}"));
            world.expect(!ledger.made.get(), || format!("child {} was made in vain", ledger.number));
        }
    }
}

fn act_on(world: &Rc<World>, ledger: &Ledger, process: &Process) {
    let number = ledger.number;
    match world.below(12) {
        0..=3 => {
            let count = 1 + world.below(if world.chance(0.2) { 20_000 } else { 500 });
            let bytes = ledger.next(0, count);
            // Bytes for a pipe that is closed are dropped.
            ledger.wrote(0, count);
            process.write(&bytes);
        }
        4 => process.close_stdin(),
        5 => {
            let fd = 1 + world.below(2) as u32;
            world.note(|| format!("pipe {fd} of child {number} is closed"));
            ledger.flows[fd as usize].is_cut.set(true);
            process.close_child_fd(fd);
        }
        6 => signal(world, ledger, process, if world.chance(0.5) { Signal::TERM } else { Signal::KILL }),
        7 => {
            ledger.paused.set(true);
            process.pause_producing();
        }
        8 | 9 => resume(ledger, process),
        // It fails for a process that does not lead a group.
        10 => drop(process.end_group(PAUSE).add_both(drop)),
        _ => {
            let is_known = process.status().is_some() || ledger.exited.get().is_none();
            world.expect(is_known, || format!("child {number} has lost its status"));
        }
    }
}

fn signal(world: &World, ledger: &Ledger, process: &Process, signal: Signal) {
    world.note(|| format!("child {} gets {signal}", ledger.number));
    let has_exited = ledger.exited.get().is_some();
    let outcome = process.signal(signal);
    let fits = outcome.is_ok() || matches!(outcome, Err(Error::ProcessExitedAlready));
    world.expect(fits && !(has_exited && outcome.is_ok()), || format!("a signal to {}: {outcome:?}", ledger.number));
}

fn resume(ledger: &Ledger, process: &Process) {
    ledger.paused.set(false);
    process.resume_producing();
}

/// Reads the output of all children, and ends those that still run.
pub(crate) fn end_all(world: &World) {
    let children = world.children.borrow().clone();
    for ledger in children {
        let process = ledger.process.borrow().clone();
        if let Some(process) = process {
            resume(&ledger, &process);
            signal(world, &ledger, &process, Signal::KILL);
        }
    }
}

/// The beginning of the program.
fn begin(world: &Rc<World>, ledger: &Rc<Ledger>, child: &SimulatedChild) {
    *ledger.program.borrow_mut() = Some(child.clone());
    if world.chance(0.7) {
        let (reading, own) = (world.clone(), ledger.clone());
        child.on_data(0, move |child, data| {
            own.receive(&reading, 0, data);
            if reading.chance(0.3) {
                write(&reading, &own, child);
            }
        });
        let (reading, own) = (world.clone(), ledger.clone());
        child.on_end(0, move |child| {
            if reading.chance(0.5) {
                exit(&reading, &own, child);
            }
        });
    }
    if world.chance(0.3) {
        let (caught, own) = (world.clone(), ledger.clone());
        child.on_signal(Signal::TERM, move |child| exit(&caught, &own, child));
    }
    if world.chance(0.2) {
        child.fork(|helper| helper.call_later(HELD, |helper| helper.exit(0)));
    }
    take_steps(world, ledger, child);
}

/// Acts, and continues later until the program exits.
fn take_steps(world: &Rc<World>, ledger: &Rc<Ledger>, child: &SimulatedChild) {
    match world.below(10) {
        0..=4 => write(world, ledger, child),
        5 => {
            let fd = 1 + world.below(2) as u32;
            ledger.flows[fd as usize].is_cut.set(true);
            child.close(fd);
        }
        6 => child.kill(if world.chance(0.5) { Signal::KILL } else { Signal::HUP }),
        _ => return exit(world, ledger, child),
    }
    let (world, ledger) = (world.clone(), ledger.clone());
    let pause = Duration::from_micros(world.below(PAUSE.as_micros() as usize) as u64);
    child.call_later(pause, move |child| take_steps(&world, &ledger, child));
}

fn write(world: &World, ledger: &Ledger, child: &SimulatedChild) {
    if child.status().is_some() || ledger.code.get().is_some() {
        return;
    }
    let (fd, count) = (1 + world.below(2) as u32, 1 + world.below(if world.chance(0.2) { 20_000 } else { 500 }));
    let bytes = ledger.next(fd, count);
    ledger.wrote(fd, count);
    child.write(fd, bytes);
}

fn exit(world: &World, ledger: &Ledger, child: &SimulatedChild) {
    let code = world.below(256) as i32;
    world.note(|| format!("the program of child {} exits with {code}", ledger.number));
    // The first exit counts.
    ledger.code.set(ledger.code.get().or(Some(code)));
    child.exit(code);
}
