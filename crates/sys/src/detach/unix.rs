//! fork(2), setsid(2).

use std::io;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::pipe;
use rustix::process::{Pid, WaitOptions, setsid, waitpid};

use super::{Detached, threads};

pub(super) fn detach() -> io::Result<Detached> {
    let threads = threads::count()?;
    if threads != 1 {
        let message = format!("a process with {threads} threads cannot go into the background: fork comes first");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let (reader, writer) = pipe()?;
    // There is no other thread that could start a program in between.
    for end in [&reader, &writer] {
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
    }
    match fork()? {
        Some(child) => {
            drop(writer);
            // Only to leave no zombie: the daemon itself says how it went.
            let _ = waitpid(Some(child), WaitOptions::empty());
            Ok(Detached::Parent(reader))
        }
        None => {
            drop(reader);
            match setsid().map_err(io::Error::from).and_then(|_| fork()) {
                Ok(None) => Ok(Detached::Daemon(writer)),
                // The parent sees the end of the file if there is no daemon.
                // SAFETY: _exit(2) has no condition. Buffered output is the parent's to write.
                _ => unsafe { libc::_exit(0) },
            }
        }
    }
}

/// The child in the parent, `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is no other thread (`detach` has counted, and no other thread could have started one since; a
    // child of fork has one thread), so no lock is held and nothing is half done that the child would miss.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}
