//! The file that holds the number of a running process.
//!
//! It is locked, flock(2), as long as the process lives, so a lock that can be had shows a stale file whatever number
//! stands in it. Other programs write such files without a lock: a number of a living process is respected, too.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A number, and a newline.
const CONTENT_BYTES_MAX: u64 = 32;

/// The pid file of this process.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Takes the file, which says nothing yet, before forking.
    pub(crate) fn take(path: &Path) -> Result<PidFile, String> {
        // It is removed in the end, which must not happen to a device.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(format!("cannot use {} as the pid file: it is no regular file", path.display()));
        }
        loop {
            let file = open_locked(path)?;
            // Its owner may have removed it between our opening and our locking it.
            if names(path, &file) {
                let mut taken = PidFile { path: absolute(path), file };
                taken.refuse_if_alive()?;
                return Ok(taken);
            }
        }
    }

    fn refuse_if_alive(&mut self) -> Result<(), String> {
        let shown = self.path.display().to_string();
        let content = read(&mut self.file).map_err(|error| format!("cannot read the pid file {shown}: {error}"))?;
        match content.trim() {
            "" => Ok(()),
            text => match text.parse().ok().filter(|&pid| pid > 0).and_then(Pid::from_raw) {
                None => Err(format!("{shown} is no pid file: it says '{}'", text.escape_debug())),
                Some(pid) if is_alive(pid) => Err(format!(
                    "the pid file {shown} names process {pid}, which is running: stop it, or remove the file if that is \
                     another program"
                )),
                Some(pid) => {
                    tracing::info!(file = shown, %pid, "a stale pid file is taken over");
                    Ok(())
                }
            },
        }
    }

    /// Writes this process's number.
    pub(crate) fn write(&mut self) -> Result<(), String> {
        let written = self.file.rewind().and_then(|()| self.file.set_len(0));
        let written = written.and_then(|()| writeln!(self.file, "{}", process::id()));
        written.map_err(|error| format!("cannot write the pid file {}: {error}", self.path.display()))
    }

    /// Removes it, unless somebody has put another in its place. Where it cannot be removed or looked at any more, it is
    /// emptied.
    pub(crate) fn remove(self) {
        if names(&self.path, &self.file) {
            match fs::remove_file(&self.path) {
                Ok(()) => return,
                Err(error) => tracing::debug!(file = %self.path.display(), %error, "cannot remove the pid file"),
            }
        }
        // Whatever has the name: this one is ours, and is to name nobody.
        let _ = self.file.set_len(0);
    }
}

/// Whether this is the file of that name.
fn names(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

fn open_locked(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
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

/// A container's processes have the same number at each start: ours was left by an earlier one.
fn is_alive(pid: Pid) -> bool {
    let is_own = pid.as_raw_nonzero().get().unsigned_abs() == process::id();
    !is_own && test_kill_process(pid) != Err(Errno::SRCH) && !is_ending(pid)
}

/// Whether it has ended, and its parent has not asked for its status: the first process of many containers never does.
/// Or it is about to have: whoever waits for the end of its pipe hears of that before there is no such process. proc(5),
/// stat; where there is no such file it counts as alive.
fn is_ending(pid: Pid) -> bool {
    // Of the flags: include/linux/sched.h, PF_EXITING.
    const EXITING: u32 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may contain anything.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let flags = fields.split(' ').nth(6).and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
    fields.starts_with(['Z', 'X']) || flags & EXITING != 0
}

/// The same path after a change of directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
