//! The network itself: owners, their sources, the time, and everything under way.
//!
//! The network imitates all kernels and the wires between them. Reactors use it through a provider, and test ends use
//! it directly.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use ropewalk_proto::{Address, Key, Moment, Random, Slab};
use ropewalk_sys::{
    ConnectSpec, Event, Events, KeepAliveTimes, ListenSpec, PeerCredentials, Ready, SocketOption, explained_error,
    system_error, too_many_descriptors,
};

use super::calendar::{Calendar, Happening};
use super::carrier::Carrier;
use super::children::{ChildId, Children, Installed};
use super::connection::{Connection, Phase};
use super::datagram_end::DatagramEnd;
use super::faults::Faults;
use super::flights::Flights;
use super::host_names::HostNames;
use super::links::Links;
use super::listener::Listener;
use super::machines::{MachineId, Machines};
use super::process::Process;

/// The fraction of waits that get a spurious event, if the faults ask for them.
const SPURIOUS: f64 = 0.25;

/// The state of the whole network.
pub(crate) struct Network {
    pub(super) now: Moment,
    /// The moment at which time stops, whatever timeout a wait has.
    horizon: Option<Moment>,
    pub(super) faults: Faults,
    pub(super) random: Random,
    pub(super) calendar: Calendar,
    pub(super) machines: Machines,
    pub(super) links: Links,
    pub(crate) host_names: HostNames,
    pub(super) owners: Slab<Owner>,
    pub(super) sources: Slab<Source>,
    pub(super) flights: Flights,
    pub(super) children: Children,
}

/// A process on a machine. Its sources are closed when it exits.
pub(super) struct Owner {
    pub(super) machine: MachineId,
    woken: bool,
    log: Log,
    /// The real time that an endless wait gives other threads to wake the owner. `None` sets no limit.
    patience: Option<Duration>,
    /// The errors of the next requests to connect and to listen.
    failures: Failures,
    /// The reactor whose children this owner has.
    parent: Option<Key>,
    pub(super) installed: Installed,
}

/// Errors that a test has prepared for requests, in order.
#[derive(Default)]
pub(crate) struct Failures {
    pub(crate) connect: VecDeque<io::Error>,
    pub(crate) listen: VecDeque<io::Error>,
    pub(crate) spawn: VecDeque<io::Error>,
}

/// The requests of one owner, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) listened: Vec<ListenSpec>,
    pub(crate) connected: Vec<ConnectSpec>,
    pub(crate) spawned: Vec<ChildId>,
}

pub(super) enum Source {
    Listener(Listener),
    Connection(Box<Connection>),
    Datagrams(Box<DatagramEnd>),
    Process(Process),
}

impl Network {
    /// Returns an empty network at time zero.
    pub(super) fn new(seed: u64, faults: Faults) -> Network {
        Network {
            now: Moment::ZERO,
            horizon: None,
            faults,
            random: Random::new(seed),
            calendar: Calendar::new(seed),
            machines: Machines::default(),
            links: Links::default(),
            host_names: HostNames::default(),
            owners: Slab::new(),
            sources: Slab::new(),
            flights: Flights::default(),
            children: Children::default(),
        }
    }

    /// Returns the virtual time.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Stops time at `horizon`, and returns the previous horizon. `None` lets time run.
    pub(crate) fn set_horizon(&mut self, horizon: Option<Moment>) -> Option<Moment> {
        std::mem::replace(&mut self.horizon, horizon)
    }

    /// Replaces the faults.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Returns a random number below `count`. Draws no random number if `count` is 1.
    pub(crate) fn choose(&mut self, count: usize) -> usize {
        if count > 1 { self.random.below(count) } else { 0 }
    }

    /// Returns the time of the next happening.
    pub(crate) fn next_happening(&mut self) -> Option<Moment> {
        let Network { calendar, sources, flights, .. } = self;
        calendar.drop_void(|happening| is_void(happening, sources, flights));
        calendar.next_at()
    }

    /// Returns the time of the next change: a happening, or a call that a child has scheduled.
    pub(crate) fn next_change(&mut self) -> Option<Moment> {
        [self.next_happening(), self.children.next_alarm()].into_iter().flatten().min()
    }
}

/// Owners.
impl Network {
    /// Adds an owner of sources on `machine`.
    pub(crate) fn add_owner(&mut self, machine: MachineId) -> Key {
        self.insert_owner(machine, None)
    }

    /// Adds the owner of the ends that the children of `parent` have.
    pub(super) fn add_owner_of_children(&mut self, machine: MachineId, parent: Key) -> Key {
        self.insert_owner(machine, Some(parent))
    }

    fn insert_owner(&mut self, machine: MachineId, parent: Option<Key>) -> Key {
        self.owners.insert(Owner {
            machine,
            woken: false,
            log: Log::default(),
            patience: None,
            failures: Failures::default(),
            parent,
            installed: Installed::default(),
        })
    }

    /// Closes all sources of `owner` and removes it, as a kernel does when a process exits.
    pub(crate) fn remove_owner(&mut self, owner: Key) {
        for key in self.sources_of(owner) {
            self.close(key);
        }
        if let Some(gone) = self.owners.remove(owner) {
            self.machines.get_mut(gone.machine).locked.retain(|_, holder| *holder != owner);
            self.children.forget(owner);
            if let Some(children) = gone.installed.owner {
                self.remove_owner(children);
            }
        }
    }

    /// Locks the UNIX socket at `path` for `owner`. Returns whether the lock was free.
    pub(super) fn lock(&mut self, owner: Key, path: &Path) -> io::Result<bool> {
        let machine = self.machine_of(owner)?;
        let locked = &mut self.machines.get_mut(machine).locked;
        let is_free = !locked.contains_key(path);
        if is_free {
            locked.insert(path.to_owned(), owner);
        }
        Ok(is_free)
    }

    /// Releases a lock. If `owner` is gone, its locks are already free.
    pub(super) fn unlock(&mut self, owner: Key, path: &Path) {
        if let Ok(machine) = self.machine_of(owner) {
            self.machines.get_mut(machine).locked.remove(path);
        }
    }

    /// Whether a process on the machine of `owner` holds the lock.
    pub(super) fn is_locked(&self, owner: Key, path: &Path) -> bool {
        self.machine_of(owner).is_ok_and(|machine| self.machines.get(machine).locked.contains_key(path))
    }

    /// Whether `owner` has neither been removed nor crashed with its machine.
    pub(crate) fn is_alive(&self, owner: Key) -> bool {
        self.owners.get(owner).is_some()
    }

    /// Returns the machine of `owner`, or an error if the machine has crashed or the owner was killed.
    pub(super) fn machine_of(&self, owner: Key) -> io::Result<MachineId> {
        let owner = self.owners.get(owner).ok_or_else(|| io::Error::other("this host has crashed or was killed"))?;
        Ok(owner.machine)
    }

    /// Returns the requests of `owner`, or `None` if the owner is gone.
    pub(crate) fn log(&mut self, owner: Key) -> Option<&mut Log> {
        self.owners.get_mut(owner).map(|owner| &mut owner.log)
    }

    /// Returns the errors that wait for the requests of `owner`, or `None` if the owner is gone.
    pub(crate) fn failures(&mut self, owner: Key) -> Option<&mut Failures> {
        self.owners.get_mut(owner).map(|owner| &mut owner.failures)
    }

    /// Fails a request of `owner` with the first error that `of` the prepared ones holds.
    pub(super) fn check_failure(
        &mut self,
        owner: Key,
        of: impl FnOnce(&mut Failures) -> &mut VecDeque<io::Error>,
    ) -> io::Result<()> {
        self.failures(owner).and_then(|failures| of(failures).pop_front()).map_or(Ok(()), Err)
    }

    /// Returns the number of bytes that the end `key` has sent and its peer has not read.
    pub(super) fn unread_by_peer(&self, key: Key) -> usize {
        let peer = self.connection(key).ok().and_then(|connection| connection.peer);
        peer.and_then(|peer| self.connection(peer).ok()).map_or(0, |peer| peer.incoming.held())
    }

    pub(super) fn sources_of(&self, owner: Key) -> Vec<Key> {
        self.sources.iter().filter(|(_, source)| source.owner() == owner).map(|(key, _)| key).collect()
    }

    /// Checks that `owner` may open one more source: EMFILE.
    pub(super) fn check_descriptors(&self, owner: Key) -> io::Result<()> {
        if self.faults.descriptors == usize::MAX {
            return Ok(());
        }
        let own = self.sources.iter().filter(|(_, source)| source.owner() == owner);
        let queued: usize = own.map(|(_, source)| source.queued()).sum();
        if self.open_sources(owner) - queued < self.faults.descriptors {
            return Ok(());
        }
        let (cause, message) = (too_many_descriptors(), "too many open sources: the faults allow no more descriptors");
        Err(explained_error(cause.kind(), cause, message))
    }

    /// Returns the number of sources of `owner`, including connections that `owner` has not accepted yet.
    pub(crate) fn open_sources(&self, owner: Key) -> usize {
        self.sources.iter().filter(|(_, source)| source.owner() == owner).count()
    }

    /// Returns the number of sources of all owners except `owner`.
    pub(crate) fn open_sources_but(&self, owner: Key) -> usize {
        let of_reactors =
            |(_, source): &(Key, &Source)| source.owner() != owner && self.parent_of(source.owner()).is_none();
        self.sources.iter().filter(of_reactors).count()
    }

    /// Returns the reactor whose children `owner` has, if it has any.
    pub(super) fn parent_of(&self, owner: Key) -> Option<Key> {
        self.owners.get(owner)?.parent
    }

    /// Limits the real time for which an endless wait of `owner` blocks.
    pub(crate) fn set_patience(&mut self, owner: Key, patience: Duration) {
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.patience = Some(patience);
        }
    }

    pub(super) fn patience(&self, owner: Key) -> Option<Duration> {
        self.owners.get(owner)?.patience
    }

    /// Returns the open sources of `owner` in words, for the message about a wait that would not end.
    pub(super) fn open_in_words(&self, owner: Key) -> String {
        let own = self.sources.iter().filter(|(_, source)| source.owner() == owner);
        let words: Vec<String> = own.map(|(_, source)| source.in_words()).collect();
        if words.is_empty() { "nothing is open".to_owned() } else { format!("it waits for {}", words.join(", ")) }
    }

    pub(super) fn wake(&mut self, owner: Key) {
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.woken = true;
        }
    }

    pub(super) fn take_woken(&mut self, owner: Key) -> bool {
        self.owners.get_mut(owner).is_some_and(|owner| std::mem::take(&mut owner.woken))
    }

    /// Whether a wait of `owner` would return at once.
    pub(crate) fn has_events(&self, owner: Key) -> bool {
        let is_ready = |(key, source): (Key, &Source)| source.owner() == owner && !self.ready(key).is_empty();
        let is_woken = self.owners.get(owner).is_some_and(|owner| owner.woken);
        is_woken || self.sources.iter().any(is_ready) || self.have_children_events(owner)
    }

    /// Whether children of `owner` have something to do.
    pub(super) fn have_children_events(&self, owner: Key) -> bool {
        let children = self.owners.get(owner).and_then(|owner| owner.installed.owner);
        children.is_some_and(|children| self.has_events(children))
    }
}

/// Time and events.
impl Network {
    /// Returns the next time at which a wait until `deadline` must stop, or `None` if the wait never stops.
    pub(super) fn next_stop(&mut self, deadline: Option<Moment>) -> Option<Moment> {
        [deadline, self.horizon, self.next_change()].into_iter().flatten().min()
    }

    /// Moves the time to `moment`.
    pub(crate) fn jump(&mut self, moment: Moment) {
        debug_assert!(moment >= self.now, "time went back from {:?} to {moment:?}", self.now);
        self.now = moment;
    }

    /// Runs all happenings that are due.
    pub(super) fn run_due(&mut self) {
        while let Some(happening) = self.calendar.pop_due(self.now) {
            match happening {
                Happening::Asked { client, lost } => self.asked(client, lost),
                Happening::Answered { client, outcome } => self.answered(client, outcome),
                Happening::Arrived { key } => self.arrived(key),
                Happening::Strayed { key, lost } => self.strayed(key, lost),
                Happening::Flown { number } => self.flown(number),
                Happening::Refused { key } => self.refused_datagram(key),
                Happening::Exited { child } => self.reveal_exit(child),
                Happening::Released { child } => self.release_descriptors(child),
            }
        }
        self.run_alarms();
    }

    /// Adds an event for each source of `owner` that is ready.
    pub(super) fn report(&mut self, owner: Key, events: &mut Events) {
        let own = self.sources.iter().filter(|(_, source)| source.owner() == owner);
        let ready = own.map(|(key, _)| Event { key, ready: self.ready(key) });
        let mut found: Vec<Event> = ready.filter(|event| !event.ready.is_empty()).collect();
        for event in &found {
            self.acknowledge(event.key, event.ready);
        }
        if self.faults.spurious && !found.is_empty() && self.random.chance(SPURIOUS) {
            found.extend(self.spurious_event(owner));
        }
        if self.faults.shuffled {
            self.random.shuffle(&mut found);
        }
        events.append(&mut found);
    }

    /// Returns the readiness of one source as an event would report it. WRITE is reported once each time there is room
    /// again.
    pub(super) fn take_ready(&mut self, key: Key) -> Ready {
        let ready = self.ready(key);
        self.acknowledge(key, ready);
        ready
    }

    fn acknowledge(&mut self, key: Key, ready: Ready) {
        if let Ok(connection) = self.connection_mut(key) {
            connection.write_wanted &= !ready.contains(Ready::WRITE);
            connection.loss_wanted &= !ready.intersects(Ready::ERROR | Ready::HANGUP);
        }
        if let Ok(end) = self.datagram_end_mut(key) {
            end.write_wanted &= !ready.contains(Ready::WRITE);
        }
    }

    fn ready(&self, key: Key) -> Ready {
        match self.sources.get(key) {
            Some(Source::Listener(listener)) if listener.reading && !listener.queue.is_empty() => Ready::READ,
            Some(Source::Connection(connection)) => {
                connection.ready(self.room(connection), self.peer_is_gone(connection))
            }
            Some(Source::Datagrams(end)) => end.ready(end.write_wanted && self.datagram_peer_has_room(end)),
            Some(Source::Process(process)) => process.ready(),
            _ => Ready::empty(),
        }
    }

    /// Returns a spurious event: READ for a source that has nothing to read.
    fn spurious_event(&mut self, owner: Key) -> Option<Event> {
        let reading = self.sources.iter().filter(|(_, source)| source.is_reading() && source.owner() == owner);
        let quiet: Vec<Key> = reading.map(|(key, _)| key).filter(|&key| self.ready(key).is_empty()).collect();
        let key = *quiet.get(self.random.below(quiet.len().max(1)))?;
        Some(Event { key, ready: Ready::READ })
    }
}

/// Lookups.
impl Network {
    pub(super) fn connection(&self, key: Key) -> io::Result<&Connection> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Connection(connection) => Ok(connection),
            Source::Listener(_) | Source::Datagrams(_) | Source::Process(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn connection_mut(&mut self, key: Key) -> io::Result<&mut Connection> {
        match self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Connection(connection) => Ok(connection),
            Source::Listener(_) | Source::Datagrams(_) | Source::Process(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(crate) fn local_address(&self, key: Key) -> io::Result<Address> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Listener(listener) => Ok(listener.address.clone()),
            Source::Connection(connection) => Ok(connection.place.local.clone()),
            Source::Datagrams(end) => Ok(end.address.clone()),
            Source::Process(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn peer_address(&self, key: Key) -> io::Result<Address> {
        match self.sources.get(key).ok_or(io::ErrorKind::NotFound)? {
            Source::Connection(end) if end.phase == Phase::Established => Ok(end.place.remote.clone()),
            Source::Datagrams(end) => end.peer.clone().ok_or_else(|| system_error(io::ErrorKind::NotConnected)),
            _ => Err(system_error(io::ErrorKind::NotConnected)),
        }
    }

    pub(super) fn option(&self, key: Key, option: SocketOption) -> io::Result<bool> {
        self.connection(key)?.option(option)
    }

    pub(super) fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        self.connection_mut(key)?.set_option(option, on)
    }

    /// Every program of the network is in this process.
    pub(super) fn peer_credentials(&self, key: Key) -> io::Result<PeerCredentials> {
        match self.peer_address(key)? {
            Address::Inet(_) => Err(io::ErrorKind::InvalidInput.into()),
            _ => PeerCredentials::of_this_process(),
        }
    }

    pub(super) fn keep_alive_times(&self, key: Key) -> io::Result<KeepAliveTimes> {
        self.connection(key)?.keep_alive_times()
    }

    pub(super) fn set_keep_alive_times(&mut self, key: Key, times: KeepAliveTimes) -> io::Result<()> {
        self.connection_mut(key)?.set_keep_alive_times(times)
    }

    pub(super) fn listener(&self, key: Key) -> Option<&Listener> {
        match self.sources.get(key)? {
            Source::Listener(listener) => Some(listener),
            Source::Connection(_) | Source::Datagrams(_) | Source::Process(_) => None,
        }
    }

    pub(super) fn listener_mut(&mut self, key: Key) -> Option<&mut Listener> {
        match self.sources.get_mut(key)? {
            Source::Listener(listener) => Some(listener),
            Source::Connection(_) | Source::Datagrams(_) | Source::Process(_) => None,
        }
    }

    pub(super) fn is_connecting(&self, key: Key) -> bool {
        self.connection(key).is_ok_and(|connection| connection.phase == Phase::Connecting)
    }

    pub(super) fn peer_is_gone(&self, connection: &Connection) -> bool {
        connection.peer.is_none_or(|peer| self.connection(peer).is_err())
    }
}

impl Source {
    pub(super) fn owner(&self) -> Key {
        match self {
            Source::Listener(listener) => listener.owner,
            Source::Connection(connection) => connection.place.owner,
            Source::Datagrams(end) => end.owner,
            Source::Process(process) => process.owner,
        }
    }

    /// Returns what the owner may wait for at this source.
    fn in_words(&self) -> String {
        match self {
            Source::Listener(listener) => format!("clients at {}", listener.address),
            Source::Connection(end) if end.phase == Phase::Connecting => format!("an answer of {}", end.place.remote),
            Source::Connection(end) if end.carrier != Carrier::Network => "bytes of a child".to_owned(),
            Source::Connection(end) => format!("bytes from {}", end.place.remote),
            Source::Datagrams(end) => format!("datagrams at {}", end.address),
            Source::Process(process) => process.in_words(),
        }
    }

    /// Returns the number of connections that wait here to be accepted.
    fn queued(&self) -> usize {
        match self {
            Source::Listener(listener) => listener.queue.len(),
            Source::Connection(_) | Source::Datagrams(_) | Source::Process(_) => 0,
        }
    }

    fn is_reading(&self) -> bool {
        match self {
            Source::Listener(listener) => listener.reading,
            Source::Connection(connection) => connection.reading && connection.phase == Phase::Established,
            Source::Datagrams(end) => end.reading,
            Source::Process(_) => false,
        }
    }
}

/// Whether `happening` would change nothing.
fn is_void(happening: &Happening, sources: &Slab<Source>, flights: &Flights) -> bool {
    let connection = |key| match sources.get(key) {
        Some(Source::Connection(connection)) => Some(connection),
        _ => None,
    };
    match *happening {
        Happening::Asked { client, .. } | Happening::Answered { client, .. } => {
            connection(client).is_none_or(|connection| connection.phase != Phase::Connecting)
        }
        Happening::Arrived { key } => connection(key).is_none_or(|connection| !connection.incoming.has_under_way()),
        Happening::Strayed { key, .. } => {
            connection(key).is_none_or(|connection| connection.incoming.broken().is_some())
        }
        Happening::Flown { number } => !flights.has(number),
        Happening::Refused { key } => {
            !matches!(sources.get(key), Some(Source::Datagrams(end)) if end.peer.is_some() && !end.is_refused)
        }
        Happening::Exited { .. } | Happening::Released { .. } => false,
    }
}
