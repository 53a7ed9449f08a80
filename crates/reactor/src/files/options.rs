//! The options of a watcher.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use ropewalk_sys::Happened;

/// The number of directories that a watcher watches at most, unless the caller says otherwise.
const MAX_DIRECTORIES: usize = 10_000;

/// The options of a [`FileWatcher`](super::FileWatcher).
///
/// ```
/// use std::time::Duration;
/// use ropewalk::files::WatchOptions;
///
/// let sources = WatchOptions::new()
///     .settle(Duration::from_millis(100)) // one report for a whole checkout
///     .skip_hidden()
///     .skip("target")
///     .max_directories(2000);
/// let everything = WatchOptions::new().writes().attributes();
/// # let _ = (sources, everything);
/// ```
#[derive(Clone, Debug)]
pub struct WatchOptions {
    pub(super) settle: Option<Duration>,
    pub(super) reported: Happened,
    pub(super) skips_hidden: bool,
    pub(super) skipped: BTreeSet<OsString>,
    pub(super) max_directories: usize,
}

impl WatchOptions {
    /// Returns the default options: each event is reported at once, and no name is skipped.
    pub fn new() -> WatchOptions {
        let content = Happened::CREATED | Happened::CLOSED | Happened::REMOVED;
        let moves = Happened::MOVED_FROM | Happened::MOVED_TO;
        let itself = Happened::SELF_REMOVED | Happened::SELF_MOVED;
        WatchOptions {
            settle: None,
            reported: content | moves | itself,
            skips_hidden: false,
            skipped: BTreeSet::new(),
            max_directories: MAX_DIRECTORIES,
        }
    }

    /// Reports events together, once nothing has happened for `quiet`. Events that never pause are reported after ten
    /// times `quiet`.
    ///
    /// The events of a path become one: a file that was removed and created again has changed, and a file that was
    /// created and removed again is not reported. The events are in the order in which the paths first changed.
    #[must_use]
    pub fn settle(mut self, quiet: Duration) -> WatchOptions {
        self.settle = Some(quiet);
        self
    }

    /// Reports each write as a change, also while the writer has the file open. Without this, a log file that is never
    /// closed never changes.
    #[must_use]
    pub fn writes(mut self) -> WatchOptions {
        self.reported |= Happened::WRITTEN;
        self
    }

    /// Reports changes of the mode, the owner, the times and the number of links.
    #[must_use]
    pub fn attributes(mut self) -> WatchOptions {
        self.reported |= Happened::ATTRIBUTES;
        self
    }

    /// Skips names that begin with a dot, in directories and trees. A file that is watched by its name is not skipped.
    #[must_use]
    pub fn skip_hidden(mut self) -> WatchOptions {
        self.skips_hidden = true;
        self
    }

    /// Skips entries called `name` in directories and trees, with everything below them.
    #[must_use]
    pub fn skip(mut self, name: impl Into<OsString>) -> WatchOptions {
        self.skipped.insert(name.into());
        self
    }

    /// Sets the number of directories that are watched at most. The default is 10,000.
    ///
    /// Each directory of a tree counts against the limit of the system too, which all programs of a user share. On
    /// Linux it is called `fs.inotify.max_user_watches`.
    #[must_use]
    pub fn max_directories(mut self, limit: usize) -> WatchOptions {
        self.max_directories = limit;
        self
    }

    /// Returns whether entries of this name are not reported.
    pub(super) fn skips(&self, name: &OsStr) -> bool {
        let is_hidden = || name.as_encoded_bytes().first() == Some(&b'.');
        self.skips_hidden && is_hidden() || !self.skipped.is_empty() && self.skipped.contains(name)
    }
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions::new()
    }
}
