//! Opens the files that the program writes: the log and the pid file.
//!
//! Root may write everywhere, so the choice of a file must be root's own. While the process is root:
//!
//! - A symbolic link is followed only in a directory that belongs to root and that no other user may write.
//! - A file belongs to root or to the user that the process will become, and has one name, also behind a link.
//!
//! Any other user has its own rights only, and its paths are opened as usual.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use ropewalk::application::Identity;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::system::Access;

/// The mode of a new file, before the process's mask.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// Opens a file for a process that is or becomes `user`. Does not wait for the other end of a pipe.
pub(crate) fn open_file(path: &Path, access: Access, user: Identity) -> io::Result<File> {
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | flags(access);
    let opened = match geteuid().is_root() {
        true => open_as_root(path, flags, user),
        false => openat(CWD, path, flags, MODE).map_err(io::Error::from),
    };
    opened.map(File::from).map_err(|error| match error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
        true => io::Error::new(error.kind(), "the pipe has no reader"),
        false => error,
    })
}

fn flags(access: Access) -> OFlags {
    match access {
        Access::Append => OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE,
        Access::Read => OFlags::RDONLY,
        Access::Update => OFlags::RDWR | OFlags::CREATE,
    }
}

fn open_as_root(path: &Path, flags: OFlags, user: Identity) -> io::Result<OwnedFd> {
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let directory = directory_of(path)?;
    let file = match openat(&directory, name, flags | OFlags::NOFOLLOW, MODE) {
        Err(_) if is_link(&directory, name.as_ref()) => {
            if is_writable_by_others(&directory)? {
                return Err(refused_link());
            }
            openat(&directory, name, flags, MODE)?
        }
        opened => opened?,
    };
    check(&fstat(&file)?, user)?;
    Ok(file)
}

/// Opens the directory of a file, one component after another.
fn directory_of(path: &Path) -> io::Result<OwnedFd> {
    const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
    let start = if path.is_absolute() { "/" } else { "." };
    let mut directory = openat(CWD, start, DIRECTORY, Mode::empty())?;
    for component in path.parent().into_iter().flat_map(Path::components) {
        if !matches!(component, Component::Normal(_) | Component::ParentDir) {
            continue;
        }
        let name = Path::new(component.as_os_str());
        let is_shared = is_writable_by_others(&directory)?;
        if is_shared && is_link(&directory, name) {
            return Err(refused_link());
        }
        // A link may appear after the check.
        let follow = if is_shared { OFlags::NOFOLLOW } else { OFlags::empty() };
        directory = openat(&directory, name, DIRECTORY | follow, Mode::empty())?;
    }
    Ok(directory)
}

fn is_link(directory: impl AsFd, name: &Path) -> bool {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
}

/// Whether a user other than root may create files in a directory.
fn is_writable_by_others(directory: impl AsFd) -> io::Result<bool> {
    let stat = fstat(directory)?;
    Ok(stat.st_uid != 0 || Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH))
}

fn check(stat: &Stat, user: Identity) -> io::Result<()> {
    // A device or pipe contains nothing that could be spoilt.
    if file_type(stat) != FileType::RegularFile {
        return Ok(());
    }
    if stat.st_uid != 0 && Some(stat.st_uid) != user.uid {
        let message = format!(
            "it belongs to the user {}: expected a file of root or of the user that the program switches to",
            stat.st_uid
        );
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    if stat.st_nlink > 1 {
        let message = "it is a hard link: expected a file with one name";
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

fn refused_link() -> io::Error {
    let message = "it leads through a symbolic link in a directory that other users may write";
    io::Error::new(ErrorKind::PermissionDenied, message)
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
