//! The thread in which a guest's provider waits, for a host that cannot watch the provider's handle.
//!
//! ```text
//!   loop's thread:   turn --lend--> sleeps in the host ------------- turn --lend--> ...
//!   this thread:                wait in the provider --give back, wake--^
//! ```
//!
//! The provider is lent for each sleep. Code of the host that needs the provider meanwhile, because it listens or
//! connects, wakes this thread and has the provider back at once (`kernel/host.rs`).
//!
//! Source: Twisted's `_threadedselect`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ropewalk_proto::panics::catch;

use crate::error::{Error, Result};
use crate::kernel::DetachedWait;

/// One wait, for at most the time.
type Errand = (DetachedWait, Option<Duration>);

pub(super) struct WaitingThread {
    /// `None` while the thread is being ended.
    errands: Option<Sender<Errand>>,
    thread: Option<JoinHandle<()>>,
    notice: Arc<Notice>,
    /// The value of `ropewalk_sys::forks` when the thread began.
    forks: u64,
}

/// The notice for the host that a turn is due.
struct Notice {
    wake: Box<dyn Fn() + Send + Sync>,
    /// Whether the host was woken and has not yet made a turn. It is woken once for each turn.
    is_posted: AtomicBool,
    /// The reason why the last wait failed.
    error: Mutex<Option<Error>>,
}

impl Notice {
    fn post(&self) {
        if !self.is_posted.swap(true, Ordering::AcqRel) {
            if let Err(panic) = catch(|| (self.wake)()) {
                tracing::error!(at = panic.at(), message = panic.message(), "cannot wake the host loop");
            }
        }
    }
}

impl WaitingThread {
    pub(super) fn new(wake: Box<dyn Fn() + Send + Sync>) -> Result<WaitingThread> {
        let (errands, received) = channel();
        let notice = Arc::new(Notice { wake, is_posted: AtomicBool::new(false), error: Mutex::default() });
        let own = notice.clone();
        let thread = thread::Builder::new().name("ropewalk-wait".into()).spawn(move || run_errands(&received, &own));
        let thread = thread.map_err(Error::io("cannot start the thread that waits for events"))?;
        Ok(WaitingThread { errands: Some(errands), thread: Some(thread), notice, forks: ropewalk_sys::forks() })
    }

    /// Makes the thread wait. The wait comes back at the latest when the time is over, or when it is woken.
    pub(super) fn wait(&self, wait: DetachedWait, limit: Option<Duration>) {
        if let Some(errands) = &self.errands {
            // The thread lives as long as this object. A wait that is not sent is dropped, and so comes back.
            let _ = errands.send((wait, limit));
        }
    }

    /// Wakes the host, unless it was woken already and has not yet made a turn.
    pub(super) fn post(&self) {
        self.notice.post();
    }

    /// Notes that the host has begun a turn, so that the next post wakes it again.
    pub(super) fn host_is_awake(&self) {
        self.notice.is_posted.store(false, Ordering::Release);
    }

    pub(super) fn take_error(&self) -> Option<Error> {
        self.notice.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for WaitingThread {
    fn drop(&mut self) {
        self.errands = None;
        let thread = self.thread.take();
        if self.forks != ropewalk_sys::forks() {
            // The thread has stayed in the parent process.
            return std::mem::forget(thread);
        }
        if let Some(thread) = thread {
            // The thread catches all panics.
            let _ = thread.join();
        }
    }
}

fn run_errands(errands: &Receiver<Errand>, notice: &Notice) {
    for (mut wait, limit) in errands {
        if let Err(error) = wait.wait_and_keep(limit) {
            *notice.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        // The provider is back before the host looks.
        drop(wait);
        notice.post();
    }
}
