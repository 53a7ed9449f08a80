//! The network itself: every end, every listener, what is under way, and the time.
//!
//! It is what a kernel and its wires would be. The reactor reaches it through its provider, a test directly.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_proto::{Address, Key, Moment, Outbox, Slab};
use ropewalk_sys::{ConnectSpec, Event, Events, ListenSpec, Ready, Received, Sent, SocketOption};

use super::calendar::{Calendar, Happening};
use super::connection::{Connection, Phase};
use super::faults::Faults;
use super::listener::Listener;
use super::names::{self, Names};
use super::pipe::Segment;
use super::random::Random;
use super::test_end::Record;

/// How long a kernel goes on trying to connect: Linux with tcp_syn_retries of 6, tcp(7).
const CONNECT_GIVES_UP: Duration = Duration::from_secs(127);

/// How often a turn has a spurious event, if the faults ask for them.
const SPURIOUS: f64 = 0.25;

/// Everything that there is.
pub(crate) struct Network {
    now: Moment,
    /// Where time stops, whatever `wait` was asked for.
    horizon: Option<Moment>,
    woken: bool,
    faults: Faults,
    random: Random,
    calendar: Calendar,
    names: Names,
    sources: Slab<Source>,
    pub(super) records: Slab<Record>,
}

enum Source {
    Listener(Listener),
    Connection(Box<Connection>),
}

impl Network {
    /// An empty network at the beginning of time.
    pub(super) fn new(seed: u64, faults: Faults) -> Network {
        Network {
            now: Moment::ZERO,
            horizon: None,
            woken: false,
            faults,
            random: Random::new(seed),
            calendar: Calendar::default(),
            names: Names::default(),
            sources: Slab::new(),
            records: Slab::new(),
        }
    }

    /// The virtual time.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Lets time stop at `horizon`; `None` lets it run.
    pub(crate) fn set_horizon(&mut self, horizon: Option<Moment>) {
        self.horizon = horizon;
    }

    /// Changes how unkind the network is from here on.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// How many sources the reactor has, and how many ends wait to be accepted by it.
    pub(crate) fn open_sources(&self) -> usize {
        self.sources.iter().filter(|(_, source)| !source.is_test()).count()
    }

    /// When something happens next without anybody's doing.
    pub(crate) fn next_happening(&mut self) -> Option<Moment> {
        let Network { calendar, sources, .. } = self;
        calendar.drop_void(|happening| is_void(happening, sources));
        calendar.next_at()
    }
}

/// Time and events.
impl Network {
    pub(super) fn wake(&mut self) {
        self.woken = true;
    }

    pub(super) fn take_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
    }

    /// Where the time stops next on its way to `deadline`; `None` if it would never stop.
    pub(super) fn next_stop(&mut self, deadline: Option<Moment>) -> Option<Moment> {
        [deadline, self.horizon, self.next_happening()].into_iter().flatten().min()
    }

    /// Moves the time on to `moment`.
    pub(super) fn jump(&mut self, moment: Moment) {
        debug_assert!(moment >= self.now, "time went back from {:?} to {moment:?}", self.now);
        self.now = moment;
    }

    /// Lets everything happen that is due.
    pub(super) fn run_due(&mut self) {
        while let Some(happening) = self.calendar.pop_due(self.now) {
            match happening {
                Happening::Asked { client } => self.asked(client),
                Happening::Answered { client, outcome } => self.answered(client, outcome),
                Happening::Arrived { key } => self.arrived(key),
            }
        }
    }

    /// Adds an event for each of the reactor's sources that is ready.
    pub(super) fn report(&mut self, events: &mut Events) {
        let ready = self.sources.iter().map(|(key, _)| Event { key, ready: self.ready(key) });
        let mut found: Vec<Event> = ready.filter(|event| !event.ready.is_empty()).collect();
        for event in found.iter().filter(|event| event.ready.contains(Ready::WRITE)) {
            if let Ok(connection) = self.connection_mut(event.key) {
                connection.write_wanted = false;
            }
        }
        if self.faults.spurious && !found.is_empty() && self.random.chance(SPURIOUS) {
            found.extend(self.spurious_event());
        }
        if self.faults.shuffled {
            self.random.shuffle(&mut found);
        }
        events.append(&mut found);
    }

    fn ready(&self, key: Key) -> Ready {
        match self.sources.get(key) {
            Some(source) if source.is_test() => Ready::empty(),
            Some(Source::Listener(listener)) if listener.reading && !listener.queue.is_empty() => Ready::READ,
            Some(Source::Connection(connection)) => connection.ready(self.room(connection)),
            _ => Ready::empty(),
        }
    }

    /// Something to read on a source that has nothing.
    fn spurious_event(&mut self) -> Option<Event> {
        let reading = self.sources.iter().filter(|(_, source)| source.is_reading() && !source.is_test());
        let quiet: Vec<Key> = reading.map(|(key, _)| key).filter(|&key| self.ready(key).is_empty()).collect();
        let key = *quiet.get(self.random.below(quiet.len().max(1)))?;
        Some(Event { key, ready: Ready::READ })
    }
}

/// Listening and connecting.
impl Network {
    pub(crate) fn listen(&mut self, spec: &ListenSpec, is_test: bool) -> io::Result<(Key, Address)> {
        let address = self.names.choose_listening(spec)?;
        let key = self.sources.insert(Source::Listener(Listener::new(address.clone(), spec.backlog, is_test)));
        self.names.add_listener(key, address.clone(), spec);
        Ok((key, address))
    }

    pub(crate) fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let (local, remote) = match &spec.address {
            Address::Inet(target) => {
                let target = names::destination(*target);
                let bind = spec.bind.as_ref().and_then(Address::inet);
                (self.names.take_outgoing(target, bind)?.into(), target.into())
            }
            name => {
                self.check_local_listener(name)?;
                (spec.bind.clone().unwrap_or(Address::Unnamed), name.clone())
            }
        };
        let host = remote.inet().map(|inet| inet.ip());
        let connection = Connection::connecting(local, remote, self.faults.buffer);
        let client = self.sources.insert(Source::Connection(Box::new(connection)));
        if host.is_some_and(|host| self.faults.black_holes.contains(&host)) {
            self.give_up_later(client);
        } else {
            let at = self.now + self.delay();
            self.calendar.enter(at, Happening::Asked { client });
        }
        Ok(client)
    }

    pub(super) fn finish_connect(&self, key: Key) -> io::Result<()> {
        self.connection(key)?.outcome()
    }

    pub(crate) fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let Source::Listener(listener) = self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let Some(accepted) = listener.queue.pop_front() else { return Ok(None) };
        let waiting = std::mem::take(&mut listener.waiting);
        let mut waiting: VecDeque<Key> = waiting.into_iter().filter(|&client| self.is_connecting(client)).collect();
        if let Some(client) = waiting.pop_front() {
            self.calendar.enter(self.now, Happening::Asked { client });
        }
        if let Some(listener) = self.listener_mut(key) {
            listener.waiting = waiting;
        }
        let remote = self.connection(accepted)?.remote.clone();
        Ok(Some((accepted, remote)))
    }

    /// connect(2) of a UNIX socket fails at once, unix(7).
    fn check_local_listener(&self, name: &Address) -> io::Result<()> {
        let listeners = self.names.listeners_for(name);
        let listeners: Vec<&Listener> = listeners.iter().filter_map(|&key| self.listener(key)).collect();
        match name {
            _ if listeners.iter().any(|listener| !listener.is_full()) => Ok(()),
            _ if !listeners.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            Address::Unix(_) => Err(io::ErrorKind::NotFound.into()),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn give_up_later(&mut self, client: Key) {
        let outcome = Err(io::ErrorKind::TimedOut);
        self.calendar.enter(self.now + CONNECT_GIVES_UP, Happening::Answered { client, outcome });
    }

    fn asked(&mut self, client: Key) {
        let Ok(connection) = self.connection(client) else { return };
        if connection.phase != Phase::Connecting {
            return;
        }
        let (from, to) = (connection.local.clone(), connection.remote.clone());
        let unlucky = self.faults.refused > 0.0 && to.inet().is_some() && self.random.chance(self.faults.refused);
        let listeners = if unlucky { Vec::new() } else { self.names.listeners_for(&to) };
        let Some(&chosen) = listeners.get(self.random_index(listeners.len())) else {
            return self.answer(client, Err(io::ErrorKind::ConnectionRefused));
        };
        match self.listener_mut(chosen) {
            Some(listener) if listener.is_full() => {
                listener.waiting.push_back(client);
                self.give_up_later(client);
            }
            _ => self.join(client, chosen, from, to),
        }
    }

    /// Makes the other end for `client`, and lets it wait to be accepted.
    fn join(&mut self, client: Key, chosen: Key, from: Address, to: Address) {
        let Some(listener) = self.listener(chosen) else { return };
        let (local, remote) = match (&listener.address, to, from) {
            (Address::Inet(at), Address::Inet(to), Address::Inet(from)) if at.is_ipv6() => {
                (names::mapped(to).into(), names::mapped(from).into())
            }
            (_, to, from) => (to, from),
        };
        let is_test = listener.is_test;
        let accepted = Connection::accepted(local, remote, self.faults.buffer, client);
        let accepted = self.sources.insert(Source::Connection(Box::new(accepted)));
        if is_test {
            self.make_test_end(accepted);
        }
        if let Some(listener) = self.listener_mut(chosen) {
            listener.queue.push_back(accepted);
        }
        if let Ok(connection) = self.connection_mut(client) {
            connection.peer = Some(accepted);
        }
        self.answer(client, Ok(()));
    }

    fn answer(&mut self, client: Key, outcome: Result<(), io::ErrorKind>) {
        let at = self.now + self.delay();
        if let Ok(connection) = self.connection_mut(client) {
            connection.incoming.hold_until(at);
        }
        self.calendar.enter(at, Happening::Answered { client, outcome });
    }

    fn answered(&mut self, client: Key, outcome: Result<(), io::ErrorKind>) {
        let Ok(connection) = self.connection_mut(client) else { return };
        if connection.phase == Phase::Connecting {
            connection.phase = outcome.map_or_else(Phase::Failed, |()| Phase::Established);
            self.test_end_changed(client);
        }
    }
}

/// Bytes.
impl Network {
    pub(super) fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        match self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Listener(listener) => listener.reading = on,
            Source::Connection(connection) => connection.reading = on,
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        let connection = self.connection(key)?;
        connection.check()?;
        let unread = connection.incoming.unread();
        let wanted = unread.min(scratch.len());
        if wanted == 0 {
            return Ok(if unread == 0 && connection.incoming.is_ended() { Received::Eof } else { Received::Empty });
        }
        let limit = if self.faults.short_reads { 1 + self.random.below(wanted) } else { wanted };
        let lends = self.faults.lent_reads && self.random.chance(0.5);
        let room_in_scratch = limit < scratch.len();
        let connection = self.connection_mut(key)?;
        let received = if lends {
            connection.incoming.take(limit).map_or(Received::Empty, Received::Lent)
        } else {
            let count = connection.incoming.read(&mut scratch[..limit]);
            let drained = room_in_scratch && connection.incoming.unread() == 0;
            if drained { Received::Drained(count) } else { Received::Filled(count) }
        };
        self.made_room(key);
        Ok(received)
    }

    pub(super) fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        let count = self.admit(key, outbox.len())?;
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let part = outbox.front().len().min(count - bytes.len());
            bytes.extend_from_slice(&outbox.front()[..part]);
            outbox.advance(part);
        }
        self.transmit(key, bytes.into());
        self.connection_mut(key)?.write_wanted = !outbox.is_empty();
        Ok(if outbox.is_empty() { Sent::All } else { Sent::Some })
    }

    pub(super) fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        let count = self.admit(key, bytes.len())?;
        self.transmit(key, Bytes::copy_from_slice(&bytes[..count]));
        Ok(count)
    }

    pub(super) fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        let connection = self.connection_mut(key)?;
        connection.check()?;
        if !std::mem::replace(&mut connection.finished, true) {
            self.tell_peer(key, Segment::Fin);
        }
        Ok(())
    }

    /// How many of `offered` bytes can go at once.
    fn admit(&mut self, key: Key, offered: usize) -> io::Result<usize> {
        let connection = self.connection(key)?;
        connection.check()?;
        let deaf =
            connection.local.inet().is_none() && connection.remote.inet().is_none() && self.peer_is_gone(connection);
        if connection.finished || deaf {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = offered.min(self.room(connection));
        let short = self.faults.short_writes && most > 1;
        Ok(if short { 1 + self.random.below(most) } else { most })
    }

    /// How many bytes this end may send.
    pub(super) fn room(&self, connection: &Connection) -> usize {
        match connection.peer.and_then(|peer| self.connection(peer).ok()) {
            Some(peer) => peer.incoming.room(),
            None => connection.incoming.capacity().saturating_sub(connection.unheard),
        }
    }

    fn transmit(&mut self, key: Key, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.faults.resets > 0.0 && self.random.chance(self.faults.resets) {
            self.tell_peer(key, Segment::Reset);
            return self.put(key, Segment::Reset, self.now);
        }
        let Ok(connection) = self.connection(key) else { return };
        if self.peer_is_gone(connection) {
            return self.shout_into_the_void(key, bytes.len());
        }
        self.tell_peer(key, Segment::Bytes(bytes));
    }

    /// A host answers bytes for an end that it no longer has with a reset.
    fn shout_into_the_void(&mut self, key: Key, count: usize) {
        if let Ok(connection) = self.connection_mut(key) {
            connection.unheard += count;
        }
        let heard = self.now + self.delay();
        self.put(key, Segment::Reset, heard);
    }

    fn tell_peer(&mut self, key: Key, segment: Segment) {
        if let Some(peer) = self.connection(key).ok().and_then(|connection| connection.peer) {
            self.put(peer, segment, self.now);
        }
    }

    /// Puts what was `sent` at that moment on its way to the end `to`.
    fn put(&mut self, to: Key, segment: Segment, sent: Moment) {
        let arrival = sent + self.delay();
        let Ok(connection) = self.connection_mut(to) else { return };
        if let Some(at) = connection.incoming.send(segment, arrival) {
            self.calendar.enter(at, Happening::Arrived { key: to });
        }
    }

    fn arrived(&mut self, key: Key) {
        let now = self.now;
        let Ok(connection) = self.connection_mut(key) else { return };
        connection.incoming.arrive(now);
        self.test_end_changed(key);
    }

    /// The end under `key` has taken bytes out: a test that waits to send to it goes on.
    pub(super) fn made_room(&mut self, key: Key) {
        if let Some(peer) = self.connection(key).ok().and_then(|connection| connection.peer) {
            self.flush_test_end(peer);
        }
    }

    /// How long the next segment is under way.
    fn delay(&mut self) -> Duration {
        match self.faults.jitter {
            Duration::ZERO => self.faults.latency,
            longest => self.faults.latency + self.random.duration(longest),
        }
    }
}

/// Ending.
impl Network {
    pub(crate) fn close(&mut self, key: Key) {
        match self.sources.remove(key) {
            Some(Source::Listener(listener)) => self.close_listener(key, &listener),
            Some(Source::Connection(connection)) => self.close_connection(&connection),
            None => {}
        }
    }

    /// Closes everything of the reactor's.
    pub(super) fn close_all(&mut self) {
        let open: Vec<Key> = self.sources.iter().filter(|(_, source)| !source.is_test()).map(|(key, _)| key).collect();
        for key in open {
            self.close(key);
        }
    }

    /// A UNIX socket has no resets: it only closes.
    pub(crate) fn abort(&mut self, key: Key) {
        match self.connection(key) {
            Ok(connection) if connection.local.inet().is_some() => self.reset(key),
            _ => self.close(key),
        }
    }

    fn close_listener(&mut self, key: Key, listener: &Listener) {
        self.names.remove_listener(key);
        for &accepted in &listener.queue {
            self.reset(accepted);
        }
        for &client in &listener.waiting {
            self.calendar.enter(self.now, Happening::Asked { client });
        }
    }

    fn close_connection(&mut self, connection: &Connection) {
        self.free_name(connection);
        let Some(peer) = connection.peer.filter(|_| !connection.incoming.is_broken()) else { return };
        if connection.phase == Phase::Connecting || connection.incoming.unread() > 0 {
            return self.put(peer, Segment::Reset, self.now);
        }
        if !connection.finished {
            self.put(peer, Segment::Fin, self.now);
        }
        if let Some(at) = connection.incoming.next_bytes() {
            self.put(peer, Segment::Reset, at);
        }
    }

    fn reset(&mut self, key: Key) {
        let Some(Source::Connection(connection)) = self.sources.remove(key) else { return };
        self.free_name(&connection);
        let Some(peer) = connection.peer else { return };
        if let Ok(peer) = self.connection_mut(peer) {
            peer.incoming.drop_under_way();
        }
        self.put(peer, Segment::Reset, self.now);
    }

    fn free_name(&mut self, connection: &Connection) {
        if let Some(local) = connection.local.inet().filter(|_| connection.owns_name) {
            self.names.free_outgoing(local);
        }
    }
}

/// Looking things up.
impl Network {
    pub(super) fn connection(&self, key: Key) -> io::Result<&Connection> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Connection(connection) => Ok(connection),
            Source::Listener(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn connection_mut(&mut self, key: Key) -> io::Result<&mut Connection> {
        match self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Connection(connection) => Ok(connection),
            Source::Listener(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Whether the key still names something.
    pub(crate) fn is_open(&self, key: Key) -> bool {
        self.sources.get(key).is_some()
    }

    pub(crate) fn local_address(&self, key: Key) -> io::Result<Address> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Listener(listener) => Ok(listener.address.clone()),
            Source::Connection(connection) => Ok(connection.local.clone()),
        }
    }

    pub(super) fn peer_address(&self, key: Key) -> io::Result<Address> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Connection(connection) if connection.phase == Phase::Established => Ok(connection.remote.clone()),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn option(&self, key: Key, option: SocketOption) -> io::Result<bool> {
        self.connection(key)?.option(option)
    }

    pub(super) fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        self.connection_mut(key)?.set_option(option, on)
    }

    fn listener(&self, key: Key) -> Option<&Listener> {
        match self.sources.get(key)? {
            Source::Listener(listener) => Some(listener),
            Source::Connection(_) => None,
        }
    }

    fn listener_mut(&mut self, key: Key) -> Option<&mut Listener> {
        match self.sources.get_mut(key)? {
            Source::Listener(listener) => Some(listener),
            Source::Connection(_) => None,
        }
    }

    fn is_connecting(&self, key: Key) -> bool {
        self.connection(key).is_ok_and(|connection| connection.phase == Phase::Connecting)
    }

    fn peer_is_gone(&self, connection: &Connection) -> bool {
        connection.peer.is_none_or(|peer| self.connection(peer).is_err())
    }

    /// Which of `count` equals is chosen.
    fn random_index(&mut self, count: usize) -> usize {
        if count > 1 { self.random.below(count) } else { 0 }
    }
}

impl Source {
    fn is_test(&self) -> bool {
        match self {
            Source::Listener(listener) => listener.is_test,
            Source::Connection(connection) => connection.test.is_some(),
        }
    }

    fn is_reading(&self) -> bool {
        match self {
            Source::Listener(listener) => listener.reading,
            Source::Connection(connection) => connection.reading && connection.phase == Phase::Established,
        }
    }
}

/// Whether nothing would come of it.
fn is_void(happening: &Happening, sources: &Slab<Source>) -> bool {
    match *happening {
        Happening::Asked { client } | Happening::Answered { client, .. } => {
            !matches!(sources.get(client), Some(Source::Connection(c)) if c.phase == Phase::Connecting)
        }
        Happening::Arrived { key } => sources.get(key).is_none(),
    }
}
