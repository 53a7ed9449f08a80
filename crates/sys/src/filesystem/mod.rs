//! The real file system behind the seam.

mod lock;

use std::any::Any;
use std::io;
use std::path::Path;

use crate::seam::Filesystem;
use lock::UnixLock;

/// The file system of this machine.
pub(crate) struct SystemFiles;

impl Filesystem for SystemFiles {
    fn lock_socket(&mut self, path: &Path) -> io::Result<Box<dyn Any>> {
        Ok(Box::new(UnixLock::acquire(path)?))
    }

    fn is_socket_locked(&mut self, path: &Path) -> bool {
        UnixLock::is_locked(path)
    }
}
