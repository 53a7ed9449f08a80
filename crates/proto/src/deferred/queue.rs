//! A queue of values or of waiting getters: `DeferredQueue` of `twisted.internet.defer`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use super::source::Resolver;
use super::{Deferred, fail, succeed};

/// A first-in, first-out queue whose [`get`](DeferredQueue::get) returns a Deferred.
///
/// A queue holds values, or getters that wait for values. Both can be bounded. Clones are handles of the same queue.
/// The methods may be called from any callback. A queue cannot be sent to another thread.
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
    /// The waiting getters by ticket, so the longest-waiting one is first. Empty while values are queued.
    getters: BTreeMap<u64, Resolver<T>>,
    next_ticket: u64,
}

impl<T: 'static> DeferredQueue<T> {
    /// Creates a queue without bounds.
    ///
    /// If a peer decides how many values are put, use [`DeferredQueue::bounded`].
    ///
    /// ```
    /// use ropewalk_proto::DeferredQueue;
    ///
    /// let queue = DeferredQueue::new();
    /// let (first, second) = (queue.get(), queue.get());
    /// assert_eq!((queue.waiting(), queue.len()), (2, 0));
    /// for number in 1..=3 {
    ///     queue.put(number).expect("the queue has no bounds");
    /// }
    /// assert_eq!([first, second].map(|got| got.try_result().unwrap().unwrap()), [1, 2]);
    /// assert!(!queue.is_empty());
    /// ```
    pub fn new() -> DeferredQueue<T> {
        DeferredQueue::bounded(usize::MAX, usize::MAX)
    }

    /// Creates a queue of at most `size` values and at most `backlog` waiting getters.
    ///
    /// `usize::MAX` means no bound. With a size of 0, a value is accepted only while a getter waits.
    pub fn bounded(size: usize, backlog: usize) -> DeferredQueue<T> {
        let (values, getters) = (VecDeque::new(), BTreeMap::new());
        DeferredQueue(Rc::new(RefCell::new(Queue { size, backlog, values, getters, next_ticket: 0 })))
    }

    /// Passes `value` to the longest-waiting getter, or queues it if no getter waits.
    ///
    /// The callbacks of the getter run before this returns.
    ///
    /// # Errors
    /// [`QueueOverflow`] with the value, if the queue is full.
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

    /// Takes the next value, now or when one is put.
    ///
    /// The Deferred fails with [`QueueUnderflow`] if the backlog of getters is full. Cancelling the Deferred removes
    /// the getter. A getter that is only dropped still takes its value.
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

    /// Returns the number of queued values.
    pub fn len(&self) -> usize {
        self.0.borrow().values.len()
    }

    /// Returns whether no value is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of waiting getters.
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

/// A [`DeferredQueue`] is full. The field is the rejected value.
///
/// ```
/// use ropewalk_proto::{DeferredQueue, QueueOverflow};
///
/// let queue = DeferredQueue::bounded(1, 1);
/// queue.put("first")?;
/// let QueueOverflow(rejected) = queue.put("second").unwrap_err();
/// assert_eq!(rejected, "second");
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
        f.write_str("the queue is full: get a value first")
    }
}

impl<T> Error for QueueOverflow<T> {}

/// The backlog of waiting getters of a [`DeferredQueue`] is full.
///
/// ```
/// use ropewalk_proto::{DeferredQueue, QueueUnderflow};
///
/// let queue = DeferredQueue::<u32>::bounded(1, 1);
/// let _waits = queue.get();
/// let rejected = queue.get();
/// assert!(rejected.try_result().unwrap().unwrap_err().check::<QueueUnderflow>());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueUnderflow;

impl fmt::Display for QueueUnderflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue's backlog of waiting getters is full: put a value first")
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
    fn a_full_queue_returns_the_value_to_the_caller() {
        let queue = DeferredQueue::bounded(2, 0);
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let QueueOverflow(value) = queue.put(3).unwrap_err();
        assert_eq!(value_of(queue.get()), 1);
        queue.put(value).unwrap();
        assert_eq!((value_of(queue.get()), value_of(queue.get())), (2, 3));
    }

    #[test]
    fn a_getter_beyond_the_backlog_fails() {
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
    fn a_callback_may_use_the_queue_it_waited_for() {
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
    fn getters_of_a_dropped_queue_fail() {
        let queue = DeferredQueue::<()>::new();
        let getter = queue.get();
        drop(queue);
        assert!(failure_of(getter).check::<super::super::Abandoned>());
    }

    proptest! {
        // Values and getters never wait at the same time.
        #[test]
        fn values_are_got_in_the_order_they_were_put(
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
