//! How unkind the simulated network is.

use std::net::IpAddr;
use std::time::Duration;

/// What goes wrong, and how slowly the rest goes; which of the chances come true follows from the seed.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::Faults;
///
/// let faults = Faults::none().short_reads().resets(0.01).latency(Duration::from_millis(20));
/// # let _ = faults;
/// ```
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
///
/// let unkind = Faults::none().short_reads().short_writes().lent_reads().shuffled().spurious_events();
/// let slow = unkind.latency(Duration::from_millis(20)).jitter(Duration::from_millis(5));
/// let net = MemoryReactor::seeded(7).with_faults(slow);
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", server.factory())?;
/// net.connect_stream("10.0.0.1:80").write(b"hello, all the same");
/// net.settle();
/// assert_eq!(server.data(), b"hello, all the same");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Faults {
    pub(super) short_reads: bool,
    pub(super) short_writes: bool,
    pub(super) lent_reads: bool,
    pub(super) shuffled: bool,
    pub(super) spurious: bool,
    pub(super) resets: f64,
    pub(super) refused: f64,
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) buffer: usize,
    pub(super) descriptors: usize,
    pub(super) black_holes: Vec<IpAddr>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::none()
    }
}

impl Faults {
    /// A kind network: nothing is lost or cut short, nothing takes time, and 64 KiB fit into each direction.
    pub fn none() -> Faults {
        Faults {
            short_reads: false,
            short_writes: false,
            lent_reads: false,
            shuffled: false,
            spurious: false,
            resets: 0.0,
            refused: 0.0,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            buffer: 64 * 1024,
            descriptors: usize::MAX,
            black_holes: Vec::new(),
        }
    }

    /// Reads take fewer bytes than have arrived, down to one.
    pub fn short_reads(mut self) -> Faults {
        self.short_reads = true;
        self
    }

    /// Sends take fewer bytes than there is room for, down to one.
    pub fn short_writes(mut self) -> Faults {
        self.short_writes = true;
        self
    }

    /// Some reads lend the provider's own memory, as a completion provider does, and some copy.
    pub fn lent_reads(mut self) -> Faults {
        self.lent_reads = true;
        self
    }

    /// The events of one turn come in any order.
    pub fn shuffled(mut self) -> Faults {
        self.shuffled = true;
        self
    }

    /// Some turns report that there is something to read where there is nothing.
    pub fn spurious_events(mut self) -> Faults {
        self.spurious = true;
        self
    }

    /// Each send breaks its connection for both ends with this `probability`, from 0 to 1.
    ///
    /// # Panics
    /// When it is not from 0 to 1.
    pub fn resets(mut self, probability: f64) -> Faults {
        self.resets = checked(probability);
        self
    }

    /// Each TCP connection attempt is refused with this `probability`, from 0 to 1.
    ///
    /// ```
    /// use ropewalk::ConnectorState;
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().refused(1.0));
    /// let _server = net.listen_stream("10.0.0.1:80").unwrap();
    /// let connector = net.connect_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// net.settle();
    /// assert_eq!(connector.state(), ConnectorState::Disconnected);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When it is not from 0 to 1.
    pub fn refused(mut self, probability: f64) -> Faults {
        self.refused = checked(probability);
        self
    }

    /// Whatever is sent takes at least this long to arrive.
    pub fn latency(mut self, shortest: Duration) -> Faults {
        self.latency = shortest;
        self
    }

    /// Whatever is sent takes up to this much longer to arrive. Bytes of one connection stay in order.
    pub fn jitter(mut self, longest: Duration) -> Faults {
        self.jitter = longest;
        self
    }

    /// How many bytes each direction of a connection holds, sent and unread, before its sender must wait.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().buffer(1000));
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.pause_reading();
    /// net.settle();
    /// server.transport().unwrap().write(&[0; 3000]);
    /// net.settle();
    /// assert_eq!(server.transport().unwrap().buffered(), 2000); // a thousand are on their way
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When it is 0.
    pub fn buffer(mut self, bytes: usize) -> Faults {
        assert!(bytes > 0, "a connection must hold at least one byte");
        self.buffer = bytes;
        self
    }

    /// Once the reactor has this many sources open, it can neither listen nor connect nor accept: EMFILE.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().descriptors(2));
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let first = net.connect_stream("10.0.0.1:80");
    /// let _second = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(server.made(), 1); // the port has the other descriptor
    /// first.close();
    /// net.settle();
    /// assert_eq!(server.made(), 2);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn descriptors(mut self, most: usize) -> Faults {
        self.descriptors = most;
        self
    }

    /// Connection attempts to this host are never answered.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    /// use ropewalk::{ConnectorState, Destination};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().black_hole([192, 0, 2, 1]));
    /// let destination = Destination::new("192.0.2.1", 80).timeout(Duration::from_secs(5));
    /// let connector = net.connect_tcp(destination, AccumulatingProtocol::new().factory())?;
    /// net.advance(Duration::from_secs(4));
    /// assert_eq!(connector.state(), ConnectorState::Connecting);
    /// net.advance(Duration::from_secs(1));
    /// assert_eq!(connector.state(), ConnectorState::Disconnected);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn black_hole(mut self, host: impl Into<IpAddr>) -> Faults {
        self.black_holes.push(host.into());
        self
    }
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is not a probability from 0 to 1");
    probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "NaN is not a probability from 0 to 1")]
    fn a_probability_that_is_no_number_is_a_bug_of_the_caller() {
        let _ = Faults::none().resets(f64::NAN);
    }
}
