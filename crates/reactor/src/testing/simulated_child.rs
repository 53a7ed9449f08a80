//! A child process whose program is a closure.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Weak;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_sys::{ExitStatus, SpawnPlan, WindowSize};

use super::programs::ChildPrograms;
use super::simulated::{ChildId, SharedNetwork};
use crate::processes::Signal;

/// A child process of a simulated network, as its program sees it. Clones refer to the same process.
///
/// The program is a closure, which [`install_program`](super::MemoryReactor::install_program) installs under a name. The
/// closure runs in the reactor's loop when a program of this name has been started. It sets closures for what follows:
/// input, signals and delayed calls. The process runs until it calls [`exit`](SimulatedChild::exit), or a signal kills
/// it. All methods do nothing after that. They may be called from any callback.
///
/// A write never blocks: bytes wait in the child until the pipe has room. Meanwhile the child reads no input, and an exit
/// takes place when the last byte has been taken. A write to a pipe without a reader is SIGPIPE.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::processes::{Capture, Command, ExitStatus};
/// use ropewalk::testing::{MemoryReactor, SimulatedChild};
///
/// let net = MemoryReactor::new();
/// net.install_program("shout", |child: &SimulatedChild| {
///     child.on_data(0, |child, data| child.write(1, data.to_ascii_uppercase()));
///     child.on_end(0, |child| child.exit(3));
/// });
/// let shouted = net.process_output(&Command::new("shout"), Capture::new().input("hello"));
/// net.settle();
/// let output = shouted.try_result().unwrap().unwrap();
/// assert_eq!((&*output.out, output.status), (&b"HELLO"[..], ExitStatus::Exited(3)));
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// A program that needs time, catches a signal, and starts another process that outlives it:
///
/// ```
/// use std::time::Duration;
/// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol, Signal, WindowSize};
/// use ropewalk::testing::{MemoryReactor, SimulatedChild};
///
/// struct Ignoring;
///
/// impl ProcessProtocol for Ignoring {}
///
/// let net = MemoryReactor::new();
/// net.install_program("worker", |child: &SimulatedChild| {
///     assert_eq!((child.args(), child.env("LANG")), (&["--slow".into()][..], Some("C".into())));
///     assert_eq!(child.directory().unwrap().to_str(), Some("/srv"));
///     assert_eq!(child.window_size(), None);
///     child.on_signal(Signal::TERM, |child| {
///         child.close(1);
///         child.call_later(Duration::from_secs(2), |child| child.exit(0));
///     });
///     child.fork(|helper| helper.call_later(Duration::from_secs(60), |helper| helper.kill(Signal::KILL)));
/// });
/// let command = Command::new("worker").arg("--slow").env("LANG", "C").directory("/srv").own_group();
/// let process = net.spawn_process(&command, Ignoring)?;
/// net.settle();
/// process.signal(Signal::TERM)?;
/// net.advance(Duration::from_secs(2));
/// assert_eq!(process.status(), Some(ExitStatus::Exited(0)));
/// assert!(process.signal_group(Signal::HUP).is_ok()); // the helper is left
///
/// let [child] = &net.spawned()[..] else { panic!() };
/// assert_eq!((child.pid(), child.status()), (process.pid(), process.status()));
/// assert_eq!(child.plan().program, "worker");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct SimulatedChild {
    network: SharedNetwork,
    id: ChildId,
    plan: Arc<SpawnPlan>,
    programs: Weak<ChildPrograms>,
}

impl SimulatedChild {
    pub(super) fn new(network: &SharedNetwork, id: ChildId, programs: Weak<ChildPrograms>) -> SimulatedChild {
        let plan = network.with(|network| network.child_plan(id));
        SimulatedChild { network: network.clone(), id, plan, programs }
    }

    /// Returns everything that the process began with.
    pub fn plan(&self) -> &SpawnPlan {
        &self.plan
    }

    /// Returns the arguments behind the name of the program.
    pub fn args(&self) -> &[OsString] {
        self.plan.arguments.get(1..).unwrap_or_default()
    }

    /// Returns a variable of the environment. A command without variables passes on those of the test.
    pub fn env(&self, name: impl AsRef<OsStr>) -> Option<OsString> {
        match &self.plan.environment {
            Some(environment) => environment.get(name.as_ref()).cloned(),
            None => std::env::var_os(name),
        }
    }

    /// Returns the working directory, if the command sets one. It need not exist.
    pub fn directory(&self) -> Option<&Path> {
        self.plan.directory.as_deref()
    }

    /// Returns the number of the process.
    pub fn pid(&self) -> u32 {
        self.id.pid()
    }

    /// Returns how the process ended, or `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        self.network.with(|network| network.child_status(self.id))
    }

    /// Returns the size of the terminal. A program that catches [`Signal::WINCH`] is notified of a new size.
    pub fn window_size(&self) -> Option<WindowSize> {
        self.network.with(|network| network.child_window(self.id))
    }

    /// Reads the descriptor `fd` from now on, and calls `received` with its bytes. A descriptor that the program does not
    /// read fills up.
    pub fn on_data(&self, fd: u32, received: impl Fn(&SimulatedChild, &[u8]) + 'static) {
        self.handlers(|programs| programs.on_data(self.id, fd, received));
        self.network.with(|network| network.child_reads(self.id, fd));
    }

    /// Reads the descriptor `fd` from now on, and calls `ended` when it has ended. Bytes without a closure for them are
    /// dropped. The end of the input does not end the process.
    pub fn on_end(&self, fd: u32, ended: impl Fn(&SimulatedChild) + 'static) {
        self.handlers(|programs| programs.on_end(self.id, fd, ended));
        self.network.with(|network| network.child_reads(self.id, fd));
    }

    /// Catches a signal: `caught` runs instead of the default effect. `KILL` and `STOP` cannot be caught.
    ///
    /// By default, a signal kills the process, except for those that signal(7) ignores. No signal stops a process.
    pub fn on_signal(&self, signal: impl Into<Signal>, caught: impl Fn(&SimulatedChild) + 'static) {
        let signal = signal.into();
        self.handlers(|programs| programs.on_signal(self.id, signal.number(), caught));
        self.network.with(|network| network.child_catches(self.id, signal));
    }

    /// Calls `call` after `delay` of virtual time, if the process still runs. The call is not a delayed call of the
    /// reactor, so [`settle`](super::MemoryReactor::settle) does not wait for it.
    pub fn call_later(&self, delay: Duration, call: impl FnOnce(&SimulatedChild) + 'static) {
        if let Some(token) = self.network.with(|network| network.child_call(self.id, delay)) {
            self.handlers(|programs| programs.call_later(self.id, token, call));
        }
    }

    /// Writes to the descriptor `fd`. Bytes for a descriptor that is not open are dropped, and so are bytes for one that
    /// the command copies, inherits or sets to null(4).
    pub fn write(&self, fd: u32, bytes: impl AsRef<[u8]>) {
        self.network.with(|network| network.child_write(self.id, fd, bytes.as_ref()));
    }

    /// Closes the descriptor `fd`, after the bytes that were written to it.
    pub fn close(&self, fd: u32) {
        self.network.with(|network| network.child_close(self.id, fd));
    }

    /// Exits with the lowest eight bits of `code`, as soon as everything written has been taken.
    pub fn exit(&self, code: i32) {
        self.network.with(|network| network.child_exit(self.id, code));
    }

    /// Sends a signal to the process: kill(2). A test uses this as well, to end a program behind the back of its parent.
    pub fn kill(&self, signal: impl Into<Signal>) {
        let signal = signal.into();
        self.network.with(|network| network.deliver(self.id, signal));
    }

    /// Starts another process, which has the same descriptors, is in the same group and runs `program`.
    ///
    /// It holds the pipes of this process open. The reactor does not know it, and a signal to the group reaches it.
    pub fn fork(&self, program: impl Fn(&SimulatedChild) + 'static) {
        if let Some(id) = self.network.with(|network| network.child_forks(self.id)) {
            self.handlers(|programs| programs.on_start(id, program));
        }
    }

    fn handlers(&self, change: impl FnOnce(&ChildPrograms)) {
        if let Some(programs) = self.programs.upgrade() {
            change(&programs);
        }
    }
}

impl std::fmt::Debug for SimulatedChild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SimulatedChild");
        shown.field("program", &self.plan.program).field("pid", &self.pid()).field("status", &self.status());
        shown.finish_non_exhaustive()
    }
}
