//! The behaviour of a datagram port.

use ropewalk_proto::Address;

use crate::error::Error;
use crate::transports::{Datagram, DatagramPort, Datagrams};

/// The behaviour of a datagram port: `DatagramProtocol` and `ConnectedDatagramProtocol`.
///
/// All methods have defaults, most of which do nothing. `start_protocol` comes first, and `stop_protocol` last. All
/// callbacks run on the reactor's thread, and never while another callback of the same port is on the stack. A panic in
/// a callback is logged with [`log_prefix`](DatagramProtocol::log_prefix). The port stays open, and datagrams behind the
/// one that caused the panic are delivered.
///
/// Datagrams that a callback writes leave together when the callback returns, with as few calls of the system as
/// possible. Errors of such datagrams are reported to [`send_failed`](DatagramProtocol::send_failed).
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::{Datagram, DatagramPort, DatagramProtocol};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
///         // An error is reported to `send_failed`. Here it means that one echo is lost.
///         let _ = port.write_to(datagram.data, datagram.from);
///     }
/// }
/// ```
///
/// A client with all other callbacks:
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::prelude::*;
/// use ropewalk::{DatagramPort, DatagramProtocol, UdpBinding};
///
/// /// Sends numbers to a server that is not there.
/// #[derive(Default)]
/// struct Client {
///     sent: u8,
/// }
///
/// impl Client {
///     fn send_more(&mut self, port: &DatagramPort) {
///         while self.sent < 3 && port.write(&[self.sent]).is_ok() {
///             self.sent += 1;
///         }
///     }
/// }
///
/// impl DatagramProtocol for Client {
///     fn start_protocol(&mut self, port: &DatagramPort) {
///         self.send_more(port);
///     }
///
///     fn ready_to_send(&mut self, port: &DatagramPort) {
///         self.send_more(port);
///     }
///
///     fn connection_refused(&mut self, port: &DatagramPort) {
///         port.stop_listening();
///     }
///
///     fn send_failed(&mut self, _port: &DatagramPort, _to: Option<&Address>, error: &Error) {
///         eprintln!("one number is lost: {error}");
///     }
///
///     fn stop_protocol(&mut self) {
///         println!("after {} numbers", self.sent);
///     }
///
///     fn log_prefix(&self) -> &'static str {
///         "numbers"
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let gone = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
/// let port = reactor.listen_udp(UdpBinding::new("127.0.0.1:0".parse().unwrap()).connect(gone), Client::default())?;
/// while port.is_listening() {
///     reactor.iterate(Some(std::time::Duration::from_secs(1)))?;
/// }
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait DatagramProtocol {
    /// Called when the port is open, before the first datagram.
    fn start_protocol(&mut self, port: &DatagramPort) {
        let _ = port;
    }

    /// Called for each datagram that has arrived. Its content lies in a buffer of the reactor.
    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        let _ = (port, datagram);
    }

    /// Called when datagrams have arrived, instead of [`datagram_received`](DatagramProtocol::datagram_received). The
    /// default calls that method for each of them.
    ///
    /// Override this method to do something once for all of them. Datagrams that the method leaves in `batch` are
    /// dropped.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::{DatagramPort, DatagramProtocol, Datagrams};
    ///
    /// #[derive(Default)]
    /// struct Sensors {
    ///     sum: u64,
    /// }
    ///
    /// impl DatagramProtocol for Sensors {
    ///     fn datagrams_received(&mut self, _port: &DatagramPort, batch: Datagrams<'_>) {
    ///         self.sum += batch.map(|datagram| datagram.data.iter().map(|byte| u64::from(*byte)).sum::<u64>()).sum::<u64>();
    ///         println!("the sum is {}", self.sum); // once for the whole batch
    ///     }
    /// }
    /// ```
    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        for datagram in batch {
            self.datagram_received(port, &datagram);
        }
    }

    /// Called when the peer of a connected port has no port there: `connectionRefused`. The port stays open.
    ///
    /// The system reports this for an earlier datagram, and which datagram it was is not known.
    fn connection_refused(&mut self, port: &DatagramPort) {
        let _ = port;
    }

    /// Called when a datagram was not sent that a callback has written. `to` is its destination, and `None` is the peer
    /// of a connected port.
    ///
    /// The error belongs to this datagram alone. Datagrams that the system does not take because its buffers are full
    /// are counted ([`DatagramCounters::unsent`](crate::transports::DatagramCounters::unsent)) and not reported.
    fn send_failed(&mut self, port: &DatagramPort, to: Option<&Address>, error: &Error) {
        let _ = (port, to, error);
    }

    /// Called once when the system takes datagrams again, after it has taken no more.
    ///
    /// Never called for a UNIX port that is not connected, because the system cannot report room for it.
    fn ready_to_send(&mut self, port: &DatagramPort) {
        let _ = port;
    }

    /// Called when the port has been closed. No other callback follows.
    fn stop_protocol(&mut self) {}

    /// Returns the name of the protocol in log lines. The default is the name of its type.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

impl<P: DatagramProtocol + ?Sized> DatagramProtocol for Box<P> {
    fn start_protocol(&mut self, port: &DatagramPort) {
        (**self).start_protocol(port);
    }

    fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
        (**self).datagram_received(port, datagram);
    }

    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        (**self).datagrams_received(port, batch);
    }

    fn connection_refused(&mut self, port: &DatagramPort) {
        (**self).connection_refused(port);
    }

    fn send_failed(&mut self, port: &DatagramPort, to: Option<&Address>, error: &Error) {
        (**self).send_failed(port, to, error);
    }

    fn ready_to_send(&mut self, port: &DatagramPort) {
        (**self).ready_to_send(port);
    }

    fn stop_protocol(&mut self) {
        (**self).stop_protocol();
    }

    fn log_prefix(&self) -> &'static str {
        (**self).log_prefix()
    }
}
