//! The error of a child process that could not be started.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ropewalk_proto::escape::Quoted;

/// The step of a start that failed.
///
/// ```
/// use ropewalk_sys::SpawnStep;
///
/// assert_eq!(SpawnStep::Directory.to_string(), "cannot enter the directory");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpawnStep {
    /// An argument, a variable or a path cannot be passed to a process.
    Arguments,
    /// Opening pipes, /dev/null or a terminal.
    Descriptors,
    /// Making the process.
    Process,
    /// Making a session or a group.
    Group,
    /// Giving the descriptors their numbers in the child.
    Numbers,
    /// Making the terminal the controlling terminal.
    Terminal,
    /// Limiting the resources.
    Limits,
    /// Becoming another user or group.
    Identity,
    /// Asking for a signal at the death of the parent, which may have died already.
    ParentDeath,
    /// Entering the working directory.
    Directory,
    /// Loading the program.
    Execute,
    /// Watching for the end of the process, which has been killed.
    Watch,
}

impl fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpawnStep::Arguments => "cannot pass an argument",
            SpawnStep::Descriptors => "cannot open the pipes",
            SpawnStep::Process => "cannot make a process",
            SpawnStep::Group => "cannot make a process group",
            SpawnStep::Numbers => "cannot pass the descriptors",
            SpawnStep::Terminal => "cannot take the terminal",
            SpawnStep::Limits => "cannot limit the resources",
            SpawnStep::Identity => "cannot become the user",
            SpawnStep::ParentDeath => "cannot ask for a signal at the death of the parent",
            SpawnStep::Directory => "cannot enter the directory",
            SpawnStep::Execute => "cannot run the program",
            SpawnStep::Watch => "cannot watch the process",
        })
    }
}

/// The reason why a program was not started.
///
/// ```
/// use std::io::ErrorKind;
/// use std::path::Path;
///
/// use ropewalk_sys::{SpawnError, SpawnStep};
///
/// let error = SpawnError::new(SpawnStep::Execute, "/no/such", ErrorKind::NotFound.into());
/// let error = error.with_reason("there is no such file");
/// assert_eq!((error.step(), error.path()), (SpawnStep::Execute, Path::new("/no/such")));
/// assert_eq!(error.io_error().kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "cannot run the program '/no/such': there is no such file");
/// ```
#[derive(Debug)]
pub struct SpawnError {
    step: SpawnStep,
    path: PathBuf,
    reason: Option<String>,
    error: io::Error,
}

impl SpawnError {
    /// Returns the error of a step. `path` is the directory for [`SpawnStep::Directory`], and the program otherwise.
    pub fn new(step: SpawnStep, path: impl Into<PathBuf>, error: io::Error) -> SpawnError {
        SpawnError { step, path: path.into(), reason: None, error }
    }

    /// Replaces the words of the system by words that say more.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<String>) -> SpawnError {
        SpawnError { reason: Some(reason.into()), ..self }
    }

    /// Returns the step that failed.
    pub fn step(&self) -> SpawnStep {
        self.step
    }

    /// Returns the path of the directory, for [`SpawnStep::Directory`], or of the program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the system's error.
    pub fn io_error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        match self.step {
            SpawnStep::Directory | SpawnStep::Execute => write!(f, "{} {}: ", self.step, Quoted(&path))?,
            step => write!(f, "{step} for the program {}: ", Quoted(&path))?,
        }
        match &self.reason {
            Some(reason) => f.write_str(reason),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
