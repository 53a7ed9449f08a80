//! ThreadPool: a queue of blocking work, and the threads that run it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_proto::panics::catch;
use ropewalk_proto::report;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};

/// The default maximum number of threads in the pool.
const POOL_SIZE: usize = 10;

/// The maximum time that the end of a run waits for work in threads, so that a program reacts to a signal within half a
/// second. Work that takes longer finishes in the background. Work that has not started waits for the next run.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_millis(300);

pub(super) type Work = Box<dyn FnOnce() + Send>;

/// A pool of threads for blocking work. The threads start one by one as work is added. Each reactor has a pool already.
/// Create a `ThreadPool` for an additional one.
///
/// Dropping a pool waits for its work for up to 300 ms. Longer work finishes in the background, and work that has not
/// started is dropped.
///
/// ```
/// use std::sync::mpsc;
/// use ropewalk::ThreadPool;
///
/// let pool = ThreadPool::new(2);
/// let (sender, receiver) = mpsc::channel();
/// pool.call_in_thread(move || sender.send("from a thread").unwrap());
/// assert_eq!(receiver.recv().unwrap(), "from a thread");
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
    running: Cell<bool>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<PoolState>,
    work_came: Condvar,
    thread_ended: Condvar,
}

struct PoolState {
    /// The work that has not started, and its numbers, which ascend.
    queue: VecDeque<(u64, Work)>,
    next_number: u64,
    /// The number of threads in the present epoch.
    threads: usize,
    /// The number of these threads that run work.
    busy: usize,
    size: usize,
    /// The run is over: threads end when no work is left.
    ending: bool,
    /// The number of times that the pool gave up its threads, because their work took too long. Threads of earlier
    /// epochs are not counted in `threads` and `busy`.
    epoch: u64,
}

impl Default for PoolState {
    fn default() -> Self {
        PoolState {
            queue: VecDeque::new(),
            next_number: 0,
            threads: 0,
            busy: 0,
            size: POOL_SIZE,
            ending: false,
            epoch: 0,
        }
    }
}

impl ThreadPool {
    /// Creates a pool of at most `size` threads. 0 counts as 1. Threads start when there is work.
    pub fn new(size: usize) -> ThreadPool {
        let pool = ThreadPool::not_started();
        pool.set_size(size.max(1));
        pool.start();
        pool
    }

    /// Creates a pool that queues its work until it is started.
    pub(super) fn not_started() -> ThreadPool {
        ThreadPool { shared: Arc::default(), running: Cell::new(false) }
    }

    /// Runs `work` in a thread. A panic in `work` is logged.
    pub fn call_in_thread(&self, work: impl FnOnce() + Send + 'static) {
        self.submit(Box::new(work));
    }

    /// Starts to run the queued work.
    pub(super) fn start(&self) {
        self.running.set(true);
        // Dropped after the lock is released: destructors of work may submit more.
        let _refused;
        let mut state = lock(&self.shared.state);
        state.ending = false;
        _refused = self.shared.grow(&mut state);
    }

    /// Lets the threads end after the queued work.
    pub(super) fn end(&self) {
        if self.running.replace(false) {
            lock(&self.shared.state).ending = true;
            self.shared.work_came.notify_all();
        }
    }

    /// Waits until `deadline` for the threads to end, after [`end`](ThreadPool::end).
    pub(super) fn join(&self, deadline: Instant) {
        let mut state = lock(&self.shared.state);
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(threads = state.threads, "work in threads continues after the reactor's run");
                return state.give_threads_up();
            }
            let waited = self.shared.thread_ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Queues `work`.
    pub(super) fn submit(&self, work: Work) -> Submitted {
        let _refused;
        let mut state = lock(&self.shared.state);
        let number = state.next_number;
        state.next_number += 1;
        state.queue.push_back((number, work));
        if self.running.get() {
            _refused = self.shared.grow(&mut state);
            self.shared.work_came.notify_one();
        }
        Submitted { shared: self.shared.clone(), number }
    }

    /// Returns the numbers of threads and of pieces of work in this pool, at one moment.
    ///
    /// May be called from any callback.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ropewalk::ThreadPool;
    ///
    /// let pool = ThreadPool::new(1);
    /// let (begun, (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    /// pool.call_in_thread(move || {
    ///     begun.0.send(()).unwrap();
    ///     let _ = released.recv();
    /// });
    /// begun.1.recv().unwrap();
    /// pool.call_in_thread(|| println!("at last"));
    /// let counts = pool.counts();
    /// assert_eq!((counts.threads, counts.running, counts.queued), (1, 1, 1));
    /// assert_eq!((counts.idle(), counts.limit), (0, 1));
    /// # drop(release);
    /// ```
    pub fn counts(&self) -> ThreadPoolCounts {
        let state = lock(&self.shared.state);
        ThreadPoolCounts { threads: state.threads, running: state.busy, queued: state.queue.len(), limit: state.size }
    }

    pub(super) fn set_size(&self, size: usize) {
        let _refused;
        let mut state = lock(&self.shared.state);
        state.size = size;
        if self.running.get() {
            _refused = self.shared.grow(&mut state);
        }
        self.shared.work_came.notify_all();
    }
}

/// The numbers of threads and of pieces of work in a [`ThreadPool`], at one moment: [`ThreadPool::counts`].
///
/// A growing `queued` with `running == limit` means that the pool is too small, or that its work takes too long.
///
/// ```
/// use ropewalk::Reactor;
///
/// let reactor = Reactor::new()?;
/// reactor.suggest_thread_pool_size(4);
/// let counts = reactor.thread_pool().counts(); // no thread starts before the reactor runs
/// assert_eq!((counts.limit, counts.threads, counts.idle()), (4, 0, 0));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadPoolCounts {
    /// The number of threads.
    pub threads: usize,
    /// The number of threads that run work now.
    pub running: usize,
    /// The number of pieces of work that wait for a thread.
    pub queued: usize,
    /// The maximum number of threads.
    pub limit: usize,
}

impl ThreadPoolCounts {
    /// Returns the number of threads that wait for work.
    pub fn idle(&self) -> usize {
        self.threads - self.running
    }
}

/// A piece of work that was submitted to a pool.
pub(super) struct Submitted {
    shared: Arc<Shared>,
    number: u64,
}

impl Submitted {
    /// Takes the work out of the queue, unless it has started.
    pub(super) fn withdraw(&self) -> Option<Work> {
        let mut state = lock(&self.shared.state);
        let place = state.queue.binary_search_by_key(&self.number, |(number, _)| *number).ok()?;
        state.queue.remove(place).map(|(_, work)| work)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.end();
        self.join(Instant::now() + JOIN_TIMEOUT);
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ThreadPool").field(&self.counts()).finish()
    }
}

impl PoolState {
    fn give_threads_up(&mut self) {
        self.epoch += 1;
        self.threads = 0;
        self.busy = 0;
    }

    fn is_superfluous(&self) -> bool {
        self.threads > self.size || (self.ending && self.queue.is_empty())
    }
}

impl Shared {
    /// Starts threads while there is more work than idle threads, up to the pool's size. If there is no thread at all,
    /// returns the work, which would otherwise wait for ever.
    fn grow(self: &Arc<Shared>, state: &mut PoolState) -> VecDeque<(u64, Work)> {
        let wanted = state.queue.len().saturating_sub(state.threads - state.busy);
        for _ in 0..wanted.min(state.size.saturating_sub(state.threads)) {
            let (shared, epoch) = (self.clone(), state.epoch);
            let thread = thread::Builder::new().name("ropewalk-pool".into());
            match thread.spawn(move || shared.work(epoch)) {
                Ok(_detached) => state.threads += 1,
                Err(error) if state.threads > 0 => {
                    tracing::warn!(%error, "cannot start another thread");
                    break;
                }
                Err(error) => {
                    report!(ERROR, error = error, "cannot start a thread: work is dropped");
                    return std::mem::take(&mut state.queue);
                }
            }
        }
        VecDeque::new()
    }

    fn work(&self, epoch: u64) {
        while let Some(work) = self.next(epoch) {
            log_panic(work);
            let mut state = lock(&self.state);
            if state.epoch == epoch {
                state.busy -= 1;
            }
        }
    }

    /// Returns the next piece of work, or `None` when this thread should end.
    fn next(&self, epoch: u64) -> Option<Work> {
        let mut state = lock(&self.state);
        while state.epoch == epoch {
            if state.is_superfluous() {
                state.threads -= 1;
                self.thread_ended.notify_all();
                return None;
            }
            if let Some((_, work)) = state.queue.pop_front() {
                state.busy += 1;
                return Some(work);
            }
            state = self.work_came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

pub(super) fn log_panic(work: impl FnOnce()) {
    if let Err(panic) = catch(work) {
        tracing::error!(at = panic.at(), message = panic.message(), "work in a thread panicked");
    }
}

/// Locks `mutex`. A poisoned lock is harmless: the panic happened elsewhere, and the data is consistent between
/// statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
