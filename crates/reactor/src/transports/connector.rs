//! Connecting to another program, once or several times: IConnector.
//!
//! ```text
//!  disconnected -- connect --> connecting -- first attempt that succeeds --> connected
//!       ^  ^                    |  resolve the name (in a later turn)             |
//!       |  |                    |  attempts, each 250 ms after the one before     |
//!       |  |                    |  or at once when that failed (RFC 8305)         |
//!       |  +-- failed, timed out, stopped                                         |
//!       +--------------------------------------------------- connection lost -----+
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::{Address, Deferred, Key};
use ropewalk_sys::{ConnectSpec, OwnedSocket, Ready};

use super::attempts::Attempts;
use super::factory_users::{start_factory, stop_factory};
use super::lookups::{HostName, Lookups, interleaved};
use super::stream::{Origin, Settings, Stream};
use super::{Transport, connect_hook};
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Kernel, Reactor, Source};
use crate::protocols::{ClientFactory, Protocol};

/// The time after which the next attempt begins while earlier ones still run: the Connection Attempt Delay of RFC 8305,
/// section 5.
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to a destination, and can connect again after a failure or a loss: IConnector.
///
/// Clones are handles of the same connector. Dropping a handle has no effect on the connection or the attempt.
///
/// All methods may be called from any callback on the reactor's thread.
///
/// ```
/// use ropewalk::ConnectorState;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = net.listen_stream("10.0.0.1:80").unwrap();
/// let connector = net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
/// assert_eq!(connector.state(), ConnectorState::Connecting);
/// net.settle();
/// assert_eq!(connector.state(), ConnectorState::Connected);
/// server.accept().expect("it has arrived").close();
/// net.settle();
/// assert_eq!(connector.state(), ConnectorState::Disconnected);
/// connector.connect()?; // once more
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Connector(pub(crate) Rc<ConnectorInner>);

/// The state of a [`Connector`].
///
/// ```
/// use ropewalk::ConnectorState;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new(); // nothing listens at this address
/// let connector = net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
/// net.settle();
/// assert_eq!(connector.state(), ConnectorState::Disconnected);
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorState {
    /// Neither connecting nor connected.
    Disconnected,
    /// An attempt is under way.
    Connecting,
    /// The connection is established.
    Connected,
}

/// The destination, as the user named it.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Address(Address),
    Name(HostName),
    /// A UNIX socket. Connecting fails unless a live process holds its lock file.
    LockedUnix(Arc<Path>),
    /// An address, to which a socket of the program connects, once.
    Prepared(Address, Prepared),
}

/// A socket that the program has prepared, until an attempt uses it.
#[derive(Clone)]
pub(crate) struct Prepared(Rc<Cell<Option<OwnedSocket>>>);

impl Prepared {
    pub(crate) fn new(socket: OwnedSocket) -> Prepared {
        Prepared(Rc::new(Cell::new(Some(socket))))
    }

    fn take(&self) -> Option<OwnedSocket> {
        self.0.take()
    }

    fn is_used(&self) -> bool {
        let socket = self.0.take();
        let is_used = socket.is_none();
        self.0.set(socket);
        is_used
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

pub(crate) struct ConnectorInner {
    reactor: Weak<Kernel>,
    factory: Rc<dyn ClientFactory>,
    target: Target,
    bind: Option<Address>,
    timeout: Option<Duration>,
    state: Cell<ConnectorState>,
    /// Whether this connector counts as a user of the factory.
    started: Cell<bool>,
    transport: RefCell<Option<Transport>>,
    /// Whether `disconnect` was called while the protocol was being built.
    unwanted: Cell<bool>,
    pub(super) race: RefCell<Race>,
}

/// The attempts of one `connect`.
#[derive(Default)]
pub(super) struct Race {
    /// Its number in [`Attempts`].
    number: Option<u64>,
    pub(super) lookups: Lookups,
    waiting: VecDeque<Address>,
    running: Vec<(Key, Place, Address)>,
    /// The timer of the connection timeout, and the timer that starts the name look-up.
    timers: Vec<DelayedCall>,
    /// The timer that begins the next attempt: after the wait for IPv6 addresses, or after the delay between attempts.
    pub(super) stagger: Option<DelayedCall>,
    /// The number of attempts that have begun.
    begun: Place,
    /// Whether the latest attempt went to an IPv6 address.
    last_was_v6: bool,
    failed: Vec<(Place, Address, Error)>,
}

/// The ordinal number of an attempt within its race, from 1.
type Place = usize;

impl Race {
    fn next(&mut self) -> Option<(Place, Address)> {
        let address = self.waiting.pop_front()?;
        self.begun += 1;
        self.last_was_v6 = address.inet().is_some_and(|inet| inet.is_ipv6());
        Some((self.begun, address))
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun > 0
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Adds `addresses` to the waiting ones, and reorders them so that the families alternate.
    pub(super) fn mix_in(&mut self, addresses: Vec<SocketAddr>, first_is_v6: bool) {
        let waiting = self.waiting.iter().filter_map(Address::inet);
        let all = waiting.chain(addresses).collect();
        self.waiting = interleaved(all, if self.has_begun() { !self.last_was_v6 } else { first_is_v6 });
    }

    /// Takes the reason why all attempts have failed. Several reasons are listed in the order in which the attempts
    /// began.
    fn take_reason(&mut self) -> Error {
        let mut failed = std::mem::take(&mut self.failed);
        failed.sort_by_key(|(place, ..)| *place);
        match failed.len() {
            0 | 1 => failed.pop().map_or(Error::UserAborted, |(_, _, error)| error),
            _ => Error::NoneOfSeveral(failed.into_iter().map(|(_, address, error)| (address, error)).collect()),
        }
    }
}

impl Connector {
    pub(crate) fn begin(
        reactor: &Reactor,
        target: Target,
        bind: Option<Address>,
        timeout: Option<Duration>,
        factory: Rc<dyn ClientFactory>,
    ) -> Result<Connector> {
        let connector = Connector(Rc::new(ConnectorInner {
            reactor: Rc::downgrade(&reactor.0),
            factory,
            target,
            bind,
            timeout,
            state: Cell::new(ConnectorState::Disconnected),
            started: Cell::new(false),
            transport: RefCell::default(),
            unwanted: Cell::default(),
            race: RefCell::default(),
        }));
        connect_hook::created(reactor, &connector);
        connector.connect()?;
        Ok(connector)
    }

    /// Connects again.
    ///
    /// If `client_connection_failed` or `client_connection_lost` calls this method, the factory stays started.
    /// Otherwise the factory is started again.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// /// Tries three times.
    /// struct Stubborn(Cell<u32>);
    ///
    /// impl Factory for Stubborn {
    ///     fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
    ///         Some(Box::new(AccumulatingProtocol::new()))
    ///     }
    /// }
    ///
    /// impl ClientFactory for Stubborn {
    ///     fn client_connection_failed(&self, connector: &Connector, _reason: &Error) {
    ///         self.0.set(self.0.get() + 1);
    ///         if self.0.get() < 3 {
    ///             connector.connect().expect("it has just failed");
    ///         }
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.connect_tcp("10.0.0.1:80", Stubborn(Cell::default()))?;
    /// net.settle();
    /// assert_eq!(net.tcp_clients().len(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ConnectInProgress`] unless the connector is disconnected. [`Error::Closed`] when the reactor has been
    /// dropped, and for a connector of [`connect_socket`](Reactor::connect_socket), whose socket has been used.
    pub fn connect(&self) -> Result<()> {
        let connector = &self.0;
        if connector.state.get() != ConnectorState::Disconnected {
            return Err(Error::ConnectInProgress);
        }
        if matches!(&connector.target, Target::Prepared(_, socket) if socket.is_used()) {
            return Err(Error::Closed);
        }
        let reactor = Reactor(connector.reactor.upgrade().ok_or(Error::Closed)?);
        connector.state.set(ConnectorState::Connecting);
        connector.race.borrow_mut().number = Some(reactor.feature::<Attempts>().begin(connector));
        if !connector.started.replace(true) {
            start_factory(&reactor, &*connector.factory);
        }
        if let Some(timeout) = connector.timeout {
            let timer = connector.later(&reactor, timeout, |connector, _| connector.fail(Error::ConnectTimedOut(None)));
            connector.race.borrow_mut().timers.push(timer);
        }
        let turn = connector.later(&reactor, Duration::ZERO, ConnectorInner::resolve);
        connector.race.borrow_mut().timers.push(turn);
        // The callback comes last, because it may stop the attempt and begin another one.
        let _ =
            reactor.0.guard(CallbackKind::Factory, "started_connecting", || connector.factory.started_connecting(self));
        Ok(())
    }

    /// Stops the attempt. `client_connection_failed` is called with [`Error::UserAborted`] before this method returns.
    ///
    /// ```
    /// use ropewalk::{ConnectorState, Error};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let connector = net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// connector.stop_connecting()?;
    /// assert_eq!(connector.state(), ConnectorState::Disconnected);
    /// assert!(matches!(connector.stop_connecting(), Err(Error::NotConnecting)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotConnecting`] when no attempt is under way.
    pub fn stop_connecting(&self) -> Result<()> {
        if self.0.state.get() != ConnectorState::Connecting {
            return Err(Error::NotConnecting);
        }
        self.0.fail(Error::UserAborted);
        Ok(())
    }

    /// Stops an attempt at once, or closes a connection as `lose_connection` does. Has no effect on a disconnected
    /// connector.
    ///
    /// ```
    /// use ropewalk::ConnectorState;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let _server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let client = AccumulatingProtocol::new();
    /// let connector = net.connect_tcp("10.0.0.1:80", client.factory())?;
    /// net.settle();
    /// assert!(connector.transport().is_some());
    /// connector.disconnect();
    /// net.settle();
    /// assert_eq!(connector.state(), ConnectorState::Disconnected);
    /// assert!(client.lost().is_some_and(|reason| reason.is_done()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn disconnect(&self) {
        match self.0.state.get() {
            ConnectorState::Disconnected => {}
            ConnectorState::Connecting => self.0.fail(Error::UserAborted),
            ConnectorState::Connected => match self.transport() {
                Some(transport) => transport.lose_connection(),
                None => self.0.unwanted.set(true),
            },
        }
    }

    /// Returns whether the connector is disconnected, connecting or connected.
    pub fn state(&self) -> ConnectorState {
        self.0.state.get()
    }

    /// Returns the connection, or `None` unless the connector is connected.
    pub fn transport(&self) -> Option<Transport> {
        self.0.transport.borrow().clone()
    }

    /// Returns the reactor of this connector, unless it has been dropped.
    pub fn try_reactor(&self) -> Option<Reactor> {
        self.0.try_reactor()
    }

    /// Returns a handle that does not keep the connector alive.
    ///
    /// A factory should hold such a handle, because its connector keeps the factory alive.
    pub fn downgrade(&self) -> WeakConnector {
        WeakConnector(Rc::downgrade(&self.0))
    }

    /// Returns the destination as the caller named it: getDestination.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.add_host("example.org", &["192.0.2.1"]);
    /// let connector = net.connect_tcp("example.org:80", AccumulatingProtocol::new().factory())?;
    /// assert_eq!(connector.destination(), "example.org:80"); // the name, not its address
    /// assert!(connector.try_reactor().is_some());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn destination(&self) -> String {
        match &self.0.target {
            Target::Address(address) | Target::Prepared(address, _) => address.to_string(),
            Target::LockedUnix(path) => path.display().to_string(),
            Target::Name(HostName { host, port, .. }) => format!("{host}:{port}"),
        }
    }

    /// Returns the time limit of an attempt. `None` sets no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Destination;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let destination = Destination::new("example.org", 80).timeout(Duration::from_secs(5));
    /// let connector = net.connect_tcp(destination, AccumulatingProtocol::new().factory())?;
    /// assert_eq!(connector.timeout(), Some(Duration::from_secs(5)));
    /// assert!(connector.bind_address().is_none());
    /// let factory = connector.factory(); // the one that was passed
    /// assert!(!factory.is_paced());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn timeout(&self) -> Option<Duration> {
        self.0.timeout
    }

    /// Returns the local address to which connections are bound, if one was chosen.
    pub fn bind_address(&self) -> Option<&Address> {
        self.0.bind.as_ref()
    }

    /// Returns the factory that builds the protocols.
    pub fn factory(&self) -> Rc<dyn ClientFactory> {
        self.0.factory.clone()
    }
}

impl Transport {
    /// Returns the connector that made this connection. Returns `None` for a connection that was accepted or adopted.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let _server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let client = AccumulatingProtocol::new();
    /// net.connect_tcp("10.0.0.1:80", client.factory())?;
    /// net.settle();
    /// let connector = client.transport().and_then(|transport| transport.connector());
    /// assert_eq!(connector.expect("this is the client's side").destination(), "10.0.0.1:80");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn connector(&self) -> Option<Connector> {
        self.origin().map(Connector)
    }

    /// Returns the object that made the connection, if it is of this type.
    pub(crate) fn origin<O: Origin + 'static>(&self) -> Option<Rc<O>> {
        self.0.origin()?.as_any().downcast().ok()
    }
}

impl Origin for ConnectorInner {
    fn connected(self: Rc<Self>, transport: &Transport) {
        *self.transport.borrow_mut() = Some(transport.clone());
    }

    fn connection_lost(self: Rc<ConnectorInner>, reactor: &Reactor, reason: &Error) {
        self.transport.take();
        self.state.set(ConnectorState::Disconnected);
        let connector = Connector(self.clone());
        let notify = || self.factory.client_connection_lost(&connector, reason);
        let _ = reactor.0.guard(CallbackKind::Factory, "client_connection_lost", notify);
        self.stop_factory_if_done(reactor);
    }

    /// Breaks the reference cycle between the connector and its transport.
    fn forget(&self) {
        self.transport.take();
    }

    fn as_any(self: Rc<ConnectorInner>) -> Rc<dyn Any> {
        self
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("destination", &self.destination())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// A handle of a [`Connector`] that does not keep it alive.
///
/// May be used from any callback on the reactor's thread.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::transports::WeakConnector;
///
/// let net = MemoryReactor::new();
/// let connector = net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
/// let weak: WeakConnector = connector.downgrade();
/// weak.upgrade().expect("the connector").disconnect();
/// drop(connector);
/// net.settle();
/// assert!(weak.upgrade().is_none()); // the attempt has ended
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct WeakConnector(Weak<ConnectorInner>);

impl WeakConnector {
    /// Returns the connector, unless it has been dropped.
    pub fn upgrade(&self) -> Option<Connector> {
        self.0.upgrade().map(Connector)
    }
}

impl std::fmt::Debug for WeakConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WeakConnector").field(&self.upgrade()).finish()
    }
}

impl Source for ConnectorInner {
    fn ready(self: Rc<ConnectorInner>, reactor: &Reactor, key: Key, _ready: Ready, _scratch: &mut [u8]) {
        self.attempt_ready(reactor, key);
    }

    fn panicked(self: Rc<ConnectorInner>, _reactor: &Reactor, error: Error) {
        self.fail(error);
    }

    fn shut_down(self: Rc<ConnectorInner>, _reactor: &Reactor) {
        self.fail(Error::UserAborted);
    }
}

impl ConnectorInner {
    pub(super) fn try_reactor(&self) -> Option<Reactor> {
        self.reactor.upgrade().map(Reactor)
    }

    /// Schedules `call` after `delay`. The caller stores the timer in the race. The end of the race cancels the timer.
    pub(super) fn later(
        self: &Rc<ConnectorInner>,
        reactor: &Reactor,
        delay: Duration,
        call: impl FnOnce(&Rc<ConnectorInner>, &Reactor) + 'static,
    ) -> DelayedCall {
        let connector = self.clone();
        reactor.call_later(delay, move |reactor| call(&connector, reactor))
    }

    fn resolve(self: &Rc<ConnectorInner>, reactor: &Reactor) {
        match &self.target {
            Target::Address(address) | Target::Prepared(address, _) => self.begin_with(reactor, address.clone()),
            Target::LockedUnix(path) => match reactor.0.filesystem(|files| files.is_socket_locked(path)) {
                Ok(true) => self.begin_with(reactor, Address::Unix(path.clone())),
                Ok(false) => self.fail(Error::BadFile(Address::Unix(path.clone()))),
                Err(away) => self.fail(away),
            },
            Target::Name(name) => self.look_up(reactor, name),
        }
    }

    fn begin_with(self: &Rc<ConnectorInner>, reactor: &Reactor, address: Address) {
        self.race.borrow_mut().waiting.push_back(address);
        self.attempt_next(reactor);
    }

    /// Begins the next attempt. Fails the race if no address, attempt or name look-up is left.
    pub(super) fn attempt_next(self: &Rc<ConnectorInner>, reactor: &Reactor) {
        if let Some(stagger) = self.race.borrow_mut().stagger.take() {
            let _ = stagger.cancel();
        }
        while self.state.get() == ConnectorState::Connecting {
            let Some((place, address)) = self.race.borrow_mut().next() else { return self.fail_if_exhausted() };
            match self.open_attempt(reactor, &address) {
                Ok(Ok(key)) => {
                    reactor.0.add_source(key, self.clone());
                    return self.attempt_begun(reactor, key, place, address);
                }
                Ok(Err(error)) => self.remember(place, address.clone(), Error::connect(address, error)),
                Err(away) => self.remember(place, address, away),
            }
        }
    }

    fn open_attempt(&self, reactor: &Reactor, address: &Address) -> Result<io::Result<Key>> {
        match &self.target {
            Target::Prepared(_, socket) => {
                // A wait in another thread fails the attempt before the socket is taken.
                reactor.0.check_present()?;
                let socket = socket.take().ok_or(Error::Closed)?;
                reactor.0.adoption(|adoption| adoption.connect_socket(socket, address))
            }
            _ => {
                let spec = ConnectSpec { address: address.clone(), bind: self.bind.clone() };
                reactor.0.streams(|streams| streams.connect(&spec))
            }
        }
    }

    fn attempt_begun(self: &Rc<ConnectorInner>, reactor: &Reactor, key: Key, place: Place, address: Address) {
        let mut race = self.race.borrow_mut();
        race.running.push((key, place, address));
        if !race.waiting.is_empty() || !race.lookups.are_done() {
            race.stagger = Some(self.later(reactor, self.attempt_delay(), ConnectorInner::attempt_next));
        }
    }

    fn attempt_delay(&self) -> Duration {
        match &self.target {
            Target::Name(name) => name.attempt_delay,
            _ => ATTEMPT_DELAY,
        }
    }

    fn remember(&self, place: Place, address: Address, error: Error) {
        self.race.borrow_mut().failed.push((place, address, error));
    }

    fn fail_if_exhausted(self: &Rc<ConnectorInner>) {
        let mut race = self.race.borrow_mut();
        if race.running.is_empty() && race.waiting.is_empty() && race.lookups.are_done() {
            let error = match &self.target {
                Target::Name(name) if !race.has_begun() => race.lookups.reason(&name.host),
                _ => race.take_reason(),
            };
            drop(race);
            self.fail(error);
        }
    }

    /// Handles an event of the attempt `key`. The outcome of the attempt may be known now.
    fn attempt_ready(self: &Rc<ConnectorInner>, reactor: &Reactor, key: Key) {
        let outcome = match reactor.0.streams(|streams| streams.finish_connect(key)) {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Ok(outcome) => outcome,
            Err(_away) => return,
        };
        let mut race = self.race.borrow_mut();
        let Some(index) = race.running.iter().position(|(running, ..)| *running == key) else { return };
        let (_, place, address) = race.running.swap_remove(index);
        drop(race);
        drop(reactor.0.remove_source(key));
        match outcome {
            Ok(()) => self.succeed(reactor, key, address),
            Err(error) => {
                reactor.0.close_stream(key);
                self.remember(place, address.clone(), Error::connect(address, error));
                self.attempt_next(reactor);
            }
        }
    }

    fn succeed(self: &Rc<ConnectorInner>, reactor: &Reactor, key: Key, address: Address) {
        // The state is set first, because a resolution that `end_race` cancels reports a failure.
        self.state.set(ConnectorState::Connected);
        self.end_race(&reactor.0);
        self.unwanted.set(false);
        let build = || {
            self.factory.build_protocol(&address).map(|protocol| (protocol, Settings::paced(self.factory.is_paced())))
        };
        let built = reactor.0.guard(CallbackKind::Factory, "build_protocol", build).ok().flatten();
        let refused = built.is_none();
        let (protocol, settings) = built.unwrap_or_else(|| (Box::new(NoProtocol), Settings::default()));
        let transport = Stream::begin(reactor, key, address, protocol, Some(self.clone()), settings);
        if refused || self.unwanted.get() {
            transport.lose_connection();
        }
    }

    /// Cancels the timers, attempts and name look-ups of the present race.
    fn end_race(&self, kernel: &Rc<Kernel>) {
        let race = self.race.take();
        if let Some(number) = race.number {
            Reactor(kernel.clone()).feature::<Attempts>().end(number);
        }
        if let Target::Prepared(_, socket) = &self.target {
            drop(socket.take());
        }
        for timer in race.timers.into_iter().chain(race.stagger) {
            let _ = timer.cancel();
        }
        for (key, ..) in race.running {
            drop(kernel.remove_source(key));
            kernel.close_stream(key);
        }
        race.lookups.resolutions.iter().for_each(Deferred::cancel);
    }

    /// Stops the attempt and notifies the factory. Then stops the factory, unless the factory has begun to connect
    /// again.
    pub(crate) fn fail(self: &Rc<ConnectorInner>, error: Error) {
        if self.state.get() != ConnectorState::Connecting {
            return;
        }
        let Some(kernel) = self.reactor.upgrade() else { return };
        // The state is set first, because a resolution that `end_race` cancels reports a failure.
        self.state.set(ConnectorState::Disconnected);
        self.end_race(&kernel);
        let connector = Connector(self.clone());
        let notify = || self.factory.client_connection_failed(&connector, &error);
        let _ = kernel.guard(CallbackKind::Factory, "client_connection_failed", notify);
        self.stop_factory_if_done(&Reactor(kernel));
    }

    fn stop_factory_if_done(&self, reactor: &Reactor) {
        if self.state.get() == ConnectorState::Disconnected && self.started.replace(false) {
            let _ = stop_factory(reactor, &*self.factory);
        }
    }
}

/// The protocol of a connection for which the factory built none. The connection is closed at once.
struct NoProtocol;

impl Protocol for NoProtocol {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}
