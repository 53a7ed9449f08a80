//! A network of several reactors in one thread, and the driver that makes their turns.
//!
//! ```text
//!   run_due: everything on the network that is due now
//!   step:    half a turn of one host that has something to do, chosen by the seed
//!           (repeated until no host has anything to do)
//!   jump:    to the next happening, deadline of a host, or target
//! ```

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Address, Moment};
use ropewalk_sys::ConnectSpec;

use super::host::{Decorate, Host, Process};
use super::simulated::{Faults, MachineId, Network, OUTSIDE, SharedNetwork, Simulated, Skew};
use super::test_datagrams::TestDatagrams;
use super::test_stream::{TestListener, TestStream};

/// The number of turns without any time passing that counts as an endless loop.
const TURNS_AT_ONE_MOMENT: usize = 100_000;

/// The number of happenings after which [`SimulatedNetwork::settle`] gives up.
const HAPPENINGS_TO_SETTLE: usize = 1_000_000;

/// The real time that an endless wait of a [`MemoryReactor`](super::MemoryReactor) gives other threads to wake it. Then
/// it panics, because a test that hangs says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A simulated network, as a test controls it: its hosts, its links, its faults and its time.
///
/// Each [`host`](SimulatedNetwork::host) is a reactor. All of them share one virtual time and one thread. When several
/// hosts have work at the same time, the seed decides which host is first. The same seed and the same calls give the
/// same run. Another seed gives another order.
///
/// Nothing happens until a test moves the time, by [`advance`](SimulatedNetwork::advance),
/// [`settle`](SimulatedNetwork::settle) or [`run_until`](SimulatedNetwork::run_until). All three may also be called
/// from a callback of a host.
///
/// For a single reactor, [`MemoryReactor`](super::MemoryReactor) is simpler to use. All clones refer to the same
/// network.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::prelude::*;
/// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let network = SimulatedNetwork::seeded(7);
/// let (server, client) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
/// server.listen_tcp("10.0.0.1:7", || Echo)?;
/// let asking = AccumulatingProtocol::new();
/// client.connect_tcp("10.0.0.1:7", asking.factory())?;
/// network.settle();
/// let transport = asking.transport().expect("the network has settled");
///
/// network.partition(&["10.0.0.1"], &["10.0.0.2"]);
/// transport.write(b"anybody there?");
/// network.advance(Duration::from_secs(10));
/// assert_eq!(asking.data(), b"");
///
/// network.heal(); // the kernels retransmit
/// assert!(network.run_until(Duration::from_secs(60), || asking.data() == b"anybody there?"));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct SimulatedNetwork {
    shared: SharedNetwork,
    hosts: Rc<RefCell<Vec<Weak<Process>>>>,
}

/// Creation, and streams that the test holds.
impl SimulatedNetwork {
    /// Returns a network without faults or hosts, at time zero.
    pub fn seeded(seed: u64) -> SimulatedNetwork {
        let shared = SharedNetwork::new(seed, Faults::none());
        SimulatedNetwork { shared, hosts: Rc::default() }
    }

    /// Returns the same network with `faults`.
    ///
    /// ```
    /// use ropewalk::testing::{Faults, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7).with_faults(Faults::none().short_reads().resets(0.01));
    /// # let _ = network;
    /// ```
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> SimulatedNetwork {
        self.set_faults(faults);
        self
    }

    /// Replaces the faults. The buffers of existing connections keep their sizes.
    ///
    /// ```
    /// use ropewalk::testing::{Faults, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// network.set_faults(Faults::none().short_reads());
    /// ```
    pub fn set_faults(&self, faults: Faults) {
        self.shared.with(|network| network.set_faults(faults));
    }

    /// Makes `name` resolve to the IP `addresses` everywhere on this network. If `addresses` is empty, the name is
    /// unknown.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// network.add_name("db.example", &["10.0.0.1"]);
    /// let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
    /// let (one, two) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
    /// one.listen_tcp("10.0.0.1:5432", server.factory())?;
    /// two.connect_tcp("db.example:5432", client.factory())?;
    /// network.settle();
    /// assert_eq!(server.made(), 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When an element of `addresses` is not an IP address.
    pub fn add_name(&self, name: &str, addresses: &[&str]) {
        let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("'{text}' is not an IP address"));
        let addresses = addresses.iter().map(parse).collect();
        self.shared.with(|network| network.host_names.add(name, addresses));
    }

    /// Makes look-ups of `name` fail with `error` everywhere on this network, until
    /// [`add_name`](SimulatedNetwork::add_name) replaces it.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk::testing::SimulatedNetwork;
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let host = network.host("10.0.0.1");
    /// network.fail_lookup("db.example", io::Error::other("the name server is down"));
    /// let failure = host.resolve_host_name("db.example", 80).try_result().unwrap().unwrap_err();
    /// assert_eq!(failure.to_string(), "the name server is down");
    /// ```
    pub fn fail_lookup(&self, name: &str, error: impl Into<io::Error>) {
        let error = error.into();
        self.shared.with(|network| network.host_names.fail(name, &error));
    }

    /// Starts to connect to `address`, with a client that the test holds.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use ropewalk::testing::SimulatedNetwork;
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    /// let server = network.listen_stream(address)?;
    /// let client = network.connect_stream(address); // two ends held by the test
    /// client.write(b"hello");
    /// network.settle();
    /// assert_eq!(server.accept().unwrap().received(), b"hello");
    /// assert_eq!(network.open_sources(), 0); // test ends are not counted
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_stream(&self, address: impl Into<Address>) -> TestStream {
        self.connect_from(ConnectSpec { address: address.into(), bind: None })
    }

    /// Begins to connect a client, from the local address in `spec` if it has one.
    pub(super) fn connect_from(&self, spec: ConnectSpec) -> TestStream {
        TestStream::connect(&self.shared, spec)
    }

    /// Listens at `address`. The test accepts the connections. Port 0 chooses a free port.
    ///
    /// # Errors
    /// `AddrInUse` when another listener has the address, `AddrNotAvailable` when the address belongs to a host.
    pub fn listen_stream(&self, address: impl Into<Address>) -> io::Result<TestListener> {
        TestListener::listen(&self.shared, address.into())
    }

    /// Opens a datagram socket at `address`, which the test holds. Port 0 chooses a free port.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use ropewalk::testing::SimulatedNetwork;
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let [server, client] = ["10.0.0.1:53", "10.0.0.2:0"].map(|address| address.parse::<SocketAddr>().unwrap());
    /// let (server, client) = (network.open_datagrams(server)?, network.open_datagrams(client)?);
    /// client.send_to(b"hello", &server.address());
    /// network.settle();
    /// assert_eq!(server.receive(), Some((b"hello".to_vec(), client.address())));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `AddrInUse` when another socket has the address, `AddrNotAvailable` when the address belongs to a host.
    pub fn open_datagrams(&self, address: impl Into<Address>) -> io::Result<TestDatagrams> {
        TestDatagrams::open(&self.shared, address.into())
    }

    /// Returns an event provider on this network, for a reactor or loop that the network does not drive.
    ///
    /// The provider's machine owns all addresses that do not belong to a host. Its reactor resolves the names of
    /// [`add_name`](SimulatedNetwork::add_name).
    ///
    /// ```
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::SimulatedNetwork;
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let reactor = Reactor::with_provider(Box::new(network.provider()));
    /// reactor.call_when_running(|reactor| reactor.stop().unwrap());
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn provider(&self) -> Simulated {
        Simulated::on(&self.shared, OUTSIDE, Skew::none())
    }

    /// Returns the number of sources that reactors have open. The number includes connections that wait to be accepted,
    /// but not the streams and listeners of the test.
    pub fn open_sources(&self) -> usize {
        self.shared.with_ends(|network, ends| network.open_sources_but(ends.owner()))
    }
}

/// Hosts.
impl SimulatedNetwork {
    /// Starts a host at the IP `address`.
    ///
    /// After a [`crash`](SimulatedNetwork::crash) or [`kill`](SimulatedNetwork::kill), this method restarts the host
    /// with a new reactor.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let host = network.host("10.0.0.1");
    /// network.kill("10.0.0.1");
    /// let restarted = network.host("10.0.0.1");
    /// restarted.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// assert!(host.listen_tcp("10.0.0.1:81", AccumulatingProtocol::new().factory()).is_err());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `address` is not an IP address, or is a wildcard or loopback address. Also when a host with this address is
    /// running.
    pub fn host(&self, address: &str) -> Host {
        self.skewed_host(address, Skew::none())
    }

    /// Starts a host as [`host`](SimulatedNetwork::host) does, with a clock that is wrong by `skew`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{SimulatedNetwork, Skew};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let early = network.skewed_host("10.0.0.1", Skew::none().ahead(Duration::from_secs(5)));
    /// assert_eq!(early.seconds(), 5.0);
    /// ```
    ///
    /// # Panics
    /// The panics of [`host`](SimulatedNetwork::host).
    pub fn skewed_host(&self, address: &str, skew: Skew) -> Host {
        let ip = parsed(address);
        assert!(!ip.is_unspecified() && !ip.is_loopback(), "a host cannot have the address {ip}: every host has it");
        let machine = self.shared.with(|network| network.start_machine(ip));
        let runs = self.shared.with(|network| network.owner_on(machine).is_some());
        assert!(!runs, "a host with the address {ip} is already running: crash or kill it first");
        self.start(machine, skew, &|provider| provider)
    }

    /// Starts the reactor of a [`MemoryReactor`](super::MemoryReactor).
    pub(super) fn host_outside(&self, decorate: Decorate<'_>) -> Host {
        let host = self.start(OUTSIDE, Skew::none(), decorate);
        host.set_patience(PATIENCE);
        host
    }

    fn start(&self, machine: MachineId, skew: Skew, decorate: Decorate<'_>) -> Host {
        let host = Host::start(&self.shared, machine, skew, decorate);
        let mut hosts = self.hosts.borrow_mut();
        hosts.retain(|process| process.strong_count() > 0);
        hosts.push(Rc::downgrade(host.process()));
        host
    }

    /// Stops a host at once, as a power failure does: its connections vanish, and their other ends receive nothing.
    ///
    /// A peer that has sent bytes is notified as by a real kernel: by a reset once the host is restarted, or by a
    /// timeout after about 15 minutes. A peer that only waits is never notified. Attempts to connect are not answered.
    ///
    /// The reactor makes no further turn. If a callback of the host crashes the host, the present turn still completes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let (one, two) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
    /// let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
    /// one.listen_tcp("10.0.0.1:80", server.factory())?;
    /// two.connect_tcp("10.0.0.1:80", client.factory())?;
    /// network.settle();
    /// network.crash("10.0.0.1");
    /// network.advance(Duration::from_secs(3600));
    /// assert!(client.lost().is_none());
    /// client.transport().unwrap().write(b"anybody there?");
    /// network.advance(Duration::from_secs(3600));
    /// assert!(client.lost().is_some());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When no host has the address, or the host does not run.
    pub fn crash(&self, address: &str) {
        let machine = self.running(address);
        self.shared.with(|network| network.crash(machine));
    }

    /// Kills the process of a host, but not its kernel: connections are closed, and attempts to connect are refused.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let (one, two) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
    /// let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
    /// one.listen_tcp("10.0.0.1:80", server.factory())?;
    /// two.connect_tcp("10.0.0.1:80", client.factory())?;
    /// network.settle();
    /// network.kill("10.0.0.1");
    /// network.settle();
    /// assert!(client.lost().is_some_and(|reason| reason.is_done()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// The panics of [`crash`](SimulatedNetwork::crash).
    pub fn kill(&self, address: &str) {
        let machine = self.running(address);
        self.shared.with(|network| network.owner_on(machine).map(|owner| network.remove_owner(owner)));
    }

    fn running(&self, address: &str) -> MachineId {
        let machine = self.machine(address);
        let runs = self.shared.with(|network| network.owner_on(machine).is_some());
        assert!(runs, "the host with the address {address} is down: start it with SimulatedNetwork::host");
        machine
    }

    fn machine(&self, address: &str) -> MachineId {
        let ip = parsed(address);
        self.shared
            .with(|network| network.find_machine(ip))
            .unwrap_or_else(|| panic!("no host has the address {ip}: start one with SimulatedNetwork::host"))
    }
}

/// Links.
impl SimulatedNetwork {
    /// Cuts all links between the hosts on `one` side and those on the `other` side, in both directions.
    ///
    /// Segments on a cut link are lost, and the kernels retransmit them like real ones. The first retransmission
    /// follows after 0.2 s. Each further delay is twice the previous one, up to 120 s. So a connection continues with
    /// the next retransmission after the link is restored. Kernels give up a connection after about 15 minutes, and an
    /// attempt to connect after 127 seconds. Resets are not retransmitted.
    ///
    /// # Panics
    /// When an address belongs to no host, or the same host is in both groups.
    pub fn partition(&self, one: &[&str], other: &[&str]) {
        for from in one {
            for to in other {
                self.cut(from, to);
                self.cut(to, from);
            }
        }
    }

    /// Cuts the link from one host to another host. The other direction continues to work.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let (one, two) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
    /// let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
    /// one.listen_tcp("10.0.0.1:80", server.factory())?;
    /// two.connect_tcp("10.0.0.1:80", client.factory())?;
    /// network.settle();
    /// network.cut("10.0.0.1", "10.0.0.2");
    /// client.transport().unwrap().write(b"question");
    /// server.transport().unwrap().write(b"answer");
    /// network.advance(Duration::from_secs(1));
    /// assert_eq!((server.data(), client.data()), (b"question".to_vec(), b"".to_vec()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// The panics of [`partition`](SimulatedNetwork::partition).
    pub fn cut(&self, from: &str, to: &str) {
        let (from, to) = self.link(from, to);
        self.shared.with(|network| network.cut_link(from, to));
    }

    /// Restores all links.
    pub fn heal(&self) {
        self.shared.with(Network::heal_links);
    }

    /// Sets the latency between two hosts in both directions. It replaces the latency of the [`Faults`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, SimulatedNetwork};
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let (one, two) = (network.host("10.0.0.1"), network.host("10.0.0.2"));
    /// network.set_latency("10.0.0.1", "10.0.0.2", Duration::from_millis(80));
    /// one.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// let client = AccumulatingProtocol::new();
    /// two.connect_tcp("10.0.0.1:80", client.factory())?;
    /// network.advance(Duration::from_millis(159));
    /// assert_eq!(client.made(), 0);
    /// network.advance(Duration::from_millis(1));
    /// assert_eq!(client.made(), 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// The panics of [`partition`](SimulatedNetwork::partition).
    pub fn set_latency(&self, one: &str, other: &str, latency: Duration) {
        let (one, other) = self.link(one, other);
        self.shared.with(|network| network.set_latency(one, other, latency));
    }

    fn link(&self, from: &str, to: &str) -> (MachineId, MachineId) {
        let link = (self.machine(from), self.machine(to));
        assert!(link.0 != link.1, "the host {from} has no link to itself: name two hosts");
        link
    }
}

/// Time.
impl SimulatedNetwork {
    /// Returns the virtual time. The clock of a host may differ by its [`Skew`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Moment;
    /// use ropewalk::testing::SimulatedNetwork;
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// network.advance(Duration::from_secs(1));
    /// assert_eq!(network.now(), Moment::ZERO + Duration::from_secs(1));
    /// ```
    pub fn now(&self) -> Moment {
        self.shared.with(|network| network.now())
    }

    /// Stops time at `horizon`, where a `wait` returns whatever its timeout. `None` lets time run.
    ///
    /// This method is for a loop that drives a [`provider`](SimulatedNetwork::provider) itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Moment;
    /// use ropewalk::sys::{EventProvider, Events};
    /// use ropewalk::testing::SimulatedNetwork;
    ///
    /// let network = SimulatedNetwork::seeded(7);
    /// let noon = Moment::ZERO + Duration::from_secs(12 * 3600);
    /// network.set_horizon(Some(noon));
    /// network.provider().wait(None, &mut Events::new())?; // would wait without end
    /// assert_eq!(network.now(), noon);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_horizon(&self, horizon: Option<Moment>) {
        self.shared.with(|network| network.set_horizon(horizon));
    }

    /// Drives all hosts until `by` has passed and no host has work left at that time.
    ///
    /// Events and calls that fall due before the end happen at their own times.
    ///
    /// # Panics
    /// When 100,000 turns run at one time, because a call schedules itself again without a delay.
    pub fn advance(&self, by: Duration) {
        self.drive(self.now() + by, || false);
    }

    /// Drives all hosts until `done` returns true, for at most `patience`. Returns whether `done` returned true.
    ///
    /// `done` is called at the start and after each step: a host prepares a turn, a host dispatches events, or time
    /// passes.
    ///
    /// # Panics
    /// The panics of [`advance`](SimulatedNetwork::advance).
    pub fn run_until(&self, patience: Duration, done: impl FnMut() -> bool) -> bool {
        self.drive(self.now() + patience, done)
    }

    /// Drives all hosts until every segment in flight has arrived and been handled. Afterwards only delayed calls are
    /// left.
    ///
    /// Time passes until the segments have arrived. Calls that fall due meanwhile run. If a cut link loses segments,
    /// about 15 virtual minutes pass, until the kernels give up.
    ///
    /// # Panics
    /// The panics of [`advance`](SimulatedNetwork::advance). Also when connections still exchange segments after
    /// 1,000,000 events of the network.
    pub fn settle(&self) {
        self.advance(Duration::ZERO);
        for _ in 0..HAPPENINGS_TO_SETTLE {
            let Some(next) = self.shared.with(Network::next_happening) else { return };
            self.drive(next, || false);
        }
        panic!("the network does not settle: at {:?} connections still exchange segments", self.now());
    }

    fn drive(&self, target: Moment, mut done: impl FnMut() -> bool) -> bool {
        let _horizon = Horizon::set(&self.shared, target);
        self.processes().iter().for_each(|process| process.wake());
        let (mut steps, mut moment) = (0, self.now());
        while !done() {
            self.shared.run_due();
            match self.next_due() {
                Some(process) => process.step(),
                None if self.pass_time(target) => {}
                None => return false,
            }
            steps = if self.now() > moment { 0 } else { steps + 1 };
            moment = self.now();
            let limit = 2 * TURNS_AT_ONE_MOMENT * self.hosts.borrow().len();
            assert!(steps <= limit, "the turns at {moment:?} do not end: a call is scheduled again and again");
        }
        true
    }

    fn processes(&self) -> Vec<Rc<Process>> {
        self.hosts.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns one of the hosts that have work now.
    fn next_due(&self) -> Option<Rc<Process>> {
        let processes = self.processes();
        // No process may be dropped inside the closure, because its provider needs the lock.
        self.shared.with(|network| {
            let due: Vec<_> = processes.iter().filter(|process| process.is_due(network)).collect();
            due.get(network.choose(due.len())).copied().cloned()
        })
    }

    /// Moves the time to the next change or deadline, at most to `target`. Returns whether `target` had not been
    /// reached before.
    fn pass_time(&self, target: Moment) -> bool {
        let processes = self.processes();
        self.shared.with(|network| {
            let change = network.next_change();
            let deadlines = processes.iter().filter_map(|process| process.deadline(network));
            let stop = deadlines.chain(change).fold(target, Moment::min);
            let is_ahead = network.now() < target;
            network.jump(stop.max(network.now()));
            is_ahead
        })
    }
}

impl std::fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedNetwork").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// Restores the previous horizon when a drive ends or panics. Drives may be nested.
struct Horizon<'a> {
    network: &'a SharedNetwork,
    before: Option<Moment>,
}

impl Horizon<'_> {
    fn set(network: &SharedNetwork, target: Moment) -> Horizon<'_> {
        Horizon { network, before: network.with(|network| network.set_horizon(Some(target))) }
    }
}

impl Drop for Horizon<'_> {
    fn drop(&mut self) {
        self.network.with(|network| network.set_horizon(self.before));
    }
}

fn parsed(address: &str) -> IpAddr {
    address
        .parse()
        .unwrap_or_else(|_| panic!("'{address}' is not an IP address of a host: expected one without a port"))
}
