//! Taking turns: a lock and a semaphore whose permits are Deferreds.
//!
//! Whoever asks gets a permit at once or in the order of asking. A permit that is dropped goes to the next; permits are
//! handed out in a loop, so that a queue of any length is not a recursion.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::source::Resolver;
use super::{Deferred, Outcome, maybe_deferred, succeed};

/// At most so many at a time. A cheap handle: clones are the same semaphore.
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
    /// By ticket, so by the order of asking.
    waiting: RefCell<BTreeMap<u64, Resolver<Permit>>>,
    next_ticket: Cell<u64>,
    handing_out: Cell<bool>,
}

impl DeferredSemaphore {
    /// A semaphore with `limit` permits.
    ///
    /// # Panics
    /// When `limit` is 0, because nobody would ever get a permit.
    pub fn new(limit: usize) -> DeferredSemaphore {
        assert!(limit > 0, "a semaphore has at least one permit");
        DeferredSemaphore(Rc::new(Permits {
            limit,
            free: Cell::new(limit),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
            handing_out: Cell::new(false),
        }))
    }

    /// A permit, as soon as one is free. Cancelling the Deferred gives the place in the queue up.
    ///
    /// May be called from a callback; one that gives a permit back and asks again stands behind those who wait.
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

    /// Does `work` with a permit, and gives that back when the work's result is there: before the callbacks of the
    /// Deferred that this returns.
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

    /// How many permits there are in all.
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

    /// How many permits are free.
    pub fn available(&self) -> usize {
        self.0.free.get()
    }

    /// How many wait for a permit.
    pub fn waiting(&self) -> usize {
        self.0.waiting.borrow().len()
    }
}

impl Permits {
    fn give_back(self: &Rc<Permits>) {
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

/// One of a semaphore's permits, or the lock. Dropping it gives it to the next who waits.
///
/// ```
/// use ropewalk_proto::{DeferredLock, Failure, Permit};
///
/// /// Holds the printer as long as it lives.
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
#[must_use = "dropping a permit gives it back"]
pub struct Permit(Rc<Permits>);

impl Permit {
    fn take(permits: &Rc<Permits>) -> Permit {
        permits.free.set(permits.free.get() - 1);
        Permit(permits.clone())
    }

    /// Gives it back. The callbacks of the next who waits run before this returns, unless this is called from such a
    /// callback: then they follow it.
    pub fn release(self) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// One at a time. A cheap handle: clones are the same lock.
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
    /// A lock that nobody holds.
    pub fn new() -> DeferredLock {
        DeferredLock(DeferredSemaphore::new(1))
    }

    /// The lock, as soon as it is free; otherwise as [`DeferredSemaphore::acquire`].
    #[track_caller]
    pub fn acquire(&self) -> Deferred<Permit> {
        self.0.acquire()
    }

    /// Does `work` with the lock held; otherwise as [`DeferredSemaphore::run`].
    #[track_caller]
    pub fn run<R: Outcome>(&self, work: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        self.0.run(work)
    }

    /// Whether somebody holds it.
    pub fn is_locked(&self) -> bool {
        self.0.available() == 0
    }

    /// How many wait for it.
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
    fn permits_are_given_in_the_order_of_asking() {
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
    fn a_cancelled_wait_gives_its_place_up_and_keeps_nothing() {
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
    fn a_permit_that_nobody_takes_goes_to_the_next() {
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
    fn whoever_asks_in_a_callback_stands_behind_those_who_wait() {
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
    fn a_long_queue_of_those_who_release_at_once_is_served_without_recursion() {
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
    fn work_that_fails_or_panics_gives_its_permit_back() {
        let lock = DeferredLock::new();
        assert!(failure_of(lock.run(|| Err::<(), _>(fmt::Error))).check::<fmt::Error>());
        assert!(!lock.is_locked());
        assert!(failure_of(lock.run(|| -> Result<(), Failure> { panic!("at work") })).check::<Panicked>());
        assert!(!lock.is_locked());
    }

    #[test]
    fn cancelling_work_cancels_what_it_waits_for_and_gives_its_permit_back() {
        let lock = DeferredLock::new();
        let (answer, resolver) = Deferred::<()>::new();
        let work = lock.run(move || answer);
        work.cancel();
        assert!(resolver.is_cancelled());
        assert!(failure_of(work).check::<Cancelled>());
        assert!(!lock.is_locked());
    }

    #[test]
    fn a_semaphore_that_is_gone_leaves_no_waiter_behind() {
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
        /// The law of a semaphore: held and free ones are its limit, and nobody waits while one is free.
        #[test]
        fn permits_are_neither_lost_nor_made(limit in 1_usize..4, steps in steps()) {
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
