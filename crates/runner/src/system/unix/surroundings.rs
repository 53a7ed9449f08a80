//! chroot(2), chdir(2), umask(2), fchown(2), open(2).

use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use ropewalk::application::Identity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{chroot, geteuid, umask};

use crate::system::Surroundings;

/// Makes a directory the root of all paths.
pub(crate) fn enter_root(surroundings: &Surroundings<'_>) -> Result<(), String> {
    if let Some(root) = surroundings.chroot {
        let entered = chroot(root).map_err(io::Error::from).and_then(|()| env::set_current_dir("/"));
        entered.map_err(|error| format!("cannot make {} the root directory: {error}", root.display()))?;
    }
    Ok(())
}

/// Goes there, and sets the mask.
pub(crate) fn enter_directory(surroundings: &Surroundings<'_>) -> Result<(), String> {
    if let Some(directory) = surroundings.rundir {
        let changed = env::set_current_dir(directory);
        changed.map_err(|error| format!("cannot change to the directory {}: {error}", directory.display()))?;
    }
    if let Some(mask) = surroundings.umask {
        umask(Mode::from_raw_mode(mask as _));
    }
    Ok(())
}

/// Whether this process is somebody else's than the user's of this number.
pub(crate) fn is_another(uid: u32) -> bool {
    geteuid().as_raw() != uid
}

/// Makes a file theirs who will go on writing it.
pub(crate) fn give_to(file: &File, identity: Identity) -> io::Result<()> {
    if identity == Identity::default() { Ok(()) } else { fchown(file, identity.uid, identity.gid) }
}

/// Opens what is to be written, so that nothing waits: not the opening of a pipe for a reader, and not a write for room.
pub(crate) fn open_without_waiting(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let opened = options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    opened.map_err(|error| match error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
        true => io::Error::new(error.kind(), "it is a pipe that nobody reads"),
        false => error,
    })
}
