//! The connections of a site, and how they end when it closes: none in the middle of a request.
//!
//! ```text
//!   open -- close --> a response says `Connection: close`, and its connection ends with it
//!                     nothing asked, and silent for a while: ends
//!                     --> the last one has ended and lingers no more, or the time of grace: closed
//! ```
//!
//! RFC 9112, section 9.6. Ending all idle connections at once would meet requests that are on their way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ropewalk::proto::{Moment, Resolver};
use ropewalk::{Deferred, Reactor};

/// How long a connection must have been silent before nobody is taken to be asking, where there is time for that.
const SILENCE: Duration = Duration::from_secs(1);

/// All connections of a site.
#[derive(Default)]
pub(super) struct Connections {
    /// How long closing may take.
    grace: Duration,
    closing: Cell<bool>,
    opened: Cell<u64>,
    /// Who of them waits for the close.
    open: RefCell<BTreeMap<u64, Option<Waker>>>,
    closed: RefCell<Vec<Resolver<()>>>,
}

impl Connections {
    pub(super) fn new(grace: Duration) -> Rc<Connections> {
        Rc::new(Connections { grace, ..Connections::default() })
    }

    /// One more.
    pub(super) fn open(self: &Rc<Connections>, reactor: &Reactor) -> Rc<Open> {
        let number = self.opened.get();
        self.opened.set(number + 1);
        self.open.borrow_mut().insert(number, None);
        let moved = Cell::new(reactor.now());
        Rc::new(Open { connections: self.clone(), number, reactor: reactor.clone(), moved, answering: Cell::new(0) })
    }

    /// Has every connection end once it is answered. The Deferred fires when all have ended, or the time of grace has.
    pub(super) fn close(self: &Rc<Connections>, reactor: &Reactor) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        self.closed.borrow_mut().push(resolver);
        self.closing.set(true);
        let wakers: Vec<_> = self.open.borrow_mut().values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
        let connections = Rc::downgrade(self);
        reactor.call_later(self.grace, move |_| {
            if let Some(connections) = connections.upgrade() {
                connections.tell();
            }
        });
        self.tell_if_closed(reactor);
        deferred
    }

    /// Tells when everything has arrived: the end of the reactor cuts off whatever lingers.
    fn tell_if_closed(self: &Rc<Connections>, reactor: &Reactor) {
        if !self.closing.get() || !self.open.borrow().is_empty() {
            return;
        }
        let connections = Rc::downgrade(self);
        reactor.when_none_linger().add_callback(move |()| match connections.upgrade() {
            // Another one may have been accepted meanwhile; its end calls again.
            Some(connections) if connections.open.borrow().is_empty() => connections.tell(),
            _ => {}
        });
    }

    fn tell(&self) {
        for resolver in self.closed.take() {
            let _ = resolver.callback(());
        }
    }
}

/// A connection, until it is dropped.
pub(super) struct Open {
    connections: Rc<Connections>,
    number: u64,
    reactor: Reactor,
    moved: Cell<Moment>,
    answering: Cell<u32>,
}

impl Open {
    /// Something was read or written.
    pub(super) fn touch(&self) {
        self.moved.set(self.reactor.now());
    }

    /// Whether the site closes, so that a response is the last one.
    pub(super) fn is_closing(&self) -> bool {
        self.connections.closing.get()
    }

    /// A request is being answered until the result is dropped.
    pub(super) fn answering(self: &Rc<Open>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        Answering(self.clone())
    }

    /// Ends when the site closes and nobody asks for anything here.
    pub(super) async fn unneeded(&self) {
        self.until_closing().await;
        // After a machine stood still, what has arrived is found after the calls that are due: another turn looks for it.
        let mut has_looked_again = false;
        loop {
            let silent = self.reactor.now().since(self.moved.get());
            let left = SILENCE.min(self.connections.grace).saturating_sub(silent);
            let next = match (left.is_zero(), self.answering.get()) {
                (true, 0) if has_looked_again => return,
                (true, 0) => Duration::ZERO,
                (true, _) => SILENCE,
                (false, _) => left,
            };
            has_looked_again = next.is_zero();
            self.reactor.sleep(next).await;
        }
    }

    async fn until_closing(&self) {
        poll_fn(|context| {
            if self.is_closing() {
                return Poll::Ready(());
            }
            if let Some(place) = self.connections.open.borrow_mut().get_mut(&self.number) {
                *place = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
        let connections = self.connections.clone();
        // Later: the connection that this was may be in the middle of ending.
        if connections.closing.get() {
            self.reactor.call_later(Duration::ZERO, move |reactor| connections.tell_if_closed(reactor));
        }
    }
}

/// A request that is being answered.
pub(super) struct Answering(Rc<Open>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use ropewalk::testing::Clock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_request_that_is_being_answered_has_the_time_of_grace_and_no_more() {
        let (clock, connections) = (Clock::new(), Connections::new(Duration::from_millis(300)));
        let open = begin(&connections, &clock);
        let answering = open.answering();
        let closed = connections.close(&clock);
        clock.advance(Duration::from_millis(299));
        assert!(!closed.is_done());
        clock.advance(Duration::from_millis(1));
        assert!(closed.is_done());
        drop(answering);
    }

    /// A connection that ends when nobody needs it, as `serve` has it.
    fn begin(connections: &Rc<Connections>, clock: &Clock) -> Rc<Open> {
        let open = connections.open(clock);
        let own = open.clone();
        clock.spawn(async move { own.unneeded().await });
        open
    }

    #[test]
    fn a_site_without_connections_is_closed_at_once() {
        assert!(Connections::new(MINUTE).close(&Clock::new()).is_done());
    }

    #[test]
    fn who_was_silent_for_long_ends_at_once_and_who_moved_gets_the_rest_of_a_second() {
        let (clock, connections) = (Clock::new(), Connections::new(MINUTE));
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
    fn what_is_found_in_the_turn_in_which_the_silence_is_over_has_broken_it() {
        let (clock, connections) = (Clock::new(), Connections::new(MINUTE));
        let open = begin(&connections, &clock);
        connections.close(&clock);
        let found = open.clone();
        clock.call_later(SILENCE, move |reactor| drop(reactor.call_later(Duration::ZERO, move |_| found.touch())));
        clock.advance(SILENCE);
        clock.advance(SILENCE / 2);
        assert_eq!(Rc::strong_count(&open), 2);
        clock.advance(SILENCE / 2);
        assert_eq!(Rc::strong_count(&open), 1);
    }

    #[test]
    fn a_request_that_is_being_answered_keeps_its_connection_however_long_it_takes() {
        let (clock, connections) = (Clock::new(), Connections::new(MINUTE));
        let open = begin(&connections, &clock);
        let answering = open.answering();
        let closed = connections.close(&clock);
        clock.advance(20 * SILENCE);
        assert!(Rc::strong_count(&open) > 2);
        drop(answering);
        clock.advance(SILENCE);
        assert_eq!(Rc::strong_count(&open), 1);
        drop(open);
        clock.advance(Duration::ZERO);
        assert!(closed.is_done());
    }

    #[test]
    fn a_connection_that_is_accepted_while_the_site_closes_is_waited_for() {
        let (clock, connections) = (Clock::new(), Connections::new(MINUTE));
        let first = connections.open(&clock);
        let closed = connections.close(&clock);
        let late = begin(&connections, &clock);
        drop(first);
        assert!(late.is_closing() && !closed.is_done());
        clock.advance(SILENCE);
        drop(late);
        clock.advance(Duration::ZERO);
        assert!(closed.is_done());
    }
}
