//! Channels between tasks on one loop, bounded and unbounded.
//!
//! Channels do not cross threads, so they use no locks. To send from another thread, use `call_from_thread`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ropewalk_proto::{DeferredSemaphore, Permit};

/// Creates a channel that holds at most `capacity` values. A sender waits while the channel is full.
///
/// # Panics
/// When `capacity` is 0.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::channel;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let (sender, mut receiver) = channel(1);
/// drop(clock.spawn(async move {
///     for number in 1..=3 {
///         sender.send(number).await.expect("a receiver");
///     }
/// }));
/// let sum = clock.spawn(async move {
///     let mut sum = 0;
///     while let Some(number) = receiver.recv().await {
///         sum += number;
///     }
///     sum
/// });
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(sum.try_result().unwrap().unwrap(), 6);
/// ```
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let room = DeferredSemaphore::new(capacity);
    let channel = Rc::new(Channel::new());
    (Sender { end: SendingEnd::new(&channel), room }, Receiver(channel))
}

/// Creates a channel without a bound. Use it for values whose number is bounded elsewhere, and not for data from a
/// peer.
///
/// ```
/// use ropewalk::task::unbounded_channel;
///
/// let (sender, mut receiver) = unbounded_channel();
/// sender.send("rope")?;
/// assert_eq!(receiver.try_recv(), Ok("rope"));
/// # Ok::<(), ropewalk::task::SendError<&str>>(())
/// ```
pub fn unbounded_channel<T>() -> (UnboundedSender<T>, Receiver<T>) {
    let channel = Rc::new(Channel::new());
    (UnboundedSender(SendingEnd::new(&channel)), Receiver(channel))
}

struct Channel<T> {
    /// The values that were not received yet. In a bounded channel each value holds a permit, which is released on
    /// receipt.
    values: RefCell<VecDeque<(T, Option<Permit>)>>,
    senders: Cell<usize>,
    receiver_is_gone: Cell<bool>,
    receiver: Cell<Option<Waker>>,
}

impl<T> Channel<T> {
    fn new() -> Channel<T> {
        Channel {
            values: RefCell::default(),
            senders: Cell::new(0),
            receiver_is_gone: Cell::new(false),
            receiver: Cell::new(None),
        }
    }

    fn put(&self, value: T, place: Option<Permit>) -> Result<(), SendError<T>> {
        if self.receiver_is_gone.get() {
            return Err(SendError(value));
        }
        self.values.borrow_mut().push_back((value, place));
        self.wake_receiver();
        Ok(())
    }

    fn wake_receiver(&self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }
}

/// Counts the senders. Dropping the last one wakes the receiver.
struct SendingEnd<T>(Rc<Channel<T>>);

impl<T> SendingEnd<T> {
    fn new(channel: &Rc<Channel<T>>) -> SendingEnd<T> {
        channel.senders.set(channel.senders.get() + 1);
        SendingEnd(channel.clone())
    }
}

impl<T> Clone for SendingEnd<T> {
    fn clone(&self) -> Self {
        SendingEnd::new(&self.0)
    }
}

impl<T> Drop for SendingEnd<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.wake_receiver();
        }
    }
}

/// The sending half of a [`channel`]. Clones send into the same channel. After the last clone is dropped, the receiver
/// gets the remaining values and then the end.
///
/// A channel connects tasks of one thread: a sender may be used in any task or callback of that thread. Another thread
/// sends through [`ThreadHandle::call_from_thread`](crate::ThreadHandle::call_from_thread).
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::channel;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let (sender, mut receiver) = channel(1);
/// let second = sender.clone();
/// clock.spawn(async move {
///     sender.send("one").await.expect("a receiver");
///     second.send("two").await.expect("a receiver"); // waits until "one" was received
/// });
/// clock.advance(Duration::ZERO);
/// assert_eq!(receiver.len(), 1);
/// assert_eq!(receiver.try_recv(), Ok("one"));
/// clock.advance(Duration::ZERO);
/// assert_eq!(receiver.try_recv(), Ok("two"));
/// ```
pub struct Sender<T> {
    end: SendingEnd<T>,
    room: DeferredSemaphore,
}

impl<T> Sender<T> {
    /// Sends `value`, after waiting for room. Waiting senders get room in the order in which they asked.
    ///
    /// Dropping the future cancels the send and drops `value`.
    ///
    /// # Errors
    /// [`SendError`] with the value when the receiver has been dropped, before or during the wait.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.room.acquire().await {
            Ok(place) => self.end.0.put(value, Some(place)),
            Err(_) => Err(SendError(value)),
        }
    }

    /// Sends `value` if there is room now and no other sender is waiting.
    ///
    /// ```
    /// use ropewalk::task::{TrySendError, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.try_send("fits")?;
    /// assert_eq!(sender.try_send("does not"), Err(TrySendError::Full("does not")));
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// # Ok::<(), TrySendError<&str>>(())
    /// ```
    ///
    /// # Errors
    /// [`TrySendError::Full`] or [`TrySendError::Closed`], each with the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.is_closed() {
            return Err(TrySendError::Closed(value));
        }
        if self.room.available() == 0 || self.room.waiting() > 0 {
            return Err(TrySendError::Full(value));
        }
        match self.room.acquire().try_result() {
            Ok(Ok(place)) => self.end.0.put(value, Some(place)).map_err(|SendError(value)| TrySendError::Closed(value)),
            _ => Err(TrySendError::Full(value)),
        }
    }

    /// Returns whether the receiver has been dropped.
    pub fn is_closed(&self) -> bool {
        self.end.0.receiver_is_gone.get()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { end: self.end.clone(), room: self.room.clone() }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("room", &self.room.available()).field("closed", &self.is_closed()).finish()
    }
}

/// The sending half of an [`unbounded_channel`]. Clones send into the same channel. After the last clone is dropped,
/// the receiver gets the remaining values and then the end.
///
/// A sender may be used in any task or callback of the reactor's thread. Another thread sends through
/// [`ThreadHandle::call_from_thread`](crate::ThreadHandle::call_from_thread).
///
/// ```
/// use ropewalk::task::{UnboundedSender, unbounded_channel};
///
/// /// Can be called from a callback, because it never waits.
/// fn report(log: &UnboundedSender<String>, line: &str) {
///     if log.send(line.to_owned()).is_err() {
///         eprintln!("the log is closed: {line}");
///     }
/// }
///
/// let (log, mut lines) = unbounded_channel();
/// report(&log, "started");
/// assert_eq!(lines.try_recv().as_deref(), Ok("started"));
/// drop(lines);
/// assert!(log.is_closed());
/// ```
pub struct UnboundedSender<T>(SendingEnd<T>);

impl<T> UnboundedSender<T> {
    /// Sends `value` without waiting. May be called from a callback.
    ///
    /// # Errors
    /// [`SendError`] with the value when the receiver has been dropped.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.0.put(value, None)
    }

    /// Returns whether the receiver has been dropped.
    pub fn is_closed(&self) -> bool {
        self.0.0.receiver_is_gone.get()
    }
}

impl<T> Clone for UnboundedSender<T> {
    fn clone(&self) -> Self {
        UnboundedSender(self.0.clone())
    }
}

impl<T> fmt::Debug for UnboundedSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnboundedSender").field("closed", &self.is_closed()).finish()
    }
}

/// The receiving half of a [`channel`] or an [`unbounded_channel`]. Dropping the receiver drops the values that were
/// not received, and closes the channel for senders.
///
/// A channel connects tasks of one thread: the receiver may be used in any task or callback of that thread.
///
/// ```
/// use ropewalk::task::{TryRecvError, unbounded_channel};
///
/// let (sender, mut receiver) = unbounded_channel();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// sender.send(1)?;
/// drop(sender);
/// assert!(!receiver.is_empty());
/// assert_eq!(receiver.try_recv(), Ok(1)); // sent values are still received
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
/// # Ok::<(), ropewalk::task::SendError<i32>>(())
/// ```
pub struct Receiver<T>(Rc<Channel<T>>);

impl<T> Receiver<T> {
    /// Waits for the next value. Returns `None` when all values have been received and all senders dropped.
    ///
    /// Dropping the future loses no value.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Polls for the next value, like `recv`, for use in hand-written futures.
    ///
    /// ```
    /// use std::task::{Context, Poll, Waker};
    /// use ropewalk::task::unbounded_channel;
    ///
    /// let (sender, mut receiver) = unbounded_channel();
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(receiver.poll_recv(&mut context), Poll::Pending);
    /// sender.send('x')?;
    /// assert_eq!(receiver.poll_recv(&mut context), Poll::Ready(Some('x')));
    /// # Ok::<(), ropewalk::task::SendError<char>>(())
    /// ```
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        match self.try_recv() {
            Ok(value) => Poll::Ready(Some(value)),
            Err(TryRecvError::Closed) => Poll::Ready(None),
            Err(TryRecvError::Empty) => {
                self.0.receiver.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// Returns the next value if there is one now.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] when no value is queued now, and [`TryRecvError::Closed`] when no value will follow.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let next = self.0.values.borrow_mut().pop_front();
        match next {
            Some((value, _place)) => Ok(value),
            None if self.0.senders.get() == 0 => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Returns the number of values that wait to be received.
    pub fn len(&self) -> usize {
        self.0.values.borrow().len()
    }

    /// Returns whether no value waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_is_gone.set(true);
        // Dropping the values releases their places to waiting senders, which then see the closed channel.
        let values = self.0.values.take();
        drop(values);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The error of a send whose receiver has been dropped. Contains the value.
///
/// ```
/// use ropewalk::task::{SendError, unbounded_channel};
///
/// let (sender, receiver) = unbounded_channel();
/// drop(receiver);
/// let SendError(value) = sender.send("mine again").unwrap_err();
/// assert_eq!(value, "mine again");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed: its receiver has been dropped")
    }
}

impl<T> Error for SendError<T> {}

/// The reason why [`Sender::try_send`] did not accept a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full, or other senders are waiting.
    Full(T),
    /// The receiver has been dropped.
    Closed(T),
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full: a value must be received first",
            TrySendError::Closed(_) => "the channel is closed: its receiver has been dropped",
        })
    }
}

impl<T> Error for TrySendError<T> {}

/// The reason why [`Receiver::try_recv`] returned no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no value now.
    Empty,
    /// There is no value, and all senders have been dropped.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "the channel is empty",
            TryRecvError::Closed => "the channel is closed: all senders have been dropped",
        })
    }
}

impl Error for TryRecvError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ropewalk_proto::Deferred;

    use super::*;
    use crate::testing::Clock;

    fn value_of<T>(deferred: Deferred<T>) -> T {
        deferred.try_result().expect("a finished task").expect("a value")
    }

    fn settle(clock: &Clock) {
        clock.advance(Duration::ZERO);
    }

    #[test]
    fn senders_wait_in_order_while_the_channel_is_full() {
        let clock = Clock::new();
        let (sender, mut receiver) = channel(2);
        let sent = Rc::new(Cell::new(0));
        for number in 0..5 {
            let (sender, sent) = (sender.clone(), sent.clone());
            drop(clock.spawn(async move {
                sender.send(number).await.unwrap();
                sent.set(sent.get() + 1);
            }));
        }
        settle(&clock);
        assert_eq!((sent.get(), receiver.len()), (2, 2));
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
        for number in 0..5 {
            assert_eq!(receiver.try_recv(), Ok(number));
            settle(&clock);
        }
        assert_eq!(sent.get(), 5);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    }

    #[test]
    fn values_sent_before_the_last_sender_was_dropped_arrive() {
        let clock = Clock::new();
        let (sender, mut receiver) = unbounded_channel();
        let all = clock.spawn(async move {
            let mut all = Vec::new();
            while let Some(value) = receiver.recv().await {
                all.push(value);
            }
            all
        });
        settle(&clock);
        let other = sender.clone();
        sender.send(1).unwrap();
        drop(sender);
        settle(&clock);
        other.send(2).unwrap();
        drop(other);
        settle(&clock);
        assert_eq!(value_of(all), [1, 2]);
    }

    #[test]
    fn dropping_the_receiver_returns_the_values_of_waiting_senders() {
        let clock = Clock::new();
        let (sender, receiver) = channel(1);
        sender.try_send(0).unwrap();
        let waiting = [1, 2].map(|number| {
            let sender = sender.clone();
            clock.spawn(async move { sender.send(number).await })
        });
        settle(&clock);
        drop(receiver);
        settle(&clock);
        assert_eq!(waiting.map(value_of), [Err(SendError(1)), Err(SendError(2))]);
        assert!(sender.is_closed());
        assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
    }

    #[test]
    fn a_cancelled_send_gives_its_place_to_the_next_sender() {
        let clock = Clock::new();
        let (sender, mut receiver) = channel(1);
        sender.try_send(0).unwrap();
        let (first, second) = (sender.clone(), sender.clone());
        let given_up = clock.spawn(async move { first.send(1).await });
        let patient = clock.spawn(async move { second.send(2).await });
        settle(&clock);
        given_up.cancel();
        assert_eq!(receiver.try_recv(), Ok(0));
        settle(&clock);
        assert_eq!(receiver.try_recv(), Ok(2));
        value_of(patient).unwrap();
        drop(given_up.add_errback(|_| Ok(())));
    }

    #[test]
    fn unreceived_values_are_dropped_with_the_receiver() {
        let token = Rc::new(());
        let (sender, receiver) = unbounded_channel();
        sender.send(token.clone()).unwrap();
        drop(receiver);
        assert_eq!(Rc::strong_count(&token), 1);
        assert!(sender.send(token).is_err());
    }
}
