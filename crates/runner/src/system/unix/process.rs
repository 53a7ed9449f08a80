//! Calls that change the process or the owner of its files: chroot(2), chdir(2), umask(2), fchown(2).

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::fchown;

use ropewalk::application::Identity;
use rustix::fs::Mode;
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
