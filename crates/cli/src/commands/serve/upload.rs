//! Discards the body of a request over HTTP/2. Over HTTP/1.1 the reactor does this after the close, while the connection
//! lingers.
//!
//! Without this, h2 resets the stream after the response, with NO_ERROR. That is valid (RFC 9113, section 8.1), but some
//! clients then lose the response: curl 7.88 fails with status 92.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use ropewalk::{Bytes, Reactor};

/// The most bytes that are discarded. Then the stream is reset.
const DISCARDED_MAX: usize = 16 << 20;

/// The time after which the stream is reset.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Reads `body` to its end, or to a limit, in a task.
pub(super) fn discard(reactor: &Reactor, mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    let late = reactor.sleep(TIME_MAX);
    drop(reactor.spawn(async move {
        let (mut late, mut discarded) = (pin!(late), 0);
        poll_fn(|context| match late.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => poll_discard(&mut body, &mut discarded, context),
        })
        .await;
    }));
}

fn poll_discard(body: &mut Incoming, discarded: &mut usize, context: &mut Context<'_>) -> Poll<()> {
    while *discarded < DISCARDED_MAX {
        match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => *discarded += frame.data_ref().map_or(0, Bytes::len),
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(())
}
