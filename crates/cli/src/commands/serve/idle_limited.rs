//! The stream of one connection, with an idle limit and few unsent bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use ropewalk::Transport;
use ropewalk::task::AsyncStream;

use super::connections::TrackedConnection;
use crate::idle::IdleTimer;

/// Multiplies the idle limit while a response is sent: a slow peer gets more time than a silent one.
pub(super) const STALL_FACTOR: u32 = 10;

/// The number of unsent bytes beyond which no more are accepted. With it, the outbox holds one piece of a file at most.
const UNSENT_MAX: usize = 4 * 1024;

/// A stream that is closed when it has been idle for too long, and that holds few unsent bytes.
pub(super) struct IdleLimited {
    stream: AsyncStream,
    idle: IdleTimer,
    tracked: Rc<TrackedConnection>,
}

impl IdleLimited {
    /// Closes `stream` once it has been idle for [`STALL_FACTOR`] times `idle_limit`.
    pub(super) fn new(
        stream: AsyncStream,
        idle_limit: Option<Duration>,
        tracked: Rc<TrackedConnection>,
    ) -> IdleLimited {
        let _ = stream.transport().set_tcp_no_delay(true);
        stream.transport().set_watermarks(UNSENT_MAX, 0);
        let idle = IdleTimer::closing(stream.transport(), idle_limit.map(|limit| limit * STALL_FACTOR));
        IdleLimited { stream, idle, tracked }
    }

    pub(super) fn transport(&self) -> &Transport {
        self.stream.transport()
    }

    /// Waits until few bytes are unsent.
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.stream.transport().buffered() > UNSENT_MAX {
            // Written in this turn and sent at its end. Then the stream knows whether the peer is slow.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn touch_if_ready<T>(&self, outcome: Poll<T>) -> Poll<T> {
        if outcome.is_ready() {
            self.idle.touch();
            self.tracked.touch();
        }
        outcome
    }
}

impl Read for IdleLimited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.touch_if_ready(outcome)
    }
}

impl Write for IdleLimited {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(context))?;
        let outcome = Pin::new(&mut self.stream).poll_write(context, data);
        self.touch_if_ready(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(context))?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.touch_if_ready(outcome)
    }
}
