//! IReactorThreads: blocking work runs in a thread pool, and its results come back to the loop.
//!
//! [`ThreadHandle`] is the only part of a reactor that can be used from other threads.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::inline_work::{InlineWork, check_may_wait};
use super::order;
use crate::error::{Error, Result};
use crate::kernel::{Callback, Feature, Hooks, Order, Reactor, Running, ThreadCalls, drop_logged};
use ropewalk_proto::panics::{Place, catch};
use ropewalk_proto::{Deferred, Failure, Resolver, report};

/// The default maximum number of threads in the pool.
const POOL_SIZE: usize = 10;

/// The maximum number of threads that look names up. A name whose servers do not answer occupies two of them for several
/// seconds, one for each address family.
const LOOKUP_THREADS: usize = 10;

/// The maximum time that the end of a run waits for work in threads, so that a program reacts to a signal within half a
/// second. Work that takes longer finishes in the background. Work that has not started waits for the next run.
const JOIN_TIMEOUT: Duration = Duration::from_millis(300);

/// A handle to a reactor for other threads: the only part of a reactor that is `Send`.
///
/// ```
/// use ropewalk::prelude::*;
///
/// let reactor = Reactor::new()?;
/// let handle = reactor.thread_handle();
/// let thread = std::thread::spawn(move || {
///     let name = handle.blocking_call_from_thread(|reactor| reactor.name()).unwrap();
///     handle.call_from_thread(|reactor| reactor.stop().unwrap());
///     name
/// });
/// reactor.run()?;
/// assert_eq!(thread.join().unwrap(), reactor.name());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct ThreadHandle {
    calls: Arc<ThreadCalls>,
    running: Arc<Running>,
}

impl ThreadHandle {
    /// Schedules `call` to run on the loop. Calls from one thread run in the order in which they were scheduled.
    ///
    /// May be called from any thread at any time. While the loop makes no turns, the call waits for the next one. If
    /// the reactor has been dropped, `call` is dropped.
    ///
    /// A turn makes at most 2048 calls. The next turn continues with the others. The queue has no bound: a thread that
    /// schedules calls faster than the loop makes them fills the memory. Such a thread can use
    /// [`try_call_from_thread`](ThreadHandle::try_call_from_thread), or wait with
    /// [`blocking_call_from_thread`](ThreadHandle::blocking_call_from_thread).
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.thread_handle();
    /// let thread = std::thread::spawn(move || {
    ///     handle.call_from_thread(|_| println!("first"));
    ///     handle.call_from_thread(|reactor| reactor.stop().unwrap());
    /// });
    /// reactor.run()?;
    /// thread.join().unwrap();
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn call_from_thread(&self, call: impl FnOnce(&Reactor) + Send + 'static) {
        self.calls.push(Box::new(call));
    }

    /// Schedules `call` to run on the loop, unless `limit` calls from threads wait already. The calls that the present
    /// turn makes do not count as waiting.
    ///
    /// May be called from any thread at any time. If the reactor has been dropped, `call` is dropped.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.thread_handle();
    /// assert!(handle.try_call_from_thread(1, |reactor| reactor.stop().unwrap()).is_ok());
    /// let refused = handle.try_call_from_thread(1, |_| println!("a sample of the sensor"));
    /// assert!(refused.is_err()); // the loop is behind: drop the sample, or try again later
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns `call` if `limit` calls wait.
    pub fn try_call_from_thread<C>(&self, limit: usize, call: C) -> Result<(), C>
    where
        C: FnOnce(&Reactor) + Send + 'static,
    {
        let mut call = Some(call);
        self.calls.push_within(limit, || Box::new(call.take().expect("this is called once")));
        call.map_or(Ok(()), Err)
    }

    /// Runs `call` on the loop, and waits for its result.
    ///
    /// Must not be called on the reactor's own thread, where it would wait forever. A panic in `call` is resumed in the
    /// calling thread.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.thread_handle();
    /// let thread = std::thread::spawn(move || {
    ///     let open = handle.blocking_call_from_thread(|reactor| reactor.source_count()).unwrap();
    ///     handle.call_from_thread(|reactor| reactor.stop().unwrap());
    ///     open
    /// });
    /// reactor.run()?;
    /// assert_eq!(thread.join().unwrap(), 0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] when the reactor has been dropped, or is dropped before the call runs.
    ///
    /// # Panics
    /// In work that runs [in a turn](Reactor::set_inline_work) of a reactor.
    pub fn blocking_call_from_thread<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Reactor) -> R + Send + 'static,
    ) -> Result<R> {
        check_may_wait();
        let (sender, receiver) = mpsc::sync_channel(1);
        self.call_from_thread(move |reactor| {
            let _ = sender.send(catch(|| call(reactor)));
        });
        let outcome = receiver.recv().map_err(|_| Error::Closed)?;
        Ok(outcome.unwrap_or_else(|panic| panic.resume()))
    }

    /// Runs `call` on the loop, and waits until the Deferred that it returns has fired.
    ///
    /// Must not be called on the reactor's own thread, where it would wait forever. A panic in `call` is resumed in the
    /// calling thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::{Failure, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.thread_handle();
    /// let thread = std::thread::spawn(move || {
    ///     let answer = handle.blocking_wait_from_thread(|reactor| {
    ///         reactor.defer_later(Duration::from_millis(1), |_| Ok::<_, Failure>(42))
    ///     });
    ///     handle.call_from_thread(|reactor| reactor.stop().unwrap());
    ///     answer
    /// });
    /// reactor.run()?;
    /// assert_eq!(thread.join().unwrap()?, 42);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The Deferred's failure, as [`Error::Failed`] if it is not an [`Error`]. [`Error::Closed`] when the reactor has
    /// been dropped, or is dropped before the call runs.
    ///
    /// # Panics
    /// In work that runs [in a turn](Reactor::set_inline_work) of a reactor.
    pub fn blocking_wait_from_thread<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Reactor) -> Deferred<R> + Send + 'static,
    ) -> Result<R> {
        check_may_wait();
        let (sender, receiver) = mpsc::sync_channel(1);
        self.call_from_thread(move |reactor| {
            let answer = move |answer| drop(sender.send(answer));
            match catch(|| call(reactor)) {
                Ok(deferred) => drop(deferred.add_both(move |outcome| answer(Ok(outcome.map_err(Error::from))))),
                Err(panic) => answer(Err(panic)),
            }
        });
        let outcome = receiver.recv().map_err(|_| Error::Closed)?;
        outcome.unwrap_or_else(|panic| panic.resume())
    }

    /// Wakes the loop without a call. May be called from any thread.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.thread_handle().wake_up();
    /// reactor.iterate(None)?; // would otherwise wait forever
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn wake_up(&self) {
        self.calls.wake();
    }

    /// Returns the callback that the loop is in, or `None` between callbacks.
    ///
    /// The callback may be over when this method returns. If several calls return the same callback, that callback
    /// blocks the loop.
    ///
    /// ```
    /// use ropewalk::{CallbackKind, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.thread_handle();
    /// reactor.call_when_running(move |reactor| {
    ///     let monitor = std::thread::spawn(move || handle.running_callback());
    ///     assert_eq!(monitor.join().unwrap().expect("this one").kind, CallbackKind::Trigger);
    ///     reactor.stop().unwrap();
    /// });
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn running_callback(&self) -> Option<Callback> {
        self.running.callback()
    }
}

impl std::fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ThreadHandle")
    }
}

impl Reactor {
    /// Returns a handle to this reactor for other threads.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.thread_handle();
    /// std::thread::spawn(move || handle.call_from_thread(|reactor| reactor.stop().unwrap()));
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn thread_handle(&self) -> ThreadHandle {
        ThreadHandle { calls: self.0.thread_calls().clone(), running: self.0.running().clone() }
    }

    /// Schedules `call` to run in the next turn, like [`ThreadHandle::call_from_thread`].
    pub fn call_from_thread(&self, call: impl FnOnce(&Reactor) + Send + 'static) {
        self.0.thread_calls().push(Box::new(call));
    }

    /// Runs `work` in a thread of the pool. A panic in `work` is logged.
    ///
    /// No thread starts before the reactor runs, so earlier work waits until then. When the reactor stops, queued work
    /// still runs for up to 300 ms. Work that has not started by then stays queued for the next run.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let (sender, receiver) = mpsc::channel();
    /// let handle = reactor.thread_handle();
    /// reactor.call_in_thread(move || {
    ///     sender.send("written to a slow disk").unwrap();
    ///     handle.call_from_thread(|reactor| reactor.stop().unwrap());
    /// });
    /// reactor.run()?;
    /// assert!(receiver.recv().is_ok());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn call_in_thread(&self, work: impl FnOnce() + Send + 'static) {
        let threads = self.feature::<Threads>();
        threads.submit(self, &threads.pool, Box::new(work));
    }

    /// Runs `work` in a thread of the pool, and fires the Deferred with its result on the reactor's thread:
    /// `deferToThread`.
    ///
    /// A panic in `work` fails the Deferred. Cancelling the Deferred does not stop the work, but its result is dropped.
    /// If the system cannot start a single thread of the pool, the work is dropped and its Deferred fails as abandoned.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let handle = reactor.clone();
    /// let sum = reactor.defer_to_thread(|| (1..=1_000_000_u64).sum::<u64>()).add_callback(move |sum| {
    ///     handle.stop().unwrap(); // back on the reactor's thread
    ///     sum
    /// });
    /// reactor.run()?;
    /// assert_eq!(sum.try_result().unwrap().unwrap(), 500_000_500_000);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn defer_to_thread<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Deferred<R> {
        self.defer_to_thread_pool(&self.feature::<Threads>().pool, work)
    }

    /// Runs `work` like [`defer_to_thread`](Reactor::defer_to_thread), in a thread of `pool`.
    ///
    /// ```
    /// use ropewalk::{Reactor, ThreadPool};
    ///
    /// let reactor = Reactor::new()?;
    /// let database = ThreadPool::new(1); // a single thread
    /// let rows = reactor.defer_to_thread_pool(&database, || 6 * 7);
    /// let handle = reactor.clone();
    /// let answer = rows.add_callback(move |rows| {
    ///     handle.stop().unwrap();
    ///     rows
    /// });
    /// reactor.run()?;
    /// assert_eq!(answer.try_result().unwrap().unwrap(), 42);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn defer_to_thread_pool<R: Send + 'static>(
        &self,
        pool: &ThreadPool,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Deferred<R> {
        let threads = self.feature::<Threads>();
        let (deferred, resolver) = Deferred::new();
        threads.submit(self, pool, self.promised(resolver, work));
        deferred
    }

    /// Runs `work` in one of the threads that look names up. Cancelling the Deferred drops work that has not started.
    pub(super) fn defer_to_lookup_thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Deferred<R> {
        let threads = self.feature::<Threads>();
        let (deferred, resolver) = Deferred::new();
        let work = self.promised(resolver.clone(), work);
        if threads.inline.is_on() {
            threads.inline.push(self, work);
            return deferred;
        }
        let number = threads.lookups.submit(work);
        let shared = threads.lookups.shared.clone();
        resolver.set_canceller(move |_| drop(shared.withdraw(number)));
        deferred
    }

    /// Returns work that fires `resolver` with its result, on the reactor's thread.
    fn promised<R: Send + 'static>(&self, resolver: Resolver<R>, work: impl FnOnce() -> R + Send + 'static) -> Work {
        let ticket = self.feature::<Threads>().results.ticket_for(Box::new(move |outcome| {
            let outcome = outcome.map(|result| *result.downcast::<R>().expect("the result of this ticket's work"));
            let _ = match outcome {
                Ok(result) => resolver.callback(result),
                Err(error) => resolver.errback(Failure::from(error)),
            };
        }));
        let promise = Promise { handle: Some(self.thread_handle()), ticket };
        Box::new(move || {
            let outcome = catch(work).map_err(|panic| panic.message().to_owned());
            promise.keep(move || {
                let outcome = outcome.map(|result| Box::new(result) as Box<dyn std::any::Any>);
                outcome.map_err(|message| Error::Panicked("work in a thread".into(), message.into()))
            });
        })
    }

    /// Runs several pieces of work one after another, in one thread of the pool. A panic in one piece is logged, and
    /// the next piece runs.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let (sender, receiver) = mpsc::channel();
    /// let handle = reactor.thread_handle();
    /// reactor.call_multiple_in_thread((0..3).map(|number| {
    ///     let (sender, handle) = (sender.clone(), handle.clone());
    ///     move || {
    ///         sender.send(number).unwrap();
    ///         if number == 2 {
    ///             handle.call_from_thread(|reactor| reactor.stop().unwrap());
    ///         }
    ///     }
    /// }));
    /// reactor.run()?;
    /// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn call_multiple_in_thread<W>(&self, works: impl IntoIterator<Item = W>)
    where
        W: FnOnce() + Send + 'static,
    {
        let works = Vec::from_iter(works);
        self.call_in_thread(move || works.into_iter().for_each(log_panic));
    }

    /// Sets whether work for threads runs in the turns of this reactor, on its own thread.
    ///
    /// If `inline` is true, [`call_in_thread`](Reactor::call_in_thread), [`defer_to_thread`](Reactor::defer_to_thread)
    /// and [`defer_to_thread_pool`](Reactor::defer_to_thread_pool) queue their work for the next turn, which runs all
    /// queued work in order. The results arrive in the turn after that. So a test with virtual time replays the same
    /// run. Work that blocks stops the loop, and work that waits for a call to its own reactor panics. The reactors of
    /// [`testing`](crate::testing) begin with `true`, all others with `false`. May be called from any callback. Work
    /// that was queued before this call stays in its queue.
    ///
    /// ```
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.set_inline_work(true); // the default of a test's reactor
    /// let answer = net.defer_to_thread(|| 6 * 7);
    /// net.settle();
    /// assert_eq!(answer.try_result().unwrap().unwrap(), 42);
    /// ```
    pub fn set_inline_work(&self, inline: bool) {
        self.feature::<Threads>().inline.set(inline);
    }

    /// Sets the maximum number of threads in the pool. 0 counts as 1.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.suggest_thread_pool_size(2);
    /// let handle = reactor.clone();
    /// let squares = ropewalk::gather_results((1..=4).map(|n| reactor.defer_to_thread(move || n * n)).collect());
    /// let squares = squares.add_callback(move |squares| {
    ///     handle.stop().unwrap();
    ///     squares
    /// });
    /// reactor.run()?;
    /// assert_eq!(squares.try_result().unwrap().unwrap(), [1, 4, 9, 16]);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn suggest_thread_pool_size(&self, size: usize) {
        self.feature::<Threads>().pool.set_size(size.max(1));
    }
}

/// The reactor's own pool, the threads that look names up, and the receivers of results from threads.
struct Threads {
    pool: ThreadPool,
    lookups: ThreadPool,
    inline: InlineWork,
    results: ThreadResults,
}

impl Feature for Threads {
    fn new(reactor: &Reactor) -> Threads {
        let (pool, lookups) = (ThreadPool::not_started(), ThreadPool::not_started());
        lookups.set_size(LOOKUP_THREADS);
        if reactor.running() {
            pool.start();
            lookups.start();
        }
        Threads { pool, lookups, inline: InlineWork::default(), results: ThreadResults::default() }
    }

    fn hooks(self: &Rc<Threads>) -> Option<(Order, Rc<dyn Hooks>)> {
        Some((order::THREADS, self.clone()))
    }
}

impl Threads {
    /// Runs `work` in a thread of `pool`, or in the next turn.
    fn submit(&self, reactor: &Reactor, pool: &ThreadPool, work: Work) {
        if self.inline.is_on() {
            self.inline.push(reactor, work);
        } else {
            pool.submit(work);
        }
    }
}

impl Hooks for Threads {
    fn turn(&self, _reactor: &Reactor) {
        self.inline.run();
    }

    fn run_started(&self, _reactor: &Reactor) {
        self.pool.start();
        self.lookups.start();
    }

    fn run_ended(&self, _reactor: &Reactor) {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        self.pool.stop(deadline);
        self.lookups.stop(deadline);
    }

    fn forget(&self) {
        self.inline.forget();
        let mut receivers = self.results.0.take();
        let tickets: Vec<_> = receivers.iter().map(|(ticket, _)| ticket).collect();
        for receiver in tickets.into_iter().filter_map(|ticket| receivers.remove(ticket)) {
            drop_logged("the receiver of a thread's result", receiver);
        }
    }
}

pub(super) type Work = Box<dyn FnOnce() + Send>;
type Receiver = Box<dyn FnOnce(Result<Box<dyn std::any::Any>>)>;

/// Receivers of results from threads. A receiver is not `Send`, so it stays on the reactor's thread, and the work
/// carries its ticket.
#[derive(Default)]
struct ThreadResults(RefCell<ropewalk_proto::Slab<Receiver>>);

impl ThreadResults {
    fn ticket_for(&self, receiver: Receiver) -> ropewalk_proto::Key {
        self.0.borrow_mut().insert(receiver)
    }

    fn arrive(&self, ticket: ropewalk_proto::Key, outcome: Result<Box<dyn std::any::Any>>) {
        let receiver = self.0.borrow_mut().remove(ticket);
        if let Some(receiver) = receiver {
            receiver(outcome);
        }
    }

    fn forget(&self, ticket: ropewalk_proto::Key) {
        let receiver = self.0.borrow_mut().remove(ticket);
        drop(receiver);
    }
}

/// The promise of a result. If the work is dropped without a result, the Deferred fails as abandoned.
struct Promise {
    /// `None` once the result was delivered.
    handle: Option<ThreadHandle>,
    ticket: ropewalk_proto::Key,
}

impl Promise {
    /// Delivers the result. `outcome` runs on the reactor's thread and returns the result.
    fn keep(mut self, outcome: impl FnOnce() -> Result<Box<dyn std::any::Any>> + Send + 'static) {
        let ticket = self.ticket;
        if let Some(handle) = self.handle.take() {
            handle.call_from_thread(move |reactor| reactor.feature::<Threads>().results.arrive(ticket, outcome()));
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let ticket = self.ticket;
        if let Some(handle) = self.handle.take() {
            handle.call_from_thread(move |reactor| reactor.feature::<Threads>().results.forget(ticket));
        }
    }
}

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
    fn not_started() -> ThreadPool {
        ThreadPool { shared: Arc::default(), running: Cell::new(false) }
    }

    /// Runs `work` in a thread. A panic in `work` is logged.
    pub fn call_in_thread(&self, work: impl FnOnce() + Send + 'static) {
        self.submit(Box::new(work));
    }

    /// Starts to run the queued work.
    fn start(&self) {
        self.running.set(true);
        // Dropped after the lock is released: destructors of work may submit more.
        let _refused;
        let mut state = lock(&self.shared.state);
        state.ending = false;
        _refused = self.shared.grow(&mut state);
    }

    /// Stops the threads after the queued work, and waits for them until `deadline`.
    fn stop(&self, deadline: Instant) {
        if !self.running.replace(false) {
            return;
        }
        let mut state = lock(&self.shared.state);
        state.ending = true;
        self.shared.work_came.notify_all();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(threads = state.threads, "work in threads continues after the reactor's run");
                state.give_threads_up();
                return;
            }
            let waited = self.shared.thread_ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Queues `work`, and returns its number.
    fn submit(&self, work: Work) -> u64 {
        let _refused;
        let mut state = lock(&self.shared.state);
        let number = state.next_number;
        state.next_number += 1;
        state.queue.push_back((number, work));
        if self.running.get() {
            _refused = self.shared.grow(&mut state);
            self.shared.work_came.notify_one();
        }
        number
    }

    fn set_size(&self, size: usize) {
        let _refused;
        let mut state = lock(&self.shared.state);
        state.size = size;
        if self.running.get() {
            _refused = self.shared.grow(&mut state);
        }
        self.shared.work_came.notify_all();
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.stop(Instant::now() + JOIN_TIMEOUT);
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ThreadPool")
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
    /// Takes work out of the queue, unless it has started.
    fn withdraw(&self, number: u64) -> Option<Work> {
        let mut state = lock(&self.state);
        let place = state.queue.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        state.queue.remove(place).map(|(_, work)| work)
    }

    /// Starts threads while there is more work than idle threads, up to the pool's size. If there is no thread at all,
    /// returns the work, which would otherwise wait for ever.
    fn grow(self: &Arc<Shared>, state: &mut PoolState) -> VecDeque<(u64, Work)> {
        let wanted = state.queue.len().saturating_sub(state.threads - state.busy);
        for _ in 0..wanted.min(state.size.saturating_sub(state.threads)) {
            let (shared, epoch) = (self.clone(), state.epoch);
            let thread = std::thread::Builder::new().name("ropewalk-pool".into());
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
        let at = panic.place().map(Place::to_string).unwrap_or_default();
        tracing::error!(at, message = panic.message(), "work in a thread panicked");
    }
}

/// Locks `mutex`. A poisoned lock is harmless: the panic happened elsewhere, and the data is consistent between
/// statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunOptions;
    use crate::testing::MemoryReactor;

    #[test]
    fn a_cancelled_look_up_leaves_the_queue() {
        let net = MemoryReactor::new();
        net.set_inline_work(false);
        net.start_running(RunOptions::default()).unwrap();
        let threads = net.feature::<Threads>();
        threads.lookups.set_size(1);
        let (release, released) = mpsc::channel::<()>();
        let stuck = net.defer_to_lookup_thread(move || released.recv());
        let work = Arc::new(());
        let queued = [(); 3].map(|()| {
            let held = work.clone();
            net.defer_to_lookup_thread(move || drop(held))
        });
        queued.iter().for_each(Deferred::cancel);
        assert_eq!(Arc::strong_count(&work), 1);
        assert!(lock(&threads.lookups.shared.state).queue.len() <= 1, "only the stuck one may wait for its thread");
        drop(release);
        while !stuck.is_done() {
            net.iterate(Some(Duration::from_millis(1))).unwrap();
        }
    }
}
