//! hyper on the loop: hyper's `rt` traits for this crate's streams, timers and tasks. Requires the feature `hyper`.
//!
//! | trait of hyper | type that implements it |
//! |---|---|
//! | [`Read`] + [`Write`] | [`AsyncStream`], with back-pressure in both directions |
//! | [`Timer`] | [`LoopTimer`] |
//! | [`Executor`] (HTTP/2) | [`Reactor`] |
//!
//! ```
//! use std::convert::Infallible;
//! use hyper::body::Incoming;
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response};
//! use ropewalk::task::StreamFactory;
//! use ropewalk::task::hyper::LoopTimer;
//! use ropewalk::testing::MemoryReactor;
//!
//! // The same factory listens on a real reactor.
//! let net = MemoryReactor::new();
//! net.listen_tcp("10.0.0.1:80", StreamFactory::new(|stream, reactor| {
//!     let greet = service_fn(|request: Request<Incoming>| async move {
//!         Ok::<_, Infallible>(Response::new(format!("hello from {}\n", request.uri())))
//!     });
//!     let connection = http1::Builder::new().timer(LoopTimer::new(reactor)).serve_connection(stream, greet);
//!     reactor.spawn(connection);
//! }))?;
//!
//! let client = net.connect_stream("10.0.0.1:80");
//! client.write(b"GET /rope HTTP/1.1\r\nhost: 10.0.0.1\r\n\r\n");
//! net.settle();
//! assert!(client.received().ends_with(b"\r\n\r\nhello from /rope\n"));
//! # Ok::<(), ropewalk::Error>(())
//! ```

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use ropewalk_proto::Moment;

use super::AsyncStream;
use super::thread_bound::ThreadBound;
use crate::kernel::{Reactor, WeakReactor};

impl Read for AsyncStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.get_mut().reader.poll_read_with(context, buffer.remaining(), |data| buffer.put_slice(data));
        read.map_ok(|_| ())
    }
}

impl Write for AsyncStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().shut_down_write();
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_vectored(context, pieces)
    }
}

impl<F: Future + 'static> Executor<F> for Reactor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}

/// A reactor's clock and delayed calls as hyper's [`Timer`].
///
/// hyper requires that timers can be sent to other threads. A `LoopTimer` can be sent, but only works on its reactor's
/// thread. On other threads, and after the reactor is dropped, its sleeps never complete.
#[derive(Clone)]
pub struct LoopTimer(Arc<ThreadBound<Epoch>>);

/// The same moment on the system's clock and on the reactor's clock.
struct Epoch {
    reactor: WeakReactor,
    instant: Instant,
    moment: Moment,
}

impl LoopTimer {
    /// Creates a timer on the clock of `reactor`.
    pub fn new(reactor: &Reactor) -> LoopTimer {
        let epoch = Epoch { reactor: reactor.downgrade(), instant: Instant::now(), moment: reactor.now() };
        LoopTimer(Arc::new(ThreadBound::new(epoch)))
    }

    fn sleep(&self, delay: impl FnOnce(&Self) -> Duration) -> LoopSleep {
        let reactor = self.0.get().and_then(|epoch| epoch.reactor.upgrade());
        let sleep = reactor.map(|reactor| ThreadBound::new(RefCell::new(reactor.sleep(delay(self)))));
        LoopSleep(sleep)
    }

    fn until(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.now())
    }
}

impl std::fmt::Debug for LoopTimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoopTimer")
    }
}

impl Timer for LoopTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.sleep(|_| duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.sleep(|timer| timer.until(deadline)))
    }

    /// Returns the reactor's time, which is virtual on a simulated clock.
    fn now(&self) -> Instant {
        let Some(epoch) = self.0.get() else { return Instant::now() };
        let Some(reactor) = epoch.reactor.upgrade() else { return Instant::now() };
        epoch.instant + reactor.now().since(epoch.moment)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        let own = sleep.as_mut().downcast_mut_pin::<LoopSleep>();
        match own.and_then(|own| own.get_mut().0.as_ref()?.get()) {
            Some(own) => own.borrow_mut().reset(self.until(new_deadline)),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

/// The sleep of a [`LoopTimer`]. A sleep of `None` never completes.
struct LoopSleep(Option<ThreadBound<RefCell<super::Sleep>>>);

impl Sleep for LoopSleep {}

impl Future for LoopSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.0.as_ref().and_then(ThreadBound::get) {
            Some(sleep) => Pin::new(&mut *sleep.borrow_mut()).poll(context),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_reset_moves_the_deadline_on_the_reactors_clock() {
        let clock = Clock::new();
        let timer = LoopTimer::new(&clock);
        let began = timer.now();
        let mut sleep = timer.sleep_until(began + 2 * SECOND);
        timer.reset(&mut sleep, began + 5 * SECOND);
        assert_eq!(clock.get_delayed_calls().len(), 1, "the old deadline is replaced");
        let over = Rc::new(Cell::new(false));
        let flag = over.clone();
        clock.spawn(async move {
            sleep.await;
            flag.set(true);
        });
        clock.advance(4 * SECOND);
        assert!(!over.get());
        clock.advance(SECOND);
        assert!(over.get());
        assert_eq!(timer.now(), began + 5 * SECOND);
    }

    #[test]
    fn dropping_a_sleep_cancels_its_delayed_call() {
        let clock = Clock::new();
        drop(Timer::sleep(&LoopTimer::new(&clock), SECOND));
        assert!(clock.get_delayed_calls().is_empty());
    }
}
