//! The network itself: every end, every listener, what is under way, and the time.
//!
//! It is what a kernel and its wires would be. The reactor reaches it through its provider, a test directly.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use ropewalk_proto::{Address, Key, Moment, Random, Slab};
use ropewalk_sys::{ConnectSpec, Event, Events, ListenSpec, Ready, SocketOption};

use super::calendar::{Calendar, Happening};
use super::connection::{Connection, Phase};
use super::faults::Faults;
use super::listener::Listener;
use super::names::Names;
use super::test_end::Record;

/// How often a turn has a spurious event, if the faults ask for them.
const SPURIOUS: f64 = 0.25;

/// Everything that there is.
pub(crate) struct Network {
    pub(super) now: Moment,
    /// Where time stops, whatever `wait` was asked for.
    horizon: Option<Moment>,
    woken: bool,
    /// Whether the last `wait` ended for want of anything to report.
    pub(super) was_idle: bool,
    /// Whether somebody really waits for what happens.
    pub(super) is_waited_for: bool,
    /// What the reactor has listened on and tried to connect to.
    log: Log,
    pub(super) faults: Faults,
    pub(super) random: Random,
    pub(super) calendar: Calendar,
    pub(super) names: Names,
    pub(super) sources: Slab<Source>,
    pub(super) records: Slab<Record>,
    /// The paths of UNIX sockets that somebody has locked.
    pub(super) locked: BTreeSet<PathBuf>,
}

/// What the reactor asked for, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) listened: Vec<ListenSpec>,
    pub(crate) connected: Vec<ConnectSpec>,
}

pub(super) enum Source {
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
            was_idle: false,
            is_waited_for: false,
            log: Log::default(),
            faults,
            random: Random::new(seed),
            calendar: Calendar::default(),
            names: Names::default(),
            sources: Slab::new(),
            records: Slab::new(),
            locked: BTreeSet::new(),
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

    /// What the reactor asked for.
    pub(crate) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Whether the last `wait` ended because its time was over.
    pub(crate) fn was_idle(&self) -> bool {
        self.was_idle
    }

    /// That the reactor may open one more source.
    pub(super) fn check_descriptors(&self) -> io::Result<()> {
        let queued: usize = self.sources.iter().map(|(_, source)| source.queued()).sum();
        if self.open_sources() - queued < self.faults.descriptors {
            return Ok(());
        }
        Err(io::Error::other("too many open sources: the faults allow no more descriptors"))
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

    pub(super) fn listener(&self, key: Key) -> Option<&Listener> {
        match self.sources.get(key)? {
            Source::Listener(listener) => Some(listener),
            Source::Connection(_) => None,
        }
    }

    pub(super) fn listener_mut(&mut self, key: Key) -> Option<&mut Listener> {
        match self.sources.get_mut(key)? {
            Source::Listener(listener) => Some(listener),
            Source::Connection(_) => None,
        }
    }

    pub(super) fn is_connecting(&self, key: Key) -> bool {
        self.connection(key).is_ok_and(|connection| connection.phase == Phase::Connecting)
    }

    pub(super) fn peer_is_gone(&self, connection: &Connection) -> bool {
        connection.peer.is_none_or(|peer| self.connection(peer).is_err())
    }

    /// Which of `count` equals is chosen.
    pub(super) fn random_index(&mut self, count: usize) -> usize {
        if count > 1 { self.random.below(count) } else { 0 }
    }
}

impl Source {
    pub(super) fn is_test(&self) -> bool {
        match self {
            Source::Listener(listener) => listener.is_test,
            Source::Connection(connection) => connection.test.is_some(),
        }
    }

    /// How many sources of the reactor's wait here to be accepted.
    fn queued(&self) -> usize {
        match self {
            Source::Listener(listener) if !listener.is_test => listener.queue.len(),
            _ => 0,
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
