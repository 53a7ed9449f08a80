//! One reactor on a simulated network. Its peers are streams that the test holds.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Address;
use ropewalk_sys::{ConnectSpec, EventProvider, ListenSpec};

use super::connect_request::ConnectRequest;
use super::host::Host;
use super::program::Program;
use super::simulated::Faults;
use super::simulated_child::SimulatedChild;
use super::simulated_network::SimulatedNetwork;
use super::test_datagrams::TestDatagrams;
use super::test_stream::{TestListener, TestStream};
use crate::kernel::Reactor;

/// A real [`Reactor`] on a simulated network with virtual time: MemoryReactorClock.
///
/// A `MemoryReactor` derefs to its reactor, so a test passes `&net` where code under test takes a `&Reactor`. The test
/// holds the other ends of the connections: [`connect_stream`](MemoryReactor::connect_stream),
/// [`listen_stream`](MemoryReactor::listen_stream). The reactor can listen at every address. For several reactors see
/// [`SimulatedNetwork`].
///
/// Nothing happens until the test moves the time with [`advance`](MemoryReactor::advance),
/// [`pump`](MemoryReactor::pump) or [`settle`](MemoryReactor::settle), or lets the reactor `run` until it is stopped.
/// Such a run takes no real time. The same seed replays the same run. If nothing is left that could stop a `run`, and
/// no other thread wakes the reactor for 10 seconds, the run panics. The panic names what the reactor waits for.
///
/// Names are resolved by a table, which has `localhost` and the names of [`add_host`](MemoryReactor::add_host). Work
/// for threads runs in the turns of the reactor: see [`set_inline_work`](Reactor::set_inline_work).
///
/// ```
/// use std::time::Duration;
/// use ropewalk::prelude::*;
/// use ropewalk::testing::{Faults, MemoryReactor};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// // No socket, no sleep, virtual time, a seed that replays.
/// let net = MemoryReactor::seeded(7).with_faults(Faults::none().short_reads().resets(0.01));
/// net.listen_tcp("10.0.0.1:80", || Echo)?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"hello");
/// net.advance(Duration::from_millis(5));
/// assert_eq!(client.received(), b"hello");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryReactor {
    host: Host,
    network: SimulatedNetwork,
    requests: Rc<RefCell<Vec<ConnectRequest>>>,
}

impl Default for MemoryReactor {
    fn default() -> Self {
        MemoryReactor::new()
    }
}

impl MemoryReactor {
    /// Returns a reactor on a network without faults, at time zero.
    pub fn new() -> MemoryReactor {
        MemoryReactor::seeded(0)
    }

    /// Returns a reactor whose network draws its faults from `seed`.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// /// Returns the bytes that arrive before the connection breaks.
    /// fn run(seed: u64) -> Vec<u8> {
    ///     let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_writes().resets(0.1));
    ///     let server = AccumulatingProtocol::new();
    ///     net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
    ///     let client = net.connect_stream("10.0.0.1:80");
    ///     client.write(&[7; 10_000]);
    ///     net.settle();
    ///     server.data()
    /// }
    ///
    /// assert_eq!(run(3), run(3));
    /// ```
    pub fn seeded(seed: u64) -> MemoryReactor {
        MemoryReactor::decorated(seed, |provider| provider)
    }

    /// Returns a reactor as [`seeded`](MemoryReactor::seeded) does, on the provider that `decorate` returns.
    ///
    /// `decorate` wraps the network's provider, for example in a [`ProviderDecorator`](crate::sys::ProviderDecorator).
    ///
    /// ```
    /// use std::io;
    /// use ropewalk::proto::Key;
    /// use ropewalk::sys::{EventProvider, ProviderDecorator, Received, Streams, StreamsDecorator};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// /// Receives one byte at a time.
    /// struct Trickle(Box<dyn EventProvider>);
    ///
    /// impl ProviderDecorator for Trickle {
    ///     fn decorated(&self) -> &dyn EventProvider {
    ///         &*self.0
    ///     }
    ///
    ///     fn decorated_mut(&mut self) -> &mut dyn EventProvider {
    ///         &mut *self.0
    ///     }
    ///
    ///     fn streams(&mut self) -> Option<&mut dyn Streams> {
    ///         Some(self)
    ///     }
    /// }
    ///
    /// impl StreamsDecorator for Trickle {
    ///     fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
    ///         self.decorated_streams().receive(key, &mut scratch[..1])
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::decorated(7, |provider| Box::new(Trickle(provider)));
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// net.connect_stream("10.0.0.1:80").write(b"hello");
    /// net.settle();
    /// assert_eq!(server.data(), b"hello");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn decorated(seed: u64, decorate: impl Fn(Box<dyn EventProvider>) -> Box<dyn EventProvider>) -> MemoryReactor {
        let network = SimulatedNetwork::seeded(seed);
        let host = network.host_outside(&decorate);
        let requests = Rc::new(RefCell::new(Vec::new()));
        let record = requests.clone();
        host.add_connect_hook(move |connector| record.borrow_mut().push(ConnectRequest::of(connector)));
        MemoryReactor { host, network, requests }
    }

    /// Returns the same reactor on a network with `faults`.
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> MemoryReactor {
        self.network.set_faults(faults);
        self
    }

    /// Replaces the faults of the network. The buffers of existing connections keep their sizes.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// net.set_faults(Faults::none().resets(1.0)); // from here on, each send breaks its connection
    /// client.write(b"lost");
    /// net.settle();
    /// assert!(client.is_reset() && server.lost().is_some());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_faults(&self, faults: Faults) {
        self.network.set_faults(faults);
    }

    /// Makes turns until `by` has passed in virtual time and nothing more happens at that time.
    ///
    /// Events and calls that fall due before the end happen at their own times. A call that a callback schedules
    /// without a delay also runs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.call_later(Duration::from_secs(86_400), |reactor| assert_eq!(reactor.seconds(), 86_400.0));
    /// net.advance(Duration::from_secs(100_000)); // takes no real time
    /// assert_eq!(net.seconds(), 100_000.0);
    /// ```
    ///
    /// # Panics
    /// When 100,000 turns run at one time, because a call schedules itself again without a delay.
    pub fn advance(&self, by: Duration) {
        self.network.advance(by);
    }

    /// Advances by each of `steps`, one after the other.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let called = Rc::new(Cell::new(false));
    /// let mark = called.clone();
    /// net.call_later(Duration::from_secs(3), move |_| mark.set(true));
    /// net.pump([Duration::from_secs(1); 3]);
    /// assert!(called.get());
    /// ```
    ///
    /// # Panics
    /// The panics of [`advance`](MemoryReactor::advance).
    pub fn pump(&self, steps: impl IntoIterator<Item = Duration>) {
        for step in steps {
            self.advance(step);
        }
    }

    /// Makes turns until every segment in flight has arrived and been handled. Afterwards only delayed calls are left.
    ///
    /// Time passes until the segments have arrived. Calls that fall due meanwhile run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().latency(Duration::from_millis(80)));
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// net.connect_stream("10.0.0.1:80").write(b"far away"); // also sent if the client is dropped
    /// net.call_later(Duration::from_secs(60), |_| unreachable!("settle does not wait for calls"));
    /// net.settle();
    /// assert_eq!(server.data(), b"far away");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// The panics of [`advance`](MemoryReactor::advance). Also when connections still exchange segments after 1,000,000
    /// events of the network.
    pub fn settle(&self) {
        self.network.settle();
    }

    /// Starts to connect to `address`, with a client that the test holds.
    ///
    /// `address` has a form such as `"10.0.0.1:80"`, `"[fe80::1]:80"`, `"/run/socket"` or `"@name"`.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// let (client, stray) = (net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:81"));
    /// net.settle();
    /// assert!(client.is_connected());
    /// assert_eq!(stray.failure(), Some(std::io::ErrorKind::ConnectionRefused));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `address` has none of these forms.
    pub fn connect_stream(&self, address: &str) -> TestStream {
        self.network.connect_stream(parsed(address))
    }

    /// Listens for connections of the reactor. The test accepts them.
    ///
    /// `address` has a form of [`connect_stream`](MemoryReactor::connect_stream).
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let client = AccumulatingProtocol::new();
    /// net.connect_tcp("10.0.0.1:80", client.factory())?;
    /// net.settle();
    /// server.accept().expect("it has arrived").write(b"220 ready");
    /// net.settle();
    /// assert_eq!(client.data(), b"220 ready");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// `AddrInUse` when another listener has the address.
    ///
    /// # Panics
    /// The panics of [`connect_stream`](MemoryReactor::connect_stream).
    pub fn listen_stream(&self, address: &str) -> io::Result<TestListener> {
        self.network.listen_stream(parsed(address))
    }

    /// Opens a datagram socket at `address`, which the test holds. Port 0 chooses a free port.
    ///
    /// ```
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.open_datagrams("10.0.0.1:53")?;
    /// let client = net.open_datagrams("10.0.0.2:0")?;
    /// client.send_to(b"hello", &server.address());
    /// net.settle();
    /// assert_eq!(server.receive(), Some((b"hello".to_vec(), client.address())));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `AddrInUse` when another socket has the address.
    ///
    /// # Panics
    /// The panics of [`connect_stream`](MemoryReactor::connect_stream).
    pub fn open_datagrams(&self, address: &str) -> io::Result<TestDatagrams> {
        self.network.open_datagrams(parsed(address))
    }

    /// Makes `name` resolve to the IP `addresses`, each without a port. If `addresses` is empty, the name is unknown.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.add_host("example.org", &["2001:db8::1", "192.0.2.1"]);
    /// net.connect_tcp("example.org:80", AccumulatingProtocol::new().factory())?; // no server is listening
    /// net.settle();
    /// let tried: Vec<_> = net.tcp_clients().iter().map(|attempt| attempt.address.to_string()).collect();
    /// assert_eq!(tried, ["[2001:db8::1]:80", "192.0.2.1:80"]);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When an element of `addresses` is not an IP address.
    pub fn add_host(&self, name: &str, addresses: &[&str]) {
        self.network.add_name(name, addresses);
    }

    /// Makes look-ups of `name` fail with `error`, until [`add_host`](MemoryReactor::add_host) replaces it.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk::endpoints::{TcpClientEndpoint, connect_protocol};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.fail_lookup("example.org", io::Error::other("the name server is down"));
    /// let endpoint = TcpClientEndpoint::new("example.org:80")?;
    /// let connected = connect_protocol(&net, &endpoint, AccumulatingProtocol::new());
    /// net.settle();
    /// let failure = connected.try_result().unwrap().unwrap_err();
    /// assert_eq!(failure.to_string(), "cannot resolve the name example.org: the name server is down");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn fail_lookup(&self, name: &str, error: impl Into<io::Error>) {
        self.network.fail_lookup(name, error);
    }

    /// Makes the next connection attempt to an address fail with `error`. Several calls fail several attempts, in
    /// order.
    ///
    /// The program gets the variant of [`Error`](crate::Error) that belongs to the kind of `error`. If a name has
    /// several addresses, the program continues with the next one. A [`connect_stream`](MemoryReactor::connect_stream)
    /// of the test is not affected. The error is delivered unchanged, so one made from an [`io::ErrorKind`] has
    /// no number.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk::Error;
    /// use ropewalk::endpoints::{TcpClientEndpoint, connect_protocol};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let _server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let endpoint = TcpClientEndpoint::new("10.0.0.1:80")?;
    /// net.fail_next_connect(io::ErrorKind::ConnectionRefused);
    /// let failing = connect_protocol(&net, &endpoint, AccumulatingProtocol::new());
    /// net.settle();
    /// let failure = failing.try_result().unwrap().unwrap_err();
    /// assert!(matches!(failure.downcast_ref(), Some(Error::ConnectionRefused(..))));
    /// let connected = connect_protocol(&net, &endpoint, AccumulatingProtocol::new());
    /// net.settle();
    /// assert!(connected.try_result().unwrap().is_ok());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn fail_next_connect(&self, error: impl Into<io::Error>) {
        let error = error.into();
        self.host.change_failures(|failures| failures.connect.push_back(error));
    }

    /// Makes the next request to listen fail with `error`. Several calls fail several requests, in order.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk::Error;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.fail_next_listen(io::ErrorKind::PermissionDenied);
    /// let error = net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory()).unwrap_err();
    /// assert!(matches!(error, Error::CannotListen(..)));
    /// assert!(net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory()).is_ok());
    /// ```
    pub fn fail_next_listen(&self, error: impl Into<io::Error>) {
        let error = error.into();
        self.host.change_failures(|failures| failures.listen.push_back(error));
    }

    /// Makes the next start of a process fail with `error`. Several calls fail several starts, in order.
    ///
    /// ```
    /// use std::io;
    /// use ropewalk::processes::Command;
    /// use ropewalk::testing::{MemoryReactor, Program};
    ///
    /// let net = MemoryReactor::new();
    /// net.install_program("true", Program::exit(0));
    /// net.fail_next_spawn(io::ErrorKind::OutOfMemory);
    /// let failed = net.process_value(&Command::new("true")).try_result().unwrap().unwrap_err();
    /// assert_eq!(failed.to_string(), "cannot make a process for the program 'true': out of memory");
    /// let value = net.process_value(&Command::new("true"));
    /// net.settle();
    /// assert!(value.try_result().unwrap().unwrap().is_success());
    /// ```
    pub fn fail_next_spawn(&self, error: impl Into<io::Error>) {
        let error = error.into();
        self.host.change_failures(|failures| failures.spawn.push_back(error));
    }

    /// Lets the reactor start a program under exactly this name. No process is made: the program is a closure, which runs
    /// in the turns of the reactor, in virtual time.
    ///
    /// A name that is not installed is that of a program that does not exist. Directories, users and limits of the
    /// command are not checked.
    ///
    /// A supervisor that restarts its worker, with a longer pause after each failure:
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::prelude::*;
    /// use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol};
    /// use ropewalk::testing::{Faults, MemoryReactor, Program};
    ///
    /// /// Starts the worker `attempts + 1` times, until it succeeds.
    /// struct Supervised {
    ///     attempts: u32,
    /// }
    ///
    /// fn supervise(reactor: &Reactor, attempts: u32) {
    ///     if reactor.spawn_process(&Command::new("worker"), Supervised { attempts }).is_err() {
    ///         restart(reactor, attempts);
    ///     }
    /// }
    ///
    /// fn restart(reactor: &Reactor, attempts: u32) {
    ///     let pause = Duration::from_secs(1 << attempts.min(6));
    ///     reactor.call_later(pause, move |reactor| supervise(reactor, attempts + 1));
    /// }
    ///
    /// impl ProcessProtocol for Supervised {
    ///     fn process_ended(&mut self, process: &Process, status: ExitStatus) {
    ///         if !status.is_success() {
    ///             restart(&process.reactor(), self.attempts);
    ///         }
    ///     }
    /// }
    ///
    /// for seed in 0..20 {
    ///     let faults = Faults::none().spawn_failures(0.2).deaths(0.5, Duration::from_secs(10));
    ///     let net = MemoryReactor::seeded(seed).with_faults(faults);
    ///     net.install_program("worker", Program::script().sleep(Duration::from_secs(8)).exit(0));
    ///     supervise(&net, 0);
    ///     net.advance(Duration::from_secs(3600)); // takes no real time
    ///     let last = net.spawned().pop().expect("it was started");
    ///     assert_eq!(last.status(), Some(ExitStatus::Exited(0)), "seed {seed}");
    /// }
    /// ```
    pub fn install_program(&self, name: impl Into<OsString>, program: impl Into<Program>) {
        self.host.install_program(name, program);
    }

    /// Returns all processes that the reactor has started, in order. A test also ends them with these handles.
    ///
    /// ```
    /// use ropewalk::processes::{Command, Signal};
    /// use ropewalk::testing::{MemoryReactor, Program};
    ///
    /// let net = MemoryReactor::new();
    /// net.install_program("sleep", Program::sleep());
    /// let value = net.process_value(&Command::new("sleep").arg("3600"));
    /// net.settle();
    /// net.spawned()[0].kill(Signal::KILL); // as the system does when no memory is left
    /// net.settle();
    /// assert_eq!(value.try_result().unwrap().unwrap().signal(), Some(Signal::KILL.number()));
    /// ```
    pub fn spawned(&self) -> Vec<SimulatedChild> {
        self.host.spawned()
    }

    /// Returns all requests to connect in order, each from the moment at which the program made it.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.connect_tcp("example.org:80", AccumulatingProtocol::new().factory())?;
    /// net.connect_unix("/run/db.sock", AccumulatingProtocol::new().factory())?;
    /// let destinations: Vec<_> = net.connect_requests().into_iter().map(|request| request.destination).collect();
    /// assert_eq!(destinations, ["example.org:80", "/run/db.sock"]);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn connect_requests(&self) -> Vec<ConnectRequest> {
        self.requests.borrow().clone()
    }

    /// Returns all TCP listeners in the order of listening, with the ports that were chosen. Closed listeners stay in
    /// the list.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:0", AccumulatingProtocol::new().factory())?;
    /// net.listen_unix("/run/echo.sock", AccumulatingProtocol::new().factory())?;
    /// assert_ne!(net.tcp_servers()[0].address.inet().unwrap().port(), 0);
    /// assert_eq!(net.unix_servers()[0].address.to_string(), "/run/echo.sock");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn tcp_servers(&self) -> Vec<ListenSpec> {
        self.servers(|address| address.inet().is_some())
    }

    /// Returns all UNIX listeners in the order of listening.
    pub fn unix_servers(&self) -> Vec<ListenSpec> {
        self.servers(|address| address.inet().is_none())
    }

    /// Returns all TCP connection attempts in order, one for each address tried.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// net.connect_unix("/run/db.sock", AccumulatingProtocol::new().factory())?;
    /// net.settle();
    /// assert_eq!(net.tcp_clients()[0].address.to_string(), "10.0.0.1:80");
    /// assert_eq!(net.unix_clients()[0].address.to_string(), "/run/db.sock");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn tcp_clients(&self) -> Vec<ConnectSpec> {
        self.clients(|address| address.inet().is_some())
    }

    /// Returns all UNIX connection attempts in order.
    pub fn unix_clients(&self) -> Vec<ConnectSpec> {
        self.clients(|address| address.inet().is_none())
    }

    /// Returns the number of open sources of the reactor. Connections that only [linger](Reactor::lingering_count) are
    /// not counted.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(net.open_sources(), 2);
    /// net.call_when_running(|reactor| reactor.stop().unwrap());
    /// net.run()?;
    /// assert_eq!(net.open_sources(), 0); // nothing leaks
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn open_sources(&self) -> usize {
        self.host.open_sources()
    }

    /// Returns the network.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Moment;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.advance(Duration::from_secs(1));
    /// assert_eq!(net.network().now(), Moment::ZERO + Duration::from_secs(1));
    /// ```
    pub fn network(&self) -> &SimulatedNetwork {
        &self.network
    }

    fn servers(&self, wanted: impl Fn(&Address) -> bool) -> Vec<ListenSpec> {
        self.host.log().listened.into_iter().filter(|spec| wanted(&spec.address)).collect()
    }

    fn clients(&self, wanted: impl Fn(&Address) -> bool) -> Vec<ConnectSpec> {
        self.host.log().connected.into_iter().filter(|spec| wanted(&spec.address)).collect()
    }
}

impl Deref for MemoryReactor {
    type Target = Reactor;

    fn deref(&self) -> &Reactor {
        &self.host
    }
}

impl std::fmt::Debug for MemoryReactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryReactor").field("now", &self.network.now()).finish_non_exhaustive()
    }
}

/// Parses an address.
pub(super) fn parsed(text: &str) -> Address {
    match text.as_bytes() {
        [b'@', name @ ..] => Address::Abstract(name.into()),
        [b'/', ..] => Address::Unix(std::path::Path::new(text).into()),
        _ => text.parse().map(Address::Inet).unwrap_or_else(|_| {
            panic!("'{text}' is not an address: expected IPV4:PORT, [IPV6]:PORT, /PATH or @NAME");
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::IpAddr;
    use std::time::Instant;

    use ropewalk_proto::Moment;

    use super::*;
    use crate::error::Error;
    use crate::interfaces::tcp::{Binding, Destination};
    use crate::interfaces::unix::{UnixBinding, UnixDestination};
    use crate::protocols::{ClientFactory, Factory, Protocol};
    use crate::testing::AccumulatingProtocol;
    use crate::transports::Connector;

    const SECOND: Duration = Duration::from_secs(1);

    /// Events with their times, in seconds of virtual time.
    #[derive(Clone, Default)]
    struct Diary(Rc<RefCell<Vec<(f64, String)>>>);

    impl Diary {
        fn note(&self, reactor: &Reactor, what: impl Into<String>) {
            self.0.borrow_mut().push((reactor.seconds(), what.into()));
        }

        fn entries(&self) -> Vec<(f64, String)> {
            self.0.borrow().clone()
        }
    }

    #[test]
    fn the_locks_of_unix_sockets_are_simulated() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        let binding = || UnixBinding::new("/no/such/directory/socket").lock();
        let checked = || UnixDestination::new("/no/such/directory/socket").check_lock();
        let connects = || {
            let client = AccumulatingProtocol::new();
            net.connect_unix(checked(), client.factory()).unwrap();
            net.settle();
            client.made() == 1
        };
        assert!(!connects(), "the lock is free");
        let port = net.listen_unix(binding(), server.factory()).unwrap();
        assert!(connects());
        let error = net.listen_unix(binding(), server.factory()).unwrap_err();
        assert!(matches!(error, Error::CannotListen(..)) && error.to_string().contains("holds its lock"), "{error}");
        port.stop_listening();
        net.settle();
        assert!(!connects(), "closing the port releases the lock");
        net.listen_unix(binding(), server.factory()).unwrap();
        // The same path on another network is another socket.
        MemoryReactor::new().listen_unix(binding(), server.factory()).unwrap();
    }

    /// A client that records its failed attempts.
    struct Attempts(Diary, AccumulatingProtocol);

    impl Factory for Attempts {
        fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
            Some(Box::new(self.1.clone()))
        }
    }

    impl ClientFactory for Attempts {
        fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
            self.0.0.borrow_mut().push((f64::NAN, format!("{}: {reason}", connector.destination())));
        }
    }

    #[test]
    fn each_call_runs_at_its_own_time() {
        let net = MemoryReactor::new();
        let diary = Diary::default();
        for seconds in [3, 1, 2, 4] {
            let diary = diary.clone();
            net.call_later(seconds * SECOND, move |reactor| diary.note(reactor, "call"));
        }
        net.advance(3 * SECOND);
        assert_eq!(diary.entries().iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        assert_eq!(net.seconds(), 3.0);
        net.pump([SECOND / 2, SECOND / 2]);
        assert_eq!(diary.entries().len(), 4);
    }

    #[test]
    fn a_call_without_delay_runs_in_the_same_advance() {
        let net = MemoryReactor::new();
        let done = Rc::new(Cell::new(false));
        let set = done.clone();
        net.call_later(SECOND, |reactor| {
            reactor.call_later(Duration::ZERO, |reactor| {
                reactor.call_from_thread(|_| {});
                reactor.call_later(Duration::ZERO, move |_| set.set(true));
            });
        });
        net.advance(SECOND);
        assert!(done.get());
    }

    #[test]
    #[should_panic(expected = "1s do not end: a call is scheduled again and again")]
    fn a_call_that_schedules_itself_for_ever_is_detected() {
        fn again(reactor: &Reactor) {
            reactor.call_later(Duration::ZERO, again);
        }
        let net = MemoryReactor::new();
        net.call_later(SECOND, again);
        net.advance(2 * SECOND);
    }

    #[test]
    fn a_run_until_a_late_stop_takes_no_real_time() {
        let net = MemoryReactor::new();
        let day = 24 * 3600 * SECOND;
        net.call_later(day, |reactor| reactor.stop().unwrap());
        let began = Instant::now();
        net.run().unwrap();
        assert_eq!(net.now(), Moment::ZERO + day);
        assert!(began.elapsed() < 10 * SECOND);
    }

    #[test]
    fn settling_waits_for_segments_but_not_for_calls() {
        let net = MemoryReactor::new().with_faults(Faults::none().latency(SECOND));
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
        net.call_later(60 * SECOND, |_| panic!("settle does not wait for calls"));
        let client = net.connect_stream("10.0.0.1:80");
        client.write(b"slow");
        net.settle();
        assert_eq!(server.data(), b"slow");
        assert_eq!(net.seconds(), 3.0);
    }

    #[test]
    fn the_reactor_is_current_inside_an_advance() {
        let net = MemoryReactor::new();
        let seen = Rc::new(Cell::new(false));
        let see = seen.clone();
        net.call_later(SECOND, move |_| see.set(Reactor::current().is_some()));
        net.advance(SECOND);
        assert!(seen.get());
        assert!(Reactor::current().is_none());
    }

    #[test]
    fn a_test_listener_serves_a_client_of_the_reactor() {
        let net = MemoryReactor::new();
        let listener = net.listen_stream("10.0.0.1:0").unwrap();
        let client = AccumulatingProtocol::new();
        net.connect_tcp(&listener.address().to_string(), client.factory()).unwrap();
        assert!(listener.accept().is_none());
        net.settle();
        let server = listener.accept().unwrap();
        let transport = client.transport().unwrap();
        transport.write(b"question");
        server.write(b"answer");
        net.settle();
        assert_eq!((server.received(), client.data()), (b"question".to_vec(), b"answer".to_vec()));
        transport.abort_connection();
        net.settle();
        assert!(server.is_reset());
        assert!(matches!(client.lost(), Some(Error::ConnectionAborted)));
        assert_eq!((net.open_sources(), net.source_count()), (0, 0));
    }

    #[test]
    fn a_slow_reader_leaves_bytes_in_the_reactor() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_unix("/run/socket", server.factory()).unwrap();
        let client = net.connect_stream("/run/socket");
        net.settle();
        client.pause_reading();
        let transport = server.transport().unwrap();
        transport.write(&[1; 200_000]);
        net.settle();
        assert_eq!((client.received().len(), transport.buffered()), (0, 200_000 - 64 * 1024));
        client.resume_reading();
        net.settle();
        assert_eq!((client.received().len(), transport.buffered()), (200_000, 0));
    }

    #[test]
    fn requests_to_listen_or_connect_are_recorded() {
        let net = MemoryReactor::new();
        let unused = AccumulatingProtocol::new();
        let binding = Binding::new("10.0.0.1:0".parse().unwrap()).backlog(7).reuse_port();
        let port = net.listen_tcp(binding, unused.factory()).unwrap();
        net.listen_unix("@name", unused.factory()).unwrap();
        let local = "10.0.0.9:1234".parse().unwrap();
        net.connect_tcp(Destination::new("10.0.0.7", 80).bind(local), unused.factory()).unwrap();
        net.connect_unix("/run/none", unused.factory()).unwrap();
        net.settle();

        let [server] = &net.tcp_servers()[..] else { panic!("{:?}", net.tcp_servers()) };
        assert_eq!((&server.address, server.backlog, server.reuse_port), (&port.host().unwrap(), 7, true));
        assert_eq!(net.unix_servers()[0].address, parsed("@name"));
        let [client] = &net.tcp_clients()[..] else { panic!("{:?}", net.tcp_clients()) };
        assert_eq!((&client.address, &client.bind), (&parsed("10.0.0.7:80"), &Some(local.into())));
        assert_eq!(net.unix_clients()[0].address, parsed("/run/none"));
    }

    #[test]
    fn names_are_resolved_by_the_table() {
        let net = MemoryReactor::new();
        net.add_host("example.org", &["10.0.0.1", "fe80::1"]);
        let server = AccumulatingProtocol::new();
        net.listen_tcp("[fe80::1]:80", server.factory()).unwrap();
        let (diary, client) = (Diary::default(), AccumulatingProtocol::new());
        net.connect_tcp("example.org.:80", Attempts(diary.clone(), client.clone())).unwrap();
        net.connect_tcp("example.com:80", Attempts(diary.clone(), client.clone())).unwrap();
        net.settle();
        assert_eq!(client.transport().unwrap().peer(), &parsed("[fe80::1]:80"));
        let [(_, failure)] = &diary.entries()[..] else { panic!("{:?}", diary.entries()) };
        assert!(failure.starts_with("example.com:80: cannot resolve"), "{failure}");
    }

    #[test]
    fn an_attempt_to_a_black_hole_fails_after_its_timeout() {
        let net = MemoryReactor::new().with_faults(Faults::none().black_hole(IpAddr::from([10, 0, 0, 9])));
        let (diary, client) = (Diary::default(), AccumulatingProtocol::new());
        net.connect_tcp("10.0.0.9:80", Attempts(diary.clone(), client)).unwrap();
        net.advance(30 * SECOND - Duration::from_nanos(1));
        assert!(diary.entries().is_empty());
        net.advance(Duration::from_nanos(1));
        assert_eq!(diary.entries()[0].1, format!("10.0.0.9:80: {}", Error::ConnectTimedOut(None)));
        assert_eq!((net.open_sources(), net.source_count()), (0, 0));
    }

    #[test]
    fn the_same_seed_replays_the_same_run() {
        let run = |seed| {
            let faults = Faults::none().short_reads().short_writes().jitter(SECOND).resets(0.1).buffer(100);
            let net = MemoryReactor::seeded(seed).with_faults(faults);
            let server = AccumulatingProtocol::new();
            net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
            let clients: Vec<_> = (0..5).map(|_| net.connect_stream("10.0.0.1:80")).collect();
            clients.iter().for_each(|client| client.write(&[9; 1000]));
            net.settle();
            let resets: Vec<bool> = clients.iter().map(TestStream::is_reset).collect();
            (net.now(), resets, server.data().len())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    #[should_panic(
        expected = "at 3s: no delayed call is scheduled, nothing is under way, and it waits for clients at \
                               10.0.0.1:80, bytes from "
    )]
    fn a_run_that_nothing_can_stop_panics_with_what_it_waits_for() {
        let net = MemoryReactor::new();
        net.host.set_patience(Duration::from_millis(1));
        net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory()).unwrap();
        let _client = net.connect_stream("10.0.0.1:80");
        net.call_later(3 * SECOND, |_| ());
        let _ = net.run();
    }

    #[test]
    fn another_thread_may_end_a_wait_without_end() {
        let net = MemoryReactor::new();
        let handle = net.thread_handle();
        let thread = std::thread::spawn(move || handle.call_from_thread(|reactor| reactor.stop().unwrap()));
        net.run().unwrap();
        thread.join().unwrap();
    }

    #[test]
    #[should_panic(expected = "drop the wait before the test moves the time")]
    fn a_detached_wait_that_is_kept_is_named_in_the_panic() {
        let net = MemoryReactor::new();
        let kept = Rc::new(RefCell::new(None));
        let place = kept.clone();
        net.call_later(SECOND, move |reactor| *place.borrow_mut() = reactor.detach_wait().ok());
        net.advance(SECOND); // the turn of the callback ends in order
        net.advance(SECOND);
    }

    #[test]
    fn a_request_to_connect_is_recorded_at_once() {
        let net = MemoryReactor::new();
        let local = "10.0.0.9:1234".parse().unwrap();
        let destination = Destination::new("example.org", 80).bind(local).timeout(5 * SECOND);
        net.connect_tcp(destination, AccumulatingProtocol::new().factory()).unwrap();
        let [request] = &net.connect_requests()[..] else { panic!("{:?}", net.connect_requests()) };
        assert_eq!((request.destination.as_str(), request.timeout), ("example.org:80", Some(5 * SECOND)));
        assert_eq!(request.bind_address, Some(local.into()));
        assert!(request.connector().is_some());
        net.settle();
        assert!(request.connector().is_none(), "the name is unknown, and the program holds no connector");
    }

    #[test]
    fn prepared_failures_are_used_in_order() {
        let net = MemoryReactor::new();
        let _server = net.listen_stream("10.0.0.1:80").unwrap();
        net.fail_next_connect(io::ErrorKind::TimedOut);
        net.fail_next_connect(io::Error::other("no memory"));
        let (diary, client) = (Diary::default(), AccumulatingProtocol::new());
        for _ in 0..3 {
            net.connect_tcp("10.0.0.1:80", Attempts(diary.clone(), client.clone())).unwrap();
        }
        net.settle();
        let failures: Vec<String> = diary.entries().into_iter().map(|(_, failure)| failure).collect();
        let expected =
            [Error::ConnectTimedOut(None).to_string(), "cannot connect to 10.0.0.1:80: no memory".to_owned()];
        assert_eq!(failures, expected.map(|error| format!("10.0.0.1:80: {error}")));
        assert_eq!(client.made(), 1);
    }

    #[test]
    #[should_panic(expected = "'10.0.0.1' is not an address")]
    fn a_malformed_address_is_named_in_the_panic() {
        MemoryReactor::new().connect_stream("10.0.0.1");
    }
}
