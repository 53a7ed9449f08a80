//! The pid file: it contains the id of a running process.
//!
//! The process holds a lock on it, flock(2), until it exits. So an unlocked file of this program is stale, whatever id it
//! contains. Other programs write pid files without a lock, so the id of a running process is respected, too.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use ropewalk::application::Identity;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

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
                taken.refuse_if_running()?;
                return Ok(taken);
            }
        }
    }

    fn refuse_if_running(&mut self) -> Result<(), String> {
        let path = self.path.display().to_string();
        let content = read(&mut self.file).map_err(|error| format!("cannot read the pid file {path}: {error}"))?;
        match content.trim() {
            "" => Ok(()),
            text => match text.parse().ok().filter(|&pid| pid > 0).and_then(Pid::from_raw) {
                None => Err(format!("{path} is not a pid file: it contains '{}'", text.escape_debug())),
                Some(pid) if is_running(pid) => Err(format!(
                    "the pid file {path} names process {pid}, which is running: stop it, or remove the file if that is \
                     another program"
                )),
                Some(pid) => {
                    tracing::info!(file = path, %pid, "replacing a stale pid file");
                    Ok(())
                }
            },
        }
    }

    /// Writes the id of this process.
    pub(crate) fn write(&mut self) -> Result<(), String> {
        let written = self.file.rewind().and_then(|()| self.file.set_len(0));
        let written = written.and_then(|()| writeln!(self.file, "{}", process::id()));
        written.map_err(|error| format!("cannot write the pid file {}: {error}", self.path.display()))
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

fn read(file: &mut File) -> std::io::Result<String> {
    let mut content = Vec::new();
    file.take(CONTENT_BYTES_MAX).read_to_end(&mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Our own id is stale: in a container, an earlier process may have had the same id.
fn is_running(pid: Pid) -> bool {
    let is_own = pid.as_raw_nonzero().get().unsigned_abs() == process::id();
    !is_own && test_kill_process(pid) != Err(Errno::SRCH) && !is_ending(pid)
}

/// Whether a process is a zombie or is exiting. Without proc(5), it counts as running.
///
/// The first process of many containers never reaps zombies. The pipe of an exiting process is closed before its id is
/// free, so a script that waits for the pipe may start the next process too early.
fn is_ending(pid: Pid) -> bool {
    // PF_EXITING of include/linux/sched.h.
    const EXITING: u32 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may contain any characters.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let flags = fields.split(' ').nth(6).and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
    fields.starts_with(['Z', 'X']) || flags & EXITING != 0
}

/// Returns a path that stays valid after a change of directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
