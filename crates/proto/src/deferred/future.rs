//! A Deferred as a future.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::failure::Failure;
use super::node::Outlet;
use super::origin::cancel;
use super::{Deferred, Pending, State};

/// `deferred.await` gives the result, so `deferred.await?` the value.
///
/// Dropping a Deferred that has been polled and is still waiting cancels it, because that is how a future is cancelled;
/// a failure that comes of it is not logged.
///
/// # Panics
/// When it is polled again after its result was taken.
///
/// ```
/// use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
/// use ropewalk_proto::{Deferred, Failure};
///
/// let (deferred, resolver) = Deferred::new();
/// let mut task = pin!(async { Ok::<_, Failure>(deferred.await? + 1) });
/// let mut context = Context::from_waker(Waker::noop());
/// assert!(task.as_mut().poll(&mut context).is_pending());
/// resolver.callback(6).unwrap();
/// assert!(matches!(task.as_mut().poll(&mut context), Poll::Ready(Ok(7))));
/// ```
impl<T: 'static> Future for Deferred<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        let pending = match self.state.take().expect("a Deferred is not polled again after its result was taken") {
            State::Done(result) => return Poll::Ready(result),
            State::Pending(pending) => pending,
        };
        let waker = match pending.node.outlet().replace(Outlet::Detached) {
            Outlet::Done(result) => return Poll::Ready(result),
            Outlet::Awaited(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        pending.node.outlet().set(Outlet::Awaited(waker));
        self.state = Some(State::Pending(pending));
        Poll::Pending
    }
}

/// No field is ever pinned: results are moved out.
impl<T: 'static> Unpin for Deferred<T> {}

/// Cancels what was awaited, and wants to hear no more of it.
pub(super) fn give_up<T: 'static>(pending: Pending<T>) {
    pending.node.outlet().set(Outlet::Ignored);
    cancel(pending.origin, Location::caller());
}
