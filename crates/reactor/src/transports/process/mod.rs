//! A child process inside the reactor: its pipes, its protocol and its end.
//!
//! ```text
//!   pipes      each is a Stream, whose protocol (`child_pipe`) passes everything on to the seat
//!   exit       the key of the process: READ -> exit_status -> process_exited
//!   end        exited, and every pipe is lost -> process_ended
//! ```

mod child_pipe;
mod group;
mod pair;
mod seat;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use ropewalk_proto::{Address, Deferred, Key, Resolver, fail, succeed};
use ropewalk_sys::signals::Signal;
use ropewalk_sys::{ExitStatus, PipeEnd, Ready, Recipient, Spawned, WindowSize};

use child_pipe::ChildPipe;
use seat::{Event, Seat};

use super::stream::{Settings, Stream};
use super::{Keys, Transport};
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Kernel, Reactor, Source, drop_logged, name_of};
use crate::processes::ProcessProtocol;
use crate::protocols::Protocol;

/// A handle of a child process: IProcessTransport. Clones refer to the same process.
///
/// All methods may be called from any callback on the reactor's thread. No method calls the protocol of the process.
/// Dropping the handle changes nothing: the reactor still notifies the protocol.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::Reactor;
/// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};
///
/// /// Sorts two lines.
/// struct Sorter;
///
/// impl ProcessProtocol for Sorter {
///     fn connection_made(&mut self, process: &Process) {
///         process.write(b"pear\napple\n");
///         process.close_stdin();
///     }
///
///     fn out_received(&mut self, _process: &Process, data: &[u8]) {
///         assert_eq!(data, b"apple\npear\n");
///     }
///
///     fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
///         process.reactor().stop().unwrap();
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let process = reactor.spawn_process(&Command::new("sort"), Sorter)?;
/// reactor.run()?;
/// assert_eq!(process.status(), Some(ExitStatus::Exited(0)));
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// The pipes one by one:
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::Reactor;
/// use ropewalk::processes::{Command, ProcessProtocol, Signal, WindowSize};
///
/// struct Ignoring;
///
/// impl ProcessProtocol for Ignoring {}
///
/// let reactor = Reactor::new()?;
/// let process = reactor.spawn_process(&Command::new("cat").own_group(), Ignoring)?;
/// process.write_to_child(0, b"hello")?;
/// process.write_bytes("world".to_owned());
/// assert!(process.write_to_child(1, b"the child writes here").is_err());
/// assert!(process.resize(WindowSize::default()).is_err()); // it has no terminal
/// assert!(process.pipe(1).is_some_and(|output| output.is_connected()));
/// process.pause_producing();
/// process.resume_producing();
/// process.close_child_fd(0);
/// process.close_stdout();
/// process.close_stderr();
/// process.lose_connection();
/// process.signal_group(Signal::KILL)?;
/// let stopping = reactor.clone();
/// let exited = process.when_exited();
/// let _ended = process.when_ended().add_callback(move |_| stopping.stop().unwrap());
/// reactor.run()?;
/// assert!(exited.is_done() && process.pid() > 1);
/// assert!(process.unsent(0) <= b"helloworld".len());
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Process(Rc<Running>);

/// The state of a process.
struct Running {
    reactor: Weak<Kernel>,
    key: Key,
    pid: u32,
    /// Whether the process leads its group.
    leads_group: bool,
    /// The pipes by their numbers in the child, also after their loss.
    pipes: RefCell<BTreeMap<u32, (PipeEnd, Transport)>>,
    /// The number under which bytes of the terminal arrive, if the child has one.
    terminal: Option<Key>,
    open_pipes: Cell<usize>,
    status: Cell<Option<ExitStatus>>,
    /// The number of calls that may still signal the group. They keep the key of a process that has ended.
    group_holds: Cell<usize>,
    /// Whether the process has ended, and its key has not been released.
    is_release_due: Cell<bool>,
    seat: Seat,
    name: &'static str,
    /// Whether the end has been delivered or queued.
    has_ended: Cell<bool>,
    waiting_for_exit: RefCell<Vec<Resolver<ExitStatus>>>,
    waiting_for_end: RefCell<Vec<Resolver<ExitStatus>>>,
}

/// Pipes do not linger, because a child sends no last bytes that are worth a wait.
const PIPE_SETTINGS: Settings = Settings { is_paced: false, lingers: Some(false) };

/// The number under which a child's terminal is reported: that of standard output.
///
/// ```
/// use ropewalk::transports::TERMINAL;
///
/// fn is_from_terminal(child_fd: u32) -> bool {
///     child_fd == TERMINAL
/// }
/// assert!(is_from_terminal(1));
/// ```
pub const TERMINAL: u32 = 1;

impl Process {
    /// Makes a process of what the provider has started, and calls `connection_made`.
    ///
    /// With `conversation`, standard input and output are one connection, whose protocol it is.
    pub(crate) fn begin(
        reactor: &Reactor,
        mut spawned: Spawned,
        leads_group: bool,
        protocol: Box<dyn ProcessProtocol>,
        conversation: Option<Box<dyn Protocol>>,
    ) -> Process {
        let name = name_of(|| protocol.log_prefix());
        let pair = conversation.map(|protocol| (protocol, pair::take(&mut spawned)));
        let running = Rc::new(Running {
            reactor: Rc::downgrade(&reactor.0),
            key: spawned.process,
            pid: spawned.pid,
            leads_group,
            pipes: RefCell::default(),
            terminal: spawned.terminal.map(|[receive, _]| receive),
            open_pipes: Cell::new(spawned.pipes.len() + usize::from(spawned.terminal.is_some() || pair.is_some())),
            status: Cell::default(),
            group_holds: Cell::default(),
            is_release_due: Cell::default(),
            seat: Seat::new(protocol),
            name,
            has_ended: Cell::default(),
            waiting_for_exit: RefCell::default(),
            waiting_for_end: RefCell::default(),
        });
        reactor.0.add_source(spawned.process, running.clone());
        for pipe in &spawned.pipes {
            let keys = if pipe.end == PipeEnd::Both { Keys::Socket(pipe.key) } else { Keys::Pipe(pipe.key, pipe.end) };
            running.add_pipe(reactor, pipe.number, pipe.end, keys);
        }
        match (pair, spawned.terminal) {
            (Some((protocol, keys)), _) => running.add_pair(reactor, keys, protocol),
            (None, Some(terminal)) => running.add_pipe(reactor, TERMINAL, PipeEnd::Both, pair::terminal(terminal)),
            (None, None) => {}
        }
        let process = Process(running);
        process.0.call_seat(&process, || process.0.seat.begin(&process));
        process
    }

    /// Returns the number of the process. It belongs to the process until [`status`](Process::status) is known.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns how the process ended, or `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        self.0.status.get()
    }

    /// Returns the process's reactor.
    ///
    /// # Panics
    /// When the reactor has been dropped.
    pub fn reactor(&self) -> Reactor {
        Reactor(self.0.reactor.upgrade().expect("the reactor of the process exists"))
    }

    /// Returns the transport of the pipe that is the descriptor `fd` of the child, or of its terminal. With it a pipe is
    /// paused, has producers, and reports the number of queued bytes. Closed pipes stay known.
    ///
    /// Numbers 0 to 2 of a child with a terminal are that terminal, except for those that have a pipe. `None` means that
    /// `fd` has no pipe.
    pub fn pipe(&self, fd: u32) -> Option<Transport> {
        self.0.pipe(self.number_of(fd)).map(|(_, transport)| transport)
    }

    /// Returns the number under which the bytes of a descriptor arrive.
    fn number_of(&self, fd: u32) -> u32 {
        let is_terminal = self.0.terminal.is_some() && fd < 3 && !self.0.pipes.borrow().contains_key(&fd);
        if is_terminal { TERMINAL } else { fd }
    }

    /// Returns the transport whose bytes arrive under the number `fd`.
    fn receiving(&self, fd: u32) -> Option<Transport> {
        self.0.pipe(fd).map(|(_, transport)| transport)
    }

    /// Returns the number of bytes that were written to the pipe `fd` and that the system had not taken when the pipe was
    /// closed. A child that ends without reading its input leaves such bytes.
    pub fn unsent(&self, fd: u32) -> usize {
        self.pipe(fd).map_or(0, |pipe| pipe.unsent())
    }

    /// Sends a copy of `data` to the child's standard input. Without a pipe there, `data` is dropped.
    pub fn write(&self, data: &[u8]) {
        if let Some(pipe) = self.pipe(0) {
            pipe.write(data);
        }
    }

    /// Sends `data` to the child's standard input: see [`Transport::write_bytes`].
    pub fn write_bytes(&self, data: impl Into<Bytes>) {
        if let Some(pipe) = self.pipe(0) {
            pipe.write_bytes(data);
        }
    }

    /// Sends a copy of `data` to the descriptor `fd` of the child: `writeToChild`.
    ///
    /// # Errors
    /// [`Error::Closed`] if the child has no pipe under this number, or only one that the child writes to.
    pub fn write_to_child(&self, fd: u32, data: &[u8]) -> Result<()> {
        let (_, pipe) = self.0.pipe(self.number_of(fd)).filter(|(end, _)| end.writes()).ok_or(Error::Closed)?;
        pipe.write(data);
        Ok(())
    }

    /// Closes the child's standard input when everything that is queued has been sent. A terminal is closed as a whole.
    pub fn close_stdin(&self) {
        self.close_child_fd(0);
    }

    /// Closes this end of the child's standard output. The child gets SIGPIPE when it writes.
    pub fn close_stdout(&self) {
        self.close_child_fd(1);
    }

    /// Closes this end of the child's standard error.
    pub fn close_stderr(&self) {
        self.close_child_fd(2);
    }

    /// Closes this end of the pipe under number `fd` when everything that is queued has been sent. Without a pipe there,
    /// this does nothing.
    pub fn close_child_fd(&self, fd: u32) {
        if let Some(pipe) = self.pipe(fd) {
            pipe.lose_connection();
        }
    }

    /// Closes the pipes of standard input, output and error. The process continues to run, unless it ends by itself.
    pub fn lose_connection(&self) {
        (0..3).for_each(|fd| self.close_child_fd(fd));
    }

    /// Stops the delivery of bytes of all pipes.
    pub fn pause_producing(&self) {
        self.0.pipes.borrow().values().for_each(|(_, pipe)| pipe.pause_producing());
    }

    /// Continues the delivery of bytes of all pipes.
    pub fn resume_producing(&self) {
        self.0.pipes.borrow().values().for_each(|(_, pipe)| pipe.resume_producing());
    }

    /// Sends a signal to the process alone: `signalProcess`.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol, Signal};
    ///
    /// struct Sleeper;
    ///
    /// impl ProcessProtocol for Sleeper {
    ///     fn process_ended(&mut self, process: &Process, status: ExitStatus) {
    ///         assert_eq!(status.signal(), Some(Signal::TERM.number()));
    ///         process.reactor().stop().unwrap();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let process = reactor.spawn_process(&Command::new("sleep").arg("60"), Sleeper)?;
    /// process.signal(Signal::TERM)?;
    /// reactor.run()?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ProcessExitedAlready`] if the process has ended. [`Error::Io`] if the system refuses.
    pub fn signal(&self, signal: impl Into<Signal>) -> Result<()> {
        if self.status().is_some() {
            return Err(Error::ProcessExitedAlready);
        }
        self.send(signal.into(), Recipient::Process)
    }

    /// Changes the size of the child's terminal. The programs in it get SIGWINCH.
    ///
    /// # Errors
    /// [`Error::Closed`] if the child has no terminal, or it is closed. [`Error::Io`] if the system fails.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        let kernel = self.0.reactor.upgrade().ok_or(Error::Closed)?;
        let terminal = self.0.terminal.filter(|_| self.pipe(0).is_some_and(|pipe| pipe.is_connected()));
        let terminal = terminal.ok_or(Error::Closed)?;
        let resized = kernel.processes(|processes| processes.resize_terminal(terminal, size))?;
        resized.map_err(Error::io("cannot change the size of a terminal"))
    }

    /// Returns a Deferred that fires with the status when the process has ended. Pipes may still be open.
    ///
    /// It fails with [`Error::ConnectionLost`] if the reactor stops first.
    pub fn when_exited(&self) -> Deferred<ExitStatus> {
        match self.status() {
            Some(status) => succeed(status),
            None if self.0.reactor.upgrade().is_none() => fail(Error::Closed),
            None => wait_in(&self.0.waiting_for_exit),
        }
    }

    /// Returns a Deferred that fires with the status when the process has ended and all its pipes are closed.
    ///
    /// It fails with [`Error::ConnectionLost`] if the reactor stops first.
    pub fn when_ended(&self) -> Deferred<ExitStatus> {
        match self.status() {
            Some(status) if self.0.open_pipes.get() == 0 => succeed(status),
            _ if self.0.reactor.upgrade().is_none() => fail(Error::Closed),
            _ => wait_in(&self.0.waiting_for_end),
        }
    }

    fn send(&self, signal: Signal, to: Recipient) -> Result<()> {
        let kernel = self.0.reactor.upgrade().ok_or(Error::Closed)?;
        let sent = kernel.processes(|processes| processes.signal(self.0.key, signal.number(), to))?;
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::ProcessExitedAlready,
            _ => Error::io("cannot send a signal")(error),
        })
    }
}

fn wait_in(waiting: &RefCell<Vec<Resolver<ExitStatus>>>) -> Deferred<ExitStatus> {
    let (deferred, resolver) = Deferred::new();
    let mut waiting = waiting.borrow_mut();
    // Those that were cancelled, for example by a time limit.
    waiting.retain(|resolver| !resolver.is_called());
    waiting.push(resolver);
    deferred
}

impl PartialEq for Process {
    /// Returns whether both are handles of the same process.
    fn eq(&self, other: &Process) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Process {}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("pid", &self.pid()).field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Running {
    fn pipe(&self, number: u32) -> Option<(PipeEnd, Transport)> {
        self.pipes.borrow().get(&number).cloned()
    }

    fn add_pipe(self: &Rc<Running>, reactor: &Reactor, number: u32, end: PipeEnd, keys: Keys) {
        let protocol = Box::new(ChildPipe::new(self, number, self.name));
        let transport = Stream::begin(reactor, keys, Address::Unnamed, protocol, None, PIPE_SETTINGS);
        self.pipes.borrow_mut().insert(number, (end, transport));
    }

    /// Calls the protocol within a guard of its own, because the end of the process must follow also after a panic.
    fn deliver(&self, process: &Process, event: Event<'_>) {
        self.call_seat(process, || self.seat.deliver(process, event));
    }

    /// Calls the seat within a guard. After a panic the events that were queued meanwhile are delivered.
    fn call_seat(&self, process: &Process, call: impl FnOnce()) {
        let Some(kernel) = self.reactor.upgrade() else { return call() };
        let mut outcome = kernel.guard(CallbackKind::Protocol, self.name, call);
        while outcome.is_err() {
            outcome = kernel.guard(CallbackKind::Protocol, self.name, || self.seat.deliver_queued(process));
        }
    }

    /// Notifies the protocol of the loss of a pipe. The caller is inside a guard.
    fn pipe_lost(self: &Rc<Running>, fd: u32) {
        let process = Process(self.clone());
        self.open_pipes.set(self.open_pipes.get() - 1);
        self.deliver(&process, Event::Lost(fd));
        self.end_if_done(&process);
    }

    fn exited(self: &Rc<Running>, reactor: &Reactor, status: ExitStatus) {
        self.status.set(Some(status));
        let process = Process(self.clone());
        self.deliver(&process, Event::Exited(status));
        // The callbacks of the Deferreds run inside a guard as well.
        let _ = reactor.0.guard(CallbackKind::Protocol, self.name, || {
            fire(&self.waiting_for_exit, |resolver| resolver.callback(status));
            self.end_if_done(&process);
        });
    }

    /// Notifies the protocol of the end, if the process has ended and all pipes are lost.
    fn end_if_done(&self, process: &Process) {
        let Some(status) = self.status.get().filter(|_| self.open_pipes.get() == 0) else { return };
        if self.has_ended.replace(true) {
            return;
        }
        self.deliver(process, Event::Ended(status));
        if let Some(kernel) = self.reactor.upgrade() {
            drop(kernel.remove_source(self.key));
        }
        self.is_release_due.set(true);
        self.release_if_due();
        fire(&self.waiting_for_end, |resolver| resolver.callback(status));
    }

    /// Releases the key of an ended process, unless the group may get another signal.
    fn release_if_due(&self) {
        if self.group_holds.get() > 0 || !self.is_release_due.replace(false) {
            return;
        }
        let Some(kernel) = self.reactor.upgrade() else { return };
        let key = self.key;
        kernel.tell_processes(move |processes| processes.release_process(key));
        kernel.descriptor_closed();
    }
}

fn fire<E>(
    waiting: &RefCell<Vec<Resolver<ExitStatus>>>,
    fire: impl Fn(Resolver<ExitStatus>) -> std::result::Result<(), E>,
) {
    for resolver in waiting.take() {
        // It fails if the Deferred was cancelled.
        let _ = fire(resolver);
    }
}

impl Source for Running {
    fn ready(self: Rc<Running>, reactor: &Reactor, key: Key, _ready: Ready, _scratch: &mut [u8]) {
        if self.status.get().is_some() {
            return;
        }
        match reactor.0.processes(|processes| processes.exit_status(key)) {
            Ok(Ok(Some(status))) => self.exited(reactor, status),
            Ok(Ok(None)) | Err(Error::Waiting) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, pid = self.pid, "cannot ask for the status of a process");
                self.exited(reactor, ExitStatus::Unknown);
            }
            Err(_) => self.exited(reactor, ExitStatus::Unknown),
        }
    }

    fn shut_down(self: Rc<Running>, reactor: &Reactor) {
        let lost = || Error::ConnectionLost(None);
        fire(&self.waiting_for_exit, |resolver| resolver.errback(lost()));
        fire(&self.waiting_for_end, |resolver| resolver.errback(lost()));
        if self.status.get().is_none() {
            self.exited(reactor, ExitStatus::Abandoned);
        }
    }

    fn forget(&self) {
        drop_logged("a protocol of a process", self.seat.take());
        drop_logged("a wait for an exit", self.waiting_for_exit.take());
        drop_logged("a wait for an end", self.waiting_for_end.take());
        self.pipes.take();
    }
}
