//! The events that a watcher reports.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A change that a [`FileWatcher`](super::FileWatcher) reports.
///
/// A path begins as the caller gave it, and the names below a watched directory are joined to it.
///
/// ```
/// use std::path::Path;
/// use ropewalk::files::FileEvent;
///
/// fn is_source(event: &FileEvent) -> bool {
///     event.path().is_some_and(|path| path.extension().is_some_and(|extension| extension == "rs"))
/// }
///
/// let event = FileEvent::Moved { from: "src/old.rs".into(), to: "src/new.rs".into() };
/// assert_eq!(event.path(), Some(Path::new("src/new.rs")));
/// assert!(is_source(&event) && !is_source(&FileEvent::Lost));
/// assert_eq!(event.to_string(), "src/old.rs was moved to src/new.rs");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileEvent {
    /// The name is new. A file may not have its content yet: [`Changed`](FileEvent::Changed) follows when its writer has
    /// closed it.
    Created(PathBuf),
    /// The name leads to new content. Its writer has closed the file, or another file has taken the name.
    ///
    /// With [`WatchOptions::writes`](super::WatchOptions::writes), each write is reported too.
    Changed(PathBuf),
    /// The name is gone.
    Removed(PathBuf),
    /// An entry has another name now. Both names are watched.
    ///
    /// A move from elsewhere is [`Changed`](FileEvent::Changed), and a move to elsewhere is
    /// [`Removed`](FileEvent::Removed). A watcher that settles reports each move in this way.
    Moved {
        /// The earlier path.
        from: PathBuf,
        /// The present path.
        to: PathBuf,
    },
    /// The mode, the owner, the times or the number of links has changed. Reported only with
    /// [`WatchOptions::attributes`](super::WatchOptions::attributes).
    Attributes(PathBuf),
    /// Events were lost, because more happened than the system or the watcher keeps. The caller should look at
    /// everything that it watches.
    Lost,
    /// A path is not watched any more, or a directory of a tree cannot be watched.
    Ended(PathBuf, WatchEnd),
}

/// The reason why a path is not watched any more.
///
/// ```
/// use ropewalk::files::{FileEvent, WatchEnd};
///
/// let event = FileEvent::Ended("spool".into(), WatchEnd::Removed);
/// assert_eq!(event.to_string(), "spool is not watched any more: it was removed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEnd {
    /// The directory was removed.
    Removed,
    /// The directory was moved, so its path leads elsewhere.
    Moved,
    /// The file system was unmounted.
    Unmounted,
    /// The system refuses to watch it. The text says why, and names the remedy if there is one.
    Failed(Arc<str>),
}

impl FileEvent {
    /// Returns the path that the event is about. A move has its present path, and [`Lost`](FileEvent::Lost) has none.
    ///
    /// May be called from any thread.
    pub fn path(&self) -> Option<&Path> {
        match self {
            FileEvent::Created(path)
            | FileEvent::Changed(path)
            | FileEvent::Removed(path)
            | FileEvent::Moved { to: path, .. }
            | FileEvent::Attributes(path)
            | FileEvent::Ended(path, _) => Some(path),
            FileEvent::Lost => None,
        }
    }
}

impl fmt::Display for FileEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileEvent::Created(path) => write!(f, "{} was created", path.display()),
            FileEvent::Changed(path) => write!(f, "{} was changed", path.display()),
            FileEvent::Removed(path) => write!(f, "{} was removed", path.display()),
            FileEvent::Moved { from, to } => write!(f, "{} was moved to {}", from.display(), to.display()),
            FileEvent::Attributes(path) => write!(f, "the attributes of {} were changed", path.display()),
            FileEvent::Lost => f.write_str("events were lost"),
            FileEvent::Ended(path, end) => write!(f, "{} is not watched any more: {end}", path.display()),
        }
    }
}

impl fmt::Display for WatchEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchEnd::Removed => f.write_str("it was removed"),
            WatchEnd::Moved => f.write_str("it was moved"),
            WatchEnd::Unmounted => f.write_str("its file system was unmounted"),
            WatchEnd::Failed(reason) => f.write_str(reason),
        }
    }
}
