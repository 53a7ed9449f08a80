//! Counts of a datagram port.

use std::cell::Cell;

/// The numbers of datagrams of a port since it was opened.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk::transports::DatagramCounters;
/// use ropewalk::{DatagramProtocol, Reactor};
///
/// struct Silent;
/// impl DatagramProtocol for Silent {}
///
/// let port = Reactor::new()?.listen_udp("127.0.0.1:0", Silent)?;
/// let DatagramCounters { received, cut, dropped, .. } = port.counters();
/// assert_eq!((received, cut, dropped.unwrap_or(0)), (0, 0, 0));
/// # }
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatagramCounters {
    /// Delivered to the protocol.
    pub received: u64,
    /// Taken by the system.
    pub sent: u64,
    /// Dropped on arrival because they were longer than the port's maximum.
    pub cut: u64,
    /// Written in a callback, and dropped because the system's buffers were full.
    pub unsent: u64,
    /// Dropped by the system because the port's receive buffer was full. `None` where the system does not say.
    pub dropped: Option<u64>,
}

/// The counters inside a port.
#[derive(Default)]
pub(super) struct Counts(Cell<DatagramCounters>);

impl Counts {
    pub(super) fn get(&self) -> DatagramCounters {
        self.0.get()
    }

    #[inline]
    pub(super) fn add(&self, add: impl FnOnce(&mut DatagramCounters)) {
        let mut counters = self.0.get();
        add(&mut counters);
        self.0.set(counters);
    }
}
