//! Calls that change the process or open its files: chroot(2), chdir(2), umask(2), fchown(2), open(2).

use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use ropewalk::application::Identity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{chroot, geteuid, umask};

use crate::system::Directories;

/// Changes the root directory, and enters it.
pub(crate) fn change_root(directories: &Directories<'_>) -> Result<(), String> {
    if let Some(root) = directories.chroot {
        let entered = chroot(root).map_err(io::Error::from).and_then(|()| env::set_current_dir("/"));
        entered.map_err(|error| format!("cannot change the root directory to {}: {error}", root.display()))?;
    }
    Ok(())
}

/// Changes the working directory, and sets the mask for new files.
pub(crate) fn change_directory(directories: &Directories<'_>) -> Result<(), String> {
    if let Some(directory) = directories.rundir {
        let changed = env::set_current_dir(directory);
        changed.map_err(|error| format!("cannot change to the directory {}: {error}", directory.display()))?;
    }
    if let Some(mask) = directories.umask {
        umask(Mode::from_raw_mode(mask as _));
    }
    Ok(())
}

/// Whether `uid` is not the effective user of this process.
pub(crate) fn is_other_user(uid: u32) -> bool {
    geteuid().as_raw() != uid
}

/// Changes the owner of a file to the user and group that will write it.
pub(crate) fn change_owner(file: &File, identity: Identity) -> io::Result<()> {
    if identity == Identity::default() { Ok(()) } else { fchown(file, identity.uid, identity.gid) }
}

/// Opens a file for writing without blocking. If it is a pipe, neither open nor write waits for its reader.
pub(crate) fn open_nonblocking(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let opened = options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    opened.map_err(|error| match error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
        true => io::Error::new(error.kind(), "the pipe has no reader"),
        false => error,
    })
}
