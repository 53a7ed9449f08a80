//! One reactor on a simulated network of several.

use std::cell::Cell;
use std::ffi::OsString;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Key, Moment};
use ropewalk_sys::EventProvider;

use super::program::Program;
use super::programs::Programs;
use super::simulated::{Failures, Log, MachineId, Network, SharedNetwork, Simulated, Skew};
use super::simulated_child::SimulatedChild;
use crate::error::Error;
use crate::kernel::{PanicPolicy, Reactor};

/// A reactor at an address of a [`SimulatedNetwork`](super::SimulatedNetwork): one process on a machine of its own.
///
/// A host derefs to its [`Reactor`], so a test passes `&host` where code under test takes a `&Reactor`. The network
/// makes the turns of the reactor. A test may also call `run`, and a callback may call `iterate`. Such turns move the
/// time, but the other hosts make no turns until the network drives them again.
///
/// `0.0.0.0` and `127.0.0.1` refer to this host: a listener at one of them has this host's address, and a connection to
/// one of them stays on this host. UNIX sockets stay on this host as well. A connection to an address without a host
/// reaches the test's own [streams and listeners](super::SimulatedNetwork::listen_stream).
///
/// All clones refer to the same host. The process exits when the last clone is dropped and nothing else holds its
/// reactor: its connections are closed, and its address can be used again. The network sets the reactor's [deadline
/// hook](Reactor::set_deadline_hook), so a test must not replace the hook.
///
/// ```
/// use ropewalk::RunOptions;
/// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
///
/// let network = SimulatedNetwork::seeded(7);
/// let (near, far) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
/// let (client, server) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
/// far.listen_tcp("0.0.0.0:80", server.factory())?;
/// near.connect_tcp("10.0.0.2:80", client.factory())?;
/// network.settle();
/// assert_eq!((near.open_sources(), far.open_sources()), (1, 2));
///
/// far.start_running(RunOptions::default())?; // only for programs that stop their reactor
/// far.call_when_running(|reactor| reactor.stop().unwrap());
/// network.settle();
/// assert_eq!((near.open_sources(), far.open_sources()), (0, 0));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Host(Rc<Process>);

/// Wraps an event provider, or returns it unchanged.
pub(super) type Decorate<'a> = &'a dyn Fn(Box<dyn EventProvider>) -> Box<dyn EventProvider>;

/// A reactor, and the time of its next turn.
pub(super) struct Process {
    reactor: Reactor,
    network: SharedNetwork,
    owner: Key,
    skew: Skew,
    /// Whether the next step prepares a turn. Otherwise the next step waits for events.
    is_awake: Rc<Cell<bool>>,
    /// The time by the network's clock at which the reactor has work.
    deadline: Cell<Option<Moment>>,
}

impl Host {
    /// Starts a reactor on `machine`, whose provider `decorate` may wrap.
    pub(super) fn start(network: &SharedNetwork, machine: MachineId, skew: Skew, decorate: Decorate<'_>) -> Host {
        let provider = Simulated::on(network, machine, skew);
        let owner = provider.owner();
        let reactor = Reactor::with_provider(decorate(Box::new(provider)));
        reactor.set_panic_policy(PanicPolicy::Resume);
        reactor.set_inline_work(true);
        let is_awake = Rc::new(Cell::new(true));
        let wake = is_awake.clone();
        reactor.set_deadline_hook(Some(Rc::new(move || wake.set(true))));
        Host(Rc::new(Process { reactor, network: network.clone(), owner, skew, is_awake, deadline: Cell::default() }))
    }

    /// Returns the number of open sources of the host. Connections that only [linger](Reactor::lingering_count) are not
    /// counted.
    pub fn open_sources(&self) -> usize {
        self.0.network.with(|network| network.open_sources(self.0.owner)) - self.0.reactor.lingering_count()
    }

    /// Lets the programs of this host start a program under exactly this name. See
    /// [`MemoryReactor::install_program`](super::MemoryReactor::install_program).
    ///
    /// ```
    /// use ropewalk::processes::Command;
    /// use ropewalk::testing::{Program, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let (one, two) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
    /// one.install_program("true", Program::exit(0));
    /// let (here, there) = (one.process_value(&Command::new("true")), two.process_value(&Command::new("true")));
    /// network.settle();
    /// assert!(here.try_result().unwrap().unwrap().is_success());
    /// assert!(there.try_result().unwrap().is_err()); // each host has its own programs
    /// assert_eq!(one.spawned().len(), 1);
    /// ```
    pub fn install_program(&self, name: impl Into<OsString>, program: impl Into<Program>) {
        self.programs().install(&self.0.reactor, name, program);
    }

    /// Returns all processes that this host has started, in order.
    pub fn spawned(&self) -> Vec<SimulatedChild> {
        self.programs().spawned(&self.0.reactor)
    }

    fn programs(&self) -> Programs {
        Programs::new(&self.0.network, self.0.owner)
    }

    /// Returns the host's requests to listen and to connect, in order.
    pub(super) fn log(&self) -> Log {
        self.0.network.with(|network| network.log(self.0.owner).cloned()).unwrap_or_default()
    }

    /// Limits the real time for which a wait without end blocks.
    pub(super) fn set_patience(&self, patience: Duration) {
        self.0.network.with(|network| network.set_patience(self.0.owner, patience));
    }

    /// Changes the errors that wait for the next requests of the host.
    pub(super) fn change_failures(&self, change: impl FnOnce(&mut Failures)) {
        self.0.network.with(|network| network.failures(self.0.owner).map(change));
    }

    /// Returns the process, for the network's list of processes.
    pub(super) fn process(&self) -> &Rc<Process> {
        &self.0
    }
}

impl Deref for Host {
    type Target = Reactor;

    fn deref(&self) -> &Reactor {
        &self.0.reactor
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("reactor", &self.0.reactor).finish_non_exhaustive()
    }
}

impl Process {
    /// Lets the next step prepare a turn, because work may have been added.
    pub(super) fn wake(&self) {
        self.is_awake.set(true);
    }

    /// Whether the process is alive and has work now.
    pub(super) fn is_due(&self, network: &Network) -> bool {
        let is_over = |deadline| deadline <= network.now();
        network.is_alive(self.owner)
            && (self.is_awake.get() || self.deadline.get().is_some_and(is_over) || network.has_events(self.owner))
    }

    /// Returns the time by the network's clock at which the process has work even if no event comes.
    pub(super) fn deadline(&self, network: &Network) -> Option<Moment> {
        self.deadline.get().filter(|_| network.is_alive(self.owner))
    }

    /// Makes half a turn: prepares it, or waits for events and dispatches them. Other hosts may act between the halves.
    ///
    /// A callback in this half of the turn may call this method again.
    pub(super) fn step(&self) {
        let _entered = self.reactor.enter();
        if self.is_awake.get() {
            let limit = self.reactor.prepare().unwrap_or_else(|error| cannot_turn(&error));
            self.deadline.set(limit.map(|limit| self.skew.network_time(self.reactor.now() + limit)));
            self.is_awake.set(false);
        } else {
            self.is_awake.set(true);
            self.reactor.wait(Some(Duration::ZERO)).unwrap_or_else(|error| cannot_turn(&error));
            self.reactor.dispatch();
            self.is_awake.set(true);
        }
        self.reactor.resume_panic();
    }
}

fn cannot_turn(error: &Error) -> ! {
    match error {
        Error::Waiting => panic!(
            "a DetachedWait owns the event provider of this reactor, so the reactor can make no turn: \
             drop the wait before the test moves the time"
        ),
        error => panic!("the reactor can make no turn: {error}"),
    }
}
