//! Runs a program to its end, and returns everything that it writes: `getProcessOutputAndValue`.
//!
//! ```text
//!   started -> exited -> all pipes closed                 -> fires
//!                     -> patience over, a pipe still open  -> fires, `pipe_held`
//!   limit over -> TERM to the group -> grace over -> KILL  -> exited ...
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_proto::{Deferred, Resolver};
use ropewalk_sys::ExitStatus;

use super::{Command, ProcessProtocol};
use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;
use crate::transports::Process;

/// The bytes that are kept of each stream, unless the caller says otherwise: 16 MiB.
const KEPT_BYTES: usize = 16 << 20;

/// The input and the limits of a program whose output is captured.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::processes::Capture;
///
/// let capture = Capture::new()
///     .input("pear\napple\n")
///     .keep(1 << 20) // bytes of each stream
///     .limit(Duration::from_secs(10))
///     .grace(Duration::from_secs(1)) // between TERM and KILL
///     .patience(Duration::ZERO); // for pipes that another program holds
/// # let _ = capture;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Capture {
    input: Bytes,
    kept_bytes: usize,
    limit: Option<Duration>,
    grace: Duration,
    patience: Duration,
}

impl Default for Capture {
    fn default() -> Capture {
        Capture::new()
    }
}

impl Capture {
    /// Creates settings without input or time limit. 16 MiB of each stream are kept, the grace is two seconds, and the
    /// patience is a quarter of a second.
    pub fn new() -> Capture {
        Capture {
            input: Bytes::new(),
            kept_bytes: KEPT_BYTES,
            limit: None,
            grace: Duration::from_secs(2),
            patience: Duration::from_millis(250),
        }
    }

    /// Sets the bytes that the program reads from its standard input, which then ends.
    pub fn input(mut self, input: impl Into<Bytes>) -> Capture {
        self.input = input.into();
        self
    }

    /// Sets the number of bytes that are kept of each stream. Bytes behind them are read and dropped.
    pub fn keep(mut self, bytes: usize) -> Capture {
        self.kept_bytes = bytes;
        self
    }

    /// Sets the time after which the program and its group are stopped.
    pub fn limit(mut self, limit: Duration) -> Capture {
        self.limit = Some(limit);
        self
    }

    /// Sets the time between TERM and KILL: see [`Process::end_group`].
    pub fn grace(mut self, grace: Duration) -> Capture {
        self.grace = grace;
        self
    }

    /// Sets the time that is given to open pipes after the program has ended. Another program that it has started may
    /// have them too, and may run for ever.
    pub fn patience(mut self, patience: Duration) -> Capture {
        self.patience = patience;
        self
    }
}

/// The output of a program that has ended.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use ropewalk::Failure;
/// use ropewalk::processes::{Capture, Command};
///
/// let code = ropewalk::react(|reactor| async move {
///     let output = reactor.process_output(&Command::new("echo").arg("hello"), Capture::new()).await?;
///     assert_eq!(output.out, b"hello\n");
///     Ok::<_, Failure>(())
/// });
/// assert_eq!(code, std::process::ExitCode::SUCCESS);
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output {
    /// The bytes of standard output.
    pub out: Vec<u8>,
    /// The bytes of standard error.
    pub err: Vec<u8>,
    /// The way in which the program ended.
    pub status: ExitStatus,
    /// Whether bytes were dropped, because there were more than [`Capture::keep`] allows.
    pub truncated: bool,
    /// Whether another program still had a pipe when the patience was over. More output may have followed.
    pub pipe_held: bool,
    /// Whether the time limit ended the program.
    pub timed_out: bool,
}

impl Reactor {
    /// Runs a program to its end, and returns what it writes: `getProcessOutputAndValue`.
    ///
    /// The program gets a process group of its own, unless the command says otherwise, so that the time limit also stops
    /// the programs that it has started. Cancelling the Deferred stops the group as well. May be called from any callback.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Failure;
    /// use ropewalk::processes::{Capture, Command};
    ///
    /// let code = ropewalk::react(|reactor| async move {
    ///     let capture = Capture::new().input("pear\napple\n");
    ///     let output = reactor.process_output(&Command::new("sort"), capture).await?;
    ///     assert!(output.status.is_success());
    ///     assert_eq!(output.out, b"apple\npear\n");
    ///     Ok::<_, Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The Deferred fails with the errors of [`spawn_process`](Reactor::spawn_process), and with
    /// [`Error::ConnectionLost`] if the reactor stops first. A program that fails is not
    /// an error: see [`Output::status`].
    pub fn process_output(&self, command: &Command, capture: Capture) -> Deferred<Output> {
        let shared = Rc::new(Shared::new(self, capture));
        // Not a strong handle, because the resolver is kept in `shared`.
        let cancelled = Rc::downgrade(&shared);
        let (output, resolver) = Deferred::with_canceller(move |_| {
            if let Some(shared) = cancelled.upgrade() {
                shared.give_up();
            }
        });
        shared.resolver.replace(Some(resolver));
        let command = if command.plan().leads_group() { command.clone() } else { command.clone().own_group() };
        if let Err(error) = self.spawn_process(&command, Capturing(shared.clone())) {
            if let Some(resolver) = shared.resolver.take() {
                let _ = resolver.errback(error);
            }
        }
        output
    }

    /// Runs a program to its end, and returns its status: `getProcessValue`. Its output is dropped.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Failure;
    /// use ropewalk::processes::{Command, ExitStatus};
    ///
    /// let code = ropewalk::react(|reactor| async move {
    ///     let status = reactor.process_value(&Command::new("sh").args(["-c", "exit 3"])).await?;
    ///     assert_eq!(status, ExitStatus::Exited(3));
    ///     Ok::<_, Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`process_output`](Reactor::process_output).
    pub fn process_value(&self, command: &Command) -> Deferred<ExitStatus> {
        self.process_output(command, Capture::new().keep(0)).add_callback(|output| output.status)
    }
}

/// Returns the characters that stand for the end of input in a terminal. The first one behind an unfinished line only
/// passes the line on.
fn end_of_typed(input: &[u8]) -> &'static [u8] {
    if input.last().is_none_or(|last| *last == b'\n') { b"\x04" } else { b"\x04\x04" }
}

/// The protocol of a program whose output is captured.
struct Capturing(Rc<Shared>);

struct Shared {
    reactor: crate::WeakReactor,
    capture: Capture,
    process: RefCell<Option<Process>>,
    out: RefCell<Vec<u8>>,
    err: RefCell<Vec<u8>>,
    is_truncated: Cell<bool>,
    is_late: Cell<bool>,
    resolver: RefCell<Option<Resolver<Output>>>,
    /// The time limit, and later the patience.
    timer: RefCell<Option<DelayedCall>>,
}

impl Shared {
    fn new(reactor: &Reactor, capture: Capture) -> Shared {
        Shared {
            reactor: reactor.downgrade(),
            capture,
            process: RefCell::default(),
            out: RefCell::default(),
            err: RefCell::default(),
            is_truncated: Cell::default(),
            is_late: Cell::default(),
            resolver: RefCell::default(),
            timer: RefCell::default(),
        }
    }

    /// Replaces the timer by a call after `delay`.
    fn later(self: &Rc<Shared>, delay: Duration, call: fn(&Rc<Shared>)) {
        let Some(reactor) = self.reactor.upgrade() else { return };
        let shared = self.clone();
        self.stop_timer();
        self.timer.replace(Some(reactor.call_later(delay, move |_| call(&shared))));
    }

    fn stop_timer(&self) {
        if let Some(timer) = self.timer.take() {
            let _ = timer.cancel();
        }
    }

    fn limit_is_over(self: &Rc<Shared>) {
        self.is_late.set(true);
        self.give_up();
    }

    /// Stops the program and its group.
    fn give_up(&self) {
        let process = self.process.borrow().clone();
        if let Some(process) = process {
            process.end_group(self.capture.grace).add_both(drop);
        }
    }

    fn patience_is_over(self: &Rc<Shared>) {
        let process = self.process.borrow().clone();
        if let Some(process) = process {
            self.finish(process.status().unwrap_or(ExitStatus::Unknown), true);
            // Input that the other program does not read must not keep the pipes.
            (0..3).filter_map(|fd| process.pipe(fd)).for_each(|pipe| pipe.abort_connection());
        }
    }

    fn finish(&self, status: ExitStatus, pipe_held: bool) {
        self.stop_timer();
        let Some(resolver) = self.resolver.take() else { return };
        let output = Output {
            out: self.out.take(),
            err: self.err.take(),
            status,
            truncated: self.is_truncated.get(),
            pipe_held,
            timed_out: self.is_late.get(),
        };
        // Firing fails if the Deferred was cancelled.
        let _ = match status {
            ExitStatus::Abandoned => resolver.errback(Error::ConnectionLost(None)),
            _ => resolver.callback(output),
        };
    }

    fn keep(&self, stream: &RefCell<Vec<u8>>, data: &[u8]) {
        let mut kept = stream.borrow_mut();
        let room = self.capture.kept_bytes.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            self.is_truncated.set(true);
        }
    }
}

impl ProcessProtocol for Capturing {
    fn connection_made(&mut self, process: &Process) {
        self.0.process.replace(Some(process.clone()));
        process.write_bytes(self.0.capture.input.clone());
        match process.pipe(0) == process.pipe(1) {
            // The close of a terminal would hang the program up.
            true => process.write(end_of_typed(&self.0.capture.input)),
            false => process.close_stdin(),
        }
        if let Some(limit) = self.0.capture.limit {
            self.0.later(limit, Shared::limit_is_over);
        }
    }

    fn out_received(&mut self, _process: &Process, data: &[u8]) {
        self.0.keep(&self.0.out, data);
    }

    fn err_received(&mut self, _process: &Process, data: &[u8]) {
        self.0.keep(&self.0.err, data);
    }

    fn process_exited(&mut self, _process: &Process, _status: ExitStatus) {
        self.0.later(self.0.capture.patience, Shared::patience_is_over);
    }

    fn process_ended(&mut self, _process: &Process, status: ExitStatus) {
        self.0.finish(status, false);
        self.0.process.take();
    }
}
