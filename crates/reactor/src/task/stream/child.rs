//! A child process for async code: its pipes are halves of streams.
//!
//! ```text
//!   stdin   WriteHalf  -> pipe -> child        dropped: closed after the written data
//!   stdout  ReadHalf   <- pipe <- child        dropped: closed, and the child gets SIGPIPE when it writes
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Deferred;
use ropewalk_sys::{ChildDescriptor, ExitStatus, PipeEnd, SpawnPlan};

use super::state::Shared;
use super::{ReadHalf, WriteHalf};
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::processes::{Command, Process, ProcessProtocol};
use crate::transports::{Producer, TERMINAL};

/// A child process, whose pipes async code reads and writes.
///
/// The pipes have back-pressure like an [`AsyncStream`](super::AsyncStream): while more than 64 KiB of a pipe are
/// unread, the reactor does not read from it. So a task that waits for one output should read the other one as well, or
/// the command should send it elsewhere.
///
/// Dropping the child closes the pipes that were not taken out of it. The process continues to run, and the reactor
/// waits for its end, so it never becomes a zombie. [`end_on_drop`](AsyncChild::end_on_drop) stops it instead. When the
/// reactor stops, the process continues to run as well.
///
/// A child can only be used on the reactor's thread. All methods may be called from any callback.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::processes::Command;
/// use ropewalk::task::AsyncChild;
///
/// let code = ropewalk::react(|reactor| async move {
///     let mut sort = AsyncChild::spawn(&reactor, &Command::new("sort"))?;
///     let mut input = sort.stdin.take().expect("a pipe");
///     input.write_all(b"pear\napple\n").await?;
///     drop(input); // sort sees the end
///     let output = sort.stdout.as_mut().expect("a pipe");
///     assert_eq!(output.next_line(100).await?.as_deref(), Some(&b"apple"[..]));
///     assert_eq!(output.next_line(100).await?.as_deref(), Some(&b"pear"[..]));
///     assert!(sort.wait().await?.is_success());
///     Ok::<_, ropewalk::Failure>(())
/// });
/// assert_eq!(code, std::process::ExitCode::SUCCESS);
/// # }
/// ```
pub struct AsyncChild {
    /// The pipe to the child's standard input, or the writing half of its terminal. `None` if it has neither, or after
    /// it was taken.
    pub stdin: Option<WriteHalf>,
    /// The pipe from the child's standard output, or the reading half of its terminal.
    pub stdout: Option<ReadHalf>,
    /// The pipe from the child's standard error.
    pub stderr: Option<ReadHalf>,
    /// The halves under other numbers, and those that read from standard input or write to the outputs.
    readers: BTreeMap<u32, ReadHalf>,
    writers: BTreeMap<u32, WriteHalf>,
    process: Process,
    /// The grace of a group that ends when this is dropped.
    grace: Option<Duration>,
}

impl AsyncChild {
    /// Starts a program.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::processes::{Command, ExitStatus};
    /// use ropewalk::task::AsyncChild;
    /// use ropewalk::testing::{MemoryReactor, Program};
    ///
    /// let net = MemoryReactor::new(); // the same on a real reactor
    /// net.install_program("worker", Program::script().write(1, "ready\n").sleep(Duration::from_secs(60)).exit(3));
    /// let mut worker = AsyncChild::spawn(&net, &Command::new("worker"))?;
    /// let status = net.spawn(async move {
    ///     let mut output = worker.stdout.take().expect("a pipe");
    ///     assert_eq!(output.next_line(100).await?.as_deref(), Some(&b"ready"[..]));
    ///     Ok::<_, ropewalk::Error>(worker.wait().await?)
    /// });
    /// net.advance(Duration::from_secs(61));
    /// assert_eq!(status.try_result().unwrap().unwrap().unwrap(), ExitStatus::Exited(3));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`spawn_process`](Reactor::spawn_process).
    pub fn spawn(reactor: &Reactor, command: &Command) -> Result<AsyncChild> {
        let pipes = Pipes::of(command.plan());
        let states = pipes.0.clone();
        let process = reactor.spawn_process(command, pipes)?;
        let (mut readers, mut writers) = (BTreeMap::new(), BTreeMap::new());
        for (number, (end, shared)) in states {
            let Some(transport) = process.pipe(number) else { continue };
            if end.reads() {
                readers.insert(number, ReadHalf::new(&transport, &shared));
            }
            if end.writes() {
                let _ = transport.register_producer(Producer::Push(shared.clone()));
                writers.insert(number, WriteHalf::new(&transport, &shared));
            }
        }
        Ok(AsyncChild {
            stdin: writers.remove(&0).or_else(|| writers.remove(&TERMINAL)),
            stdout: readers.remove(&1),
            stderr: readers.remove(&2),
            readers,
            writers,
            process,
            grace: None,
        })
    }

    /// Stops the process and its group when this child is dropped: see [`Process::end_group`]. A command that leads a
    /// group is stopped together with the programs that it has started.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::processes::{Command, Signal};
    /// use ropewalk::task::AsyncChild;
    /// use ropewalk::testing::{MemoryReactor, Program};
    ///
    /// let net = MemoryReactor::new();
    /// net.install_program("sleep", Program::sleep());
    /// let command = Command::new("sleep").arg("60").own_group();
    /// let sleep = AsyncChild::spawn(&net, &command)?.end_on_drop(Duration::from_secs(2));
    /// let process = sleep.process().clone();
    /// drop(sleep); // for example because its task was cancelled
    /// net.settle();
    /// assert_eq!(process.status().unwrap().signal(), Some(Signal::TERM.number()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn end_on_drop(mut self, grace: Duration) -> AsyncChild {
        self.grace = Some(grace);
        self
    }

    /// Closes standard input, and returns a Deferred that fires with the status when the process has ended.
    ///
    /// Pipes may still have unread data, also after the end. A child that waits until its output is read does not end.
    /// Cancelling or dropping the Deferred changes nothing. A half that was taken out of `stdin` stays open.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::processes::{ChildDescriptor, Command, ExitStatus};
    /// use ropewalk::task::AsyncChild;
    ///
    /// let code = ropewalk::react(|reactor| async move {
    ///     let command = Command::new("sh").args(["-c", "read line || exit 3"]).stdout(ChildDescriptor::Null);
    ///     let mut shell = AsyncChild::spawn(&reactor, &command)?;
    ///     assert_eq!(shell.wait().await?, ExitStatus::Exited(3));
    ///     assert_eq!(shell.wait().await?, ExitStatus::Exited(3)); // as often as you like
    ///     Ok::<_, ropewalk::Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The Deferred fails with [`Error::ConnectionLost`] if the reactor stops first.
    pub fn wait(&mut self) -> Deferred<ExitStatus> {
        self.stdin = None;
        self.process.when_exited()
    }

    /// Takes the half that reads what the child writes to its descriptor `fd`. Returns `None` if there is none, or if
    /// it was taken before. 1 and 2 are [`stdout`](AsyncChild::stdout) and [`stderr`](AsyncChild::stderr).
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::processes::{Command, ChildDescriptor, PipeEnd};
    /// use ropewalk::task::AsyncChild;
    ///
    /// let code = ropewalk::react(|reactor| async move {
    ///     let command = Command::new("sh").args(["-c", "read line <&4; echo got $line >&3"]);
    ///     let command = command.descriptor(3, ChildDescriptor::Pipe(PipeEnd::Reader));
    ///     let command = command.descriptor(4, ChildDescriptor::Pipe(PipeEnd::Writer));
    ///     let mut shell = AsyncChild::spawn(&reactor, &command)?;
    ///     let (mut reports, mut orders) = (shell.take_reader(3).unwrap(), shell.take_writer(4).unwrap());
    ///     orders.write_all(b"it\n").await?;
    ///     assert_eq!(reports.next_line(100).await?.as_deref(), Some(&b"got it"[..]));
    ///     Ok::<_, ropewalk::Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    pub fn take_reader(&mut self, fd: u32) -> Option<ReadHalf> {
        match fd {
            1 => self.stdout.take(),
            2 => self.stderr.take(),
            _ => self.readers.remove(&fd),
        }
    }

    /// Takes the half that writes what the child reads from its descriptor `fd`. Returns `None` if there is none, or if
    /// it was taken before. 0 is [`stdin`](AsyncChild::stdin).
    pub fn take_writer(&mut self, fd: u32) -> Option<WriteHalf> {
        if fd == 0 { self.stdin.take() } else { self.writers.remove(&fd) }
    }

    /// Returns the handle of the process, for signals, its group and the size of its terminal.
    ///
    /// The halves write to the pipes and close them.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for AsyncChild {
    fn drop(&mut self) {
        if let Some(grace) = self.grace.filter(|_| self.process.status().is_none()) {
            self.process.end_group(grace).add_both(drop);
        }
    }
}

impl fmt::Debug for AsyncChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncChild").field(&self.process).finish()
    }
}

/// The protocol of the process, which moves bytes between its pipes and their halves.
struct Pipes(BTreeMap<u32, (PipeEnd, Rc<Shared>)>);

impl Pipes {
    fn of(plan: &SpawnPlan) -> Pipes {
        let piped = plan.descriptors.iter().filter_map(|(number, descriptor)| match descriptor {
            ChildDescriptor::Pipe(end) => Some((*number, *end)),
            _ => None,
        });
        let terminal = plan.terminal.map(|_| (TERMINAL, PipeEnd::Both));
        let states = piped.chain(terminal).map(|(number, end)| {
            let shared = Rc::<Shared>::default();
            let mut state = shared.0.borrow_mut();
            state.is_pipe = end != PipeEnd::Both;
            (state.reader_dropped, state.writer_dropped) = (!end.reads(), !end.writes());
            drop(state);
            (number, (end, shared))
        });
        Pipes(states.collect())
    }
}

impl ProcessProtocol for Pipes {
    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        if let (Some((_, shared)), Some(transport)) = (self.0.get(&fd), process.pipe(fd)) {
            shared.0.borrow_mut().receive(&transport, data);
        }
    }

    fn child_connection_lost(&mut self, process: &Process, fd: u32) {
        let reason = process.pipe(fd).and_then(|pipe| pipe.lost()).unwrap_or(Error::ConnectionDone);
        if let Some((_, shared)) = self.0.get(&fd) {
            shared.0.borrow_mut().lose(reason);
        }
    }
}
