//! One reactor on a simulated network of several.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Key, Moment};
use ropewalk_sys::EventProvider;

use super::simulated::{Log, MachineId, Network, SharedNetwork, Simulated, Skew};
use crate::kernel::Reactor;

/// A reactor at an address of a [`SimulatedNetwork`](super::SimulatedNetwork): one process on a machine of its own.
///
/// It derefs to its [`Reactor`], so code under test is given `&host` where it takes a `&Reactor`. The network makes its
/// turns. A turn that is made by hand (`run`, or `iterate` in a callback) moves the time as well, but the other hosts
/// stand still until the network drives them again.
///
/// `0.0.0.0` and `127.0.0.1` are the host's own: a listener there has this host's address, and a connection there stays
/// on this host. So do UNIX names. A connection to an address without a host leads to the test's own
/// [streams and listeners](super::SimulatedNetwork::listen_stream).
///
/// Clones are the same host. When the last one is dropped, and nothing else holds its reactor, the process exits: its
/// connections are closed, and its address can be used again. The network takes the reactor's
/// [deadline hook](Reactor::set_deadline_hook) for itself.
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

/// Wraps an event provider, or returns it as it is.
pub(super) type Decorate<'a> = &'a dyn Fn(Box<dyn EventProvider>) -> Box<dyn EventProvider>;

/// The reactor, and when it makes its next turn.
pub(super) struct Process {
    reactor: Reactor,
    network: SharedNetwork,
    owner: Key,
    skew: Skew,
    /// Whether the next step prepares a turn. Otherwise it waits for events.
    is_awake: Rc<Cell<bool>>,
    /// When the reactor has to do something, in the network's time.
    deadline: Cell<Option<Moment>>,
}

impl Host {
    /// Starts a reactor on `machine`, whose provider `decorate` may wrap.
    pub(super) fn start(network: &SharedNetwork, machine: MachineId, skew: Skew, decorate: Decorate<'_>) -> Host {
        let provider = Simulated::on(network, machine, skew);
        let owner = provider.owner();
        let reactor = Reactor::with_provider(decorate(Box::new(provider)));
        let is_awake = Rc::new(Cell::new(true));
        let wake = is_awake.clone();
        reactor.set_deadline_hook(Some(Rc::new(move || wake.set(true))));
        Host(Rc::new(Process { reactor, network: network.clone(), owner, skew, is_awake, deadline: Cell::default() }))
    }

    /// Returns the number of its open sources. Connections that only [linger](Reactor::lingering_count) do not count.
    pub fn open_sources(&self) -> usize {
        self.0.network.with(|network| network.open_sources(self.0.owner)) - self.0.reactor.lingering_count()
    }

    /// Returns its requests to listen and to connect, in order.
    pub(super) fn log(&self) -> Log {
        self.0.network.with(|network| network.log(self.0.owner).cloned()).unwrap_or_default()
    }

    /// Returns what the network has to remember of it.
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

    /// Whether it is alive and has something to do now.
    pub(super) fn is_due(&self, network: &Network) -> bool {
        let is_over = |deadline| deadline <= network.now();
        network.is_alive(self.owner)
            && (self.is_awake.get() || self.deadline.get().is_some_and(is_over) || network.has_events(self.owner))
    }

    /// Returns when it has to do something without an event, in the network's time.
    pub(super) fn deadline(&self, network: &Network) -> Option<Moment> {
        self.deadline.get().filter(|_| network.is_alive(self.owner))
    }

    /// Makes half a turn: prepares it, or waits for events and dispatches them. Other hosts may act between the halves.
    ///
    /// It may be called again from a callback in it.
    pub(super) fn step(&self) {
        let _entered = self.reactor.enter();
        if self.is_awake.get() {
            let limit = self.reactor.prepare().expect("a simulated reactor waits in its own thread");
            self.deadline.set(limit.map(|limit| self.skew.network_time(self.reactor.now() + limit)));
            self.is_awake.set(false);
        } else {
            self.is_awake.set(true);
            self.reactor.wait(Some(Duration::ZERO)).expect("a simulated network can always wait");
            self.reactor.dispatch();
            self.is_awake.set(true);
        }
    }
}
