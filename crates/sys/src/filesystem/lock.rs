//! A file lock beside the path of a UNIX socket: Twisted's `wantPID` and `checkPID`.
//!
//! A socket file outlives its process, and bind(2) cannot tell whether a process still serves it. So a server can hold
//! `PATH.lock`, a symbolic link to its process id. The lock is broken, and a left-over socket file removed, if
//!
//! - no process has the id,
//! - or no process serves the socket: the process with that id is another program.
//!
//! A server takes the lock before it binds the socket. So a missing socket counts only if the lock is not a new one.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::file_lock::{Attempt, FileLock, Protected};
use crate::socket::service::{Service, service_at};

/// The time that a server may take from its lock to its socket.
const START_MAX: Duration = Duration::from_secs(10);

/// The lock of one socket path. Dropping it releases the lock.
#[derive(Debug)]
pub(super) struct UnixLock {
    _lock: FileLock,
}

impl UnixLock {
    /// # Errors
    /// `AddrInUse` when a living server holds the lock; the message has its id. `InvalidData` when `PATH.lock` is not
    /// a lock. The errors of symlink(2).
    pub(super) fn acquire(path: &Path) -> io::Result<UnixLock> {
        let link = link_of(path);
        match FileLock::attempt(&link, &Socket(path))? {
            Attempt::Taken(lock) => Ok(UnixLock { _lock: lock }),
            Attempt::Held(pid) => {
                let message = format!("{} is served by process {pid}, which holds {}", path.display(), link.display());
                Err(io::Error::new(ErrorKind::AddrInUse, message))
            }
        }
    }

    pub(super) fn is_locked(path: &Path) -> bool {
        FileLock::is_held(&link_of(path), &Socket(path))
    }
}

/// The socket at a path.
struct Socket<'a>(&'a Path);

impl Protected for Socket<'_> {
    fn is_abandoned(&self, lock: &Metadata) -> bool {
        match service_at(self.0) {
            Service::Present => false,
            Service::Absent => true,
            // A lock of the future is old: the clock was set back.
            Service::NoFile => {
                let age = lock.modified().ok().and_then(|made| made.elapsed().ok());
                age.is_none_or(|age| age >= START_MAX)
            }
        }
    }

    fn clear(&self) -> io::Result<()> {
        let is_socket = fs::symlink_metadata(self.0).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket { fs::remove_file(self.0) } else { Ok(()) }
    }
}

fn link_of(path: &Path) -> PathBuf {
    let mut link = OsString::from(path);
    link.push(".lock");
    PathBuf::from(link)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::{self, Command};

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("ropewalk-lock-{}-{name}", process::id()));
            // The system reuses process ids: a killed run may have left a directory with our id.
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

    /// Returns the id of a process that has ended.
    fn dead_pid() -> String {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id().to_string();
        child.wait().unwrap();
        pid
    }

    #[test]
    fn a_lock_names_this_process_until_it_is_dropped() {
        let place = Place::new("own");
        let lock = UnixLock::acquire(&place.socket()).unwrap();
        assert_eq!(fs::read_link(place.link()).unwrap(), PathBuf::from(process::id().to_string()));
        assert!(UnixLock::is_locked(&place.socket()));
        drop(lock);
        assert!(!UnixLock::is_locked(&place.socket()));
        assert!(fs::symlink_metadata(place.link()).is_err());
    }

    #[test]
    fn an_error_names_the_living_process_that_holds_a_lock() {
        let place = Place::new("living");
        let lock = UnixLock::acquire(&place.socket()).unwrap();
        let error = UnixLock::acquire(&place.socket()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&process::id().to_string()), "{error}");
        drop(lock);
        let _server = UnixListener::bind(place.socket()).unwrap();
        symlink("1", place.link()).unwrap();
        assert!(UnixLock::is_locked(&place.socket()), "process 1 always lives");
        assert_eq!(UnixLock::acquire(&place.socket()).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_lock_that_names_another_program_is_stale() {
        let place = Place::new("another");
        drop(UnixListener::bind(place.socket()).unwrap());
        symlink("1", place.link()).unwrap();
        assert!(!UnixLock::is_locked(&place.socket()), "process 1 does not serve the socket");
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
        assert!(!place.socket().exists());
    }

    #[test]
    fn only_a_new_lock_without_a_socket_is_respected() {
        let place = Place::new("starting");
        symlink("1", place.link()).unwrap();
        assert!(UnixLock::is_locked(&place.socket()), "the server may be about to bind");
        let old = Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = Timestamps { last_access: old, last_modification: old };
        utimensat(CWD, place.link(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        assert!(!UnixLock::is_locked(&place.socket()));
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
    }

    #[test]
    fn breaking_a_stale_lock_removes_the_socket_it_left() {
        let place = Place::new("stale");
        drop(UnixListener::bind(place.socket()).unwrap());
        symlink(dead_pid(), place.link()).unwrap();
        assert!(!UnixLock::is_locked(&place.socket()));
        let _lock = UnixLock::acquire(&place.socket()).unwrap();
        assert!(!place.socket().exists());
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1, "only the lock is left");
    }

    #[test]
    fn breaking_a_stale_lock_keeps_a_file_that_is_not_a_socket() {
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
    fn a_file_that_is_not_a_lock_is_left_alone() {
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
