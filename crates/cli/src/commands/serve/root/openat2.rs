//! openat2(2): the kernel resolves the whole path and stays beneath the directory.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::{outside, walk};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// Opens `path` below `root`.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
        // Linux before 5.6 lacks the call, a sandbox may deny it, and a rename may disturb its resolution of "..".
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => walk::open(root, path, flags),
        Err(Errno::XDEV) => Err(outside()),
        outcome => Ok(outcome?),
    }
}

/// Returns the metadata of `path` below `root`.
pub(super) fn stat(root: BorrowedFd<'_>, path: &Path) -> io::Result<Stat> {
    Ok(fstat(open(root, path, OFlags::PATH)?)?)
}
