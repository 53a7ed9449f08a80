//! The file of a listening UNIX socket.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, Stat, lstat, unlink};
use rustix::net::{SocketAddrAny, bind};
use rustix::process::umask;

/// The mask belongs to the process: two threads that change it in turns would restore each other's value.
static MASK: Mutex<()> = Mutex::new(());

/// The file that bind(2) made. Dropping the value removes the file, unless another file has taken its place.
pub(crate) struct SocketFile {
    path: PathBuf,
    stat: Stat,
    /// The process that removes the file. A forked child's copy does not remove it, unless the child continues to
    /// serve.
    owner: Cell<u32>,
}

impl SocketFile {
    /// Binds the socket to `address`, which is `path`. The new file has the permission bits `mode`, or those that the
    /// process's mask leaves.
    pub(super) fn bind(
        socket: &OwnedFd,
        address: &SocketAddrAny,
        path: &Path,
        mode: Option<u32>,
    ) -> io::Result<Box<SocketFile>> {
        match mode {
            Some(mode) => with_mask(!mode & 0o777, || bind(socket, address))?,
            None => bind(socket, address)?,
        }
        Ok(Box::new(SocketFile { path: path.to_owned(), stat: lstat(path)?, owner: Cell::new(process::id()) }))
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

/// Does `work` while `mask` is the mask for new files: umask(2). The mask belongs to the process, so a file that
/// another thread creates meanwhile gets its permissions from this mask too.
///
/// A file that is made with its permissions needs no chmod(2) afterwards. chmod(2) would follow a symbolic link that
/// another user has put in the file's place.
fn with_mask<R>(mask: u32, work: impl FnOnce() -> R) -> R {
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::from_raw_mode(mask as _));
    let outcome = work();
    umask(before);
    outcome
}
