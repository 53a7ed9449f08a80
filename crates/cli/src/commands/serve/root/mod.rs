//! The served directory: opens files below it, and never outside of it.
//!
//! A path is resolved from the open directory. A link that leads out of the directory is refused, whatever other processes
//! rename in the meantime. A link may lead upwards as long as it stays inside.
//!
//! ```text
//!   openat2(2), Linux 5.6: one system call, RESOLVE_BENEATH
//!       | missing, or denied by a sandbox
//!       v
//!   walk: one openat(2) with O_NOFOLLOW for each name, links read and followed here
//! ```

use std::time::SystemTime;

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod system;

pub(super) use system::{Root, is_link_loop, name_from_bytes};

/// The metadata of a file that the site needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metadata {
    pub(super) kind: FileKind,
    /// The length in bytes, which is wrong for files that the kernel generates, such as those of proc(5).
    pub(super) length: u64,
    /// Whether the file occupies blocks of its file system. A file that the kernel generates has no blocks.
    pub(super) is_stored: bool,
    /// The time of the last change of the content, if the system can express it. Any user may set it.
    pub(super) modified: Option<SystemTime>,
    /// The time of the last change of content or metadata. Only the kernel sets it.
    pub(super) changed: Option<SystemTime>,
    /// The number of the file system.
    pub(super) device: u64,
    /// The number of the file within its file system.
    pub(super) inode: u64,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(unix, test)), expect(dead_code, reason = "no directory can be opened there"))]
pub(super) enum FileKind {
    Regular,
    Directory,
    /// A pipe, socket or device.
    Special,
}
