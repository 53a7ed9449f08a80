//! Systems without openat2(2).

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Stat, statat};

use super::walk::resolve;

pub(super) use super::walk::open;

/// Returns the metadata of `path` below `root`.
pub(super) fn stat(root: BorrowedFd<'_>, path: &Path) -> io::Result<Stat> {
    resolve(root, path, |directory, name| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW))
}
