//! The plan of a child process: the program, and everything that its process begins with.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use super::{PipeEnd, SpawnError, SpawnStep};
use crate::identity::Identity;
use crate::io_handle::OwnedWaitable;

/// The numbers of signals.
const SIGNALS: RangeInclusive<i32> = 1..=64;

/// A program to start, with everything that its process begins with.
///
/// ```
/// use ropewalk_sys::{ChildDescriptor, PipeEnd, SpawnPlan};
///
/// let mut plan = SpawnPlan::new("sort");
/// plan.descriptors.insert(0, ChildDescriptor::Pipe(PipeEnd::Writer)); // this program writes, the child reads
/// plan.descriptors.insert(1, ChildDescriptor::Pipe(PipeEnd::Reader));
/// assert_eq!(plan.arguments, ["sort"]);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnPlan {
    /// The path of the program. A name without a slash is searched for in PATH of the child's environment.
    pub program: OsString,
    /// All arguments. The first one is the name by which the program is called.
    pub arguments: Vec<OsString>,
    /// The environment. `None` means that of this process.
    pub environment: Option<BTreeMap<OsString, OsString>>,
    /// The working directory. `None` means that of this process.
    pub directory: Option<PathBuf>,
    /// The descriptors by their numbers in the child. No other descriptor is open there.
    pub descriptors: BTreeMap<u32, ChildDescriptor>,
    /// The size of a new pseudo-terminal, which becomes the controlling terminal of the child.
    pub terminal: Option<WindowSize>,
    /// The session and the process group. A child with a terminal always has a session of its own.
    pub group: ProcessGroup,
    /// The user and group, which only root may change.
    pub identity: Identity,
    /// The supplementary groups, if they change. See [`Identity::supplementary_groups`].
    pub groups: Option<Vec<u32>>,
    /// Limits of the child's resources.
    pub limits: Vec<(Resource, u64)>,
    /// The mode bits that new files do not get, umask(2).
    pub umask: Option<u32>,
    /// Whether signals that this process ignores stay ignored. Otherwise each signal has its default effect.
    pub keeps_ignored_signals: bool,
    /// The number of the signal that the child gets when the thread that has started it ends: PR_SET_PDEATHSIG.
    pub parent_death_signal: Option<i32>,
}

impl SpawnPlan {
    /// Returns a plan for `program` without arguments, without descriptors, and otherwise like this process.
    pub fn new(program: impl Into<OsString>) -> SpawnPlan {
        let program = program.into();
        SpawnPlan {
            arguments: vec![program.clone()],
            program,
            environment: None,
            directory: None,
            descriptors: BTreeMap::new(),
            terminal: None,
            group: ProcessGroup::Inherited,
            identity: Identity::default(),
            groups: None,
            limits: Vec::new(),
            umask: None,
            keeps_ignored_signals: false,
            parent_death_signal: None,
        }
    }

    /// Returns the session and group that the child is in: a child with a terminal has a session of its own.
    pub fn effective_group(&self) -> ProcessGroup {
        if self.terminal.is_some() { ProcessGroup::Session } else { self.group }
    }

    /// Returns whether the child leads a process group.
    ///
    /// ```
    /// use ropewalk_sys::{ProcessGroup, SpawnPlan, WindowSize};
    ///
    /// let mut plan = SpawnPlan::new("sh");
    /// assert!(!plan.leads_group());
    /// plan.terminal = Some(WindowSize::default());
    /// assert!(plan.leads_group());
    /// assert_eq!(plan.effective_group(), ProcessGroup::Session);
    /// ```
    pub fn leads_group(&self) -> bool {
        self.effective_group() != ProcessGroup::Inherited
    }

    /// Checks what no system could start. [`Processes::spawn`](super::Processes::spawn) of every provider begins with it.
    ///
    /// ```
    /// use ropewalk_sys::{ChildDescriptor, SpawnPlan, SpawnStep};
    ///
    /// let mut plan = SpawnPlan::new("sh");
    /// plan.descriptors.insert(2, ChildDescriptor::Same(1)); // and there is no 1
    /// assert_eq!(plan.check().unwrap_err().step(), SpawnStep::Descriptors);
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` at [`SpawnStep::Descriptors`] for a number that is too large, for a terminal without
    /// [`terminal`](SpawnPlan::terminal), for a pipe with [`PipeEnd::Device`], and for [`ChildDescriptor::Same`] as a
    /// number that has no descriptor of its own. At [`SpawnStep::Arguments`] for a text with a zero byte, and for an
    /// environment variable whose name is empty or contains `=`. At [`SpawnStep::ParentDeath`] for a number that no
    /// signal has.
    pub fn check(&self) -> Result<(), SpawnError> {
        let at = |step| {
            move |message| SpawnError::new(step, &self.program, io::Error::new(io::ErrorKind::InvalidInput, message))
        };
        for (number, wanted) in &self.descriptors {
            self.check_descriptor(*number, wanted).map_err(at(SpawnStep::Descriptors))?;
        }
        if let Some(signal) = self.parent_death_signal.filter(|signal| !SIGNALS.contains(signal)) {
            return Err(at(SpawnStep::ParentDeath)(format!("{signal} is not the number of a signal")));
        }
        self.texts().try_for_each(check_text).map_err(at(SpawnStep::Arguments))?;
        let mut names = self.environment.iter().flatten().map(|(name, _)| name.as_os_str());
        names.try_for_each(check_name).map_err(at(SpawnStep::Arguments))
    }

    /// # Errors
    /// The words that say what is wrong.
    fn check_descriptor(&self, number: u32, wanted: &ChildDescriptor) -> Result<(), String> {
        let has_no_own = |other| matches!(self.descriptors.get(other), None | Some(ChildDescriptor::Same(_)));
        match wanted {
            _ if number >= i32::MAX as u32 => Err(format!("{number} is too large for the number of a descriptor")),
            ChildDescriptor::Terminal if self.terminal.is_none() => Err("the child has no terminal".into()),
            ChildDescriptor::Pipe(PipeEnd::Device) => {
                Err("a device cannot be made for a child: use PipeEnd::Both".into())
            }
            // Otherwise a search for the descriptor would not end.
            ChildDescriptor::Same(other) if has_no_own(other) => {
                Err(format!("descriptor {number} of the child is to be the same as {other}, which has none of its own"))
            }
            _ => Ok(()),
        }
    }

    /// Returns all texts that a system passes to the program.
    fn texts(&self) -> impl Iterator<Item = &OsStr> {
        let variables = self.environment.iter().flatten().flat_map(|(name, value)| [name, value]);
        let texts = [&self.program].into_iter().chain(&self.arguments).chain(variables).map(OsString::as_os_str);
        texts.chain(self.directory.iter().map(|directory| directory.as_os_str()))
    }
}

/// # Errors
/// The words that say what is wrong.
fn check_text(text: &OsStr) -> Result<(), String> {
    match text.as_encoded_bytes().contains(&0) {
        true => Err(format!("'{}' has a zero byte in it", text.to_string_lossy().escape_debug())),
        false => Ok(()),
    }
}

/// Checks the name of an environment variable. A `=` in it would set another variable.
///
/// # Errors
/// The words that say what is wrong.
fn check_name(name: &OsStr) -> Result<(), String> {
    match name.as_encoded_bytes() {
        [] => Err("the name of an environment variable is empty".into()),
        // The environment of this process may have names that begin with it.
        [_, rest @ ..] if rest.contains(&b'=') => {
            Err(format!("'{}' is not the name of a variable: it has a '='", name.to_string_lossy().escape_debug()))
        }
        _ => Ok(()),
    }
}

/// One descriptor of a child.
///
/// ```
/// use ropewalk_sys::{ChildDescriptor, PipeEnd};
///
/// let standard_error = ChildDescriptor::Inherited(2);
/// let output = ChildDescriptor::Pipe(PipeEnd::Reader); // the child writes
/// # let _ = (standard_error, output);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChildDescriptor {
    /// The other end of a pipe whose named end this process keeps. With [`PipeEnd::Both`] it is a UNIX socket.
    Pipe(PipeEnd),
    /// The descriptor of this number in this process. If a standard stream is closed here, the child gets /dev/null.
    Inherited(u32),
    /// /dev/null.
    Null,
    /// The same as another number in the child, as `2>&1` of a shell.
    Same(u32),
    /// A copy of this descriptor.
    Copy(Arc<OwnedWaitable>),
    /// The child's side of the plan's terminal.
    Terminal,
}

impl<T: Into<OwnedWaitable>> From<T> for ChildDescriptor {
    fn from(handle: T) -> ChildDescriptor {
        ChildDescriptor::Copy(Arc::new(handle.into()))
    }
}

/// The session and the process group that a child is in.
///
/// ```
/// use ropewalk_sys::ProcessGroup;
///
/// assert_eq!(ProcessGroup::default(), ProcessGroup::Inherited);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessGroup {
    /// Those of this process: a key such as Ctrl-C signals both.
    #[default]
    Inherited,
    /// A new group, whose number is that of the child: setpgid(2).
    New,
    /// A new session without a terminal, and a new group in it: setsid(2).
    Session,
}

/// A resource of a process that can be limited: getrlimit(2).
///
/// ```
/// use ropewalk_sys::{Resource, SpawnPlan};
///
/// let mut plan = SpawnPlan::new("make");
/// plan.limits.push((Resource::CpuSeconds, 60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of a core file.
    CoreFile,
    /// Seconds of processor time.
    CpuSeconds,
    /// Bytes of initialized and allocated data.
    Data,
    /// Bytes of a file that the process writes.
    FileSize,
    /// Bytes of memory that is locked into RAM.
    LockedMemory,
    /// One more than the highest number of a descriptor.
    OpenFiles,
    /// The processes of the user.
    Processes,
    /// Bytes of the stack.
    Stack,
}

/// The size of a terminal, in characters.
///
/// ```
/// use ropewalk_sys::WindowSize;
///
/// assert_eq!(WindowSize::default(), WindowSize::new(24, 80));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}

impl WindowSize {
    /// Returns a size of `rows` lines, each of `columns` characters.
    pub const fn new(rows: u16, columns: u16) -> WindowSize {
        WindowSize { rows, columns }
    }
}

impl Default for WindowSize {
    /// The size of the terminals that most programs expect: 24 lines of 80 characters.
    fn default() -> WindowSize {
        WindowSize::new(24, 80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_variable_has_no_equals_sign_in_it() {
        for (name, is_valid) in [("A", true), ("=A", true), ("", false), ("A=B", false), ("A=", false)] {
            let mut plan = SpawnPlan::new("env");
            plan.environment = Some([(name.into(), "c".into())].into());
            let checked = plan.check();
            assert_eq!(checked.is_ok(), is_valid, "{name}");
            assert!(checked.err().is_none_or(|error| error.step() == SpawnStep::Arguments));
        }
    }
}
