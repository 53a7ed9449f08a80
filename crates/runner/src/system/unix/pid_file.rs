//! The pid file: it contains the id of a running process.
//!
//! The process holds a lock on it, flock(2), until it exits. So an unlocked file is stale, whatever id it contains. The
//! id alone says little: after a restart of the system, or in a container, another process may have it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use ropewalk::application::Identity;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::open_file::open_file;
use crate::system::Access;

/// An id and a newline fit into this.
const CONTENT_BYTES_MAX: u64 = 32;

/// The pid file of this process.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Opens and locks the file before the fork, for a process that becomes `user`. The id is written later, by the
    /// daemon.
    pub(crate) fn take(path: &Path, user: Identity) -> Result<PidFile, String> {
        // A device must not be removed at the end.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(format!("cannot use {} as the pid file: it is not a regular file", path.display()));
        }
        loop {
            let file = open_locked(path, user)?;
            // Another process may have removed the file between open and lock.
            if is_at(path, &file) {
                let mut taken = PidFile { path: absolute(path), file };
                taken.refuse_foreign_content()?;
                return Ok(taken);
            }
        }
    }

    /// Leaves a file alone that is not a pid file.
    fn refuse_foreign_content(&mut self) -> Result<(), String> {
        let path = self.path.display();
        let content = read(&mut self.file).map_err(|error| format!("cannot read the pid file {path}: {error}"))?;
        let text = content.trim();
        match text.parse::<u32>().is_ok_and(|pid| pid > 0) || text.is_empty() {
            true => Ok(()),
            false => Err(format!("{path} is not a pid file: it contains '{}'", text.escape_debug())),
        }
    }

    /// Writes the id of this process.
    pub(crate) fn write(&mut self) -> Result<(), String> {
        let mut replace = || {
            self.file.rewind()?;
            // Truncating a file to nothing makes ext4 write it to the disk when it is closed: mount(8), auto_da_alloc.
            // A process that removes its new pid file would wait for a busy disk before it exits.
            if self.file.metadata()?.len() > 0 {
                self.file.set_len(0)?;
            }
            self.file.write_all(format!("{}\n", process::id()).as_bytes())
        };
        replace().map_err(|error: io::Error| format!("cannot write the pid file {}: {error}", self.path.display()))
    }

    /// Removes the file, unless another file has replaced it. A file that cannot be removed is emptied.
    pub(crate) fn remove(self) {
        if is_at(&self.path, &self.file) {
            match fs::remove_file(&self.path) {
                Ok(()) => return,
                Err(error) => tracing::debug!(file = %self.path.display(), %error, "cannot remove the pid file"),
            }
        }
        // The open file is ours, whatever has its name now. It must not contain a stale id.
        let _ = self.file.set_len(0);
    }
}

/// Whether `file` is the file at `path`.
fn is_at(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

fn open_locked(path: &Path, user: Identity) -> Result<File, String> {
    let shown = path.display();
    let opened = open_file(path, Access::Update, user);
    let mut file = opened.map_err(|error| format!("cannot open the pid file {shown}: {error}"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let holder = read(&mut file).unwrap_or_default();
            let holder = holder.trim().parse::<u32>().map_or("a process".to_owned(), |pid| format!("process {pid}"));
            Err(format!("{holder} is running and holds the pid file {shown}"))
        }
        Err(error) => Err(format!("cannot lock the pid file {shown}: {error}")),
    }
}

fn read(file: &mut File) -> io::Result<String> {
    let mut content = Vec::new();
    file.take(CONTENT_BYTES_MAX).read_to_end(&mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Returns a path that stays valid after a change of directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
