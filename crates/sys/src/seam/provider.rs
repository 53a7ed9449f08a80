//! The parts of every provider: time, waking, waiting, and the kinds of sources that it offers.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bitflags::bitflags;
use ropewalk_proto::{Key, Moment, Outbox};

use super::{
    Adoption, Datagrams, DescriptorPassing, Events, Filesystem, Pipes, Processes, Received, Sent, Sockets, Streams,
    Watches,
};
use crate::file_events::FileEvents;
use crate::io_handle::RawWaitable;
use crate::waker::Waker;

/// Returns a provider's monotonic time. May be called from any thread.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Returns the addresses of a host name in the provider's own network, in order of preference. An unknown name gives an
/// empty list. May be called from any thread, and must not block.
pub type Names = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// A source of events, and the operations on what it reports.
///
/// A method with a default is for a kind of source or an ability that not every provider has.
///
/// All methods are called on the reactor's thread, except that a caller of [`wait`](EventProvider::wait) may move the
/// provider to another thread for that call. No method calls user code, and only `wait` blocks. The same holds for the
/// traits of all kinds.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_sys::{EventProvider, Events, providers};
///
/// /// Waits until a whole second is over, however often the wait is woken.
/// fn sleep(provider: &mut dyn EventProvider) -> std::io::Result<()> {
///     let clock = provider.clock();
///     let end = clock() + Duration::from_secs(1);
///     let mut events = Events::new();
///     while clock() < end {
///         provider.wait(Some(end - clock()), &mut events)?;
///     }
///     Ok(())
/// }
/// # #[cfg(unix)] {
/// # let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// # let mut events = Events::new();
/// # provider.wait(Some(Duration::ZERO), &mut events)?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait EventProvider: StreamCalls + Send {
    /// Returns the name by which a user chooses the provider, such as `epoll`.
    fn name(&self) -> &'static str;

    /// Returns the monotonic clock, which is virtual when simulated. The clock also works while the provider waits in
    /// another thread.
    fn clock(&self) -> Clock;

    /// Returns the wall-clock time, which is virtual when simulated.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Returns the host names of the provider's own network. `None` means that the operating system looks names up.
    ///
    /// A reactor asks once, when it is created.
    fn names(&self) -> Option<Names> {
        None
    }

    /// Returns a seed for the random numbers of a program that a test replays. `None` means that the system's random
    /// numbers are used, which no outsider can guess.
    ///
    /// Each call returns another seed.
    fn random_seed(&self) -> Option<u64> {
        None
    }

    /// Returns the value that wakes a `wait`, from any thread.
    fn waker(&self) -> Waker;

    /// Clears `events`, blocks until an event happens or `timeout` is over, and then fills `events`. A timeout of
    /// `None` waits without a limit.
    ///
    /// Reports everything that has happened, or at least [`EVENTS_PER_WAIT`](super::EVENTS_PER_WAIT) events of it.
    ///
    /// `events` may be filled even if an error is returned. Handle these events, because they may not be reported
    /// again.
    ///
    /// An interrupted wait returns with no events. Rounding never shortens a timeout. A timeout that is too long for
    /// the operating system is shortened.
    ///
    /// # Errors
    /// Errors after which the loop cannot continue, because waiting is not possible at all.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()>;

    /// Makes the requests that the provider has collected for its next wait, without waiting: bytes that
    /// [`Streams::send`] took leave now. Reports nothing.
    ///
    /// Call this at the end of each turn while a host loop waits for the [`host_handle`](EventProvider::host_handle).
    ///
    /// # Errors
    /// The error that the next wait would return.
    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Returns a handle that a host loop can wait for: it is readable when `wait` would report something.
    ///
    /// From this call on, a provider collects requests only between a `wait` and the next `submit`. Outside of such a
    /// turn it makes each request at once, because no wait may follow.
    fn host_handle(&mut self) -> Option<RawWaitable> {
        None
    }

    /// Undoes [`host_handle`](EventProvider::host_handle), because no host loop waits any more. The handle is no longer
    /// valid.
    fn release_host_handle(&mut self) {}

    /// Replaces the objects that parent and child must not share, such as an epoll descriptor. The child calls this
    /// method after fork(2). Keys and wakers stay valid.
    ///
    /// # Errors
    /// The errors of the system calls that open the replacements.
    fn reopen_after_fork(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Returns whether signals of the process can wake the loop: the waker is async-signal-safe, signal-safety(7).
    fn has_signals(&self) -> bool {
        false
    }

    /// Returns the streams: connections and their ports.
    fn streams(&mut self) -> Option<&mut dyn Streams> {
        None
    }

    /// Returns the addresses and options of the sockets behind keys.
    fn sockets(&mut self) -> Option<&mut dyn Sockets> {
        None
    }

    /// Returns the way to take over sockets that another program opened.
    fn adoption(&mut self) -> Option<&mut dyn Adoption> {
        None
    }

    /// Returns the way to take over pipes, terminals and files.
    fn pipes(&mut self) -> Option<&mut dyn Pipes> {
        None
    }

    /// Returns the way to pass descriptors over UNIX connections.
    fn descriptor_passing(&mut self) -> Option<&mut dyn DescriptorPassing> {
        None
    }

    /// Returns the way to start child processes.
    fn processes(&mut self) -> Option<&mut dyn Processes> {
        None
    }

    /// Returns the datagram sockets.
    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        None
    }

    /// Returns the watches on handles of the user.
    fn watches(&mut self) -> Option<&mut dyn Watches> {
        None
    }

    /// Returns the file system in which UNIX sockets have their paths. `None` also means that there are no UNIX
    /// sockets.
    fn filesystem(&mut self) -> Option<&mut dyn Filesystem> {
        None
    }
}

/// The two calls of each message. Every [`EventProvider`] has them, by way of its [`streams`](EventProvider::streams).
///
/// These methods save each message two dynamic calls: `streams` is resolved where the provider is compiled.
///
/// ```
/// use ropewalk_proto::{Key, Outbox};
/// use ropewalk_sys::{StreamCalls, providers};
///
/// # #[cfg(unix)] {
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let stale = Key::new(1000, 0);
/// assert!(provider.receive_on_stream(stale, &mut [0; 1024]).is_err());
/// assert!(provider.send_on_stream(stale, &mut Outbox::new()).is_err());
/// # }
/// ```
pub trait StreamCalls {
    /// Calls [`Streams::receive`].
    ///
    /// # Errors
    /// The errors of `receive`. `Unsupported` if the provider has no streams.
    fn receive_on_stream(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received>;

    /// Calls [`Streams::send`].
    ///
    /// # Errors
    /// The errors of `send`. `Unsupported` if the provider has no streams.
    fn send_on_stream(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent>;
}

impl<P: EventProvider> StreamCalls for P {
    #[inline]
    fn receive_on_stream(&mut self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        match self.streams() {
            Some(streams) => streams.receive(key, scratch),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn send_on_stream(&mut self, key: Key, outbox: &mut Outbox) -> io::Result<Sent> {
        match self.streams() {
            Some(streams) => streams.send(key, outbox),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

bitflags! {
    /// The interfaces that a provider offers, which follow from the kinds that it has.
    ///
    /// ```
    /// use ropewalk_sys::{Capabilities, providers};
    ///
    /// for mut provider in providers().iter().filter_map(|provider| (provider.open)().ok()) {
    ///     assert!(Capabilities::of(&mut *provider).contains(Capabilities::TCP), "{}", provider.name());
    /// }
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// TCP streams over IPv4 and IPv6: IReactorTCP.
        const TCP = 1 << 0;
        /// UNIX streams: IReactorUNIX.
        const UNIX = 1 << 1;
        /// Descriptors of the user: IReactorFDSet.
        const FD_SET = 1 << 2;
        /// Sockets that another program opened: IReactorSocket.
        const SOCKET = 1 << 3;
        /// SIGINT and SIGTERM stop the loop.
        const SIGNALS = 1 << 4;
        /// Pipes, terminals and files as streams: IProcessTransport, StandardIO.
        const PIPES = 1 << 5;
        /// Descriptors that UNIX connections carry: IUNIXTransport.sendFileDescriptor.
        const DESCRIPTOR_PASSING = 1 << 6;
        /// Child processes with pipes and terminals: IReactorProcess.
        const PROCESSES = 1 << 7;
        /// Datagrams over IPv4 and IPv6: IReactorUDP.
        const UDP = 1 << 8;
        /// Groups of receivers of datagrams: IReactorMulticast.
        const MULTICAST = 1 << 9;
        /// UNIX datagrams: IReactorUNIXDatagram.
        const UNIX_DATAGRAM = 1 << 10;
        /// Changes of files: a system with [`FileEvents`], and a provider that watches descriptors of the user.
        const FILE_EVENTS = 1 << 11;
    }
}

impl Capabilities {
    /// Returns what `provider` offers.
    pub fn of(provider: &mut dyn EventProvider) -> Capabilities {
        let has_streams = provider.streams().is_some();
        let mut offered = Capabilities::empty();
        offered.set(Capabilities::TCP, has_streams);
        offered.set(Capabilities::UNIX, has_streams && provider.filesystem().is_some());
        let has_watches = provider.watches().is_some();
        offered.set(Capabilities::FD_SET, has_watches);
        offered.set(Capabilities::FILE_EVENTS, has_watches && FileEvents::is_supported());
        offered.set(Capabilities::SOCKET, provider.adoption().is_some());
        offered.set(Capabilities::PIPES, has_streams && provider.pipes().is_some());
        offered.set(Capabilities::DESCRIPTOR_PASSING, has_streams && provider.descriptor_passing().is_some());
        offered.set(Capabilities::PROCESSES, has_streams && provider.processes().is_some());
        let has_datagrams = has_streams && provider.datagrams().is_some();
        offered.set(Capabilities::UDP | Capabilities::MULTICAST, has_datagrams);
        offered.set(Capabilities::UNIX_DATAGRAM, has_datagrams && provider.filesystem().is_some());
        offered.set(Capabilities::SIGNALS, provider.has_signals());
        offered
    }
}
