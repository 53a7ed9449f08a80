//! The event provider: the network as one reactor sees it.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ropewalk_proto::{Address, Key, Moment, Outbox};
use ropewalk_sys::{
    Clock, ConnectSpec, Datagrams, DescriptorPassing, DescriptorQueue, EventProvider, Events, ExitStatus, Filesystem,
    KeepAliveTimes, ListenSpec, Names, PassedDescriptors, PeerCredentials, Processes, RawSocket, RawWaitable, Received,
    Recipient, Sent, SocketOption, Sockets, SpawnError, SpawnPlan, Spawned, Streams, Waker, WindowSize,
};

use super::faults::Faults;
use super::machines::{MachineId, OUTSIDE};
use super::network::Log;
use super::shared::SharedNetwork;
use super::skew::Skew;
use crate::testing::programs::Programs;

/// An event provider whose network and time are simulated.
///
/// The provider offers TCP and UNIX streams, datagrams, the host names of its network, and child processes whose
/// programs are [closures](Simulated::programs). UNIX streams carry the descriptors of real files. The provider watches no
/// descriptors, and has no adopted sockets or signals, because they need an operating system. UNIX paths are only names,
/// without files.
///
/// An error of a connection, a listener or an attempt is the error that the system of the test reports in the same
/// case, with the same number. An error that the simulation explains has another message, and the system's error as its
/// source.
///
/// Virtual time starts at [`Moment::ZERO`] and moves only inside `wait`, which jumps to the next event of the network
/// or to its timeout. On a network without [hosts](super::super::Host), a `wait` without a timeout really blocks when
/// nothing more will happen, until another thread wakes it.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::sys::{EventProvider, Events, ListenSpec, Streams};
/// use ropewalk::testing::SimulatedNetwork;
///
/// let network = SimulatedNetwork::seeded(7);
/// let mut provider = network.provider();
/// let listening = ListenSpec::new("10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap().into());
/// let (port, address) = provider.listen(&listening)?;
/// provider.set_reading(port, true)?;
/// let _client = network.connect_stream(address);
/// let mut events = Events::new();
/// provider.wait(Some(Duration::from_secs(1)), &mut events)?;
/// assert!(events.iter().any(|event| event.key == port));
/// assert!(provider.accept(port)?.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Simulated {
    pub(super) network: SharedNetwork,
    pub(super) owner: Key,
    skew: Skew,
}

impl Simulated {
    /// Returns a provider on a new network. Everything on the network follows from `seed` and the calls made.
    ///
    /// ```
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::{Faults, Simulated};
    ///
    /// let reactor = Reactor::with_provider(Box::new(Simulated::new(7, Faults::none())));
    /// assert_eq!(reactor.name(), "simulated");
    /// ```
    pub fn new(seed: u64, faults: Faults) -> Simulated {
        Simulated::on(&SharedNetwork::new(seed, faults), OUTSIDE, Skew::none())
    }

    /// Returns a provider on `machine`.
    pub(crate) fn on(network: &SharedNetwork, machine: MachineId, skew: Skew) -> Simulated {
        let owner = network.with(|network| network.add_owner(machine));
        Simulated { network: network.clone(), owner, skew }
    }

    /// Returns the owner of the provider's sources.
    pub(crate) fn owner(&self) -> Key {
        self.owner
    }

    /// Returns the programs that the provider's reactor can start: see [`Programs`].
    ///
    /// A provider without programs has processes all the same: each start fails, because there is no such program.
    ///
    /// ```
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::{Faults, Program, Simulated};
    ///
    /// let provider = Simulated::new(7, Faults::none());
    /// let programs = provider.programs();
    /// let reactor = Reactor::with_provider(Box::new(provider));
    /// programs.install(&reactor, "cat", Program::cat());
    /// ```
    pub fn programs(&self) -> Programs {
        Programs::new(&self.network, self.owner)
    }

    pub(super) fn now(&self) -> Moment {
        self.skew.host_time(self.network.with(|network| network.now()))
    }

    fn log(&self, note: impl FnOnce(&mut Log)) {
        self.network.with(|network| network.log(self.owner).map(note));
    }
}

/// The lock of a UNIX socket's path.
struct SimulatedLock {
    network: SharedNetwork,
    owner: Key,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.network.with(|network| network.unlock(self.owner, &self.path));
    }
}

impl EventProvider for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn clock(&self) -> Clock {
        let (network, skew) = (self.network.clone(), self.skew);
        Arc::new(move || skew.host_time(network.with(|network| network.now())))
    }

    /// Starts at 1970-01-01, so that the wall clock also follows from the calls alone.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now().since(Moment::ZERO)
    }

    fn names(&self) -> Option<Names> {
        let network = self.network.clone();
        Some(Arc::new(move |name| network.with(|network| network.host_names.look_up(name))))
    }

    fn random_seed(&self) -> Option<u64> {
        Some(self.network.with(|network| network.random.bits()))
    }

    fn waker(&self) -> Waker {
        self.network.waker(self.owner)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let deadline = timeout.map(|timeout| self.skew.network_time(self.now() + timeout));
        let outcome = self.network.wait(self.owner, deadline, events);
        if let Some(bell) = self.network.with(|network| network.bell(self.owner)) {
            bell.wake();
        }
        outcome
    }

    fn host_handle(&mut self) -> Option<RawWaitable> {
        None
    }

    fn reopen_after_fork(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn has_signals(&self) -> bool {
        false
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        Some(self)
    }

    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        Some(self)
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }

    fn descriptor_passing(&mut self) -> Option<&mut dyn DescriptorPassing> {
        Some(self)
    }

    fn filesystem(&mut self) -> Option<&mut dyn Filesystem> {
        Some(self)
    }

    fn processes(&mut self) -> Option<&mut dyn Processes> {
        Some(self)
    }
}

impl Streams for Simulated {
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        let (key, address) = self.network.with(|network| {
            network.check_failure(self.owner, |failures| &mut failures.listen)?;
            network.check_descriptors(self.owner)?;
            network.listen(self.owner, spec)
        })?;
        self.log(|log| log.listened.push(ListenSpec { address: address.clone(), ..spec.clone() }));
        Ok((key, address))
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        self.log(|log| log.connected.push(spec.clone()));
        self.network.with(|network| {
            network.check_failure(self.owner, |failures| &mut failures.connect)?;
            network.check_descriptors(self.owner)?;
            network.connect(self.owner, spec)
        })
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        self.network.with(|network| network.finish_connect(key))
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        self.network.with(|network| {
            network.check_descriptors(self.owner)?;
            network.accept(key)
        })
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        self.network.with(|network| network.set_reading(key, on))
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.network.with(|network| network.receive(key, scratch))
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        self.network.with(|network| network.send(key, outbox))
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.network.with(|network| network.send_slice(key, bytes))
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        self.network.with(|network| network.shutdown_write(key))
    }

    fn close(&mut self, key: Key) {
        self.network.with(|network| network.close(key));
    }

    fn abort(&mut self, key: Key) {
        self.network.with(|network| network.abort(key));
    }
}

impl DescriptorPassing for Simulated {
    fn send_with_descriptors(
        &mut self,
        key: Key,
        outbox: &mut Outbox,
        queue: &mut DescriptorQueue,
    ) -> io::Result<Sent> {
        self.network.with(|network| network.send_with_descriptors(key, outbox, queue))
    }

    fn receive_with_descriptors(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        passed: &mut PassedDescriptors,
    ) -> io::Result<Received> {
        self.network.with(|network| network.receive_with_descriptors(key, scratch, passed))
    }
}

impl Sockets for Simulated {
    fn local_address(&mut self, key: Key) -> io::Result<Address> {
        self.network.with(|network| network.local_address(key))
    }

    fn peer_address(&mut self, key: Key) -> io::Result<Address> {
        self.network.with(|network| network.peer_address(key))
    }

    fn option(&mut self, key: Key, option: SocketOption) -> io::Result<bool> {
        self.network.with(|network| network.option(key, option))
    }

    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        self.network.with(|network| network.set_option(key, option, on))
    }

    fn keep_alive_times(&mut self, key: Key) -> io::Result<KeepAliveTimes> {
        self.network.with(|network| network.keep_alive_times(key))
    }

    fn set_keep_alive_times(&mut self, key: Key, times: KeepAliveTimes) -> io::Result<()> {
        self.network.with(|network| network.set_keep_alive_times(key, times))
    }

    fn peer_credentials(&mut self, key: Key) -> io::Result<PeerCredentials> {
        self.network.with(|network| network.peer_credentials(key))
    }

    fn raw_socket(&mut self, _key: Key) -> Option<RawSocket> {
        None
    }
}

impl Processes for Simulated {
    fn spawn(&mut self, plan: &SpawnPlan) -> Result<Spawned, SpawnError> {
        self.network.with(|network| network.spawn(self.owner, plan))
    }

    fn exit_status(&mut self, process: Key) -> io::Result<Option<ExitStatus>> {
        self.network.with(|network| network.exit_status(process))
    }

    fn signal(&mut self, process: Key, signal: i32, to: Recipient) -> io::Result<()> {
        self.network.with(|network| network.signal_process(process, signal, to))
    }

    fn resize_terminal(&mut self, terminal: Key, size: WindowSize) -> io::Result<()> {
        self.network.with(|network| network.resize_terminal(terminal, size))
    }

    fn release_process(&mut self, process: Key) {
        self.network.with(|network| network.close(process));
    }
}

impl Filesystem for Simulated {
    fn lock_socket(&mut self, path: &Path) -> io::Result<Box<dyn Any>> {
        if !self.network.with(|network| network.lock(self.owner, path))? {
            let message = format!("{} is served by this reactor, which holds its lock", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Ok(Box::new(SimulatedLock { network: self.network.clone(), owner: self.owner, path: path.to_owned() }))
    }

    fn is_socket_locked(&mut self, path: &Path) -> bool {
        self.network.with(|network| network.is_locked(self.owner, path))
    }
}

impl Drop for Simulated {
    /// Closes all sources, as a kernel does when a process exits.
    fn drop(&mut self) {
        self.network.with(|network| network.remove_owner(self.owner));
    }
}
