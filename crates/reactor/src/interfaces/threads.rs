//! IReactorThreads: blocking work runs in a thread pool, and its results come back to the loop.
//!
//! [`ThreadHandle`] is the only part of a reactor that can be used from other threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use super::inline_work::{InlineWork, check_may_wait};
use super::order;
use super::thread_pool::{JOIN_TIMEOUT, ThreadPool, Work, log_panic};
use crate::error::{Error, Result};
use crate::kernel::{Callback, Feature, Hooks, Order, Reactor, Running, ThreadCalls, drop_logged};
use ropewalk_proto::panics::catch;
use ropewalk_proto::{Deferred, Failure, Resolver};

/// The maximum number of threads that look names up. A name whose servers do not answer occupies two of them for
/// several seconds, one for each address family.
const LOOKUP_THREADS: usize = 10;

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
    /// The Deferred's failure, as [`Error::Failed`] if it is neither an [`Error`] nor an `io::Error`. [`Error::Closed`]
    /// when the reactor has been dropped, or is dropped before the call runs.
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
        let submitted = threads.lookups.submit(work);
        resolver.set_canceller(move |_| drop(submitted.withdraw()));
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

    /// Returns the pool of this reactor, for its counts and for further work: `getThreadPool`.
    ///
    /// Work that runs [in the turns](Reactor::set_inline_work) of a test's reactor does not use this pool. May be
    /// called from any callback.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.call_in_thread(|| println!("in a thread"));
    /// let pool = reactor.thread_pool();
    /// assert_eq!((pool.counts().queued, pool.counts().limit), (1, 10)); // no thread starts before the reactor runs
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn thread_pool(&self) -> Rc<ThreadPool> {
        self.feature::<Threads>().pool.clone()
    }
}

/// The reactor's own pool, the threads that look names up, and the receivers of results from threads.
struct Threads {
    pool: Rc<ThreadPool>,
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
        Threads { pool: Rc::new(pool), lookups, inline: InlineWork::default(), results: ThreadResults::default() }
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
            let _ = pool.submit(work);
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
        // Both pools end before either is waited for, so that work in one pool cannot use up the other one's time.
        let pools = [&*self.pool, &self.lookups];
        pools.iter().for_each(|pool| pool.end());
        let deadline = Instant::now() + JOIN_TIMEOUT;
        pools.iter().for_each(|pool| pool.join(deadline));
    }

    fn forget(&self) {
        self.inline.forget();
        for receiver in self.results.0.take().into_values() {
            drop_logged("the receiver of a thread's result", receiver);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert!(threads.lookups.counts().queued <= 1, "only the stuck one may wait for its thread");
        drop(release);
        while !stuck.is_done() {
            net.iterate(Some(Duration::from_millis(1))).unwrap();
        }
    }

    #[test]
    fn the_end_of_a_run_ends_both_pools_before_it_waits() {
        // The work of one pool lasts until a thread of the other pool has ended.
        thread_local!(static HELD: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) });
        let net = MemoryReactor::new();
        net.set_inline_work(false);
        net.start_running(RunOptions::default()).unwrap();
        let (held, dropped) = mpsc::channel::<()>();
        let looked_up = net.defer_to_lookup_thread(move || HELD.set(Some(held)));
        while !looked_up.is_done() {
            net.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        let (done, finished) = mpsc::channel();
        net.call_in_thread(move || done.send(dropped.recv().is_err()).unwrap());
        net.stop().unwrap();
        net.prepare().unwrap();
        assert_eq!(finished.try_recv(), Ok(true));
    }
}
