//! fork(2), setsid(2), socketpair(2).

use std::io;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, WaitOptions, setsid, waitpid};

use super::{Detached, threads};

pub(super) fn detach() -> io::Result<Detached> {
    let threads = threads::count()?;
    if threads != 1 {
        let message = format!("a process with {threads} threads cannot go into the background: start threads later");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let (reader, writer) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    // No other thread can start a program before the flags are set.
    for end in [&reader, &writer] {
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
    }
    match fork()? {
        Some(child) => {
            drop(writer);
            // Waits only to leave no zombie, because the daemon itself reports its start.
            let _ = waitpid(Some(child), WaitOptions::empty());
            Ok(Detached::Parent(reader))
        }
        None => {
            drop(reader);
            match setsid().map_err(io::Error::from).and_then(|_| fork()) {
                Ok(None) => Ok(Detached::Daemon(writer)),
                // SAFETY: _exit(2) has no precondition. The parent sees the end without a report. Buffered
                // output is left for the parent to write.
                _ => unsafe { libc::_exit(0) },
            }
        }
    }
}

/// Returns the child's id in the parent, and `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: this is the only thread: `detach` has counted, and a child of fork has one thread. So no lock is held,
    // and no other thread has work half done.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}
