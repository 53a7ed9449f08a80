//! Unix.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, statat};
use rustix::io::Errno;

use super::{FileKind, Metadata};

#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "openat2.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "walk_only.rs")]
mod beneath;
#[cfg(test)]
mod tests;
mod walk;

/// Opening a pipe must not wait for a writer, and opening a terminal must not make it this process's controlling
/// terminal.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open directory.
pub(in super::super) struct Root(OwnedFd);

impl Root {
    /// Opens a directory by any path.
    ///
    /// # Errors
    /// Errors of open(2).
    pub(in super::super) fn open(directory: &Path) -> io::Result<Root> {
        let flags = walk::SEARCH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root(open(directory, flags, Mode::empty())?))
    }

    /// Returns the metadata of `path`, and follows links. Works for files that may not be read.
    ///
    /// # Errors
    /// `PermissionDenied` if a link leads out of the directory, and errors of stat(2).
    pub(in super::super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        Ok(metadata(&beneath::stat(self.0.as_fd(), path)?))
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// `PermissionDenied` if a link leads out of the directory or the file is not regular, and errors of open(2).
    pub(in super::super) fn open_file(&self, path: &Path) -> io::Result<(File, Metadata)> {
        // Opening a device may have side effects, so the kind of the file is checked first. The file may be replaced
        // between that check and the opening, so the kind is checked again.
        refuse_special(self.metadata(path)?)?;
        let file = beneath::open(self.0.as_fd(), path, READ)?;
        let metadata = refuse_special(metadata(&fstat(&file)?))?;
        Ok((file.into(), metadata))
    }

    /// Returns the names in a directory, without `.` and `..`.
    ///
    /// # Errors
    /// `PermissionDenied` if a link leads out of the directory, and errors of open(2). An error of readdir(3) stops the
    /// iteration.
    pub(in super::super) fn names(&self, path: &Path) -> io::Result<impl Iterator<Item = OsString> + use<>> {
        let entries = Dir::new(beneath::open(self.0.as_fd(), path, READ | OFlags::DIRECTORY)?)?;
        let names = entries.map_while(Result::ok).map(|entry| entry.file_name().to_bytes().to_vec());
        Ok(names.filter(|name| name != b"." && name != b"..").map(OsString::from_vec))
    }

    /// Checks that this process may search the directory for names.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(in super::super) fn check_search_permission(&self) -> io::Result<()> {
        // Any name serves for this check. The file need not exist.
        match statat(&self.0, "index.html", AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::ACCESS) => Err(Errno::ACCESS.into()),
            _ => Ok(()),
        }
    }
}

/// Converts the bytes of a decoded URL into a name. All bytes are valid in names, except for NUL and the slash.
pub(in super::super) fn name_from_bytes(bytes: Vec<u8>) -> Option<OsString> {
    Some(OsString::from_vec(bytes))
}

/// Whether an error means too many levels of links: ELOOP, for which std has no kind.
pub(in super::super) fn is_link_loop(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// The error for a link that leads out of the directory.
fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a link leads out of the served directory")
}

fn refuse_special(metadata: Metadata) -> io::Result<Metadata> {
    match metadata.kind {
        FileKind::Regular => Ok(metadata),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a regular file")),
    }
}

fn metadata(stat: &Stat) -> Metadata {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        _ => FileKind::Special,
    };
    let length = stat.st_size.try_into().unwrap_or(0);
    Metadata {
        kind,
        length,
        is_stored: stat.st_blocks > 0,
        modified: system_time(stat.st_mtime, stat.st_mtime_nsec),
        changed: system_time(stat.st_ctime, stat.st_ctime_nsec),
        device: number(stat.st_dev),
        inode: number(stat.st_ino),
    }
}

/// The types of the fields of stat(2) differ from system to system.
fn number(field: impl TryInto<u64>) -> u64 {
    field.try_into().unwrap_or(u64::MAX)
}

/// Converts a time of stat(2).
fn system_time(seconds: impl TryInto<i64>, nanoseconds: impl TryInto<u64>) -> Option<SystemTime> {
    let (seconds, nanoseconds) = (seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    time?.checked_add(Duration::from_nanos(nanoseconds))
}
