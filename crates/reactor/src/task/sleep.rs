//! Waiting for a time in a future.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;

impl Reactor {
    /// Returns a future that completes once `delay` has passed from now. Dropping the future cancels its delayed call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let nap = clock.spawn(clock.sleep(Duration::from_secs(600)));
    /// clock.advance(Duration::from_secs(599));
    /// assert!(!nap.is_done());
    /// clock.advance(Duration::from_secs(1));
    /// assert!(nap.is_done());
    /// ```
    pub fn sleep(&self, delay: Duration) -> Sleep {
        let shared = Rc::new(Shared::default());
        let its_own = shared.clone();
        let call = self.call_later(delay, move |_| {
            its_own.over.set(true);
            if let Some(waker) = its_own.waker.take() {
                waker.wake();
            }
        });
        Sleep { shared, call }
    }
}

/// The future of [`Reactor::sleep`].
///
/// The future belongs to the reactor's thread.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::Sleep;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let mut nap: Sleep = clock.sleep(Duration::from_secs(600));
/// clock.advance(Duration::from_secs(599));
/// nap.reset(Duration::from_secs(600)); // extends a sleep that has not completed
/// let nap = clock.spawn(nap);
/// clock.advance(Duration::from_secs(599));
/// assert!(!nap.is_done());
/// ```
pub struct Sleep {
    shared: Rc<Shared>,
    call: DelayedCall,
}

#[derive(Default)]
struct Shared {
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Sleep {
    /// Changes the end to `delay` from now. No effect if the sleep has completed.
    pub fn reset(&mut self, delay: Duration) {
        let _ = self.call.reset(delay);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.shared.over.get() {
            return Poll::Ready(());
        }
        *self.shared.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let _ = self.call.cancel();
    }
}
