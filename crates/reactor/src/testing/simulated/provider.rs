//! The event provider: the network as the reactor sees it.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ropewalk_proto::{Address, Key, Moment, Outbox};
use ropewalk_sys::{
    Capabilities, Clock, ConnectSpec, EventProvider, Events, Interest, Kind, ListenSpec, OwnedIo, RawIo, Received,
    Sent, SocketOption, Waker,
};

use super::faults::Faults;
use super::network::Network;
use super::shared::SimulatedNetwork;

/// An event provider whose network and time are simulated.
///
/// TCP and UNIX streams only: descriptors, sockets of others and signals belong to a real operating system. Every IP
/// address is one of the simulated machine's; UNIX names are names alone, without files.
///
/// Virtual time starts at [`Moment::ZERO`] and moves only inside `wait`, which jumps to the next thing that happens, or
/// to its timeout. A `wait` without a timeout on a network where nothing more will happen really blocks, until another
/// thread wakes it.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::sys::{EventProvider, Events, ListenSpec};
/// use ropewalk::testing::{Faults, Simulated};
///
/// let mut provider = Simulated::new(7, Faults::none());
/// let listening = ListenSpec::new("10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap().into());
/// let (port, address) = provider.listen(&listening)?;
/// provider.set_reading(port, true)?;
/// let _client = provider.network().connect_stream(address);
/// let mut events = Events::new();
/// provider.wait(Some(Duration::from_secs(1)), &mut events)?;
/// assert!(events.iter().any(|event| event.key == port));
/// assert!(provider.accept(port)?.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Simulated(SimulatedNetwork);

impl Simulated {
    /// A network of its own, on which everything follows from `seed` and the calls made.
    pub fn new(seed: u64, faults: Faults) -> Simulated {
        Simulated(SimulatedNetwork::new(seed, faults))
    }

    /// What a test controls it by.
    pub fn network(&self) -> SimulatedNetwork {
        self.0.clone()
    }
}

/// The lock of a UNIX socket's path.
struct SimulatedLock {
    network: SimulatedNetwork,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.network.with(|network| network.locked.remove(&self.path));
    }
}

impl EventProvider for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::TCP | Capabilities::UNIX
    }

    fn now(&self) -> Moment {
        self.0.with(|network| network.now())
    }

    /// Begins with the year 1970, so that it too follows from the calls alone.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now().since(Moment::ZERO)
    }

    fn clock(&self) -> Clock {
        let network = self.0.clone();
        Arc::new(move || network.now())
    }

    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        self.0.with(|network| {
            network.check_descriptors()?;
            let (key, address) = network.listen(spec, false)?;
            network.log().listened.push(ListenSpec { address: address.clone(), ..spec.clone() });
            Ok((key, address))
        })
    }

    fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        self.0.with(|network| {
            network.log().connected.push(spec.clone());
            network.check_descriptors()?;
            network.connect(spec)
        })
    }

    fn lock_unix(&mut self, path: &Path) -> io::Result<Box<dyn Any>> {
        if !self.0.with(|network| network.locked.insert(path.to_owned())) {
            let message = format!("{} is served by this reactor, which holds its lock", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Ok(Box::new(SimulatedLock { network: self.0.clone(), path: path.to_owned() }))
    }

    fn is_unix_locked(&mut self, path: &Path) -> bool {
        self.0.with(|network| network.locked.contains(path))
    }

    fn finish_connect(&mut self, key: Key) -> io::Result<()> {
        self.0.with(|network| network.finish_connect(key))
    }

    fn adopt(&mut self, _io: OwnedIo, _kind: Kind) -> io::Result<Key> {
        Err(unsupported("sockets of others (IReactorSocket)"))
    }

    fn watch(&mut self, _io: RawIo, _interest: Interest) -> io::Result<Key> {
        Err(unsupported("descriptors (IReactorFDSet)"))
    }

    fn set_interest(&mut self, _key: Key, _interest: Interest) -> io::Result<()> {
        Err(unsupported("descriptors (IReactorFDSet)"))
    }

    fn close(&mut self, key: Key) {
        self.0.with(|network| network.close(key));
    }

    fn abort(&mut self, key: Key) {
        self.0.with(|network| network.abort(key));
    }

    fn set_reading(&mut self, key: Key, on: bool) -> io::Result<()> {
        self.0.with(|network| network.set_reading(key, on))
    }

    fn receive(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.0.with(|network| network.receive(key, scratch))
    }

    fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        self.0.with(|network| {
            network.check_descriptors()?;
            network.accept(key)
        })
    }

    fn send(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        self.0.with(|network| network.send(key, outbox))
    }

    fn send_slice(&mut self, key: Key, bytes: &[u8]) -> io::Result<usize> {
        self.0.with(|network| network.send_slice(key, bytes))
    }

    fn shutdown_write(&mut self, key: Key) -> io::Result<()> {
        self.0.with(|network| network.shutdown_write(key))
    }

    fn local_address(&self, key: Key) -> io::Result<Address> {
        self.0.with(|network| network.local_address(key))
    }

    fn peer_address(&self, key: Key) -> io::Result<Address> {
        self.0.with(|network| network.peer_address(key))
    }

    fn option(&self, key: Key, option: SocketOption) -> io::Result<bool> {
        self.0.with(|network| network.option(key, option))
    }

    fn set_option(&mut self, key: Key, option: SocketOption, on: bool) -> io::Result<()> {
        self.0.with(|network| network.set_option(key, option, on))
    }

    fn raw_io(&self, _key: Key) -> Option<RawIo> {
        None
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.0.wait(timeout, events)
    }

    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn foreign(&mut self) -> Option<RawIo> {
        None
    }
}

impl Drop for Simulated {
    /// As a kernel closes what a process leaves open: a test that still looks sees its streams end.
    fn drop(&mut self) {
        self.0.with(Network::close_all);
    }
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("the simulated network does not offer {what}"))
}
