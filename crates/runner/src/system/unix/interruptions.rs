//! Waits for the interruption of a start: a stop signal, or the end of the command that started this daemon.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ropewalk::sys::signals::{STOP_SIGNALS, SignalGuard};
use ropewalk::sys::{Wake, Waker};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::daemon::Reporter;
use crate::system::Interruption;

/// The events that interrupt the start of this process. One thread waits for them.
pub(crate) struct Interruptions {
    signals: OnceLock<SignalGuard>,
    bell: Arc<Bell>,
    /// The other end of the bell.
    rung: UnixStream,
    /// The socket to the command that started this daemon.
    command: Option<Arc<File>>,
    is_over: AtomicBool,
}

/// Wakes the thread that waits.
struct Bell(UnixStream);

impl Wake for Bell {
    /// Async-signal-safe: send(2).
    fn wake(&self) {
        // A full socket is readable already.
        let _ = (&self.0).write(&[0]);
    }
}

impl Interruptions {
    /// Opens the socket that wakes the thread. From here on, the end of the reporter's command is an interruption.
    pub(crate) fn open(reporter: Option<&Reporter>) -> io::Result<Interruptions> {
        let (bell, rung) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rung.set_nonblocking(true)?;
        Ok(Interruptions {
            signals: OnceLock::new(),
            bell: Arc::new(Bell(bell)),
            rung,
            command: reporter.map(Reporter::socket),
            is_over: AtomicBool::new(false),
        })
    }

    /// Makes stop signals an interruption. They no longer have their default effect.
    pub(crate) fn catch_signals(&self) -> io::Result<()> {
        let guard = SignalGuard::install(STOP_SIGNALS, Waker::new(self.bell.clone()))?;
        let _ = self.signals.set(guard);
        Ok(())
    }

    /// Waits for an interruption. Returns `None` after [`end`](Interruptions::end).
    pub(crate) fn wait(&self) -> Option<Interruption> {
        loop {
            let mut sources = vec![PollFd::new(&self.rung, PollFlags::IN)];
            // The command never writes, so its socket becomes readable when the command has ended.
            sources.extend(self.command.as_ref().map(|command| PollFd::new(command, PollFlags::IN)));
            match poll(&mut sources, None) {
                // EINTR: the signal has rung the bell.
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot wait for interruptions of the start");
                    return None;
                }
            }
            let has_command_ended = sources.get(1).is_some_and(|socket| !socket.revents().is_empty());
            let _ = (&self.rung).read(&mut [0; 64]);
            if self.is_over.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(signal) = self.signals.get().and_then(SignalGuard::take) {
                return Some(Interruption::Signal(signal));
            }
            if has_command_ended {
                return Some(Interruption::CommandEnded);
            }
        }
    }

    /// Makes the wait return.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.bell.wake();
    }
}
