//! A Deferred as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Deferred;
use super::chain::{Output, State};
use super::deferred_error::DeferredError;

/// `deferred.await` returns the result, so `deferred.await?` returns the value. The `?` also works in a function that
/// returns another error than [`Failure`](super::Failure): see [`DeferredError`].
///
/// Dropping a Deferred that was polled and has no result cancels it, because dropping is how a future is cancelled. The
/// failure that follows is not logged.
///
/// # Panics
/// If the Deferred is polled after its result was taken.
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
    type Output = Result<T, DeferredError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, DeferredError>> {
        let pending = match self.state.take().expect("a Deferred is not polled again after its result was taken") {
            State::Done(result) => return Poll::Ready(result.map_err(DeferredError::from)),
            State::Pending(pending) => pending,
        };
        let waker = match pending.node.output().replace(Output::Detached) {
            Output::Done(result) => return Poll::Ready(result.map_err(DeferredError::from)),
            Output::Awaited(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        pending.node.output().set(Output::Awaited(waker));
        self.state = Some(State::Pending(pending));
        Poll::Pending
    }
}

// No field is ever pinned, because results are moved out.
impl<T: 'static> Unpin for Deferred<T> {}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::super::tests::{logged_by, value_of};
    use super::super::{Cancelled, succeed};
    use super::*;

    #[derive(Default)]
    struct Alarm(AtomicUsize);

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Alarm {
        fn rings(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, alarm: &Arc<Alarm>) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&Waker::from(alarm.clone())))
    }

    #[test]
    fn firing_wakes_the_task_that_polled_last() {
        let (mut deferred, resolver) = Deferred::new();
        let [first, last] = [Arc::<Alarm>::default(), Arc::default()];
        assert!(poll(&mut deferred, &first).is_pending());
        assert!(poll(&mut deferred, &last).is_pending());
        assert!(poll(&mut deferred, &last).is_pending());
        resolver.callback(4).unwrap();
        assert_eq!((first.rings(), last.rings()), (0, 1));
        assert!(matches!(poll(&mut deferred, &last), Poll::Ready(Ok(4))));
    }

    #[test]
    fn a_done_deferred_is_ready_at_once() {
        let alarm = Arc::default();
        assert!(matches!(poll(&mut succeed(1), &alarm), Poll::Ready(Ok(1))));
        let (mut deferred, resolver) = Deferred::<()>::new();
        resolver.errback(fmt::Error).unwrap();
        assert!(matches!(poll(&mut deferred, &alarm), Poll::Ready(Err(failure)) if failure.check::<fmt::Error>()));
    }

    #[test]
    fn the_result_of_a_returned_deferred_wakes_the_task() {
        let (outer, fire_outer) = Deferred::new();
        let (inner, fire_inner) = Deferred::new();
        let mut end = outer.and_then(move |()| inner);
        let alarm = Arc::default();
        assert!(poll(&mut end, &alarm).is_pending());
        fire_outer.callback(()).unwrap();
        assert_eq!(alarm.rings(), 0);
        fire_inner.callback(8).unwrap();
        assert_eq!(alarm.rings(), 1);
        assert!(matches!(poll(&mut end, &alarm), Poll::Ready(Ok(8))));
    }

    #[test]
    fn dropping_an_awaited_deferred_cancels_it_silently() {
        let lines = logged_by(|| {
            let (deferred, resolver) = Deferred::<()>::new();
            let mut deferred = deferred.add_callback(|()| ());
            assert!(poll(&mut deferred, &Arc::default()).is_pending());
            drop(deferred);
            assert!(resolver.is_cancelled());
        });
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn dropping_a_deferred_before_the_first_poll_cancels_nothing() {
        let (deferred, resolver) = Deferred::<()>::new();
        drop(deferred);
        assert!(!resolver.is_cancelled());
        assert!(!resolver.is_called());
        resolver.callback(()).unwrap();
    }

    #[test]
    fn a_polled_deferred_accepts_callbacks() {
        let (mut deferred, resolver) = Deferred::new();
        let alarm = Arc::default();
        assert!(poll(&mut deferred, &alarm).is_pending());
        let end = deferred.add_callback(|value: u32| value * 2);
        assert!(!resolver.is_cancelled());
        resolver.callback(4).unwrap();
        assert_eq!(alarm.rings(), 0);
        assert_eq!(value_of(end), 8);
    }

    #[test]
    fn cancelling_wakes_the_task() {
        let (mut deferred, _resolver) = Deferred::<()>::new();
        let alarm = Arc::default();
        assert!(poll(&mut deferred, &alarm).is_pending());
        deferred.cancel();
        assert_eq!(alarm.rings(), 1);
        assert!(matches!(poll(&mut deferred, &alarm), Poll::Ready(Err(failure)) if failure.check::<Cancelled>()));
    }

    #[test]
    #[should_panic(expected = "not polled again")]
    fn polling_after_the_result_was_taken_panics() {
        let mut deferred = succeed(1);
        let _ = poll(&mut deferred, &Arc::default());
        let _ = poll(&mut deferred, &Arc::default());
    }
}
