//! A listening socket: IListeningPort.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Address, Deferred, Failure, Key, Resolver, report};
use ropewalk_sys::{ListenSpec, Ready};

use super::Transport;
use super::factory_users::{start_factory, stop_factory};
use super::lingering::end_a_lingerer;
use super::stream::{Settings, Stream};
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Kernel, Reactor, Source};
use crate::protocols::Factory;

/// The maximum number of connections that one port accepts in a turn.
const ACCEPTS_PER_TURN: usize = 64;

/// The maximum number of connections that a drain accepts: the usual maximum length of the system's queue (Linux:
/// net.core.somaxconn). A limit is needed because a socket shared with another process may get new connections forever.
const DRAINED_MOST: usize = 4096;

/// The delay after which a port that ran out of descriptors tries again. Other code in the process may have closed a
/// descriptor meanwhile.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The minimum time between two warnings. A port that ran out of descriptors may fail again each time a descriptor is
/// freed.
const WARNINGS_APART: Duration = Duration::from_secs(10);

/// A handle of a port that accepts connections: IListeningPort.
///
/// Clones are handles of the same port. Dropping a handle does not stop the port.
///
/// All methods may be called from any callback on the reactor's thread.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// let port = net.listen_tcp("10.0.0.1:0", server.factory())?;
/// let client = net.connect_stream(&port.host()?.to_string());
/// net.settle();
/// port.stop_listening();
/// net.settle();
/// assert!(!port.is_listening());
/// assert!(client.is_connected()); // accepted connections stay open
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Port(pub(crate) Rc<PortInner>);

pub(crate) struct PortInner {
    reactor: Weak<Kernel>,
    factory: Rc<dyn Factory>,
    spec: ListenSpec,
    /// Whether this is a UNIX port that locks its path while it listens.
    wants_lock: bool,
    /// The lock of the path, held while the port listens.
    lock: RefCell<Option<Box<dyn Any>>>,
    key: Cell<Option<Key>>,
    host: RefCell<Option<Address>>,
    paused: Cell<bool>,
    /// Whether the port is out of descriptors. The port accepts again when descriptors are closed.
    starved: Cell<bool>,
    retry: RefCell<Option<DelayedCall>>,
    stopped: RefCell<Vec<Resolver<()>>>,
    stopping: Cell<bool>,
    /// Whether the port empties its queue before it stops.
    draining: Cell<bool>,
    /// Whether the connections linger. `None` leaves that to the reactor's default.
    lingers: Cell<Option<bool>>,
    only_connection: OnceCell<Transport>,
}

impl Port {
    pub(crate) fn listen(
        reactor: &Reactor,
        spec: ListenSpec,
        wants_lock: bool,
        factory: Rc<dyn Factory>,
    ) -> Result<Port> {
        let port = Port(PortInner::new(reactor, spec, wants_lock, factory));
        port.start_listening()?;
        Ok(port)
    }

    /// Returns a port on a socket that listens already.
    pub(crate) fn adopted(reactor: &Reactor, key: Key, host: Address, factory: Rc<dyn Factory>) -> Result<Port> {
        let port = Port(PortInner::new(reactor, ListenSpec::new(host.clone()), false, factory));
        port.0.begin(reactor, key, host)?;
        Ok(port)
    }

    /// Creates a port that has no socket and that never accepts: its only connection has been made already.
    ///
    /// Endpoints that open a device or a pipe instead of listening use this function.
    ///
    /// The port is not listening. [`only_connection`](Port::only_connection) returns `connection`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use ropewalk::{Port, Reactor};
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let (device, _other) = UnixStream::pair().unwrap();
    /// let factory = Rc::new(AccumulatingProtocol::new);
    /// let connection = reactor.adopt_stream_connection(device, &*factory)?;
    /// let port = Port::of_one_connection(&reactor, connection.clone(), factory);
    /// assert!(!port.is_listening() && port.only_connection() == Some(connection));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn of_one_connection(reactor: &Reactor, connection: Transport, factory: Rc<dyn Factory>) -> Port {
        let port = Port(PortInner::new(reactor, ListenSpec::new(Address::Unnamed), false, factory));
        *port.0.host.borrow_mut() = Some(Address::Unnamed);
        let _ = port.0.only_connection.set(connection);
        port
    }

    /// Listens again after [`stop_listening`](Port::stop_listening), on the same address as before.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let port = net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// port.stop_listening();
    /// net.settle();
    /// port.start_listening()?;
    /// assert!(port.is_listening());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::AlreadyListening`] while the port listens. [`Error::CannotListen`] when the address is taken or not
    /// allowed. [`Error::Closed`] when the reactor has been dropped.
    pub fn start_listening(&self) -> Result<()> {
        let port = &self.0;
        let reactor = Reactor(port.reactor.upgrade().ok_or(Error::Closed)?);
        if port.key.get().is_some() {
            return Err(Error::AlreadyListening);
        }
        let cannot = |error: io::Error| Error::cannot_listen(port.spec.address.clone(), error);
        // An abstract name needs no lock, because it vanishes with its server.
        if let (true, Address::Unix(path)) = (port.wants_lock, &port.spec.address) {
            let lock = reactor.0.filesystem(|files| files.lock_socket(path))?;
            *port.lock.borrow_mut() = Some(lock.map_err(cannot)?);
        }
        let listening = reactor.0.streams(|streams| streams.listen(&port.spec))?.map_err(cannot);
        match listening {
            Ok((key, host)) => port.begin(&reactor, key, host),
            Err(error) => {
                port.lock.take();
                Err(error)
            }
        }
    }

    /// Stops accepting at once. Accepted connections stay open.
    ///
    /// The socket is closed in a later turn, and then the Deferred fires. On a port that does not listen, the Deferred
    /// fires at once.
    /// It fails with [`Error::Panicked`] when `stop_factory` panics.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let port = net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// let closed = port.stop_listening();
    /// assert!(!port.is_listening() && !closed.is_done());
    /// net.settle();
    /// assert!(closed.is_done());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn stop_listening(&self) -> Deferred<()> {
        self.0.draining.set(false);
        self.stop()
    }

    /// Accepts the connections that wait in the system's queue, and then stops listening.
    ///
    /// [`stop_listening`](Port::stop_listening) alone lets the system reset the waiting connections. A drain accepts at
    /// most 4096 of them. The Deferred fires when the socket is closed. Until then the factory builds protocols.
    ///
    /// A connection that arrives between the last look at the queue and the closing of the socket is reset, unless
    /// another process listens on the same socket. A paused port accepts nothing.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// let port = net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// port.pause_producing(); // the server is overloaded
    /// let late = net.connect_stream("10.0.0.1:80");
    /// net.settle(); // the connection waits in the system's queue
    /// port.resume_producing();
    /// let closed = port.drain();
    /// net.settle();
    /// assert!(closed.is_done() && late.is_connected());
    /// assert_eq!(server.made(), 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn drain(&self) -> Deferred<()> {
        if self.is_listening() {
            self.0.draining.set(true);
        }
        self.stop()
    }

    /// Closes the socket before this method returns, so that its address can be bound again in the next line. Accepted
    /// connections stay open.
    ///
    /// The factory is stopped later, and then the Deferred fires: when the running callback has returned, before the
    /// loop waits, or in [`Reactor::settle`]. On a port that does not listen, the Deferred fires at once. It fails with
    /// [`Error::Panicked`] when `stop_factory` panics.
    ///
    /// Connections that wait in the system's queue have not been accepted, and the system resets them. To serve them,
    /// [`drain`](Port::drain) the port instead. If a drain or a stop is in progress, this method completes it. Their
    /// Deferreds fire together with the new one.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// let port = net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let closed = port.close_now()?;
    /// let successor = net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// assert!(successor.is_listening() && !port.is_listening() && !closed.is_done());
    /// net.settle();
    /// assert!(closed.is_done());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Waiting`] while a [`DetachedWait`](crate::DetachedWait) owns the event provider: the port still
    /// listens.
    pub fn close_now(&self) -> Result<Deferred<()>> {
        let (deferred, resolver) = Deferred::new();
        let port = &self.0;
        match self.listening_on() {
            Some(reactor) => {
                reactor.0.check_present()?;
                port.stopped.borrow_mut().push(resolver);
                port.close_socket(&reactor);
                let stopped = RefCell::new(port.stopped.take());
                reactor.0.settle_later(Rc::new(Closed { port: port.clone(), stopped }));
            }
            None => drop(resolver.callback(())),
        }
        Ok(deferred)
    }

    /// Returns the reactor, if the port has a socket.
    fn listening_on(&self) -> Option<Reactor> {
        self.0.reactor.upgrade().map(Reactor).filter(|_| self.0.key.get().is_some())
    }

    fn stop(&self) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        let port = &self.0;
        let Some(reactor) = self.listening_on() else {
            let _ = resolver.callback(());
            return deferred;
        };
        port.stopped.borrow_mut().push(resolver);
        if !port.stopping.replace(true) {
            port.arm(&reactor.0);
            let (port, key) = (port.clone(), port.key.get());
            reactor.call_later(Duration::ZERO, move |reactor| {
                // The end of a run may have closed this socket first, and the port may listen on another socket by now.
                if port.key.get() == key {
                    port.finish(reactor);
                }
            });
        }
        deferred
    }

    /// Leaves new connections in the system's queue until [`resume_producing`](Port::resume_producing).
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// let port = net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// port.pause_producing();
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(server.made(), 0);
    /// port.resume_producing();
    /// net.settle();
    /// assert_eq!(server.made(), 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn pause_producing(&self) {
        self.0.set_paused(true);
    }

    /// Accepts connections again after [`pause_producing`](Port::pause_producing).
    pub fn resume_producing(&self) {
        self.0.set_paused(false);
    }

    /// Sets whether the connections that the port accepts from now on linger after `lose_connection`, within the bounds
    /// of [`Linger`](super::Linger). Each connection may choose otherwise:
    /// [`Transport::set_lingering`](super::Transport::set_lingering). The default is that of the reactor.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?.set_lingering(false);
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().expect("it is connected").lose_connection();
    /// net.settle();
    /// assert_eq!(net.lingering_count(), 0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_lingering(&self, on: bool) {
        self.0.lingers.set(Some(on));
    }

    /// Returns the address on which the port listens, with the port number that the system chose: getHost.
    ///
    /// # Errors
    /// [`Error::Closed`] when the port does not listen.
    pub fn host(&self) -> Result<Address> {
        self.0.host.borrow().clone().ok_or(Error::Closed)
    }

    /// Returns the connection of a port that never accepts another one, such as the port of `stdio:`. Other ports
    /// return `None`.
    ///
    /// A program without other ports can stop when this connection ends: [`Transport::when_lost`].
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let port = net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// assert!(port.only_connection().is_none()); // it may accept any number of connections
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn only_connection(&self) -> Option<Transport> {
        self.0.only_connection.get().cloned()
    }

    /// Returns whether the port listens.
    pub fn is_listening(&self) -> bool {
        let port = &self.0;
        port.key.get().is_some() && !port.stopping.get() && port.reactor.strong_count() > 0
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Port").field(&self.0.host.borrow()).finish()
    }
}

impl Source for PortInner {
    fn ready(self: Rc<PortInner>, reactor: &Reactor, _key: Key, _ready: Ready, _scratch: &mut [u8]) {
        self.accept_ready(reactor);
    }

    fn shut_down(self: Rc<PortInner>, reactor: &Reactor) {
        self.close(reactor);
    }

    fn descriptor_freed(self: Rc<PortInner>, reactor: &Reactor) {
        self.feed(&reactor.0);
    }
}

impl PortInner {
    fn new(reactor: &Reactor, spec: ListenSpec, wants_lock: bool, factory: Rc<dyn Factory>) -> Rc<PortInner> {
        Rc::new(PortInner {
            reactor: Rc::downgrade(&reactor.0),
            factory,
            spec,
            wants_lock,
            lock: RefCell::default(),
            key: Cell::default(),
            host: RefCell::default(),
            paused: Cell::default(),
            starved: Cell::default(),
            retry: RefCell::default(),
            stopped: RefCell::default(),
            stopping: Cell::default(),
            draining: Cell::default(),
            lingers: Cell::default(),
            only_connection: OnceCell::new(),
        })
    }

    fn begin(self: &Rc<PortInner>, reactor: &Reactor, key: Key, host: Address) -> Result<()> {
        self.key.set(Some(key));
        tracing::info!(address = %host, "port opened");
        *self.host.borrow_mut() = Some(host);
        reactor.0.add_source(key, self.clone());
        start_factory(reactor, &*self.factory);
        let address = || self.spec.address.clone();
        let begun = reactor.0.streams(|streams| streams.set_reading(key, !self.paused.get()));
        let begun = begun.and_then(|begun| begun.map_err(|error| Error::cannot_listen(address(), error)));
        // `begun` is also an error if the factory's callback has detached the wait.
        begun.inspect_err(|_| self.close(reactor))
    }

    /// Accepts connections that wait, up to the port's share of the turn.
    fn accept_ready(self: &Rc<PortInner>, reactor: &Reactor) {
        let mut has_moved = false;
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.accepts() {
                return;
            }
            let Some(key) = self.key.get() else { return };
            match reactor.0.streams(|streams| streams.accept(key)) {
                Ok(Ok(Some((key, peer)))) => {
                    self.accepted(reactor, key, peer);
                    has_moved = true;
                }
                Ok(Ok(None)) | Err(_) => return,
                // Without a descriptor, accept(2) fails even if the queue is empty. The next turn finds out whether the
                // queue was empty.
                Ok(Err(_)) if has_moved => return,
                Ok(Err(error)) if Error::panic_within(&error).is_none() && end_a_lingerer(reactor) => has_moved = true,
                Ok(Err(error)) => return self.starve(reactor, error),
            }
        }
    }

    fn accepted(&self, reactor: &Reactor, key: Key, peer: Address) {
        let build =
            || self.factory.build_protocol(&peer).map(|protocol| (protocol, Settings::paced(self.factory.is_paced())));
        match reactor.0.guard(CallbackKind::Factory, "build_protocol", build) {
            Ok(Some((protocol, settings))) => {
                let settings = Settings { lingers: self.lingers.get(), ..settings };
                Stream::begin(reactor, key, peer, protocol, None, settings);
            }
            Ok(None) | Err(_) => reactor.0.close_stream(key),
        }
    }

    /// Stops accepting until a descriptor is freed, because accepting failed. Open connections are served meanwhile.
    fn starve(self: &Rc<PortInner>, reactor: &Reactor, error: io::Error) {
        self.warn(reactor, &error);
        self.starved.set(true);
        if let Some(key) = self.key.get() {
            reactor.0.wait_for_descriptor(key);
        }
        self.arm(&reactor.0);
        let port = self.clone();
        let retry = reactor.call_later(RETRY_AFTER, move |reactor| port.feed(&reactor.0));
        *self.retry.borrow_mut() = Some(retry);
        let error = Error::io("cannot accept")(error);
        let failed = || self.factory.accept_failed(&error);
        let _ = reactor.0.guard(CallbackKind::Factory, "accept_failed", failed);
    }

    fn warn(&self, reactor: &Reactor, error: &io::Error) {
        let line = "cannot accept; trying again when descriptors are closed";
        reactor.limit_log(WARNINGS_APART, line, |suppressed| {
            let host = self.host.borrow().as_ref().map(ToString::to_string).unwrap_or_default();
            let suppressed = suppressed.unwrap_or(0);
            report!(WARN, port = host, error = error, suppressed = suppressed, "{}", line);
        });
    }

    /// Accepts again if the port was out of descriptors, because a descriptor may be free now.
    fn feed(&self, kernel: &Kernel) {
        if self.starved.replace(false) {
            if let Some(retry) = self.retry.borrow_mut().take() {
                let _ = retry.cancel();
            }
            self.arm(kernel);
        }
    }

    fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        if let Some(kernel) = self.reactor.upgrade() {
            self.arm(&kernel);
        }
    }

    fn accepts(&self) -> bool {
        !self.paused.get() && !self.starved.get() && !self.stopping.get()
    }

    fn arm(&self, kernel: &Kernel) {
        let Some(key) = self.key.get() else { return };
        let accepts = self.accepts();
        kernel.tell_streams(move |streams| {
            if let Err(error) = streams.set_reading(key, accepts) {
                report!(ERROR, error = error, "cannot watch a port");
            }
        });
    }

    /// Closes the socket. If the port is draining, first accepts the queued connections.
    fn finish(&self, reactor: &Reactor) {
        if self.draining.get() {
            self.accept_queued(reactor);
        }
        self.close(reactor);
    }

    fn accept_queued(&self, reactor: &Reactor) {
        for _ in 0..DRAINED_MOST {
            // Building a protocol may stop or pause the port, or end the run.
            let Some(key) = self.key.get().filter(|_| self.draining.get() && !self.paused.get()) else { return };
            match reactor.0.streams(|streams| streams.accept(key)) {
                Ok(Ok(Some((key, peer)))) => self.accepted(reactor, key, peer),
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => {
                    return report!(WARN, error = error, "cannot accept a connection that waits at a stopping port");
                }
            }
        }
    }

    /// Closes the socket, stops the factory, and fires the Deferreds of `stop_listening` and `drain`.
    pub(crate) fn close(&self, reactor: &Reactor) {
        if self.key.get().is_some() {
            self.close_socket(reactor);
            let stopped = self.stopped.take();
            self.stop_factory(reactor, stopped);
        }
    }

    fn close_socket(&self, reactor: &Reactor) {
        let Some(key) = self.key.take() else { return };
        self.feed(&reactor.0);
        drop(reactor.0.remove_source(key));
        // The lock is released after the socket is closed, even if closing has to wait.
        let lock = self.lock.take();
        reactor.0.tell_streams(move |streams| {
            streams.close(key);
            drop(lock);
        });
        reactor.0.descriptor_closed();
        if let Some(address) = self.host.take() {
            tracing::info!(%address, "port closed");
        }
        self.stopping.set(false);
        self.draining.set(false);
    }

    fn stop_factory(&self, reactor: &Reactor, stopped: Vec<Resolver<()>>) {
        let outcome = stop_factory(reactor, &*self.factory);
        for resolver in stopped {
            // The guard has logged the panic.
            let _ = resolver.fire(outcome.clone().map_err(|error| Failure::from(error).logged()));
        }
    }
}

/// The end of a port whose socket has been closed already. The port itself may listen again by now.
struct Closed {
    port: Rc<PortInner>,
    stopped: RefCell<Vec<Resolver<()>>>,
}

impl Source for Closed {
    /// Never called, because this source has no key.
    fn ready(self: Rc<Closed>, _reactor: &Reactor, _key: Key, _ready: Ready, _scratch: &mut [u8]) {}

    fn settle(self: Rc<Closed>, reactor: &Reactor) {
        self.port.stop_factory(reactor, self.stopped.take());
    }

    fn shut_down(self: Rc<Closed>, _reactor: &Reactor) {}
}
