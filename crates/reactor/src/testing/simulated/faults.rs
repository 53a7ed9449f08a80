//! The faults of the simulated network.

use std::net::IpAddr;
use std::time::Duration;

/// The faults and delays of a simulated network. The seed decides when a fault happens.
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
    pub(super) lost: f64,
    pub(super) doubled: f64,
    pub(super) overtaken: f64,
    pub(super) congested: f64,
    pub(super) full: f64,
    pub(super) mtu: Option<usize>,
    pub(super) descriptors: usize,
    pub(super) black_holes: Vec<IpAddr>,
    pub(super) unreachable: Vec<IpAddr>,
    pub(super) spawn_failures: f64,
    pub(super) exit_jitter: Duration,
    pub(super) deaths: f64,
    pub(super) death_within: Duration,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::none()
    }
}

impl Faults {
    /// Returns a network without faults: nothing is lost or shortened, nothing takes time, and each direction holds 64
    /// KiB.
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
            lost: 0.0,
            doubled: 0.0,
            overtaken: 0.0,
            congested: 0.0,
            full: 0.0,
            mtu: None,
            descriptors: usize::MAX,
            black_holes: Vec::new(),
            unreachable: Vec::new(),
            spawn_failures: 0.0,
            exit_jitter: Duration::ZERO,
            deaths: 0.0,
            death_within: Duration::ZERO,
        }
    }

    /// Shortens reads: each takes fewer bytes than have arrived, down to one.
    pub fn short_reads(mut self) -> Faults {
        self.short_reads = true;
        self
    }

    /// Shortens writes: each takes fewer bytes than there is room for, down to one.
    pub fn short_writes(mut self) -> Faults {
        self.short_writes = true;
        self
    }

    /// Lends the provider's own memory in some reads, as a completion provider does. The other reads copy.
    pub fn lent_reads(mut self) -> Faults {
        self.lent_reads = true;
        self
    }

    /// Shuffles the events of each turn.
    pub fn shuffled(mut self) -> Faults {
        self.shuffled = true;
        self
    }

    /// Adds events to some turns for sources that have nothing to read.
    pub fn spurious_events(mut self) -> Faults {
        self.spurious = true;
        self
    }

    /// Breaks the connection for both ends in each send with this `probability`, from 0 to 1.
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn resets(mut self, probability: f64) -> Faults {
        self.resets = checked(probability);
        self
    }

    /// Refuses each TCP connection attempt with this `probability`, from 0 to 1.
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
    /// When `probability` is not from 0 to 1.
    pub fn refused(mut self, probability: f64) -> Faults {
        self.refused = checked(probability);
        self
    }

    /// Delays each segment by at least `shortest`.
    pub fn latency(mut self, shortest: Duration) -> Faults {
        self.latency = shortest;
        self
    }

    /// Delays each segment by up to `longest` more. Bytes of one connection stay in order.
    pub fn jitter(mut self, longest: Duration) -> Faults {
        self.jitter = longest;
        self
    }

    /// Sets the number of bytes, sent and unread, that each direction of a connection holds before its sender must wait. Pipes
    /// to children hold the same number.
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
    /// assert_eq!(server.transport().unwrap().buffered(), 2000); // 1000 bytes fill the buffer
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `bytes` is 0.
    pub fn buffer(mut self, bytes: usize) -> Faults {
        assert!(bytes > 0, "a buffer of 0 bytes: expected at least 1");
        self.buffer = bytes;
        self
    }

    /// Loses each UDP datagram with this `probability`, from 0 to 1.
    ///
    /// ```
    /// use ropewalk::testing::{Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::seeded(7).with_faults(Faults::none().lost(0.5));
    /// let (server, client) = (net.open_datagrams("10.0.0.1:53")?, net.open_datagrams("10.0.0.2:0")?);
    /// (0..100).for_each(|number| client.send_to(&[number], &server.address()));
    /// net.settle();
    /// assert!((30..70).contains(&std::iter::from_fn(|| server.receive()).count()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn lost(mut self, probability: f64) -> Faults {
        self.lost = checked(probability);
        self
    }

    /// Delivers each UDP datagram twice with this `probability`, from 0 to 1.
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn doubled(mut self, probability: f64) -> Faults {
        self.doubled = checked(probability);
        self
    }

    /// Lets a UDP datagram overtake earlier ones with this `probability`, from 0 to 1, if its [jitter](Faults::jitter)
    /// is shorter. The other datagrams between two addresses stay in order.
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn overtaken(mut self, probability: f64) -> Faults {
        self.overtaken = checked(probability);
        self
    }

    /// Marks each UDP datagram as having met congestion with this `probability`, from 0 to 1, if its sender reacts to
    /// that: a datagram with the [ECN mark](crate::Datagram::ecn) 1 or 2 arrives with 3, as RFC 3168 describes it.
    ///
    /// ```
    /// use ropewalk::sys::Outgoing;
    /// use ropewalk::testing::{Faults, MemoryReactor};
    /// use ropewalk::{Datagram, DatagramPort, DatagramProtocol, UdpBinding};
    ///
    /// struct Server;
    ///
    /// impl DatagramProtocol for Server {
    ///     fn datagram_received(&mut self, _port: &DatagramPort, datagram: &Datagram<'_>) {
    ///         assert_eq!(datagram.ecn, 3);
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().congested(1.0));
    /// let server = net.listen_udp(UdpBinding::try_from("10.0.0.1:53")?.details(), Server)?;
    /// let to = server.host();
    /// let _ = server.send(&[Outgoing { ecn: 2, ..Outgoing::to(b"hello", &to) }]);
    /// net.settle();
    /// assert_eq!(server.counters().received, 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn congested(mut self, probability: f64) -> Faults {
        self.congested = checked(probability);
        self
    }

    /// Takes a datagram of a port not now with this `probability`, from 0 to 1, as a system does whose buffers are full:
    /// EAGAIN. The port gets [`ready_to_send`](crate::DatagramProtocol::ready_to_send) in the next turn.
    ///
    /// ```
    /// use ropewalk::testing::{Faults, MemoryReactor};
    /// use ropewalk::{DatagramProtocol, Error};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().full(1.0));
    /// let port = net.listen_udp("10.0.0.1:53", Silent)?;
    /// assert!(matches!(port.write_to(b"hello", &port.host()), Err(Error::SendBufferFull)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn full(mut self, probability: f64) -> Faults {
        self.full = checked(probability);
        self
    }

    /// Loses UDP datagrams that are longer than `bytes`. A port that probes the MTU gets an error instead.
    ///
    /// ```
    /// use ropewalk::testing::{Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().mtu(1472).doubled(1.0).overtaken(0.1));
    /// let (server, client) = (net.open_datagrams("10.0.0.1:53")?, net.open_datagrams("10.0.0.2:0")?);
    /// client.send_to(&[0; 1473], &server.address());
    /// client.send_to(&[0; 1472], &server.address());
    /// net.settle();
    /// assert_eq!(server.receive().map(|(datagram, _)| datagram.len()), Some(1472));
    /// assert_eq!(server.receive().map(|(datagram, _)| datagram.len()), Some(1472)); // the double
    /// assert!(server.receive().is_none());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn mtu(mut self, bytes: usize) -> Faults {
        self.mtu = Some(bytes);
        self
    }

    /// Limits a reactor to `most` open sources. A reactor at this limit cannot listen, connect or accept: EMFILE.
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

    /// Drops connection attempts to the address `host`, so that they are never answered.
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

    /// Fails connection attempts to the address `host`, as a router does that knows no way to it: EHOSTUNREACH.
    ///
    /// ```
    /// use ropewalk::Error;
    /// use ropewalk::endpoints::{TcpClientEndpoint, connect_protocol};
    /// use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().unreachable([192, 0, 2, 1]));
    /// let endpoint = TcpClientEndpoint::new("192.0.2.1:80")?;
    /// let connected = connect_protocol(&net, &endpoint, AccumulatingProtocol::new());
    /// net.settle();
    /// let failure = connected.try_result().unwrap().unwrap_err();
    /// assert!(matches!(failure.downcast_ref(), Some(Error::NoRoute(..))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn unreachable(mut self, host: impl Into<IpAddr>) -> Faults {
        self.unreachable.push(host.into());
        self
    }
}

/// Faults of child processes.
impl Faults {
    /// Fails each start of a process with this `probability`, from 0 to 1: EAGAIN.
    ///
    /// ```
    /// use ropewalk::processes::{Command, SpawnStep};
    /// use ropewalk::testing::{Faults, MemoryReactor, Program};
    /// use ropewalk::Error;
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().spawn_failures(1.0));
    /// net.install_program("true", Program::exit(0));
    /// let failure = net.process_value(&Command::new("true")).try_result().unwrap().unwrap_err();
    /// let Some(Error::Spawn(error)) = failure.downcast_ref() else { panic!("{failure}") };
    /// assert_eq!(error.step(), SpawnStep::Process);
    /// ```
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn spawn_failures(mut self, probability: f64) -> Faults {
        self.spawn_failures = checked(probability);
        self
    }

    /// Separates the exit of each process from the end of its pipes by up to `longest`. The seed decides which of them
    /// comes first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::processes::{Capture, Command};
    /// use ropewalk::testing::{Faults, MemoryReactor, Program};
    ///
    /// let was_held = |seed| {
    ///     let faults = Faults::none().exit_jitter(Duration::from_secs(10));
    ///     let net = MemoryReactor::seeded(seed).with_faults(faults);
    ///     net.install_program("true", Program::exit(0));
    ///     let output = net.process_output(&Command::new("true"), Capture::new());
    ///     net.settle();
    ///     output.try_result().unwrap().unwrap().pipe_held
    /// };
    /// assert!((0..20).any(was_held) && !(0..20).all(was_held));
    /// ```
    pub fn exit_jitter(mut self, longest: Duration) -> Faults {
        self.exit_jitter = longest;
        self
    }

    /// Kills each process with this `probability`, from 0 to 1, at a random moment `within` this time of its start. The
    /// signal is SIGKILL, as when the system has no memory left.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::processes::Command;
    /// use ropewalk::testing::{Faults, MemoryReactor, Program};
    ///
    /// let net = MemoryReactor::new().with_faults(Faults::none().deaths(1.0, Duration::from_secs(10)));
    /// net.install_program("sleep", Program::sleep());
    /// let value = net.process_value(&Command::new("sleep").arg("60"));
    /// net.advance(Duration::from_secs(10));
    /// assert!(value.try_result().unwrap().unwrap().signal().is_some());
    /// ```
    ///
    /// # Panics
    /// When `probability` is not from 0 to 1.
    pub fn deaths(mut self, probability: f64, within: Duration) -> Faults {
        self.deaths = checked(probability);
        self.death_within = within;
        self
    }
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is not a probability: expected 0 to 1");
    probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "NaN is not a probability: expected 0 to 1")]
    fn a_probability_that_is_not_a_number_panics() {
        let _ = Faults::none().resets(f64::NAN);
    }
}
