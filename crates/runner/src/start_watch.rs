//! Ends an interrupted start, even if a service blocks the reactor.
//!
//! ```text
//!   run ─────────────────────────────────────> started or failed: the thread ends
//!    └─ interruption: asks the reactor to stop ─┬─> the reactor does so in its next turn
//!                                               └─> no turn for 5 seconds: ends the process
//! ```
//!
//! A thread of its own watches, because a blocked reactor cannot. Before the start there is nothing to end, and after
//! it a callback may have work that must not be cut short. So the thread exists only during the start.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ropewalk::sys::signals::{SIGTERM, end_process};
use ropewalk::{Reactor, ThreadHandle};

use crate::failure::fail_with;
use crate::launch::ExitError;
use crate::system::{Interruption, Interruptions, PidFile, Reporter};

/// The time that the reactor has for its next turn, in steps. A suspended machine uses up one step.
const STEP: Duration = Duration::from_millis(100);
const STEPS: u32 = 50;

/// The pid file of the process, which either thread may remove.
pub(crate) type SharedPidFile = Arc<Mutex<Option<PidFile>>>;

/// The watch over one start. The watch is over when this is dropped.
pub(crate) struct StartWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    interruptions: Interruptions,
    /// Whether the reactor has made a turn after the interruption, or the start is over.
    is_settled: Mutex<bool>,
    settled: Condvar,
}

impl StartWatch {
    /// Watches over the start of a process whose command, if it is a daemon, gets the report of `reporter`.
    ///
    /// Returns `None` if the system has no means. Then a blocked start continues until a second signal.
    pub(crate) fn begin(
        reactor: &Reactor,
        reporter: Option<&Reporter>,
        pid_file: &SharedPidFile,
    ) -> Option<StartWatch> {
        let begin = || {
            let interruptions = Interruptions::open(reporter)?;
            let shared = Arc::new(Shared { interruptions, is_settled: Mutex::new(false), settled: Condvar::new() });
            let (watched, reactor, pid_file) = (shared.clone(), reactor.thread_handle(), pid_file.clone());
            let thread = thread::Builder::new().name("start".to_owned());
            let thread = thread.spawn(move || watched.watch(&reactor, &pid_file))?;
            Ok(StartWatch { shared, thread: Some(thread) })
        };
        let begun: std::io::Result<StartWatch> = begin();
        begun.map_err(|error| tracing::debug!(%error, "cannot watch over the start")).ok()
    }

    /// Makes stop signals an interruption. Call this right before the reactor runs, which then catches
    /// stop signals as well.
    pub(crate) fn catch_signals(&self) {
        if let Err(error) = self.shared.interruptions.catch_signals() {
            tracing::debug!(%error, "cannot watch for signals during the start");
        }
    }
}

impl Drop for StartWatch {
    fn drop(&mut self) {
        self.shared.settle();
        self.shared.interruptions.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn watch(self: Arc<Shared>, reactor: &ThreadHandle, pid_file: &SharedPidFile) {
        let Some(interruption) = self.interruptions.wait() else { return };
        let shared = self.clone();
        reactor.call_from_thread(move |reactor| {
            shared.settle();
            stop(reactor, interruption);
        });
        if self.settles_in_time() {
            return;
        }
        let cause = interruption.cause();
        tracing::error!(
            "{cause}, and the start of a service has blocked the reactor for 5 seconds: ending the process"
        );
        if let Some(pid_file) = pid_file.lock().unwrap_or_else(PoisonError::into_inner).take() {
            pid_file.remove();
        }
        end_process(match interruption {
            Interruption::Signal(signal) => signal,
            Interruption::CommandEnded => SIGTERM,
        })
    }

    fn settle(&self) {
        *self.is_settled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.settled.notify_all();
    }

    fn settles_in_time(&self) -> bool {
        let mut is_settled = self.is_settled.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..STEPS {
            if *is_settled {
                break;
            }
            is_settled = self.settled.wait_timeout(is_settled, STEP).unwrap_or_else(PoisonError::into_inner).0;
        }
        *is_settled
    }
}

impl Interruption {
    fn cause(self) -> String {
        match self {
            Interruption::Signal(signal) => format!("signal {signal} arrived"),
            Interruption::CommandEnded => COMMAND_ENDED.to_owned(),
        }
    }
}

/// The reason for which a daemon ends before it has started.
pub(crate) const COMMAND_ENDED: &str = "the command that started this daemon was interrupted";

fn stop(reactor: &Reactor, interruption: Interruption) {
    match interruption {
        // Stopping fails if the reactor has seen the signal itself, as usual.
        Interruption::Signal(_) => drop(reactor.stop()),
        Interruption::CommandEnded => fail_with(reactor, ExitError::new(COMMAND_ENDED)),
    }
}
