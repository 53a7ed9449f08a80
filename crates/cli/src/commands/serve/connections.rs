//! The open connections of a site, and their graceful shutdown.
//!
//! ```text
//!   open -- close --> the next response says `Connection: close` and is the last one
//!                     a connection without a request closes after a short silence
//!                     --> closed, once no connection lingers or the time of grace has passed
//! ```
//!
//! RFC 9112, section 9.6. Closing all idle connections at once would lose requests that are in flight.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ropewalk::proto::{Moment, Permit, Resolver};
use ropewalk::{Deferred, Reactor};

use super::before::before;

/// The time without traffic after which a closing site closes a connection. A shorter time of grace takes precedence.
const SILENCE: Duration = Duration::from_secs(1);

/// The time after the end of a burst of connections until its memory is released.
const RELEASE_DELAY: Duration = Duration::from_secs(2);

/// The open connections of a site.
pub(super) struct Connections {
    /// Called in a thread to release the memory of a burst.
    release: Arc<dyn Fn() + Send + Sync>,
    /// The most connections that were open at once since memory was released.
    peak: Cell<usize>,
    is_releasing: Cell<bool>,
    /// The maximum time that closing may take.
    grace: Duration,
    closing: Cell<bool>,
    next_number: Cell<u64>,
    /// The connections by number, each with its waker while it waits for the close.
    open: RefCell<BTreeMap<u64, Option<Waker>>>,
    closed: RefCell<Vec<Resolver<()>>>,
}

impl Connections {
    /// Creates connections that call `release` in a thread, two seconds after at least half of a burst were lost.
    pub(super) fn new(grace: Duration, release: impl Fn() + Send + Sync + 'static) -> Rc<Connections> {
        Rc::new(Connections {
            grace,
            release: Arc::new(release),
            peak: Cell::default(),
            is_releasing: Cell::default(),
            closing: Cell::default(),
            next_number: Cell::default(),
            open: RefCell::default(),
            closed: RefCell::default(),
        })
    }

    /// Adds a connection, which is removed when the result is dropped.
    pub(super) fn add(self: &Rc<Connections>, reactor: &Reactor) -> Rc<TrackedConnection> {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let open = {
            let mut open = self.open.borrow_mut();
            open.insert(number, None);
            open.len()
        };
        self.peak.set(self.peak.get().max(open));
        let now = reactor.now();
        Rc::new(TrackedConnection {
            connections: self.clone(),
            number,
            reactor: reactor.clone(),
            last_activity: Cell::new(now),
            last_request: Cell::new(now),
            pending_requests: Cell::new(0),
        })
    }

    /// Closes each connection after its pending requests. The Deferred fires when all are closed or the time of grace is over.
    pub(super) fn close(self: &Rc<Connections>, reactor: &Reactor) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        self.closed.borrow_mut().push(resolver);
        self.closing.set(true);
        let wakers: Vec<_> = self.open.borrow_mut().values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
        let connections = Rc::downgrade(self);
        reactor.call_later(self.grace, move |_| {
            if let Some(connections) = connections.upgrade() {
                connections.finish();
            }
        });
        self.finish_if_closed(reactor);
        deferred
    }

    /// Finishes once no connection lingers, because a stopping reactor would cut off the last bytes of lingering
    /// connections.
    fn finish_if_closed(self: &Rc<Connections>, reactor: &Reactor) {
        if !self.closing.get() || !self.open.borrow().is_empty() {
            return;
        }
        let connections = Rc::downgrade(self);
        reactor.when_none_linger().add_callback(move |()| match connections.upgrade() {
            // If a connection was accepted meanwhile, this function is called again when that connection ends.
            Some(connections) if connections.open.borrow().is_empty() => connections.finish(),
            _ => {}
        });
    }

    /// Releases memory soon if at most half of the connections of a burst are left.
    fn release_if_few(self: &Rc<Connections>, reactor: &Reactor) {
        if 2 * self.open.borrow().len() > self.peak.get() || self.is_releasing.replace(true) {
            return;
        }
        let connections = Rc::downgrade(self);
        reactor.call_later(RELEASE_DELAY, move |reactor| {
            let Some(connections) = connections.upgrade() else { return };
            connections.is_releasing.set(false);
            connections.peak.set(connections.open.borrow().len());
            let release = connections.release.clone();
            reactor.call_in_thread(move || release());
        });
    }

    fn finish(&self) {
        for resolver in self.closed.take() {
            let _ = resolver.callback(());
        }
    }
}

/// An open connection. Dropping it removes the connection.
pub(super) struct TrackedConnection {
    connections: Rc<Connections>,
    number: u64,
    reactor: Reactor,
    last_activity: Cell<Moment>,
    /// The end of the last request, or the beginning of the connection.
    last_request: Cell<Moment>,
    pending_requests: Cell<u32>,
}

impl TrackedConnection {
    /// Notes that bytes were read or written.
    pub(super) fn touch(&self) {
        self.last_activity.set(self.reactor.now());
    }

    /// Whether the site is closing, so that the next response is the last one.
    pub(super) fn is_closing(&self) -> bool {
        self.connections.closing.get()
    }

    /// Starts a request, which is pending until the result is dropped.
    pub(super) fn begin_request(self: &Rc<TrackedConnection>) -> PendingRequest {
        self.pending_requests.set(self.pending_requests.get() + 1);
        PendingRequest { connection: self.clone(), permit: None }
    }

    /// Returns whether a request is pending.
    pub(super) fn has_request(&self) -> bool {
        self.pending_requests.get() > 0
    }

    /// Restarts the period of [`until_idle`](TrackedConnection::until_idle).
    pub(super) fn note_request(&self) {
        self.last_request.set(self.reactor.now());
    }

    /// Completes when no request has been pending for `limit`.
    pub(super) async fn until_idle(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.reactor.now().since(self.last_request.get()));
            match self.pending_requests.get() {
                0 if left.is_zero() => return,
                0 => self.reactor.sleep(left).await,
                _ => self.reactor.sleep(limit).await,
            }
        }
    }

    /// Completes when the site is closing, or when no request has been pending for `limit`.
    pub(super) async fn until_closing_or_idle(&self, limit: Option<Duration>) {
        let idle = async {
            match limit {
                Some(limit) => self.until_idle(limit).await,
                None => pending().await,
            }
        };
        before(pin!(self.until_closing()), idle).await;
    }

    /// Completes when the site is closing and this connection is silent without a pending request.
    pub(super) async fn until_unneeded(&self) {
        self.until_closing().await;
        // After a suspend, delayed calls run before the received bytes are read. One more turn reads those bytes.
        let mut has_polled_again = false;
        loop {
            let silent = self.reactor.now().since(self.last_activity.get());
            let left = SILENCE.min(self.connections.grace).saturating_sub(silent);
            let next = match (left.is_zero(), self.pending_requests.get()) {
                (true, 0) if has_polled_again => return,
                (true, 0) => Duration::ZERO,
                (true, _) => SILENCE,
                (false, _) => left,
            };
            has_polled_again = next.is_zero();
            self.reactor.sleep(next).await;
        }
    }

    async fn until_closing(&self) {
        poll_fn(|context| {
            if self.is_closing() {
                return Poll::Ready(());
            }
            if let Some(waker) = self.connections.open.borrow_mut().get_mut(&self.number) {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
        let connections = self.connections.clone();
        connections.release_if_few(&self.reactor);
        // The check follows in the next turn, because this connection may be in the middle of closing.
        if connections.closing.get() {
            self.reactor.call_later(Duration::ZERO, move |reactor| connections.finish_if_closed(reactor));
        }
    }
}

/// A request whose response is not complete.
pub(super) struct PendingRequest {
    connection: Rc<TrackedConnection>,
    permit: Option<Rc<Permit>>,
}

impl PendingRequest {
    /// Holds `permit` as well, until the response is complete.
    pub(super) fn hold(&mut self, permit: Permit) {
        self.permit = Some(Rc::new(permit));
    }

    /// Returns the permit, for work that may take longer than the response.
    pub(super) fn permit(&self) -> Option<Rc<Permit>> {
        self.permit.clone()
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.pending_requests.set(connection.pending_requests.get() - 1);
        connection.note_request();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ropewalk::RunOptions;
    use ropewalk::testing::{Clock, MemoryReactor};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Connections that release nothing.
    fn quiet(grace: Duration) -> Rc<Connections> {
        Connections::new(grace, || {})
    }

    #[test]
    fn a_pending_request_gets_the_time_of_grace() {
        let (clock, connections) = (Clock::new(), quiet(Duration::from_millis(300)));
        let tracked = begin(&connections, &clock);
        let pending = tracked.begin_request();
        let closed = connections.close(&clock);
        clock.advance(Duration::from_millis(299));
        assert!(!closed.is_done());
        clock.advance(Duration::from_millis(1));
        assert!(closed.is_done());
        drop(pending);
    }

    /// A connection that closes when it is no longer needed, as those of `serve` do.
    fn begin(connections: &Rc<Connections>, clock: &Clock) -> Rc<TrackedConnection> {
        let tracked = connections.add(clock);
        let own = tracked.clone();
        clock.spawn(async move { own.until_unneeded().await });
        tracked
    }

    #[test]
    fn a_site_without_connections_closes_immediately() {
        assert!(quiet(MINUTE).close(&Clock::new()).is_done());
    }

    #[test]
    fn closing_waits_for_a_second_of_silence() {
        let (clock, connections) = (Clock::new(), quiet(MINUTE));
        let (silent, moving) = (begin(&connections, &clock), begin(&connections, &clock));
        clock.advance(2 * SILENCE);
        moving.touch();
        let closed = connections.close(&clock);
        assert!(silent.is_closing());
        clock.advance(Duration::ZERO);
        assert_eq!((Rc::strong_count(&silent), Rc::strong_count(&moving)), (1, 2));
        clock.advance(SILENCE / 2);
        moving.touch();
        clock.advance(SILENCE - Duration::from_millis(1));
        assert_eq!(Rc::strong_count(&moving), 2);
        clock.advance(Duration::from_millis(1));
        assert_eq!(Rc::strong_count(&moving), 1);
        drop(silent);
        assert!(!closed.is_done());
        drop(moving);
        clock.advance(Duration::ZERO);
        assert!(closed.is_done());
    }

    #[test]
    fn bytes_read_in_the_last_turn_break_the_silence() {
        let (clock, connections) = (Clock::new(), quiet(MINUTE));
        let tracked = begin(&connections, &clock);
        connections.close(&clock);
        let found = tracked.clone();
        clock.call_later(SILENCE, move |reactor| drop(reactor.call_later(Duration::ZERO, move |_| found.touch())));
        clock.advance(SILENCE);
        clock.advance(SILENCE / 2);
        assert_eq!(Rc::strong_count(&tracked), 2);
        clock.advance(SILENCE / 2);
        assert_eq!(Rc::strong_count(&tracked), 1);
    }

    #[test]
    fn a_pending_request_keeps_its_connection_open() {
        let (clock, connections) = (Clock::new(), quiet(MINUTE));
        let tracked = begin(&connections, &clock);
        let pending = tracked.begin_request();
        let closed = connections.close(&clock);
        clock.advance(20 * SILENCE);
        assert!(Rc::strong_count(&tracked) > 2);
        drop(pending);
        clock.advance(SILENCE);
        assert_eq!(Rc::strong_count(&tracked), 1);
        drop(tracked);
        clock.advance(Duration::ZERO);
        assert!(closed.is_done());
    }

    #[test]
    fn a_connection_without_a_pending_request_is_idle() {
        let (clock, connections) = (Clock::new(), quiet(MINUTE));
        let tracked = connections.add(&clock);
        let (pending, own) = (tracked.begin_request(), tracked.clone());
        let idle = clock.spawn(async move { own.until_closing_or_idle(Some(MINUTE)).await });
        clock.advance(3 * MINUTE / 2);
        drop(pending);
        // Bytes that are no request do not count.
        clock.advance(MINUTE / 2);
        tracked.touch();
        clock.advance(MINUTE / 2 - Duration::from_millis(1));
        assert!(!idle.is_done());
        clock.advance(Duration::from_millis(1));
        assert!(idle.is_done());
    }

    #[test]
    fn closing_waits_for_a_connection_accepted_meanwhile() {
        let (clock, connections) = (Clock::new(), quiet(MINUTE));
        let first = connections.add(&clock);
        let closed = connections.close(&clock);
        let late = begin(&connections, &clock);
        drop(first);
        assert!(late.is_closing() && !closed.is_done());
        clock.advance(SILENCE);
        drop(late);
        clock.advance(Duration::ZERO);
        assert!(closed.is_done());
    }

    #[test]
    fn memory_is_released_after_a_burst() {
        let (net, (sender, released)) = (MemoryReactor::new(), mpsc::channel());
        net.start_running(RunOptions::default()).unwrap();
        let connections = Connections::new(MINUTE, move || sender.send(()).unwrap());
        let mut open = Vec::from_iter((0..10).map(|_| connections.add(&net)));
        open.truncate(6);
        net.advance(2 * RELEASE_DELAY);
        assert!(net.get_delayed_calls().is_empty());
        open.truncate(2);
        assert_eq!(net.get_delayed_calls().len(), 1, "once for a burst");
        net.advance(RELEASE_DELAY);
        net.settle();
        assert!(released.recv().is_ok());
        assert!(net.get_delayed_calls().is_empty());
    }
}
