//! A service that keeps several connections to an endpoint open, and replaces each that is lost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk::application::{BackOff, RetryPolicy, Service};
use ropewalk::endpoints::StreamClientEndpoint;
use ropewalk::proto::CancelHandle;
use ropewalk::{
    CallbackKind, Deferred, DelayedCall, Factory, Reactor, Transport, WeakReactor, gather_results, succeed,
};

/// Keeps `size` connections to an endpoint from `start` to `stop`. All clones refer to the same service.
#[derive(Clone)]
pub struct ConnectionPool(Rc<Pool>);

type OnConnected = Box<dyn Fn(&Transport)>;

struct Pool {
    endpoint: Box<dyn StreamClientEndpoint>,
    factory: Rc<dyn Factory>,
    on_connected: OnConnected,
    policy: RefCell<BackOff>,
    reactor: RefCell<WeakReactor>,
    /// Counts starts and stops, so that late results of an earlier run are recognized.
    run: Cell<u64>,
    slots: Vec<RefCell<Slot>>,
    failures: Cell<u32>,
}

/// The number of a connection, and the run of the pool to which the connection belongs.
#[derive(Clone, Copy)]
struct Place {
    slot: usize,
    run: u64,
}

/// The state of one of the connections.
enum Slot {
    Empty,
    Connecting(CancelHandle),
    Connected(Transport),
    Waiting(DelayedCall),
}

impl ConnectionPool {
    /// Creates a pool of `size` connections to `endpoint`. `factory` builds their protocols.
    pub fn new(size: usize, endpoint: impl StreamClientEndpoint + 'static, factory: impl Factory + 'static) -> Self {
        ConnectionPool(Rc::new(Pool {
            endpoint: Box::new(endpoint),
            factory: Rc::new(factory),
            on_connected: Box::new(|_| ()),
            policy: RefCell::default(),
            reactor: RefCell::default(),
            run: Cell::default(),
            slots: (0..size).map(|_| RefCell::new(Slot::Empty)).collect(),
            failures: Cell::default(),
        }))
    }

    /// Sets a function that gets each new connection. A panic in the function closes only that connection.
    ///
    /// # Panics
    /// When the pool has been cloned already.
    #[must_use]
    pub fn on_connected(mut self, call: impl Fn(&Transport) + 'static) -> Self {
        Rc::get_mut(&mut self.0).expect("a pool without clones").on_connected = Box::new(call);
        self
    }

    /// Returns the connections that are open.
    pub fn connections(&self) -> Vec<Transport> {
        self.0.slots.iter().filter_map(|slot| slot.borrow().transport()).collect()
    }
}

impl Slot {
    fn transport(&self) -> Option<Transport> {
        match self {
            Slot::Connected(transport) => Some(transport.clone()),
            _ => None,
        }
    }
}

impl Service for ConnectionPool {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        *self.0.reactor.borrow_mut() = reactor.downgrade();
        let run = self.0.begin_run();
        (0..self.0.slots.len()).for_each(|slot| self.0.connect(Place { slot, run }));
        succeed(())
    }

    /// Closes all connections. The Deferred fires when they have ended.
    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        self.0.begin_run();
        let ends = self.0.slots.iter().filter_map(|slot| match slot.replace(Slot::Empty) {
            Slot::Connected(transport) => {
                transport.lose_connection();
                Some(transport.when_lost())
            }
            Slot::Connecting(attempt) => {
                attempt.cancel();
                None
            }
            Slot::Waiting(call) => {
                let _ = call.cancel();
                None
            }
            Slot::Empty => None,
        });
        gather_results(ends.collect()).add_callback(drop)
    }
}

impl Pool {
    fn begin_run(&self) -> u64 {
        self.run.set(self.run.get() + 1);
        self.run.get()
    }

    /// Returns the reactor, unless the run of `place` is over.
    fn reactor_for(&self, place: Place) -> Option<Reactor> {
        self.reactor.borrow().upgrade().filter(|_| place.run == self.run.get())
    }

    fn connect(self: &Rc<Pool>, place: Place) {
        let Some(reactor) = self.reactor_for(place) else { return };
        let connecting = self.endpoint.connect(&reactor, self.factory.clone());
        self.slots[place.slot].replace(Slot::Connecting(connecting.cancel_handle()));
        let pool = Rc::downgrade(self);
        connecting.add_both(move |outcome| {
            let Some(pool) = pool.upgrade() else { return };
            match outcome {
                Ok(transport) => pool.connected(place, transport),
                Err(_) => pool.connect_later(place, pool.failures.get() + 1),
            }
        });
    }

    fn connected(self: &Rc<Pool>, place: Place, transport: Transport) {
        let Some(reactor) = self.reactor_for(place) else { return transport.abort_connection() };
        self.failures.set(0);
        self.slots[place.slot].replace(Slot::Connected(transport.clone()));
        let pool = Rc::downgrade(self);
        transport.when_lost().add_callback(move |_| {
            if let Some(pool) = pool.upgrade() {
                pool.connect_later(place, pool.failures.get());
            }
        });
        let callback = || (self.on_connected)(&transport);
        if reactor.call_guarded(CallbackKind::Service, "ConnectionPool::on_connected", callback).is_err() {
            transport.abort_connection();
        }
    }

    fn connect_later(self: &Rc<Pool>, place: Place, failures: u32) {
        let Some(reactor) = self.reactor_for(place) else { return };
        self.failures.set(failures);
        let delay = self.policy.borrow_mut().delay(failures.max(1));
        let pool = Rc::downgrade(self);
        let call = reactor.call_later(delay, move |_| {
            if let Some(pool) = pool.upgrade() {
                pool.connect(place);
            }
        });
        self.slots[place.slot].replace(Slot::Waiting(call));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ropewalk::application::ServiceHandle;
    use ropewalk::endpoints::TcpClientEndpoint;
    use ropewalk::testing::{AccumulatingProtocol, MemoryReactor, TestListener, TestStream};

    use super::*;

    const SERVER: &str = "10.0.0.1:80";
    const LONGEST_DELAY: Duration = Duration::from_secs(3);

    fn pool() -> ConnectionPool {
        ConnectionPool::new(3, TcpClientEndpoint::new(SERVER).unwrap(), AccumulatingProtocol::new)
    }

    fn accepted(server: &TestListener) -> Vec<TestStream> {
        std::iter::from_fn(|| server.accept()).collect()
    }

    #[test]
    fn a_lost_connection_is_replaced_after_a_delay() {
        let net = MemoryReactor::new();
        let server = net.listen_stream(SERVER).unwrap();
        let pool = pool();
        ServiceHandle::new(pool.clone()).start(&net);
        net.settle();
        let streams = accepted(&server);
        assert_eq!(streams.len(), 3);
        streams[1].close();
        net.settle();
        assert_eq!(pool.connections().len(), 2);
        net.advance(LONGEST_DELAY);
        assert_eq!((pool.connections().len(), accepted(&server).len()), (3, 1));
    }

    #[test]
    fn failed_attempts_are_retried_until_a_server_listens() {
        let net = MemoryReactor::new();
        let pool = pool();
        ServiceHandle::new(pool.clone()).start(&net);
        net.advance(Duration::from_secs(60));
        assert!(pool.connections().is_empty() && net.tcp_clients().len() > 6);
        let _server = net.listen_stream(SERVER).unwrap();
        net.advance(Duration::from_secs(62));
        assert_eq!(pool.connections().len(), 3);
    }

    #[test]
    fn stop_closes_all_connections_and_attempts() {
        let net = MemoryReactor::new();
        let server = net.listen_stream(SERVER).unwrap();
        let service = ServiceHandle::new(pool());
        service.start(&net);
        net.settle();
        let streams = accepted(&server);
        let stopped = service.stop(&net);
        net.settle();
        assert!(streams.iter().all(TestStream::is_eof));
        streams.iter().for_each(TestStream::close);
        net.advance(LONGEST_DELAY);
        assert!(stopped.is_done() && accepted(&server).is_empty());
        assert!(net.get_delayed_calls().is_empty());
    }

    #[test]
    fn a_restart_keeps_the_number_of_connections() {
        let net = MemoryReactor::new();
        let server = net.listen_stream(SERVER).unwrap();
        let pool = pool();
        let service = ServiceHandle::new(pool.clone());
        service.start(&net);
        net.settle();
        let first = accepted(&server);
        service.stop(&net);
        service.start(&net);
        net.settle();
        first.iter().for_each(TestStream::close);
        net.advance(LONGEST_DELAY);
        assert_eq!((pool.connections().len(), accepted(&server).len()), (3, 3));
    }

    #[test]
    fn a_panic_of_the_callback_closes_one_connection() {
        let net = MemoryReactor::new();
        net.set_panic_policy(ropewalk::PanicPolicy::Log);
        let server = net.listen_stream(SERVER).unwrap();
        let pool = pool().on_connected(|_| panic!("a bug"));
        ServiceHandle::new(pool.clone()).start(&net);
        net.settle();
        assert!(accepted(&server).iter().all(TestStream::is_reset));
        assert!(pool.connections().is_empty());
    }

    #[test]
    fn a_dropped_reactor_drops_the_pool() {
        let net = MemoryReactor::new();
        let pool = pool();
        let weak = Rc::downgrade(&pool.0);
        ServiceHandle::new(pool).start(&net);
        net.settle();
        drop(net);
        assert!(weak.upgrade().is_none());
    }
}
