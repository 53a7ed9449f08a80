//! A lock is a symbolic link: one system call creates the link with its content, so no process sees half a lock.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// The locks that this process holds, by device and inode. If a lock names this process's id and is not in the set, an
/// earlier process with the same id left it, as happens in containers.
static HELD: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

type Identity = (u64, u64);

/// A lock among processes at a path of the file system. Dropping the value releases the lock.
///
/// The lock is a symbolic link whose target is the id of the process that holds it.
///
/// ```
/// use ropewalk_sys::FileLock;
///
/// let path = std::env::temp_dir().join(format!("ropewalk-lock-{}", std::process::id()));
/// let lock = FileLock::acquire(&path)?;
/// assert!(FileLock::is_locked(&path));
/// assert_eq!(FileLock::acquire(&path).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
/// drop(lock);
/// assert!(!FileLock::is_locked(&path));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FileLock {
    link: PathBuf,
    identity: Identity,
    /// The process that took the lock. A copy of this value in a forked child does not release the lock.
    pid: u32,
}

/// The outcome of an attempt to take a lock.
pub(crate) enum Attempt {
    Taken(FileLock),
    /// A living process holds the lock.
    Held(Pid),
}

/// The thing that a lock protects.
///
/// Process ids are reused: after a restart of the system, or in another container, the id in a lock may be that of a
/// process that knows nothing of the lock.
pub(crate) trait Protected {
    /// Returns whether the protected thing is not in use. Called if another process has the id in the lock.
    fn is_abandoned(&self, lock: &Metadata) -> bool;

    /// Removes what the owner of a stale lock has left behind.
    fn clear(&self) -> io::Result<()>;
}

/// The lock protects nothing that could be examined: only the process counts.
struct Nothing;

impl Protected for Nothing {
    fn is_abandoned(&self, _lock: &Metadata) -> bool {
        false
    }

    fn clear(&self) -> io::Result<()> {
        Ok(())
    }
}

impl FileLock {
    /// Takes the lock at `path`: creates the file there, which dropping the lock removes. Breaks a lock left by a dead
    /// process. Does not block. May be called from any thread.
    ///
    /// # Errors
    /// `WouldBlock` when a living process holds the lock; the message has its id. `InvalidData` when the file at `path`
    /// is not a lock. The errors of symlink(2).
    pub fn acquire(path: &Path) -> io::Result<FileLock> {
        match FileLock::attempt(path, &Nothing)? {
            Attempt::Taken(lock) => Ok(lock),
            Attempt::Held(pid) => {
                let message = format!("{} is held by process {pid}", path.display());
                Err(io::Error::new(ErrorKind::WouldBlock, message))
            }
        }
    }

    /// Returns whether a living process holds the lock at `path`.
    pub fn is_locked(path: &Path) -> bool {
        FileLock::is_held(path, &Nothing)
    }

    /// Returns whether a living process holds the lock of `protected`.
    pub(crate) fn is_held(link: &Path, protected: &impl Protected) -> bool {
        owner(link).is_ok_and(|pid| is_in_use(pid, link, protected, &held()))
    }

    /// Takes the lock of `protected` if it is free or stale.
    pub(crate) fn attempt(link: &Path, protected: &impl Protected) -> io::Result<Attempt> {
        let mut held = held();
        loop {
            match symlink(process::id().to_string(), link) {
                Ok(()) => {
                    let identity = identity(&fs::symlink_metadata(link)?);
                    held.insert(identity);
                    return Ok(Attempt::Taken(FileLock { link: link.to_owned(), identity, pid: process::id() }));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let pid = match owner(link) {
                // The owner released the lock just now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                owner => owner?,
            };
            if is_in_use(pid, link, protected, &held) {
                return Ok(Attempt::Held(pid));
            }
            if take_away(link, pid)? {
                protected.clear()?;
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut held = held();
        if self.pid != process::id() || !held.remove(&self.identity) {
            return;
        }
        if fs::symlink_metadata(&self.link).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            // No caller could handle an error. The next process finds that the owner is gone.
            let _ = fs::remove_file(&self.link);
        }
    }
}

/// Removes the stale lock of `pid`. Returns false if the lock was gone.
///
/// Since we looked, another process may have broken the stale lock and taken the lock itself. So the link is first
/// moved to a name that no other process uses, and moved back if it does not name `pid`.
fn take_away(link: &Path, pid: Pid) -> io::Result<bool> {
    let mut aside = link.as_os_str().to_owned();
    aside.push(format!(".{}", process::id()));
    let aside = PathBuf::from(aside);
    match fs::rename(link, &aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        outcome => outcome?,
    }
    let is_stale = owner(&aside).is_ok_and(|owner| owner == pid);
    let outcome = if is_stale { fs::remove_file(&aside) } else { fs::rename(&aside, link) };
    outcome.map(|()| is_stale)
}

/// Returns whether the process `pid` holds the lock.
fn is_in_use(pid: Pid, link: &Path, protected: &impl Protected, held: &BTreeSet<Identity>) -> bool {
    let Ok(metadata) = fs::symlink_metadata(link) else { return false };
    if pid.as_raw_nonzero().get().unsigned_abs() == process::id() {
        return held.contains(&identity(&metadata));
    }
    // EPERM: the process lives, and belongs to another user.
    test_kill_process(pid) != Err(Errno::SRCH) && !protected.is_abandoned(&metadata)
}

/// Returns the process that a lock names.
fn owner(link: &Path) -> io::Result<Pid> {
    let not_a_lock = || {
        let message = format!("{} is not a lock: it does not name a process", link.display());
        io::Error::new(ErrorKind::InvalidData, message)
    };
    match fs::read_link(link) {
        Ok(target) => {
            let pid = target.to_str().and_then(|target| target.parse().ok()).filter(|&pid| pid > 0);
            pid.and_then(Pid::from_raw).ok_or_else(not_a_lock)
        }
        // EINVAL, readlink(2): the file is not a symbolic link.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(not_a_lock()),
        Err(error) => Err(error),
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn held() -> MutexGuard<'static, BTreeSet<Identity>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ropewalk-file-lock-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_second_attempt_at_a_lock_names_its_holder() {
        let path = path("one");
        let lock = FileLock::acquire(&path).unwrap();
        assert!(FileLock::is_locked(&path));
        let error = FileLock::acquire(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(error.to_string(), format!("{} is held by process {}", path.display(), process::id()));
        drop(lock);
        assert!(!FileLock::is_locked(&path));
        drop(FileLock::acquire(&path).unwrap());
        assert!(fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn a_copy_of_a_lock_in_a_forked_child_does_not_give_it_up() {
        let path = path("forked");
        let mut lock = FileLock::acquire(&path).unwrap();
        let (pid, identity) = (std::mem::replace(&mut lock.pid, 1), lock.identity);
        drop(lock);
        assert!(FileLock::is_locked(&path));
        drop(FileLock { link: path.clone(), identity, pid });
        assert!(!FileLock::is_locked(&path));
    }
}
