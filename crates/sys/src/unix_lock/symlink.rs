//! A symbolic link is made in one step with its content, so a lock is never seen half made.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// The locks that this process holds, by device and inode. A lock with this process's id that is not among them was left
/// by an earlier process with the same id, as happens in containers.
static HELD: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

type Identity = (u64, u64);

/// The lock of one socket path, which is given up when it is dropped.
///
/// Drop it after the port that it protects was closed.
#[derive(Debug)]
pub struct UnixLock {
    link: PathBuf,
    identity: Identity,
    /// A copy of this lock in a forked child is not the child's.
    pid: u32,
}

impl UnixLock {
    /// Takes the lock of the socket at `path`. A lock left by a dead process is broken, and the socket file that it left,
    /// if that is a socket, is removed. It does not block. May be called from any thread.
    ///
    /// # Errors
    /// `AddrInUse` when a living process holds it, with that process's id; `InvalidData` when `PATH.lock` is something
    /// else; what symlink(2) answers.
    pub fn acquire(path: &Path) -> io::Result<UnixLock> {
        let link = link_of(path);
        let mut held = held();
        loop {
            match symlink(process::id().to_string(), &link) {
                Ok(()) => {
                    let identity = identity(&fs::symlink_metadata(&link)?);
                    held.insert(identity);
                    return Ok(UnixLock { link, identity, pid: process::id() });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => break_stale(path, &link, &held)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a living process holds the lock of the socket at `path`: a client's `checkPID`.
    pub fn is_locked(path: &Path) -> bool {
        let link = link_of(path);
        owner(&link).is_ok_and(|pid| is_alive(pid, &link, &held()))
    }
}

impl Drop for UnixLock {
    fn drop(&mut self) {
        let mut held = held();
        if self.pid != process::id() || !held.remove(&self.identity) {
            return;
        }
        if fs::symlink_metadata(&self.link).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            // There is nobody to tell; the next process finds that this one is gone.
            let _ = fs::remove_file(&self.link);
        }
    }
}

/// Clears a stale lock and its socket away.
fn break_stale(path: &Path, link: &Path, held: &BTreeSet<Identity>) -> io::Result<()> {
    let pid = match owner(link) {
        // Its owner gave it up just now.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        owner => owner?,
    };
    if is_alive(pid, link, held) {
        let message = format!("{} is served by process {pid}, which holds {}", path.display(), link.display());
        return Err(io::Error::new(ErrorKind::AddrInUse, message));
    }
    if take_away(link, pid)? && is_socket(path) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Removes the stale lock of `pid`; false when it was not there any more.
///
/// Another process may have broken it and taken the lock itself since we looked. So it is first moved to a name that
/// nobody else uses, and put back if it is not what we saw.
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

fn is_alive(pid: Pid, link: &Path, held: &BTreeSet<Identity>) -> bool {
    if pid.as_raw_nonzero().get().unsigned_abs() == process::id() {
        return fs::symlink_metadata(link).is_ok_and(|metadata| held.contains(&identity(&metadata)));
    }
    // EPERM: it lives, and belongs to somebody else.
    test_kill_process(pid) != Err(Errno::SRCH)
}

/// The process that a lock names.
fn owner(link: &Path) -> io::Result<Pid> {
    let not_a_lock = || {
        let message = format!("{} is no lock: it does not name a process", link.display());
        io::Error::new(ErrorKind::InvalidData, message)
    };
    match fs::read_link(link) {
        Ok(target) => {
            let pid = target.to_str().and_then(|target| target.parse().ok()).filter(|&pid| pid > 0);
            pid.and_then(Pid::from_raw).ok_or_else(not_a_lock)
        }
        // EINVAL, readlink(2): it is not a symbolic link.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(not_a_lock()),
        Err(error) => Err(error),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn link_of(path: &Path) -> PathBuf {
    let mut link = OsString::from(path);
    link.push(".lock");
    PathBuf::from(link)
}

fn held() -> MutexGuard<'static, BTreeSet<Identity>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("ropewalk-lock-{}-{name}", process::id()));
            // Process numbers come again: a run that was ended may have left a directory with ours.
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Place(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("socket")
        }

        fn link(&self) -> PathBuf {
            self.0.join("socket.lock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// The id of a process that has ended.
    fn dead_pid() -> String {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id().to_string();
        child.wait().unwrap();
        pid
    }

    #[test]
    fn a_lock_names_this_process_and_goes_when_it_is_dropped() {
        let place = Place::new("own");
        let lock = UnixLock::acquire(&place.socket()).unwrap();
        assert_eq!(fs::read_link(place.link()).unwrap(), PathBuf::from(process::id().to_string()));
        assert!(UnixLock::is_locked(&place.socket()));
        drop(lock);
        assert!(!UnixLock::is_locked(&place.socket()));
        assert!(fs::symlink_metadata(place.link()).is_err());
    }

    #[test]
    fn a_copy_of_a_lock_in_a_forked_child_does_not_give_it_up() {
        let place = Place::new("forked");
        let mut lock = UnixLock::acquire(&place.socket()).unwrap();
        let (pid, identity) = (std::mem::replace(&mut lock.pid, 1), lock.identity);
        drop(lock);
        assert!(UnixLock::is_locked(&place.socket()));
        drop(UnixLock { link: place.link(), identity, pid });
        assert!(!UnixLock::is_locked(&place.socket()));
    }

    #[test]
    fn a_lock_of_a_living_process_is_respected_and_named() {
        let place = Place::new("living");
        let lock = UnixLock::acquire(&place.socket()).unwrap();
        let error = UnixLock::acquire(&place.socket()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&process::id().to_string()), "{error}");
        drop(lock);
        symlink("1", place.link()).unwrap();
        assert!(UnixLock::is_locked(&place.socket()), "process 1 always lives");
        assert_eq!(UnixLock::acquire(&place.socket()).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_lock_is_broken_and_the_socket_it_left_is_removed() {
        let place = Place::new("stale");
        drop(UnixListener::bind(place.socket()).unwrap());
        symlink(dead_pid(), place.link()).unwrap();
        assert!(!UnixLock::is_locked(&place.socket()));
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
        assert!(!place.socket().exists());
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1, "nothing but the lock is left");
    }

    #[test]
    fn a_stale_lock_does_not_cost_a_file_that_is_no_socket() {
        let place = Place::new("precious");
        fs::write(place.socket(), "precious").unwrap();
        symlink(dead_pid(), place.link()).unwrap();
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
        assert_eq!(fs::read(place.socket()).unwrap(), b"precious");
    }

    #[test]
    fn a_socket_without_a_lock_is_left_alone() {
        let place = Place::new("unlocked");
        drop(UnixListener::bind(place.socket()).unwrap());
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
        assert!(place.socket().exists());
    }

    /// A container's processes have the same id at each start.
    #[test]
    fn a_lock_left_by_an_earlier_process_with_our_id_is_stale() {
        let place = Place::new("namesake");
        symlink(process::id().to_string(), place.link()).unwrap();
        assert!(!UnixLock::is_locked(&place.socket()));
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
    }

    #[test]
    fn what_is_not_a_lock_is_neither_broken_nor_obeyed() {
        let place = Place::new("garbage");
        for target in ["elsewhere", "-1", "0", ""] {
            let _ = fs::remove_file(place.link());
            let made = if target.is_empty() { fs::write(place.link(), "") } else { symlink(target, place.link()) };
            made.unwrap();
            assert_eq!(UnixLock::acquire(&place.socket()).unwrap_err().kind(), ErrorKind::InvalidData, "{target}");
            assert!(!UnixLock::is_locked(&place.socket()));
            assert!(fs::symlink_metadata(place.link()).is_ok());
        }
    }
}
