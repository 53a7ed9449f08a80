//! The network between its provider, the tests that control it, and whoever wakes it from another thread.
//!
//! Everybody looks at it through this handle: nobody else locks it, and nobody calls user code while it is locked.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ropewalk_proto::{Address, Moment};
use ropewalk_sys::{ConnectSpec, Events, Wake, Waker};

use super::faults::Faults;
use super::network::Network;
use crate::testing::test_stream::{TestListener, TestStream};

/// A simulated network in the hands of a test: where it connects, listens, and decides what goes wrong.
///
/// It is a cheap handle to the network of one [`Simulated`](super::Simulated) and may be used from any thread, also
/// after the provider is gone.
///
/// ```
/// use ropewalk::testing::{Faults, MemoryReactor, SimulatedNetwork};
/// use std::net::SocketAddr;
///
/// let net = MemoryReactor::new();
/// let network: SimulatedNetwork = net.network().clone();
/// network.set_faults(Faults::none().short_reads());
/// let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
/// let server = network.listen_stream(address)?;
/// let client = network.connect_stream(address); // two ends in the test's hands
/// net.settle();
/// client.write(b"hello");
/// net.settle();
/// assert_eq!(server.accept().unwrap().received(), b"hello");
/// assert_eq!(network.open_sources(), 0); // the reactor has none of it
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SimulatedNetwork(Arc<Shared>);

struct Shared {
    network: Mutex<Network>,
    changed: Condvar,
}

impl SimulatedNetwork {
    /// A network of its own.
    pub(super) fn new(seed: u64, faults: Faults) -> SimulatedNetwork {
        let network = Mutex::new(Network::new(seed, faults));
        SimulatedNetwork(Arc::new(Shared { network, changed: Condvar::new() }))
    }

    /// Begins to connect a client without protocol to `address`.
    pub fn connect_stream(&self, address: impl Into<Address>) -> TestStream {
        TestStream::connect(self, ConnectSpec { address: address.into(), bind: None })
    }

    /// Listens at `address` without factory; port 0 chooses one.
    ///
    /// # Errors
    /// `AddrInUse` when somebody else listens there.
    pub fn listen_stream(&self, address: impl Into<Address>) -> io::Result<TestListener> {
        TestListener::listen(self, address.into())
    }

    /// The virtual time.
    pub fn now(&self) -> Moment {
        self.with(|network| network.now())
    }

    /// Lets time stop at `horizon`, where a `wait` returns whatever its timeout; `None` lets it run on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Moment;
    /// use ropewalk::sys::{EventProvider, Events};
    /// use ropewalk::testing::{Faults, Simulated};
    ///
    /// let mut provider = Simulated::new(7, Faults::none());
    /// let noon = Moment::ZERO + Duration::from_secs(12 * 3600);
    /// provider.network().set_horizon(Some(noon));
    /// provider.wait(None, &mut Events::new())?; // would wait without end
    /// assert_eq!(provider.network().now(), noon);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_horizon(&self, horizon: Option<Moment>) {
        self.with(|network| network.set_horizon(horizon));
    }

    /// Changes how unkind the network is, from here on. The buffers of existing connections keep their sizes.
    pub fn set_faults(&self, faults: Faults) {
        self.with(|network| network.set_faults(faults));
    }

    /// How many sources the reactor has open, with the connections that it has not accepted yet. A test's own ends do
    /// not count.
    pub fn open_sources(&self) -> usize {
        self.with(|network| network.open_sources())
    }

    /// Looks at the network or changes it; whoever waits for it looks again.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Network) -> R) -> R {
        let mut network = self.0.lock();
        let result = act(&mut network);
        // Notifying nobody costs a system call too.
        if network.is_waited_for {
            self.0.changed.notify_all();
        }
        result
    }

    /// Waits as `EventProvider::wait` does.
    pub(super) fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let mut network = self.0.lock();
        let deadline = timeout.map(|timeout| network.now() + timeout);
        loop {
            network.run_due();
            network.report(events);
            let woken = network.take_woken();
            network.was_idle = !woken && events.is_empty();
            if !network.was_idle {
                return Ok(());
            }
            match network.next_stop(deadline) {
                Some(stop) if stop <= network.now() => return Ok(()),
                Some(stop) => network.jump(stop),
                // Only another thread can make something happen now.
                None => {
                    network.is_waited_for = true;
                    network = self.0.changed.wait(network).unwrap_or_else(PoisonError::into_inner);
                    network.is_waited_for = false;
                }
            }
        }
    }

    /// What wakes `wait`.
    pub(super) fn waker(&self) -> Waker {
        Waker::new(self.0.clone())
    }
}

impl Shared {
    /// A test that panicked while it looked must not hide its message behind another panic.
    fn lock(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(&self) {
        self.lock().wake();
        self.changed.notify_all();
    }
}
