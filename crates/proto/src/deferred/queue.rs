//! A queue between those who put and those who get: `DeferredQueue`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use super::source::Resolver;
use super::{Deferred, fail, succeed};

/// Values that wait to be got, or getters that wait for values, in their order; both bounded if that is asked for.
///
/// A cheap handle: clones are the same queue.
///
/// ```
/// use ropewalk_proto::{DeferredQueue, QueueOverflow};
///
/// let queue = DeferredQueue::bounded(1, usize::MAX);
/// let first = queue.get();
/// queue.put("a")?;
/// assert_eq!(first.try_result().unwrap().unwrap(), "a");
/// queue.put("b")?;
/// assert_eq!(queue.put("c").unwrap_err().0, "c");
/// # Ok::<(), QueueOverflow<&str>>(())
/// ```
pub struct DeferredQueue<T: 'static>(Rc<RefCell<Queue<T>>>);

struct Queue<T: 'static> {
    size: usize,
    backlog: usize,
    values: VecDeque<T>,
    /// By ticket, so by the order of asking. Somebody waits only while there are no values.
    getters: BTreeMap<u64, Resolver<T>>,
    next_ticket: u64,
}

impl<T: 'static> DeferredQueue<T> {
    /// A queue without bounds. Where a peer decides what is put, use [`DeferredQueue::bounded`].
    ///
    /// ```
    /// use ropewalk_proto::DeferredQueue;
    ///
    /// let queue = DeferredQueue::new();
    /// let (first, second) = (queue.get(), queue.get());
    /// assert_eq!((queue.waiting(), queue.len()), (2, 0));
    /// for number in 1..=3 {
    ///     queue.put(number).expect("it has no bounds");
    /// }
    /// assert_eq!([first, second].map(|got| got.try_result().unwrap().unwrap()), [1, 2]);
    /// assert!(!queue.is_empty());
    /// ```
    pub fn new() -> DeferredQueue<T> {
        DeferredQueue::bounded(usize::MAX, usize::MAX)
    }

    /// A queue in which at most `size` values wait to be got, and at most `backlog` getters wait for values.
    /// `usize::MAX` is no bound; with a size of 0 a value is taken only when a getter waits.
    pub fn bounded(size: usize, backlog: usize) -> DeferredQueue<T> {
        let (values, getters) = (VecDeque::new(), BTreeMap::new());
        DeferredQueue(Rc::new(RefCell::new(Queue { size, backlog, values, getters, next_ticket: 0 })))
    }

    /// Gives `value` to the getter that has waited longest, whose callbacks run before this returns, or keeps it.
    ///
    /// # Errors
    /// [`QueueOverflow`] with the value when the queue is full.
    pub fn put(&self, value: T) -> Result<(), QueueOverflow<T>> {
        let mut queue = self.0.borrow_mut();
        if let Some((_, getter)) = queue.getters.pop_first() {
            drop(queue);
            let _ = getter.callback(value);
            return Ok(());
        }
        if queue.values.len() >= queue.size {
            return Err(QueueOverflow(value));
        }
        queue.values.push_back(value);
        Ok(())
    }

    /// The next value, now or when it is put. Cancelling the Deferred gives the place among the getters up.
    ///
    /// It fails with [`QueueUnderflow`] when as many getters wait already as the queue allows. A getter that was dropped
    /// without being cancelled still takes its value.
    #[track_caller]
    pub fn get(&self) -> Deferred<T> {
        let mut queue = self.0.borrow_mut();
        if let Some(value) = queue.values.pop_front() {
            return succeed(value);
        }
        if queue.getters.len() >= queue.backlog {
            return fail(QueueUnderflow);
        }
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        let places = Rc::downgrade(&self.0);
        let (deferred, resolver) = Deferred::with_canceller(move |_| {
            let place = places.upgrade().and_then(|queue| queue.borrow_mut().getters.remove(&ticket));
            drop(place);
        });
        queue.getters.insert(ticket, resolver);
        deferred
    }

    /// How many values wait to be got.
    pub fn len(&self) -> usize {
        self.0.borrow().values.len()
    }

    /// Whether no value waits to be got.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many getters wait for values.
    pub fn waiting(&self) -> usize {
        self.0.borrow().getters.len()
    }
}

impl<T: 'static> Default for DeferredQueue<T> {
    fn default() -> Self {
        DeferredQueue::new()
    }
}

impl<T: 'static> Clone for DeferredQueue<T> {
    fn clone(&self) -> Self {
        DeferredQueue(self.0.clone())
    }
}

impl<T: 'static> fmt::Debug for DeferredQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredQueue").field("len", &self.len()).field("waiting", &self.waiting()).finish()
    }
}

/// A [`DeferredQueue`] is full: the value that it did not take.
///
/// ```
/// use ropewalk_proto::{DeferredQueue, QueueOverflow};
///
/// let queue = DeferredQueue::bounded(1, 1);
/// queue.put("first")?;
/// let QueueOverflow(refused) = queue.put("second").unwrap_err();
/// assert_eq!(refused, "second"); // the caller's again
/// # Ok::<(), QueueOverflow<&str>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueOverflow<T>(pub T);

impl<T> fmt::Debug for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueOverflow(..)")
    }
}

impl<T> fmt::Display for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is full: a value must be got first")
    }
}

impl<T> Error for QueueOverflow<T> {}

/// As many getters wait for values of a [`DeferredQueue`] as it allows.
///
/// ```
/// use ropewalk_proto::{DeferredQueue, QueueUnderflow};
///
/// let queue = DeferredQueue::<u32>::bounded(1, 1);
/// let _waits = queue.get();
/// let refused = queue.get();
/// assert!(refused.try_result().unwrap().unwrap_err().check::<QueueUnderflow>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueUnderflow;

impl fmt::Display for QueueUnderflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue has as many waiting getters as its backlog allows: a value must be put first")
    }
}

impl Error for QueueUnderflow {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Cancelled;
    use super::super::tests::{failure_of, value_of};
    use super::*;

    #[test]
    fn a_full_queue_gives_the_value_back_and_takes_it_when_one_was_got() {
        let queue = DeferredQueue::bounded(2, 0);
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let QueueOverflow(value) = queue.put(3).unwrap_err();
        assert_eq!(value_of(queue.get()), 1);
        queue.put(value).unwrap();
        assert_eq!((value_of(queue.get()), value_of(queue.get())), (2, 3));
    }

    #[test]
    fn one_getter_too_many_fails() {
        let queue = DeferredQueue::<()>::bounded(1, 1);
        let first = queue.get();
        assert!(failure_of(queue.get()).check::<QueueUnderflow>());
        queue.put(()).unwrap();
        value_of(first);
    }

    #[test]
    fn a_cancelled_getter_takes_no_value() {
        let queue = DeferredQueue::new();
        let (first, second) = (queue.get(), queue.get());
        first.cancel();
        assert!(failure_of(first).check::<Cancelled>());
        queue.put(1).unwrap();
        assert_eq!(value_of(second), 1);
    }

    #[test]
    fn a_getter_may_put_and_get_in_its_callback() {
        let queue = DeferredQueue::new();
        let inside = queue.clone();
        let end = queue.get().and_then(move |value: u32| {
            inside.put(value + 1).unwrap();
            inside.get()
        });
        queue.put(1).unwrap();
        assert_eq!(value_of(end), 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn getters_of_a_queue_that_is_gone_fail() {
        let queue = DeferredQueue::<()>::new();
        let getter = queue.get();
        drop(queue);
        assert!(failure_of(getter).check::<super::super::Abandoned>());
    }

    proptest! {
        /// What is got is what was put, in its order, and never both sides wait.
        #[test]
        fn values_are_got_in_the_order_in_which_they_were_put(
            size in 0_usize..4,
            backlog in 0_usize..4,
            steps in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let queue = DeferredQueue::bounded(size, backlog);
            let (mut taken, mut getters) = (Vec::new(), Vec::new());
            for (number, is_put) in steps.into_iter().enumerate() {
                let (len, waiting) = (queue.len(), queue.waiting());
                if is_put {
                    let fits = waiting > 0 || len < size;
                    prop_assert_eq!(queue.put(number).is_ok(), fits);
                    taken.extend(fits.then_some(number));
                } else {
                    let getter = queue.get();
                    if len == 0 && waiting == backlog {
                        prop_assert!(failure_of(getter).check::<QueueUnderflow>());
                    } else {
                        getters.push(getter);
                    }
                }
                prop_assert!(queue.is_empty() || queue.waiting() == 0);
            }
            let got = Vec::from_iter(getters.into_iter().filter(Deferred::is_done).map(value_of));
            prop_assert_eq!(&got[..], &taken[..got.len()]);
            prop_assert_eq!(taken.len() - got.len(), queue.len());
        }
    }
}
