//! A listening socket: IListeningPort.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Address, Deferred, Key, Moment, Resolver};
use ropewalk_sys::{ListenSpec, Ready};

use super::Transport;
use super::factory_users::{start_factory, stop_factory};
use super::lingering::end_a_lingerer;
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Kernel, Reactor, Source};
use crate::protocols::Factory;

/// The fair share of one port in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Of a port that is drained: what the longest queue of a usual system holds (Linux: net.core.somaxconn). On a socket that is
/// shared with another process, new connections never end.
const DRAINED_MOST: usize = 4096;

/// How soon a port that ran out of descriptors tries again when nothing of ours was closed meanwhile: somebody else in
/// the process may have closed something.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How far apart complaints are in the log: a port without descriptors may fail anew after each one that is closed.
const COMPLAINTS_APART: Duration = Duration::from_secs(10);

/// A port that accepts connections: IListeningPort. A cheap handle: clones are the same port. Dropping it does not stop it.
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
/// assert!(client.is_connected()); // who is in stays in
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Port(pub(crate) Rc<PortInner>);

pub(crate) struct PortInner {
    reactor: Weak<Kernel>,
    factory: Rc<dyn Factory>,
    spec: ListenSpec,
    /// Of a UNIX port that asked for it, while it listens.
    wants_lock: bool,
    /// Held while it listens.
    lock: RefCell<Option<Box<dyn Any>>>,
    key: Cell<Option<Key>>,
    host: RefCell<Option<Address>>,
    paused: Cell<bool>,
    /// Out of descriptors: accepts again when some are closed.
    starved: Cell<bool>,
    retry: RefCell<Option<DelayedCall>>,
    /// When the log last said so.
    complained: Cell<Option<Moment>>,
    stopped: RefCell<Vec<Resolver<()>>>,
    stopping: Cell<bool>,
    /// Stops when the queue is empty.
    draining: Cell<bool>,
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

    /// A port on a socket that listens already.
    pub(crate) fn adopted(reactor: &Reactor, key: Key, host: Address, factory: Rc<dyn Factory>) -> Result<Port> {
        let port = Port(PortInner::new(reactor, ListenSpec::new(host.clone()), false, factory));
        port.0.begin(reactor, key, host)?;
        Ok(port)
    }

    /// Creates a port without a socket, whose only connection has been made already. For endpoints that open a device or a
    /// pipe instead of listening.
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

    /// Listens again after [`stop_listening`](Port::stop_listening), on the same address as at first.
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
    /// [`Error::AlreadyListening`]; [`Error::CannotListen`] when the address is taken or not allowed;
    /// [`Error::Closed`] when the reactor is gone.
    pub fn start_listening(&self) -> Result<()> {
        let port = &self.0;
        let reactor = Reactor(port.reactor.upgrade().ok_or(Error::Closed)?);
        if port.key.get().is_some() {
            return Err(Error::AlreadyListening);
        }
        let cannot = |error: io::Error| Error::CannotListen(port.spec.address.clone(), error.into());
        // An abstract name needs no lock: it goes with its server.
        if let (true, Address::Unix(path)) = (port.wants_lock, &port.spec.address) {
            let lock = reactor.0.provider(|provider| match provider.filesystem() {
                Some(files) => files.lock_socket(path),
                None => Err(io::ErrorKind::Unsupported.into()),
            })?;
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

    /// Stops accepting at once. The socket is closed in a later turn; then the Deferred fires. On a port that does not
    /// listen it fires at once. Connections that were accepted live on.
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

    /// Accepts what waits in the system's queue, and stops listening: as [`stop_listening`](Port::stop_listening), whose
    /// system resets what waits. The Deferred fires when the socket is closed; until then the factory builds protocols.
    ///
    /// A connection that is made between the last look at the queue and the end of the socket is still reset, where no other
    /// process has the same socket. A paused port leaves its queue alone.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// let port = net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// port.pause_producing(); // too much to do
    /// let late = net.connect_stream("10.0.0.1:80");
    /// net.settle(); // waits in the system's queue
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

    fn stop(&self) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        let port = &self.0;
        let Some(reactor) = port.reactor.upgrade().map(Reactor).filter(|_| port.key.get().is_some()) else {
            let _ = resolver.callback(());
            return deferred;
        };
        port.stopped.borrow_mut().push(resolver);
        if !port.stopping.replace(true) {
            port.arm(&reactor.0);
            let (port, key) = (port.clone(), port.key.get());
            reactor.call_later(Duration::ZERO, move |reactor| {
                // The end of a run may have closed the socket first, and the port may listen on another one since.
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

    /// Accepts again.
    pub fn resume_producing(&self) {
        self.0.set_paused(false);
    }

    /// The address it listens on, with the port that the system chose: getHost.
    ///
    /// # Errors
    /// [`Error::Closed`] when it does not listen.
    pub fn host(&self) -> Result<Address> {
        self.0.host.borrow().clone().ok_or(Error::Closed)
    }

    /// The connection of a port that was there at once and will never accept another: that of `stdio:`, whatever stands
    /// around it. `None` of any other port.
    ///
    /// A program that listens nowhere else ends with that connection: [`Transport::when_lost`].
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let port = net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// assert!(port.only_connection().is_none()); // there may be more; that of `stdio:` has one
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn only_connection(&self) -> Option<Transport> {
        self.0.only_connection.get().cloned()
    }

    /// Whether it listens.
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
            complained: Cell::default(),
            stopped: RefCell::default(),
            stopping: Cell::default(),
            draining: Cell::default(),
            only_connection: OnceCell::new(),
        })
    }

    fn begin(self: &Rc<PortInner>, reactor: &Reactor, key: Key, host: Address) -> Result<()> {
        self.key.set(Some(key));
        *self.host.borrow_mut() = Some(host);
        reactor.0.add_source(key, self.clone());
        start_factory(reactor, &*self.factory);
        let address = || self.spec.address.clone();
        let begun = reactor.0.streams(|streams| streams.set_reading(key, !self.paused.get()));
        let begun = begun.and_then(|begun| begun.map_err(|error| Error::CannotListen(address(), error.into())));
        // The factory's callback may have detached the wait.
        begun.inspect_err(|_| self.close(reactor))
    }

    /// Connections wait to be accepted.
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
                // Without a descriptor a system fails before it looks whether anybody waits: the next turn tells.
                Ok(Err(_)) if has_moved => return,
                Ok(Err(_)) if end_a_lingerer(reactor) => has_moved = true,
                Ok(Err(error)) => return self.starve(reactor, error),
            }
        }
    }

    fn accepted(&self, reactor: &Reactor, key: Key, peer: Address) {
        let build = || self.factory.build_protocol(&peer).map(|protocol| (protocol, self.factory.is_paced()));
        match reactor.0.guard(CallbackKind::Factory, "build_protocol", build) {
            Ok(Some((protocol, is_paced))) => {
                Stream::begin(reactor, key, peer, protocol, None, is_paced);
            }
            Ok(None) | Err(_) => {
                reactor.0.tell_streams(move |streams| streams.close(key));
                reactor.0.descriptor_closed();
            }
        }
    }

    /// Accepting fails, usually for want of descriptors: who is connected is served, and nothing spins.
    fn starve(self: &Rc<PortInner>, reactor: &Reactor, error: io::Error) {
        self.complain(reactor.now(), &error);
        self.starved.set(true);
        if let Some(key) = self.key.get() {
            reactor.0.wait_for_descriptor(key);
        }
        self.arm(&reactor.0);
        let port = self.clone();
        let retry = reactor.call_later(RETRY_AFTER, move |reactor| port.feed(&reactor.0));
        *self.retry.borrow_mut() = Some(retry);
        let error = Error::Io("cannot accept", error.into());
        let failed = || self.factory.accept_failed(&error);
        let _ = reactor.0.guard(CallbackKind::Factory, "accept_failed", failed);
    }

    fn complain(&self, now: Moment, error: &io::Error) {
        if self.complained.get().is_some_and(|last| now - last < COMPLAINTS_APART) {
            return;
        }
        self.complained.set(Some(now));
        let host = self.host.borrow().as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(port = host, %error, "cannot accept; trying again when descriptors are closed");
    }

    /// Descriptors may be free again.
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
                tracing::error!(%error, "cannot watch a port");
            }
        });
    }

    /// Closes the socket, with its queue empty where that was asked for.
    fn finish(&self, reactor: &Reactor) {
        if self.draining.get() {
            self.accept_queued(reactor);
        }
        self.close(reactor);
    }

    fn accept_queued(&self, reactor: &Reactor) {
        for _ in 0..DRAINED_MOST {
            // Whose connection it is may stop, pause or crash.
            let Some(key) = self.key.get().filter(|_| self.draining.get() && !self.paused.get()) else { return };
            match reactor.0.streams(|streams| streams.accept(key)) {
                Ok(Ok(Some((key, peer)))) => self.accepted(reactor, key, peer),
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => return tracing::warn!(%error, "cannot accept what waits at a port that stops"),
            }
        }
    }

    /// Closes the socket, and tells the factory and whoever waits.
    pub(crate) fn close(&self, reactor: &Reactor) {
        let Some(key) = self.key.take() else { return };
        self.feed(&reactor.0);
        drop(reactor.0.remove_source(key));
        // The lock outlives the socket, also while that waits to be closed.
        let lock = self.lock.take();
        reactor.0.tell_streams(move |streams| {
            streams.close(key);
            drop(lock);
        });
        reactor.0.descriptor_closed();
        self.host.take();
        self.stopping.set(false);
        self.draining.set(false);
        stop_factory(reactor, &*self.factory);
        let stopped = std::mem::take(&mut *self.stopped.borrow_mut());
        for resolver in stopped {
            let _ = resolver.callback(());
        }
    }
}
