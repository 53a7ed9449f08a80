//! Resolves a path name by name, where openat2(2) is missing.
//!
//! No call here follows a link: each name is opened with O_NOFOLLOW in a directory that is already open. Links are read
//! and their names are resolved in turn. At `..` the walk returns to the directory that it passed before. `..` itself is
//! never opened, so a directory that is moved meanwhile cannot lead out of the root.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use super::outside;

/// The number of links that Linux follows: path_resolution(7).
const LINKS_MAX: usize = 40;

/// Opens a directory only to search it, which needs no permission to read it.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) const SEARCH: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(super) const SEARCH: OFlags = OFlags::RDONLY;

/// A name that has yet to be resolved.
type Name = Vec<u8>;

/// Opens `path` below `root`.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    resolve(root, path, |directory, name| {
        openat(directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    })
}

/// Resolves all names but the last one, and passes the last one with its directory to `last`. The last name is not a
/// link.
pub(super) fn resolve<R>(
    root: BorrowedFd<'_>,
    path: &Path,
    last: impl FnOnce(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<R>,
) -> io::Result<R> {
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut names = VecDeque::new();
    let mut links = 0;
    prepend(&mut names, path.as_os_str().as_bytes())?;
    loop {
        let directory = passed.last().map_or(root, AsFd::as_fd);
        let name = names.pop_front().unwrap_or_default();
        match &name[..] {
            b"" | b"." if names.is_empty() => return Ok(last(directory, b".")?),
            b"" | b"." => continue,
            b".." => {
                passed.pop().ok_or_else(outside)?;
                continue;
            }
            _ => {}
        }
        if let Some(target) = link_target(directory, &name)? {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP.into());
            }
            prepend(&mut names, &target)?;
        } else if names.is_empty() {
            return Ok(last(directory, &name)?);
        } else {
            let flags = SEARCH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            passed.push(openat(directory, &name[..], flags, Mode::empty())?);
        }
    }
}

/// Puts the names of a path before the names that are still to be resolved. An empty last name stands for a slash at
/// the end of the path: the name before the slash must be a directory.
fn prepend(names: &mut VecDeque<Name>, path: &[u8]) -> io::Result<()> {
    if path.starts_with(b"/") {
        return Err(outside());
    }
    for name in path.split(|byte| *byte == b'/').rev() {
        names.push_front(name.to_vec());
    }
    Ok(())
}

/// Returns the target of a link, and `None` for any other file.
fn link_target(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    match readlinkat(directory, name, Vec::new()) {
        Ok(target) => Ok(Some(target.into_bytes())),
        Err(Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
