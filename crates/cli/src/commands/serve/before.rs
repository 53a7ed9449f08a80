//! Work that an event may interrupt.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

/// Polls `work` until it ends, or until `event` completes. Then the result is `None`.
pub(super) async fn before<W: Future>(mut work: Pin<&mut W>, event: impl Future<Output = ()>) -> Option<W::Output> {
    let mut event = pin!(event);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => event.as_mut().poll(context).map(|()| None),
    })
    .await
}
