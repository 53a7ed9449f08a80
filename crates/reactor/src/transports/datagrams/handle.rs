//! The handle of a datagram port.

use std::net::IpAddr;
use std::rc::Rc;

use ropewalk_proto::{Address, Deferred};
use ropewalk_sys::{Outgoing, RawSocket};

use super::counters::DatagramCounters;
use super::port::DatagramPortInner;
use crate::error::Result;
use crate::kernel::Reactor;

/// A handle of a datagram port: IUDPTransport, IMulticastTransport, IUNIXDatagramTransport.
///
/// Clones are handles of the same port. Dropping a handle does not close the port.
///
/// All methods may be called from any callback on the reactor's thread.
///
/// ```
/// # #[cfg(unix)] {
/// use std::time::Duration;
/// use ropewalk::prelude::*;
/// use ropewalk::{Datagram, DatagramPort, DatagramProtocol};
///
/// /// Asks a question, and stops the reactor when the answer arrives.
/// struct Question(Address);
///
/// impl DatagramProtocol for Question {
///     fn start_protocol(&mut self, port: &DatagramPort) {
///         port.write_to(b"what time is it?", &self.0).expect("the port is open");
///     }
///
///     fn datagram_received(&mut self, port: &DatagramPort, _answer: &Datagram<'_>) {
///         port.reactor().stop().unwrap();
///     }
/// }
///
/// struct Clock;
///
/// impl DatagramProtocol for Clock {
///     fn datagram_received(&mut self, port: &DatagramPort, question: &Datagram<'_>) {
///         let _ = port.write_to(b"noon", question.from);
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let clock = reactor.listen_udp("127.0.0.1:0", Clock)?;
/// reactor.listen_udp("127.0.0.1:0", Question(clock.host()))?;
/// reactor.run()?;
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct DatagramPort(pub(crate) Rc<DatagramPortInner>);

impl DatagramPort {
    /// Sends a datagram to the peer of a connected port.
    ///
    /// In a callback of this port, the datagram is copied, and leaves when the callback returns. An error is then
    /// reported to [`send_failed`](crate::DatagramProtocol::send_failed). Elsewhere the datagram leaves at once.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor, UdpBinding};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let server = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// let binding = UdpBinding::try_from("127.0.0.1:0")?.connect(server.host().inet().unwrap());
    /// reactor.listen_udp(binding, Silent)?.write(b"hello")?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) with `NotConnected` on a port without a peer, and the errors of
    /// [`write_to`](DatagramPort::write_to).
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.0.write(Outgoing::to_peer(data))
    }

    /// Sends a datagram to `to`, in the way of [`write`](DatagramPort::write).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Error, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// port.write_to(b"hello", &port.host())?;
    /// let error = port.write_to(&[0; 70_000], &port.host()).unwrap_err();
    /// assert!(matches!(error, Error::MessageLength(70_000, _)));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// In a callback of this port only [`Error::Closed`](crate::Error::Closed) after
    /// [`stop_listening`](DatagramPort::stop_listening), and [`Error::InvalidAddress`](crate::Error::InvalidAddress) if
    /// the port is connected to another peer. Elsewhere also:
    ///
    /// - [`Error::WrongFamily`](crate::Error::WrongFamily): the port does not have the address family.
    /// - [`Error::MessageLength`](crate::Error::MessageLength): the datagram is too long.
    /// - [`Error::SendBufferFull`](crate::Error::SendBufferFull): the system takes no more now.
    ///   [`ready_to_send`](crate::DatagramProtocol::ready_to_send) follows, except on a UNIX port without a peer.
    /// - [`Error::Io`](crate::Error::Io): the system's error, such as that broadcast is not
    ///   [allowed](DatagramPort::set_broadcast_allowed).
    /// - [`Error::Waiting`](crate::Error::Waiting): the event provider waits in another thread.
    pub fn write_to(&self, data: &[u8], to: &Address) -> Result<()> {
        self.0.write(Outgoing::to(data, to))
    }

    /// Sends a datagram to `to` from the local address `from`, in the way of [`write`](DatagramPort::write).
    ///
    /// A port on a wildcard address answers from the address that the question was sent to, if it passes
    /// [`Datagram::local`](super::Datagram::local) here. Without `from` the system chooses an address, and a connected
    /// client does not receive an answer from another one.
    ///
    /// ```
    /// use ropewalk::{Datagram, DatagramPort, DatagramProtocol};
    ///
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
    ///         let _ = port.write_from(datagram.data, datagram.from, datagram.local);
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`write_to`](DatagramPort::write_to).
    pub fn write_from(&self, data: &[u8], to: &Address, from: impl Into<Option<IpAddr>>) -> Result<()> {
        self.0.write(Outgoing { from: from.into(), ..Outgoing::to(data, to) })
    }

    /// Sends datagrams in order and at once, even in a callback. Returns the number that was sent, and the reason why
    /// the next one was not.
    ///
    /// Neighbours with the same destination that are equally long leave as one message of the system, where that is
    /// possible: [`max_segments`](DatagramPort::max_segments). The last of them may be shorter.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::sys::Outgoing;
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// let (peer, file) = (port.host(), [7; 3000]);
    /// let batch: Vec<_> = file.chunks(1200).map(|part| Outgoing::to(part, &peer)).collect();
    /// let (sent, outcome) = port.send(&batch);
    /// outcome?;
    /// assert_eq!(sent, 3);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`write_to`](DatagramPort::write_to) outside of a callback. The datagrams behind the failed one are not sent.
    pub fn send(&self, batch: &[Outgoing<'_>]) -> (usize, Result<()>) {
        self.0.send(batch)
    }

    /// Returns the number of equally long datagrams to one destination that leave as one message of the system:
    /// UDP_SEGMENT. It is 1 where the system does not do that, and on a closed port.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// assert!(port.max_segments() >= 1);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn max_segments(&self) -> usize {
        self.0.ask("cannot ask for segments", |datagrams, key| datagrams.segments_max(key)).unwrap_or(1)
    }

    /// Connects the port to `peer`: it sends to `peer` and receives only from `peer`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Error, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let server = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// let client = reactor.listen_udp("0.0.0.0:0", Silent)?;
    /// client.connect(&server.host())?;
    /// assert_eq!((client.peer(), client.host().to_string().starts_with("127.")), (Some(server.host()), true));
    /// assert!(matches!(client.connect(&server.host()), Err(Error::AlreadyConnected)));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::AlreadyConnected`](crate::Error::AlreadyConnected),
    /// [`Error::WrongFamily`](crate::Error::WrongFamily), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Waiting`](crate::Error::Waiting), and the errors of connect(2).
    pub fn connect(&self, peer: &Address) -> Result<()> {
        self.0.connect(peer)
    }

    /// Returns the local address, with the port number that the system chose: getHost. It stays known after the end.
    pub fn host(&self) -> Address {
        self.0.host.borrow().clone()
    }

    /// Returns the address that the port is connected to.
    pub fn peer(&self) -> Option<Address> {
        self.0.peer.borrow().clone()
    }

    /// Stops receiving at once. The socket is closed in a later turn: then `stop_protocol` is called, and the Deferred
    /// fires.
    ///
    /// On a closed port the Deferred fires at once. It fails with [`Error::Panicked`](crate::Error::Panicked) when
    /// `stop_protocol` panics.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::time::Duration;
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// let closed = port.stop_listening();
    /// assert!(!port.is_listening() && !closed.is_done());
    /// reactor.iterate(Some(Duration::ZERO))?;
    /// assert!(closed.is_done());
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn stop_listening(&self) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        match self.0.kernel() {
            Ok(kernel) if self.0.key().is_ok() => {
                self.0.stopped.borrow_mut().push(resolver);
                self.0.stop(&Reactor(kernel));
            }
            _ => drop(resolver.callback(())),
        }
        deferred
    }

    /// Returns whether the port is open.
    pub fn is_listening(&self) -> bool {
        self.0.is_open()
    }

    /// Leaves datagrams in the system's queue until [`resume_producing`](DatagramPort::resume_producing). When the queue
    /// is full, the system drops datagrams.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::time::Duration;
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// port.pause_producing();
    /// port.write_to(b"hello", &port.host())?;
    /// reactor.iterate(Some(Duration::ZERO))?;
    /// assert_eq!(port.counters().received, 0);
    /// port.resume_producing();
    /// while port.counters().received == 0 {
    ///     reactor.iterate(Some(Duration::from_secs(1)))?;
    /// }
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn pause_producing(&self) {
        self.0.is_paused.set(true);
        self.0.delivery.is_halted.set(true);
        if let Ok(kernel) = self.0.kernel() {
            self.0.arm(&kernel);
        }
    }

    /// Delivers datagrams again after [`pause_producing`](DatagramPort::pause_producing).
    pub fn resume_producing(&self) {
        if let (true, Ok(kernel)) = (self.0.is_paused.replace(false), self.0.kernel()) {
            self.0.settle_later(&kernel);
        }
    }

    /// Returns the numbers of datagrams so far.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// port.write_to(b"hello", &port.host())?;
    /// assert_eq!((port.counters().sent, port.counters().received), (1, 0));
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn counters(&self) -> DatagramCounters {
        let dropped = self.0.ask("cannot ask for counters", |datagrams, key| datagrams.dropped_datagrams(key));
        DatagramCounters { dropped: dropped.ok(), ..self.0.counts.get() }
    }

    /// Returns the socket itself, for operations that this type does not offer: ISystemHandle.
    ///
    /// The reactor still owns the socket. Returns `None` after the end and on a simulated network.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// assert!(port.handle().is_some());
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn handle(&self) -> Option<RawSocket> {
        let (kernel, key) = (self.0.kernel().ok()?, self.0.key().ok()?);
        kernel.sockets(|sockets| sockets.raw_socket(key)).ok().flatten()
    }

    /// Returns the reactor of this port.
    ///
    /// # Panics
    /// When that reactor has been dropped. This cannot happen inside a callback.
    pub fn reactor(&self) -> Reactor {
        Reactor(self.0.kernel().expect("the reactor of this port has been dropped"))
    }
}

impl PartialEq for DatagramPort {
    /// Returns whether both are handles of the same port.
    fn eq(&self, other: &DatagramPort) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DatagramPort {}

impl std::fmt::Debug for DatagramPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DatagramPort").field(&*self.0.host.borrow()).finish()
    }
}
