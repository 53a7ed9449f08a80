//! Connecting, and what is left of a connection for connecting again: IConnector.
//!
//! ```text
//!  disconnected -- connect --> connecting -- first attempt that succeeds --> connected
//!       ^  ^                    |  resolve the name (in a later turn)             |
//!       |  |                    |  attempts, each 250 ms after the one before     |
//!       |  |                    |  or at once when that failed (RFC 8305)         |
//!       |  +-- failed, timed out, stopped                                         |
//!       +--------------------------------------------------- connection lost -----+
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::{Address, Deferred, Key};
use ropewalk_sys::{ConnectSpec, UnixLock};

use super::Transport;
use super::stream::{Origin, Stream};
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::protocols::{ClientFactory, Protocol};
use crate::reactor::{Inner, Reactor, Source, guard};

/// How long an attempt has the field for itself: the Connection Attempt Delay of RFC 8305, section 5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects, and connects again. A cheap handle: clones are the same connector.
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

/// Where a [`Connector`] is.
///
/// ```
/// use ropewalk::ConnectorState;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new(); // nobody listens
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
    /// The connection is there.
    Connected,
}

/// The other end, as the user named it.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Address(Address),
    Name {
        host: Rc<str>,
        port: u16,
        /// `None` takes both.
        family: Option<Family>,
    },
    /// A UNIX socket whose lock file must be alive.
    LockedUnix(Arc<Path>),
}

/// One of the two kinds of IP addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn has(self, address: &SocketAddr) -> bool {
        match self {
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

pub(crate) struct ConnectorInner {
    reactor: Weak<Inner>,
    factory: Rc<dyn ClientFactory>,
    target: Target,
    bind: Option<Address>,
    timeout: Option<Duration>,
    state: Cell<ConnectorState>,
    /// Whether the factory counts this connector among its users.
    started: Cell<bool>,
    transport: RefCell<Option<Transport>>,
    /// `disconnect` was called while the protocol was being built.
    unwanted: Cell<bool>,
    race: RefCell<Race>,
}

/// The attempts of one `connect`.
#[derive(Default)]
struct Race {
    resolution: Option<Deferred<()>>,
    waiting: VecDeque<Address>,
    running: Vec<(Key, Place, Address)>,
    /// The timeout, and the turn that resolves.
    timers: Vec<DelayedCall>,
    /// Begins the next attempt while the present one is still running.
    stagger: Option<DelayedCall>,
    /// How many attempts have begun.
    begun: Place,
    failed: Vec<(Place, Address, Error)>,
}

/// Where an attempt stands among those of its race, by when it began.
type Place = usize;

impl Race {
    fn next(&mut self) -> Option<(Place, Address)> {
        let address = self.waiting.pop_front()?;
        self.begun += 1;
        Some((self.begun, address))
    }

    /// Why all attempts have failed: the reason of the only one, or all of them in the order in which they began.
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
            reactor: reactor.downgrade(),
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
        connector.connect()?;
        Ok(connector)
    }

    /// Connects again. May be called from `client_connection_failed` and `client_connection_lost`; the factory then stays
    /// started. When called later, the factory is started again.
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
    /// [`Error::ConnectInProgress`] unless it is disconnected; [`Error::Closed`] when the reactor is gone.
    pub fn connect(&self) -> Result<()> {
        let connector = &self.0;
        if connector.state.get() != ConnectorState::Disconnected {
            return Err(Error::ConnectInProgress);
        }
        let reactor = Reactor(connector.reactor.upgrade().ok_or(Error::Closed)?);
        connector.state.set(ConnectorState::Connecting);
        if !connector.started.replace(true) {
            reactor.0.start_factory(&*connector.factory);
        }
        if let Some(timeout) = connector.timeout {
            let timer = connector.later(&reactor, timeout, |connector, _| connector.fail(Error::ConnectTimedOut));
            connector.race.borrow_mut().timers.push(timer);
        }
        let turn = connector.later(&reactor, Duration::ZERO, ConnectorInner::resolve);
        connector.race.borrow_mut().timers.push(turn);
        // Last: it may end this attempt, and begin another.
        let _ = guard(&reactor.0, "started_connecting", || connector.factory.started_connecting(self));
        Ok(())
    }

    /// Ends the attempt: `client_connection_failed` is called with [`Error::UserAborted`] before this returns.
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

    /// Ends whatever is there: an attempt at once, a connection as `lose_connection` does.
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

    /// Where it is.
    pub fn state(&self) -> ConnectorState {
        self.0.state.get()
    }

    /// The connection, while there is one.
    pub fn transport(&self) -> Option<Transport> {
        self.0.transport.borrow().clone()
    }

    /// The reactor that it connects on, unless that has been dropped.
    pub fn try_reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade().map(Reactor)
    }

    /// The other end as it was named: getDestination.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.add_host("example.org", &["192.0.2.1"]);
    /// let connector = net.connect_tcp("example.org:80", AccumulatingProtocol::new().factory())?;
    /// assert_eq!(connector.destination(), "example.org:80"); // whatever it resolves to
    /// assert!(connector.try_reactor().is_some());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn destination(&self) -> String {
        match &self.0.target {
            Target::Address(address) => address.to_string(),
            Target::LockedUnix(path) => path.display().to_string(),
            Target::Name { host, port, .. } => format!("{host}:{port}"),
        }
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

impl ConnectorInner {
    /// Has `call` made later; whoever asks keeps the timer in the race.
    fn later(
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
            Target::Address(address) => self.resolved(reactor, VecDeque::from([address.clone()])),
            Target::LockedUnix(path) => match UnixLock::is_locked(path) {
                true => self.resolved(reactor, VecDeque::from([Address::Unix(path.clone())])),
                false => self.fail(Error::BadFile(Address::Unix(path.clone()))),
            },
            Target::Name { host, port, family } => self.look_up(reactor, host, *port, *family),
        }
    }

    fn look_up(self: &Rc<ConnectorInner>, reactor: &Reactor, host: &Rc<str>, port: u16, family: Option<Family>) {
        let addresses = reactor.resolve_host_name(host, port);
        // Holds the attempt, which nobody else may: the user need not keep its connector.
        let (connector, name) = (self.clone(), host.clone());
        let resolution = addresses.add_both(move |addresses| {
            let Some(reactor) = connector.reactor.upgrade().map(Reactor) else { return };
            match addresses {
                Ok(addresses) => connector.found(&reactor, addresses, family),
                Err(failure) => connector.fail(Error::DnsLookup((*name).into(), failure.to_string().into())),
            }
        });
        self.race.borrow_mut().resolution = Some(resolution);
    }

    /// What a name's addresses are; those of the wrong family are left out.
    fn found(self: &Rc<ConnectorInner>, reactor: &Reactor, mut addresses: Vec<SocketAddr>, family: Option<Family>) {
        addresses.retain(|address| family.is_none_or(|family| family.has(address)));
        if addresses.is_empty() {
            let name = Connector(self.clone()).destination();
            let missing =
                family.map_or_else(|| "it has no address".into(), |family| format!("it has no {family} address"));
            return self.fail(Error::DnsLookup(name.into(), missing.into()));
        }
        self.resolved(reactor, interleaved(addresses));
    }

    fn resolved(self: &Rc<ConnectorInner>, reactor: &Reactor, addresses: VecDeque<Address>) {
        if self.state.get() != ConnectorState::Connecting {
            return;
        }
        self.race.borrow_mut().waiting = addresses;
        self.attempt_next(reactor);
    }

    /// Begins the next attempt; when there is none left and none running, the whole has failed.
    fn attempt_next(self: &Rc<ConnectorInner>, reactor: &Reactor) {
        if let Some(stagger) = self.race.borrow_mut().stagger.take() {
            let _ = stagger.cancel();
        }
        while self.state.get() == ConnectorState::Connecting {
            let Some((place, address)) = self.race.borrow_mut().next() else { return self.fail_if_exhausted() };
            let spec = ConnectSpec { address: address.clone(), bind: self.bind.clone() };
            match reactor.0.provider(|provider| provider.connect(&spec)) {
                Ok(Ok(key)) => {
                    reactor.0.sources.borrow_mut().insert(key, Source::Attempt(self.clone()));
                    return self.attempt_begun(reactor, key, place, address);
                }
                Ok(Err(error)) => self.remember(place, address.clone(), Error::connect(address, error)),
                Err(away) => self.remember(place, address, away),
            }
        }
    }

    fn attempt_begun(self: &Rc<ConnectorInner>, reactor: &Reactor, key: Key, place: Place, address: Address) {
        let mut race = self.race.borrow_mut();
        race.running.push((key, place, address));
        if !race.waiting.is_empty() {
            let next = self.later(reactor, ATTEMPT_DELAY, ConnectorInner::attempt_next);
            race.stagger = Some(next);
        }
    }

    fn remember(&self, place: Place, address: Address, error: Error) {
        self.race.borrow_mut().failed.push((place, address, error));
    }

    fn fail_if_exhausted(self: &Rc<ConnectorInner>) {
        let mut race = self.race.borrow_mut();
        if race.running.is_empty() && race.waiting.is_empty() {
            let error = race.take_reason();
            drop(race);
            self.fail(error);
        }
    }

    /// The outcome of an attempt may be known.
    pub(crate) fn attempt_ready(self: &Rc<ConnectorInner>, reactor: &Reactor, key: Key) {
        let outcome = match reactor.0.provider(|provider| provider.finish_connect(key)) {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Ok(outcome) => outcome,
            Err(_away) => return,
        };
        let mut race = self.race.borrow_mut();
        let Some(index) = race.running.iter().position(|(running, ..)| *running == key) else { return };
        let (_, place, address) = race.running.swap_remove(index);
        drop(race);
        reactor.0.sources.borrow_mut().remove(key);
        match outcome {
            Ok(()) => self.succeed(reactor, key, address),
            Err(error) => {
                reactor.0.tell_provider(move |provider| provider.close(key));
                self.remember(place, address.clone(), Error::connect(address, error));
                self.attempt_next(reactor);
            }
        }
    }

    fn succeed(self: &Rc<ConnectorInner>, reactor: &Reactor, key: Key, address: Address) {
        self.end_race(&reactor.0);
        self.state.set(ConnectorState::Connected);
        self.unwanted.set(false);
        let built = guard(&reactor.0, "build_protocol", || self.factory.build_protocol(&address)).ok().flatten();
        let refused = built.is_none();
        let protocol = built.unwrap_or_else(|| Box::new(NoProtocol));
        let transport = Stream::begin(reactor, key, address, protocol, Origin::Client(self.clone()));
        if refused || self.unwanted.get() {
            transport.lose_connection();
        }
    }

    /// Closes what still runs for the present `connect`.
    fn end_race(&self, inner: &Inner) {
        let race = self.race.take();
        for timer in race.timers.into_iter().chain(race.stagger) {
            let _ = timer.cancel();
        }
        for (key, ..) in race.running {
            inner.sources.borrow_mut().remove(key);
            inner.tell_provider(move |provider| provider.close(key));
        }
        if let Some(resolution) = race.resolution {
            resolution.cancel();
        }
    }

    /// Ends the attempt, tells the factory, and stops it unless it connects again.
    pub(crate) fn fail(self: &Rc<ConnectorInner>, error: Error) {
        if self.state.get() != ConnectorState::Connecting {
            return;
        }
        let Some(inner) = self.reactor.upgrade() else { return };
        // First, because a resolver that is cancelled reports a failure.
        self.state.set(ConnectorState::Disconnected);
        self.end_race(&inner);
        let connector = Connector(self.clone());
        let tell = || self.factory.client_connection_failed(&connector, &error);
        let _ = guard(&inner, "client_connection_failed", tell);
        self.stop_factory_if_done(&inner);
    }

    /// Breaks the cycle with its transport: the reactor is gone.
    pub(super) fn forget(&self) {
        self.transport.take();
    }

    pub(super) fn connected(&self, transport: &Transport) {
        *self.transport.borrow_mut() = Some(transport.clone());
    }

    pub(super) fn connection_lost(self: &Rc<ConnectorInner>, reactor: &Reactor, reason: &Error) {
        self.transport.take();
        self.state.set(ConnectorState::Disconnected);
        let connector = Connector(self.clone());
        let tell = || self.factory.client_connection_lost(&connector, reason);
        let _ = guard(&reactor.0, "client_connection_lost", tell);
        self.stop_factory_if_done(&reactor.0);
    }

    fn stop_factory_if_done(&self, inner: &Inner) {
        if self.state.get() == ConnectorState::Disconnected && self.started.replace(false) {
            inner.stop_factory(&*self.factory);
        }
    }
}

/// Stands in where a factory refused to build a protocol, until its connection is closed.
struct NoProtocol;

impl Protocol for NoProtocol {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

/// Alternates the address families, beginning with that of the first address: RFC 8305, section 4.
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<Address> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = VecDeque::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten().map(Address::Inet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_alternate_between_the_address_families() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(|text| text.parse().unwrap());
        let order: Vec<_> = interleaved(addresses.to_vec()).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
    }
}
