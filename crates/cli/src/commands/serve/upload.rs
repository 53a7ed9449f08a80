//! Discards the body of a request over HTTP/2. Over HTTP/1.1 the reactor does this after the close, while the connection
//! lingers.
//!
//! Without this, h2 resets the stream after the response, with NO_ERROR. That is valid (RFC 9113, section 8.1), but some
//! clients then lose the response: curl 7.88 fails with status 92.

use std::future::poll_fn;
use std::pin::Pin;
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
    let discarding = async move {
        let mut discarded = 0;
        poll_fn(|context| poll_discard(&mut body, &mut discarded, context)).await;
    };
    let limited = reactor.timeout(TIME_MAX, discarding);
    drop(reactor.spawn(async move {
        // A body that is too slow is dropped, which resets the stream.
        let _ = limited.await;
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
