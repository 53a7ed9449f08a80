//! Datagrams as a protocol sees them.

use std::cell::Cell;
use std::net::IpAddr;

use ropewalk_proto::Address;
use ropewalk_sys::Arrival;

/// A datagram that has arrived.
///
/// The fields beside `data` and `from` are known only on a port with details:
/// [`UdpBinding::details`](crate::interfaces::udp::UdpBinding::details).
///
/// ```
/// use ropewalk::Datagram;
///
/// fn describe(datagram: &Datagram<'_>) -> String {
///     format!("{} bytes from {}, sent to {:?}", datagram.data.len(), datagram.from, datagram.to)
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// The content, which may be empty.
    pub data: &'a [u8],
    /// The sender.
    pub from: &'a Address,
    /// The address that the datagram was sent to: an address of this machine, a group, or a broadcast address.
    pub to: Option<IpAddr>,
    /// The address of this machine from which an answer should leave.
    pub local: Option<IpAddr>,
    /// The number of the network interface. Zero means that it is not known.
    pub interface: u32,
    /// The ECN mark of RFC 3168, from 0 to 3.
    pub ecn: u8,
}

/// The progress of a protocol through a batch.
#[derive(Default)]
pub(super) struct Delivery {
    taken: Cell<usize>,
    /// Whether the port was paused or stopped, so that the iteration ends.
    pub(super) is_halted: Cell<bool>,
}

impl Delivery {
    pub(super) fn begin(&self) {
        self.taken.set(0);
        self.is_halted.set(false);
    }

    /// Returns the number of datagrams that the protocol has taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.get()
    }
}

/// Datagrams that have arrived together, in order.
///
/// The iteration ends early when the port is paused or stopped. A paused port delivers the others when it resumes.
///
/// ```
/// use ropewalk::Datagrams;
///
/// fn total_length(batch: Datagrams<'_>) -> usize {
///     batch.map(|datagram| datagram.data.len()).sum()
/// }
/// # let _ = total_length;
/// ```
#[derive(Clone)]
pub struct Datagrams<'a> {
    scratch: &'a [u8],
    arrivals: &'a [Arrival],
    next: usize,
    delivery: &'a Delivery,
}

impl<'a> Datagrams<'a> {
    pub(super) fn new(scratch: &'a [u8], arrivals: &'a [Arrival], delivery: &'a Delivery) -> Datagrams<'a> {
        Datagrams { scratch, arrivals, next: 0, delivery }
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    #[inline]
    fn next(&mut self) -> Option<Datagram<'a>> {
        let arrival = self.arrivals.get(self.next).filter(|_| !self.delivery.is_halted.get())?;
        self.next += 1;
        // A clone of the iterator may be ahead.
        self.delivery.taken.set(self.next.max(self.delivery.taken.get()));
        Some(Datagram {
            data: &self.scratch[arrival.bytes.clone()],
            from: &arrival.sender,
            to: arrival.destination,
            local: arrival.local,
            interface: arrival.interface,
            ecn: arrival.ecn,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.arrivals.len() - self.next;
        (if self.delivery.is_halted.get() { 0 } else { left }, Some(left))
    }
}

impl std::fmt::Debug for Datagrams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").field("left", &(self.arrivals.len() - self.next)).finish()
    }
}
