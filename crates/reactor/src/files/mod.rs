//! Changes of files and directories: `twisted.internet.inotify`.
//!
//! [`Reactor::watch_files`](crate::Reactor::watch_files) creates a [`FileWatcher`], which calls a function with a batch
//! of [`FileEvent`]s. No thread is involved: the system's queue of events is a source of the reactor.
//!
//! ```text
//!   system -> records -> watched      the directories, and what each of them is watched for
//!                          names      the names that a path depends on, links included
//!                          scan       new directories of a tree, some entries a turn
//!                          moves      the two halves of a move
//!                          pending    events, merged and bounded, until they are due -> the function of the user
//! ```
//!
//! Only directories are watched, never files themselves. So a file that is replaced stays watched: its name counts.

mod event;
mod merging;
mod moves;
mod names;
mod options;
mod pending;
mod scan;
mod watched;
mod watcher;

pub use event::{FileEvent, WatchEnd};
pub use options::WatchOptions;
pub use watcher::FileWatcher;
