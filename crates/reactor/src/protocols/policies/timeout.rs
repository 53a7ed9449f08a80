//! Closes idle connections.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::Address;

use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;
use crate::protocols::forward::{forward_client_factory, forward_conversation, forward_factory};
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Connector, Observer, Transport, WeakTransport};

/// The time that an idle connection has to send its queued data before it is reset.
const LINGER: Duration = Duration::from_secs(30);

/// A factory that closes the connections of another factory when no byte was received or written for some time.
///
/// The protocol's `connection_lost` gets [`Error::TimedOut`]. If no bytes are queued, the connection is closed at once,
/// and a registered producer is stopped. Otherwise the queued data may be sent for another 30 seconds. After these the
/// connection is reset, so a peer that stops reading cannot keep the connection open.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::Error;
/// use ropewalk::protocols::policies::TimeoutFactory;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", TimeoutFactory::new(server.factory(), Duration::from_secs(60)))?;
/// let silent = net.connect_stream("10.0.0.1:80");
/// net.advance(Duration::from_secs(61));
/// assert!(silent.is_eof());
/// assert!(matches!(server.lost(), Some(Error::TimedOut)));
/// # Ok::<(), Error>(())
/// ```
pub struct TimeoutFactory<F> {
    factory: F,
    period: Duration,
}

impl<F: Factory> TimeoutFactory<F> {
    /// Wraps `factory`, and closes connections that were idle for `period`. Twisted's default is 30 minutes.
    pub fn new(factory: F, period: Duration) -> TimeoutFactory<F> {
        TimeoutFactory { factory, period }
    }
}

impl<F: Factory> Factory for TimeoutFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let inner = self.factory.build_protocol(peer)?;
        Some(Box::new(TimeoutProtocol { inner, period: self.period, idle: None }))
    }

    forward_factory!();
}

forward_client_factory!(TimeoutFactory);

/// Starts the timeout, and replaces the reason of the loss when the timeout caused it.
struct TimeoutProtocol {
    inner: Box<dyn Protocol>,
    period: Duration,
    idle: Option<IdleTimeout>,
}

impl Protocol for TimeoutProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        self.idle = Some(IdleTimeout::start(transport, self.period));
        self.inner.connection_made(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        let expired = self.idle.as_ref().is_some_and(IdleTimeout::is_expired);
        self.inner.connection_lost(transport, if expired { &Error::TimedOut } else { reason });
    }

    forward_conversation!();
}

/// Closes one connection when no byte was received or written for some time: `TimeoutMixin`. [`TimeoutFactory`]
/// describes how the connection is closed.
///
/// Start it in `connection_made`. Keep the handle to change the period later. Dropping the handle does not stop the
/// timeout. The methods may be called from any callback on the reactor's thread.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::protocols::policies::IdleTimeout;
/// use ropewalk::testing::StringTransport;
///
/// let transport = StringTransport::new();
/// let idle = IdleTimeout::start(&transport, Duration::from_secs(10)); // for the log-in
/// transport.net().advance(Duration::from_secs(9));
/// idle.set(Some(Duration::from_secs(600))); // a longer period once logged in
/// transport.net().advance(Duration::from_secs(599));
/// idle.reset(); // like a byte sent or received
/// transport.net().advance(Duration::from_secs(599));
/// assert!(!idle.is_expired());
/// transport.net().advance(Duration::from_secs(1));
/// assert!(idle.is_expired() && !transport.is_connected());
/// ```
#[derive(Clone)]
pub struct IdleTimeout(Rc<Idle>);

struct Idle {
    transport: WeakTransport,
    period: Cell<Option<Duration>>,
    call: RefCell<Option<DelayedCall>>,
    expired: Cell<bool>,
}

impl IdleTimeout {
    /// Starts a timeout that closes the connection once it has been idle for `period`. The first period starts now.
    pub fn start(transport: &Transport, period: Duration) -> IdleTimeout {
        let idle = Rc::new(Idle {
            transport: transport.downgrade(),
            period: Cell::default(),
            call: RefCell::default(),
            expired: Cell::new(false),
        });
        transport.observe(Rc::new(Watch(idle.clone())));
        let timeout = IdleTimeout(idle);
        timeout.set(Some(period));
        timeout
    }

    /// Changes the period and restarts it. `None` switches the timeout off.
    pub fn set(&self, period: Option<Duration>) {
        let idle = &self.0;
        if idle.expired.get() {
            return;
        }
        idle.period.set(period);
        idle.cancel();
        let Some(reactor) = idle.transport.upgrade().filter(Transport::is_connected).and_then(|t| t.try_reactor())
        else {
            return;
        };
        if let Some(period) = period {
            idle.schedule(&reactor, period, Idle::expire);
        }
    }

    /// Restarts the period, like a received or written byte.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Returns whether the connection is being closed because it was idle.
    pub fn is_expired(&self) -> bool {
        self.0.expired.get()
    }
}

impl Idle {
    fn reset(&self) {
        if self.expired.get() {
            return;
        }
        if let (Some(call), Some(period)) = (&*self.call.borrow(), self.period.get()) {
            let _ = call.reset(period);
        }
    }

    fn expire(self: Rc<Idle>, reactor: &Reactor) {
        self.expired.set(true);
        if let Some(transport) = self.transport.upgrade() {
            // Closing waits for the producer. If no bytes are queued, the producer wrote nothing for the whole period
            // although it could, so it is stopped.
            if transport.buffered() == 0 {
                transport.stop_producer();
            }
            transport.lose_connection();
            self.schedule(reactor, LINGER, |idle, _| {
                if let Some(transport) = idle.transport.upgrade() {
                    transport.abort_connection();
                }
            });
        }
    }

    fn schedule(self: &Rc<Idle>, reactor: &Reactor, delay: Duration, then: fn(Rc<Idle>, &Reactor)) {
        let idle: Weak<Idle> = Rc::downgrade(self);
        let call = reactor.call_later(delay, move |reactor| {
            if let Some(idle) = idle.upgrade() {
                then(idle, reactor);
            }
        });
        *self.call.borrow_mut() = Some(call);
    }

    fn cancel(&self) {
        if let Some(call) = self.call.borrow_mut().take() {
            let _ = call.cancel();
        }
    }
}

/// The transport drops this value at the end of the connection. That cancels the timeout even if a handle remains.
struct Watch(Rc<Idle>);

impl Observer for Watch {
    fn bytes_received(&self, _count: usize) {
        self.0.reset();
    }

    fn bytes_written(&self, _count: usize) {
        self.0.reset();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{AsyncStream, StreamFactory};
    use crate::testing::{AccumulatingProtocol, MemoryReactor, TestStream, connected};
    use crate::transports::{Producer, PushProducer};

    const MINUTE: Duration = Duration::from_secs(60);

    fn serve(net: &MemoryReactor) -> (AccumulatingProtocol, TestStream) {
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", TimeoutFactory::new(server.factory(), MINUTE)).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        (server, client)
    }

    #[test]
    fn an_idle_connection_is_closed_with_timed_out() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        net.advance(MINUTE - Duration::from_millis(1));
        assert!(server.lost().is_none());
        net.advance(Duration::from_millis(1));
        assert!(matches!(server.lost(), Some(Error::TimedOut)));
        assert!(client.is_eof() && !client.is_reset());
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn bytes_in_either_direction_restart_the_period() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        let transport = server.transport().unwrap();
        for _ in 0..5 {
            net.advance(MINUTE * 9 / 10);
            client.write(b"x");
            net.advance(MINUTE * 9 / 10);
            transport.write(b"y");
        }
        assert!(server.lost().is_none());
        net.advance(MINUTE);
        assert!(matches!(server.lost(), Some(Error::TimedOut)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_reset_after_the_linger() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.pause_reading();
        server.transport().unwrap().write(&[0; 10_000_000]);
        net.advance(MINUTE + LINGER - Duration::from_millis(1));
        assert!(server.lost().is_none());
        net.advance(Duration::from_millis(1));
        assert!(matches!(server.lost(), Some(Error::TimedOut)));
        assert!(client.is_reset());
    }

    /// Counts the calls of `stop_producing`.
    #[derive(Default)]
    struct Silent(Cell<usize>);

    impl PushProducer for Silent {
        fn pause_producing(&self) {}
        fn resume_producing(&self) {}
        fn stop_producing(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_silent_producer_does_not_keep_an_idle_connection_open() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        let producer = Rc::new(Silent::default());
        server.transport().unwrap().register_producer(Producer::Push(producer.clone())).unwrap();
        net.advance(MINUTE);
        assert!(matches!(server.lost(), Some(Error::TimedOut)));
        assert!(client.is_eof() && !client.is_reset());
        assert_eq!(producer.0.get(), 1);
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_producer_with_unsent_bytes_gets_the_linger_time() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        let (producer, transport) = (Rc::new(Silent::default()), server.transport().unwrap());
        transport.register_producer(Producer::Push(producer.clone())).unwrap();
        client.pause_reading();
        transport.write(&[0; 10_000_000]);
        net.advance(MINUTE);
        // The queued bytes are only the beginning of the producer's data. A close right after these bytes would look
        // like the end of the whole transfer.
        client.resume_reading();
        net.advance(LINGER - Duration::from_millis(1));
        assert!(server.lost().is_none() && !client.is_eof() && producer.0.get() == 0);
        net.advance(Duration::from_millis(1));
        assert!(client.is_reset() && producer.0.get() == 1);
    }

    #[test]
    fn an_idle_async_streams_read_fails_with_timed_out() {
        let net = MemoryReactor::new();
        let heard = Rc::new(RefCell::new(None));
        let hear = heard.clone();
        let serve = StreamFactory::new(move |mut stream: AsyncStream, reactor| {
            let hear = hear.clone();
            reactor.spawn(async move {
                let outcome = stream.read(&mut [0; 10]).await;
                *hear.borrow_mut() = outcome.err().map(|error| error.to_string());
            });
        });
        net.listen_tcp("10.0.0.1:80", TimeoutFactory::new(serve, MINUTE)).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.advance(MINUTE - Duration::from_millis(1));
        assert!(!client.is_eof());
        net.advance(Duration::from_millis(1));
        assert!(client.is_eof() && !client.is_reset());
        assert_eq!(heard.borrow().as_deref(), Some(Error::TimedOut.to_string().as_str()));
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_connection_that_ends_earlier_keeps_its_reason() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        client.close();
        net.settle();
        assert!(matches!(server.lost(), Some(Error::ConnectionDone)));
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn the_period_can_be_changed() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
        let idle = IdleTimeout::start(&server.transport().unwrap(), MINUTE);
        idle.set(None);
        client.write(b"x");
        net.advance(MINUTE * 10);
        assert!(server.lost().is_none() && !idle.is_expired());
        idle.set(Some(MINUTE));
        net.advance(MINUTE / 2);
        idle.reset();
        net.advance(MINUTE / 2);
        assert!(!idle.is_expired());
        net.advance(MINUTE / 2);
        assert!(idle.is_expired());
        idle.set(Some(MINUTE));
        assert!(net.get_delayed_calls().is_empty(), "an expired timeout cannot be started again");
        assert!(matches!(server.lost(), Some(Error::ConnectionDone)));
    }

    #[test]
    fn a_timeout_started_after_the_end_does_nothing() {
        let net = MemoryReactor::new();
        let (server, client) = serve(&net);
        let transport = server.transport().unwrap();
        client.close();
        net.settle();
        let idle = IdleTimeout::start(&transport, MINUTE);
        assert!(net.get_delayed_calls().is_empty());
        net.advance(MINUTE * 2);
        assert!(!idle.is_expired());
    }
}
