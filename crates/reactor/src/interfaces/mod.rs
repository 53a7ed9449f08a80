//! The interfaces of the reactor. Each module adds its methods to [`Reactor`].

mod ascii_name;
pub mod core;
pub mod fd_set;
pub mod file_events;
mod hosts_file;
mod inline_work;
pub mod log_limit;
mod pipes;
pub mod process;
mod questions;
pub mod resolver;
pub mod serial_ports;
pub mod signals;
pub mod socket;
pub mod tcp;
mod tcp_conversions;
mod terminal;
pub mod thread_pool;
pub mod threads;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tls")]
pub mod tls_reload;
pub mod udp;
mod udp_conversions;
pub mod unix;
pub mod unix_datagram;

use ropewalk_sys::Capabilities;

use crate::error::{Error, Result};
use crate::kernel::{Order, Reactor, sync};

/// The positions of hooks. The first three features take part in each turn, the last four in the end of a run. The
/// threads do both.
pub(crate) mod order {
    use super::Order;

    /// Runs the tasks that are awake, including the tasks that this turn's calls woke.
    pub(crate) const TASKS: Order = Order(10);
    /// Handles the signals that have arrived.
    pub(crate) const SIGNALS: Order = Order(20);
    /// Starts a requested shutdown. A signal of this turn may have requested it.
    pub(crate) const STOP: Order = Order(30);

    /// Fails the attempts to connect that have no source yet.
    pub(crate) const ATTEMPTS: Order = Order(35);
    /// Closes the connections that linger.
    pub(crate) const LINGERING: Order = Order(40);
    /// Runs work inline that is meant for threads. Stops the threads at the end of a run.
    pub(crate) const THREADS: Order = Order(50);
    /// Logs the numbers of suppressed lines.
    pub(crate) const LOG_LIMITS: Order = Order(60);
}

/// An interface that not every event provider offers. All providers offer core, time and threads.
///
/// ```
/// use ropewalk::{Error, Interface};
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// assert!(!net.provides(Interface::Signals));
/// assert!(matches!(net.on_signal(1, |_| ()), Err(Error::Unsupported { interface: "signals", .. })));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interface {
    /// TCP ports and connections: IReactorTCP.
    Tcp,
    /// UNIX ports and connections: IReactorUNIX.
    Unix,
    /// Watched descriptors: IReactorFDSet.
    FdSet,
    /// Changes of files and directories: `twisted.internet.inotify`.
    FileEvents,
    /// Adopted sockets: IReactorSocket.
    Socket,
    /// Pipes, terminals and files as connections: IProcessTransport, StandardIO.
    Pipes,
    /// Descriptors that UNIX connections carry: IUNIXTransport.sendFileDescriptor.
    DescriptorPassing,
    /// Serial ports: SerialPort.
    SerialPorts,
    /// Child processes: IReactorProcess.
    Process,
    /// UDP ports: IReactorUDP.
    Udp,
    /// Groups of receivers of datagrams: IReactorMulticast.
    Multicast,
    /// UNIX datagram ports: IReactorUNIXDatagram.
    UnixDatagram,
    /// Signal handlers, for example to stop the loop on SIGINT and SIGTERM.
    Signals,
}

impl Interface {
    const fn capability(self) -> Capabilities {
        match self {
            Interface::Tcp => Capabilities::TCP,
            Interface::Unix => Capabilities::UNIX,
            Interface::FdSet => Capabilities::FD_SET,
            Interface::FileEvents => Capabilities::FILE_EVENTS,
            Interface::Socket => Capabilities::SOCKET,
            // The bytes of a serial port are those of a pipe.
            Interface::Pipes | Interface::SerialPorts => Capabilities::PIPES,
            Interface::DescriptorPassing => Capabilities::DESCRIPTOR_PASSING,
            Interface::Process => Capabilities::PROCESSES,
            Interface::Udp => Capabilities::UDP,
            Interface::Multicast => Capabilities::MULTICAST,
            Interface::UnixDatagram => Capabilities::UNIX_DATAGRAM,
            Interface::Signals => Capabilities::SIGNALS,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Interface::Tcp => "tcp",
            Interface::Unix => "unix",
            Interface::FdSet => "fd_set",
            Interface::FileEvents => "file_events",
            Interface::Socket => "socket",
            Interface::Pipes => "pipes",
            Interface::DescriptorPassing => "descriptor_passing",
            Interface::SerialPorts => "serial_ports",
            Interface::Process => "process",
            Interface::Udp => "udp",
            Interface::Multicast => "multicast",
            Interface::UnixDatagram => "unix_datagram",
            Interface::Signals => "signals",
        }
    }
}

impl Reactor {
    /// Returns whether this reactor offers `interface`.
    ///
    /// ```
    /// use ropewalk::Interface;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// assert!(net.provides(Interface::Tcp));
    /// assert!(!net.provides(Interface::Signals)); // a simulated network has none
    /// ```
    pub fn provides(&self, interface: Interface) -> bool {
        self.0.capabilities().contains(interface.capability())
    }

    /// Returns the number of the reactor's sources: connections, attempts, ports and watched descriptors. Connections
    /// that only [linger](Reactor::lingering_count) are not counted.
    ///
    /// [`LimitTotalConnectionsFactory::connection_count`] counts the connections of one factory.
    ///
    /// [`LimitTotalConnectionsFactory::connection_count`]:
    /// crate::protocols::policies::LimitTotalConnectionsFactory::connection_count
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(net.source_count(), 2); // the port and a connection
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn source_count(&self) -> usize {
        // A count of one kind of source is kept by a `Feature`, as `transports/lingering.rs` keeps `lingering_count`.
        self.0.source_count() - self.lingering_count()
    }

    /// Returns an error that names the interface and the provider, unless this reactor offers `interface`.
    ///
    /// ```
    /// use ropewalk::Interface;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.require(Interface::Tcp)?;
    /// let error = net.require(Interface::Signals).unwrap_err();
    /// assert_eq!(error.to_string(), "the reactor 'simulated' does not offer the interface signals");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] when this reactor does not offer `interface`.
    pub fn require(&self, interface: Interface) -> Result<()> {
        if self.provides(interface) {
            return Ok(());
        }
        Err(Error::Unsupported { interface: interface.name(), provider: self.name() })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use ropewalk_proto::Key;
    use ropewalk_sys::Ready;

    use super::order;
    use crate::RunOptions;
    use crate::interfaces::core::Phase;
    use crate::kernel::{Feature, Hooks, Order, Reactor, Source};
    use crate::testing::MemoryReactor;

    type Log = Rc<RefCell<Vec<String>>>;

    /// A feature at position `AT`, which logs one turn and the end of the run.
    struct Probe<const AT: u8>(RefCell<Option<Log>>);

    impl<const AT: u8> Feature for Probe<AT> {
        fn new(_reactor: &Reactor) -> Self {
            Probe(RefCell::default())
        }

        fn hooks(self: &Rc<Self>) -> Option<(Order, Rc<dyn Hooks>)> {
            Some((Order(AT), self.clone()))
        }
    }

    impl<const AT: u8> Hooks for Probe<AT> {
        fn turn(&self, _reactor: &Reactor) {
            if let Some(log) = &*self.0.borrow() {
                log.borrow_mut().push(format!("turn {AT}"));
            }
        }

        fn run_ended(&self, _reactor: &Reactor) {
            if let Some(log) = &*self.0.borrow() {
                log.borrow_mut().push(format!("end {AT}"));
            }
        }
    }

    /// Logs that it was settled.
    struct Settles(Log);

    impl Source for Settles {
        fn ready(self: Rc<Settles>, _reactor: &Reactor, _key: Key, _ready: Ready, _scratch: &mut [u8]) {}

        fn settle(self: Rc<Settles>, _reactor: &Reactor) {
            self.0.borrow_mut().push("settling".into());
        }

        fn shut_down(self: Rc<Settles>, _reactor: &Reactor) {}
    }

    fn note<T>(log: &Log, what: &'static str) -> impl FnOnce(&T) + use<T> {
        let log = log.clone();
        move |_| log.borrow_mut().push(what.into())
    }

    #[test]
    fn a_turn_runs_hooks_in_the_order_of_their_positions() {
        let (net, log) = (MemoryReactor::new(), Log::default());
        net.start_running(RunOptions::default()).unwrap();
        // The features are registered in the reverse of their order.
        net.feature::<Probe<35>>().0.replace(Some(log.clone()));
        net.feature::<Probe<15>>().0.replace(Some(log.clone()));
        net.0.settle_later(Rc::new(Settles(log.clone())));
        net.add_system_event_trigger(Phase::Before, "shutdown", note(&log, "stop"));
        let task = log.clone();
        drop(net.spawn(async move { task.borrow_mut().push("task".into()) }));
        net.call_later(Duration::ZERO, note(&log, "delayed call"));
        net.call_from_thread(|reactor| reactor.stop().unwrap());
        net.prepare().unwrap();
        let expected = ["delayed call", "task", "turn 15", "stop", "settling", "end 15", "end 35", "turn 35"];
        assert_eq!(*log.borrow(), expected);
    }

    #[test]
    fn the_positions_of_hooks_ascend() {
        let of_a_turn = [order::TASKS, order::SIGNALS, order::STOP];
        let of_an_end = [order::ATTEMPTS, order::LINGERING, order::THREADS, order::LOG_LIMITS];
        let table = [&of_a_turn[..], &of_an_end].concat();
        assert!(table.is_sorted_by(|one, next| one < next));
    }
}
