//! A semaphore and a lock: `DeferredSemaphore` and `DeferredLock` of `twisted.internet.defer`.
//!
//! A caller gets its permit at once or after the callers before it. A dropped permit goes to the next waiter. Permits
//! are handed out in a loop, so a long queue of waiters does not overflow the stack.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::source::Resolver;
use super::{Deferred, Outcome, maybe_deferred, succeed};

/// A semaphore, which limits how many operations run at the same time.
///
/// Clones are handles of the same semaphore. The methods may be called from any callback. A semaphore cannot be sent to
/// another thread.
///
/// ```
/// use ropewalk_proto::{DeferredSemaphore, Failure};
///
/// let connections = DeferredSemaphore::new(2);
/// let first = connections.acquire().try_result().unwrap()?;
/// let second = connections.acquire().try_result().unwrap()?;
/// let third = connections.acquire();
/// assert!(!third.is_done());
/// drop(first);
/// assert!(third.is_done());
/// # drop(second);
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone)]
pub struct DeferredSemaphore(Rc<Permits>);

struct Permits {
    limit: usize,
    free: Cell<usize>,
    /// The waiting callers by ticket, so the longest-waiting one is first.
    waiting: RefCell<BTreeMap<u64, Resolver<Permit>>>,
    next_ticket: Cell<u64>,
    handing_out: Cell<bool>,
}

impl DeferredSemaphore {
    /// Creates a semaphore with `limit` permits.
    ///
    /// # Panics
    /// If `limit` is 0, because no permit would ever be given.
    pub fn new(limit: usize) -> DeferredSemaphore {
        assert!(limit > 0, "a semaphore needs at least one permit");
        DeferredSemaphore(Rc::new(Permits {
            limit,
            free: Cell::new(limit),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
            handing_out: Cell::new(false),
        }))
    }

    /// Acquires a permit, now or when one is released.
    ///
    /// Waiters are served in the order of their calls. Cancelling the Deferred removes the waiter. A callback that
    /// releases its permit and acquires another waits behind the others.
    #[track_caller]
    pub fn acquire(&self) -> Deferred<Permit> {
        let permits = &self.0;
        if permits.free.get() > 0 && permits.waiting.borrow().is_empty() {
            return succeed(Permit::take(permits));
        }
        let ticket = permits.next_ticket.replace(permits.next_ticket.get() + 1);
        let queue = Rc::downgrade(permits);
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            let place = queue.upgrade().and_then(|permits| permits.waiting.borrow_mut().remove(&ticket));
            drop(place);
        });
        permits.waiting.borrow_mut().insert(ticket, resolver);
        deferred
    }

    /// Calls `work` with a permit, and releases the permit when the result of `work` is there.
    ///
    /// The permit is released before the callbacks of the returned Deferred run.
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, DeferredSemaphore, Failure};
    ///
    /// let one_by_one = DeferredSemaphore::new(1);
    /// let (answer, resolver) = Deferred::new();
    /// let first = one_by_one.run(move || answer);
    /// let second = one_by_one.run(|| Ok::<_, Failure>("second"));
    /// assert!(!second.is_done());
    /// resolver.callback("first")?;
    /// assert_eq!(second.try_result().unwrap().unwrap(), "second");
    /// # drop(first);
    /// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
    /// ```
    #[track_caller]
    pub fn run<R: Outcome>(&self, work: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        self.acquire().and_then(move |permit| {
            maybe_deferred(work).then(move |result| {
                drop(permit);
                result
            })
        })
    }

    /// Returns the total number of permits.
    ///
    /// ```
    /// use ropewalk_proto::{DeferredSemaphore, Failure};
    ///
    /// let downloads = DeferredSemaphore::new(3);
    /// let permit = downloads.acquire().try_result().unwrap()?;
    /// assert_eq!((downloads.limit(), downloads.available(), downloads.waiting()), (3, 2, 0));
    /// permit.release();
    /// assert_eq!(downloads.available(), 3);
    /// # Ok::<(), Failure>(())
    /// ```
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns the number of free permits.
    pub fn available(&self) -> usize {
        self.0.free.get()
    }

    /// Returns the number of waiters.
    pub fn waiting(&self) -> usize {
        self.0.waiting.borrow().len()
    }
}

impl Permits {
    fn release_one(self: &Rc<Permits>) {
        self.free.set(self.free.get() + 1);
        if self.handing_out.replace(true) {
            return;
        }
        while self.free.get() > 0 {
            let next = self.waiting.borrow_mut().pop_first();
            let Some((_, resolver)) = next else { break };
            let _ = resolver.callback(Permit::take(self));
        }
        self.handing_out.set(false);
    }
}

impl fmt::Debug for DeferredSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("DeferredSemaphore");
        this.field("available", &self.available()).field("limit", &self.limit()).field("waiting", &self.waiting());
        this.finish()
    }
}

/// A permit of a [`DeferredSemaphore`], or the lock of a [`DeferredLock`]. Dropping the value releases the permit.
///
/// ```
/// use ropewalk_proto::{DeferredLock, Failure, Permit};
///
/// /// Keeps the printer locked until it is dropped.
/// struct Job(#[allow(dead_code)] Permit);
///
/// let printer = DeferredLock::new();
/// let job = Job(printer.acquire().try_result().unwrap()?);
/// let next = printer.acquire();
/// assert!(printer.is_locked() && printer.waiting() == 1);
/// drop(job);
/// assert!(next.is_done());
/// # Ok::<(), Failure>(())
/// ```
#[must_use = "dropping a permit releases it"]
pub struct Permit(Rc<Permits>);

impl Permit {
    fn take(permits: &Rc<Permits>) -> Permit {
        permits.free.set(permits.free.get() - 1);
        Permit(permits.clone())
    }

    /// Releases the permit.
    ///
    /// The next waiter's callbacks run before this returns, or, if called from a waiter's callback, right after that
    /// callback.
    pub fn release(self) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release_one();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// A lock, which lets one operation run at a time.
///
/// Clones are handles of the same lock. The methods may be called from any callback. A lock cannot be sent to another
/// thread.
///
/// ```
/// use ropewalk_proto::{DeferredLock, Failure};
///
/// let lock = DeferredLock::new();
/// let held = lock.acquire().try_result().unwrap()?;
/// let next = lock.acquire().add_callback(|held| held.release());
/// assert!(lock.is_locked() && !next.is_done());
/// held.release();
/// assert!(next.is_done() && !lock.is_locked());
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeferredLock(DeferredSemaphore);

impl DeferredLock {
    /// Creates a free lock.
    pub fn new() -> DeferredLock {
        DeferredLock(DeferredSemaphore::new(1))
    }

    /// Acquires the lock, now or when it is released. See [`DeferredSemaphore::acquire`].
    #[track_caller]
    pub fn acquire(&self) -> Deferred<Permit> {
        self.0.acquire()
    }

    /// Calls `work` with the lock held. See [`DeferredSemaphore::run`].
    #[track_caller]
    pub fn run<R: Outcome>(&self, work: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        self.0.run(work)
    }

    /// Returns whether the lock is held.
    pub fn is_locked(&self) -> bool {
        self.0.available() == 0
    }

    /// Returns the number of waiters.
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }
}

impl Default for DeferredLock {
    fn default() -> Self {
        DeferredLock::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{LONG, failure_of, value_of};
    use super::super::{Cancelled, Failure, Panicked};
    use super::*;

    #[test]
    fn waiters_are_served_in_the_order_of_their_calls() {
        let semaphore = DeferredSemaphore::new(2);
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let log = log.clone();
            waiting.push(semaphore.acquire().add_callback(move |permit| {
                log.borrow_mut().push(number);
                permit
            }));
        }
        assert_eq!(*log.borrow(), [0, 1]);
        assert_eq!((semaphore.limit(), semaphore.available(), semaphore.waiting()), (2, 0, 3));
        for given in 3..=5 {
            drop(value_of(waiting.remove(0)));
            assert_eq!(*log.borrow(), Vec::from_iter(0..given));
        }
    }

    #[test]
    fn a_cancelled_waiter_leaves_the_queue() {
        let lock = DeferredLock::new();
        let held = value_of(lock.acquire());
        let (first, second) = (lock.acquire(), lock.acquire());
        first.cancel();
        assert!(failure_of(first).check::<Cancelled>());
        assert_eq!(lock.waiting(), 1);
        held.release();
        assert!(second.is_done());
    }

    #[test]
    fn a_permit_of_a_dropped_waiter_goes_to_the_next() {
        let lock = DeferredLock::new();
        let held = value_of(lock.acquire());
        drop(lock.acquire());
        let last = lock.acquire();
        held.release();
        assert!(last.is_done());
        drop(last);
        assert!(!lock.is_locked());
    }

    #[test]
    fn a_waiter_that_acquires_again_waits_behind_the_others() {
        let lock = DeferredLock::new();
        let held = value_of(lock.acquire());
        let log = Rc::new(RefCell::new(Vec::new()));
        let (again, first, second) = (lock.clone(), log.clone(), log.clone());
        lock.acquire().add_callback(move |permit| {
            permit.release();
            again.acquire().add_callback(move |_| first.borrow_mut().push("again"));
        });
        lock.acquire().add_callback(move |_| second.borrow_mut().push("second"));
        held.release();
        assert_eq!(*log.borrow(), ["second", "again"]);
        assert!(!lock.is_locked());
    }

    #[test]
    fn a_long_queue_of_waiters_is_served_without_recursion() {
        let lock = DeferredLock::new();
        let held = value_of(lock.acquire());
        let served = Rc::new(Cell::new(0));
        for _ in 0..LONG {
            let served = served.clone();
            lock.acquire().add_callback(move |permit| {
                served.set(served.get() + 1);
                permit.release();
            });
        }
        held.release();
        assert_eq!(served.get(), LONG);
        assert!(!lock.is_locked());
    }

    #[test]
    fn work_that_fails_or_panics_releases_its_permit() {
        let lock = DeferredLock::new();
        assert!(failure_of(lock.run(|| Err::<(), _>(fmt::Error))).check::<fmt::Error>());
        assert!(!lock.is_locked());
        assert!(failure_of(lock.run(|| -> Result<(), Failure> { panic!("at work") })).check::<Panicked>());
        assert!(!lock.is_locked());
    }

    #[test]
    fn cancelled_work_releases_its_permit() {
        let lock = DeferredLock::new();
        let (answer, resolver) = Deferred::<()>::new();
        let work = lock.run(move || answer);
        work.cancel();
        assert!(resolver.is_cancelled());
        assert!(failure_of(work).check::<Cancelled>());
        assert!(!lock.is_locked());
    }

    #[test]
    fn a_dropped_semaphore_keeps_no_waiter() {
        let semaphore = DeferredSemaphore::new(1);
        let held = value_of(semaphore.acquire());
        let permits = Rc::downgrade(&held.0);
        let waiting = semaphore.acquire();
        drop((semaphore, held));
        drop(value_of(waiting));
        assert!(permits.upgrade().is_none());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Acquire,
        Release(usize),
        Cancel(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Acquire),
            any::<usize>().prop_map(Step::Release),
            any::<usize>().prop_map(Step::Cancel),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        // Held and free permits add up to the limit, and no waiter waits while a permit is free.
        #[test]
        fn the_number_of_permits_never_changes(limit in 1_usize..4, steps in steps()) {
            let semaphore = DeferredSemaphore::new(limit);
            let (mut asked, mut held) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Acquire => asked.push(semaphore.acquire()),
                    Step::Release(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                    Step::Cancel(which) if !asked.is_empty() => {
                        let deferred: Deferred<Permit> = asked.swap_remove(which % asked.len());
                        deferred.cancel();
                        prop_assert!(failure_of(deferred).check::<Cancelled>());
                    }
                    _ => {}
                }
                let (done, waiting) = asked.into_iter().partition::<Vec<_>, _>(Deferred::is_done);
                held.extend(done.into_iter().map(value_of));
                asked = waiting;
                prop_assert_eq!(held.len() + semaphore.available(), limit);
                prop_assert_eq!(semaphore.waiting(), asked.len());
                prop_assert!(asked.is_empty() || semaphore.available() == 0);
            }
        }
    }
}
