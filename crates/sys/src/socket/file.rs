//! The file of a listening UNIX socket.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{Mode, Stat, chmod, lstat, unlink};

/// The file that bind(2) made. Dropping the value removes the file, unless another file has taken its place.
pub(crate) struct SocketFile {
    path: PathBuf,
    stat: Stat,
    /// The process that removes the file. A forked child's copy does not remove it, unless the child continues to
    /// serve.
    owner: Cell<u32>,
}

impl SocketFile {
    /// Takes charge of the file that was just bound.
    pub(super) fn new(path: &Path) -> io::Result<Box<SocketFile>> {
        Ok(Box::new(SocketFile { path: path.to_owned(), stat: lstat(path)?, owner: Cell::new(process::id()) }))
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(chmod(&self.path, Mode::from_raw_mode(mode as _))?)
    }

    /// Makes this process the one that removes the file.
    pub(crate) fn claim(&self) {
        self.owner.set(process::id());
    }

    fn is_still_there(&self) -> bool {
        lstat(&self.path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (self.stat.st_dev, self.stat.st_ino))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner.get() == process::id() && self.is_still_there() {
            // An error changes nothing: the socket is gone either way.
            let _ = unlink(&self.path);
        }
    }
}
