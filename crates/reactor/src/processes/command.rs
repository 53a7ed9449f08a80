//! The description of a program to run.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use ropewalk_sys::signals::Signal;
use ropewalk_sys::{ChildDescriptor, Identity, PipeEnd, ProcessGroup, Resource, SpawnPlan, WindowSize};

use crate::error::{Error, Result};

/// A program with its arguments, and everything that its process begins with.
///
/// Without other settings, standard input, output and error are pipes, the environment and the working directory are
/// those of this process, and no other descriptor is open. All signals have their default effects, and none is blocked.
/// A command may be run many times.
///
/// ```
/// use ropewalk::processes::{ChildDescriptor, Command, Resource};
///
/// let command = Command::new("git")
///     .arg("gc")
///     .args(["--quiet"])
///     .env("LANG", "C")
///     .directory("/srv/repository")
///     .stdin(ChildDescriptor::Null)
///     .stderr(ChildDescriptor::Same(1))
///     .limit(Resource::CpuSeconds, 60)
///     .own_group();
/// assert_eq!(command.to_string(), "git gc --quiet");
/// ```
///
/// A worker in a sandbox:
///
/// ```
/// # #[cfg(unix)] {
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
/// use ropewalk::processes::{ChildDescriptor, Command, Identity, ProcessGroup};
///
/// let log = OwnedFd::from(File::open("/dev/null").unwrap());
/// let worker = Command::new("/usr/libexec/worker")
///     .called("worker: idle")
///     .env_clear()
///     .env("PATH", "/usr/bin")
///     .env_remove("HOME")
///     .stdout(log)
///     .closed(0)
///     .user(Identity::new(Some(65534), Some(65534)))?
///     .groups([65534])
///     .umask(0o077)
///     .own_session()
///     .keep_ignored_signals();
/// assert_eq!(worker.plan().group, ProcessGroup::Session);
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Command {
    plan: SpawnPlan,
}

impl Command {
    /// Creates a command without arguments. A `program` without a slash is searched for in PATH of the child's
    /// environment. A relative path begins at the child's directory.
    pub fn new(program: impl Into<OsString>) -> Command {
        let mut plan = SpawnPlan::new(program);
        plan.descriptors.insert(0, ChildDescriptor::Pipe(PipeEnd::Writer));
        plan.descriptors.insert(1, ChildDescriptor::Pipe(PipeEnd::Reader));
        plan.descriptors.insert(2, ChildDescriptor::Pipe(PipeEnd::Reader));
        Command { plan }
    }

    /// Appends an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Command {
        self.plan.arguments.push(argument.into());
        self
    }

    /// Appends arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item: Into<OsString>>) -> Command {
        self.plan.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the name by which the program is called: its zeroth argument. The default is the program itself.
    pub fn called(mut self, name: impl Into<OsString>) -> Command {
        self.plan.arguments[0] = name.into();
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Command {
        self.environment().insert(name.into(), value.into());
        self
    }

    /// Removes a variable from the environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Command {
        self.environment().remove(name.as_ref());
        self
    }

    /// Removes all variables, so that the child gets only those that are set afterwards.
    pub fn env_clear(mut self) -> Command {
        self.plan.environment = Some(Default::default());
        self
    }

    fn environment(&mut self) -> &mut std::collections::BTreeMap<OsString, OsString> {
        self.plan.environment.get_or_insert_with(|| env::vars_os().collect())
    }

    /// Sets the working directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Command {
        self.plan.directory = Some(directory.into());
        self
    }

    /// Sets standard input. See [`descriptor`](Command::descriptor).
    pub fn stdin(self, input: impl Into<ChildDescriptor>) -> Command {
        self.descriptor(0, input)
    }

    /// Sets standard output. See [`descriptor`](Command::descriptor).
    pub fn stdout(self, output: impl Into<ChildDescriptor>) -> Command {
        self.descriptor(1, output)
    }

    /// Sets standard error. See [`descriptor`](Command::descriptor).
    pub fn stderr(self, errors: impl Into<ChildDescriptor>) -> Command {
        self.descriptor(2, errors)
    }

    /// Sets the descriptor `number` of the child: `childFDs`.
    ///
    /// An open file, pipe or socket of this program converts into [`ChildDescriptor::Copy`].
    ///
    /// ```
    /// use ropewalk::processes::{ChildDescriptor, Command, PipeEnd};
    ///
    /// let command = Command::new("gpg")
    ///     .args(["--status-fd", "3"])
    ///     .descriptor(3, ChildDescriptor::Pipe(PipeEnd::Reader)); // the reactor reads, the child writes
    /// # let _ = command;
    /// ```
    pub fn descriptor(mut self, number: u32, descriptor: impl Into<ChildDescriptor>) -> Command {
        self.plan.descriptors.insert(number, descriptor.into());
        self
    }

    /// Leaves the descriptor `number` of the child closed.
    pub fn closed(mut self, number: u32) -> Command {
        self.plan.descriptors.remove(&number);
        self
    }

    /// Runs the program in a new pseudo-terminal of this size: `usePTY`. The terminal becomes the child's standard input,
    /// output and error, and the controlling terminal of a new session.
    ///
    /// Bytes of the terminal are those of descriptor 1, and bytes for it are written to descriptor 0.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol, WindowSize};
    /// use ropewalk::{Error, Reactor};
    ///
    /// /// Makes the terminal of a shell larger, and asks for its size.
    /// struct Large;
    ///
    /// impl ProcessProtocol for Large {
    ///     fn connection_made(&mut self, process: &Process) {
    ///         process.resize(WindowSize::new(50, 132)).unwrap();
    ///         process.write(b"stty size; exit\n");
    ///     }
    ///
    ///     fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
    ///         process.reactor().stop().unwrap();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let process = reactor.spawn_process(&Command::new("sh").terminal(WindowSize::default()), Large)?;
    /// reactor.run()?;
    /// assert!(matches!(process.resize(WindowSize::default()), Err(Error::Closed)));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn terminal(mut self, size: WindowSize) -> Command {
        for number in 0..3 {
            self.plan.descriptors.insert(number, ChildDescriptor::Terminal);
        }
        self.plan.terminal = Some(size);
        self
    }

    /// Runs the program in a process group of its own, so that [`Process::signal_group`](super::Process::signal_group)
    /// reaches the programs that it starts. A key such as Ctrl-C does not reach the group.
    pub fn own_group(mut self) -> Command {
        self.plan.group = ProcessGroup::New;
        self
    }

    /// Runs the program in a session of its own, without a terminal.
    pub fn own_session(mut self) -> Command {
        self.plan.group = ProcessGroup::Session;
        self
    }

    /// Runs the program as another user and group: only root may. The supplementary groups become those of the user.
    ///
    /// # Errors
    /// [`Error::Io`] if the user database fails.
    pub fn user(mut self, identity: Identity) -> Result<Command> {
        let groups = identity.supplementary_groups().map_err(Error::io("cannot find the groups of a user"))?;
        self.plan.groups = Some(groups);
        self.plan.identity = identity;
        Ok(self)
    }

    /// Sets the supplementary groups: only root may. Call this after [`user`](Command::user), which sets them as well.
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Command {
        self.plan.groups = Some(groups.into_iter().collect());
        self
    }

    /// Limits a resource. The program cannot raise the limit, unless it runs as root.
    pub fn limit(mut self, resource: Resource, limit: u64) -> Command {
        self.plan.limits.push((resource, limit));
        self
    }

    /// Sets the mode bits that new files do not get.
    pub fn umask(mut self, mask: u32) -> Command {
        self.plan.umask = Some(mask);
        self
    }

    /// Keeps the signals ignored that this process ignores, as nohup(1) needs it.
    pub fn keep_ignored_signals(mut self) -> Command {
        self.plan.keeps_ignored_signals = true;
        self
    }

    /// Sends `signal` to the program when the thread of its reactor ends, also if your program is killed:
    /// PR_SET_PDEATHSIG of Linux. The programs that the program starts do not get the signal.
    ///
    /// **The signal comes at the end of the thread**, and not only at the end of the process. So run the reactor on a
    /// thread that lives as long as your program, such as the main thread. A process in the background has no thread of
    /// the process before: start the program after [`detach`](crate::sys::detach).
    ///
    /// A program that is set-user-ID, or that changes its user, clears the signal. On a simulated network the option has no
    /// effect, because no program there outlives its reactor.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::processes::{Command, Signal};
    ///
    /// let code = ropewalk::react(|reactor| async move {
    ///     let worker = Command::new("true").parent_death_signal(Signal::KILL); // no orphan is left
    ///     assert!(reactor.process_value(&worker).await?.is_success());
    ///     Ok::<_, ropewalk::Failure>(())
    /// });
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    pub fn parent_death_signal(mut self, signal: impl Into<Signal>) -> Command {
        self.plan.parent_death_signal = Some(signal.into().number());
        self
    }

    /// Returns the plan, for event providers. May be called from any callback.
    pub fn plan(&self) -> &SpawnPlan {
        &self.plan
    }
}

impl fmt::Display for Command {
    /// Writes the program and its arguments, for log lines. The text is not meant for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan.program.to_string_lossy().escape_debug())?;
        for argument in self.plan.arguments.iter().skip(1) {
            write!(f, " {}", argument.to_string_lossy().escape_debug())?;
        }
        Ok(())
    }
}
