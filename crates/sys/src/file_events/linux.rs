//! inotify(7).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, read};

use super::records::{RENAMED, records};
use super::{FileEntry, FileIdentity, FileRecord, Happened};
use crate::io_handle::RawWaitable;
use crate::system_error::explained_error;

pub(super) const IS_SUPPORTED: bool = true;

#[derive(Debug)]
pub(super) struct Queue(OwnedFd);

impl Queue {
    pub(super) fn open() -> io::Result<Queue> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Queue).map_err(|error| match error {
            Errno::MFILE => explained(
                error,
                "this user has too many watchers of files, or this process too many open files: raise the limit \
                 fs.inotify.max_user_instances with sysctl(8), or the limit on open files",
            ),
            error => error.into(),
        })
    }

    pub(super) fn handle(&self) -> RawWaitable {
        self.0.as_raw_fd()
    }

    pub(super) fn watch(&self, directory: &Path, reported: Happened) -> io::Result<i32> {
        // The entries of a removed directory, and open files without a name, are of no interest.
        let always = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW | WatchFlags::EXCL_UNLINK;
        inotify::add_watch(&self.0, directory, flags(reported) | always).map_err(|error| match error {
            Errno::NOSPC => explained(
                error,
                "the system allows this user no more watched directories: raise the limit \
                 fs.inotify.max_user_watches with sysctl(8), or watch fewer directories",
            ),
            error => error.into(),
        })
    }

    pub(super) fn unwatch(&self, number: i32) {
        // It fails if the directory has been removed meanwhile.
        let _ = inotify::remove_watch(&self.0, number);
    }

    pub(super) fn read(&self, buffer: &mut [u8], each: &mut dyn FnMut(FileRecord<'_>)) -> io::Result<bool> {
        match read(&self.0, &mut *buffer) {
            Ok(length) => {
                records(&buffer[..length]).for_each(each);
                Ok(length > 0)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn flags(reported: Happened) -> WatchFlags {
    let wanted = RENAMED.iter().filter(|(_, happened)| reported.contains(*happened));
    wanted.map(|(flag, _)| WatchFlags::from_bits_retain(flag.bits())).collect()
}

fn explained(error: Errno, message: &str) -> io::Error {
    let cause = io::Error::from(error);
    explained_error(cause.kind(), cause, message)
}

pub(super) fn look_at(path: &Path) -> io::Result<FileEntry> {
    let metadata = fs::symlink_metadata(path)?;
    let identity = FileIdentity {
        device: metadata.dev(),
        file: metadata.ino(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        length: metadata.len(),
        links: metadata.nlink(),
    };
    match metadata.file_type() {
        kind if kind.is_dir() => Ok(FileEntry::Directory(identity)),
        kind if kind.is_symlink() => match fs::read_link(path) {
            Ok(target) => Ok(FileEntry::Link(target)),
            // It was replaced by something else in between.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(FileEntry::File(identity)),
            Err(error) => Err(error),
        },
        _ => Ok(FileEntry::File(identity)),
    }
}
