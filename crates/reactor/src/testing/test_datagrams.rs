//! A datagram socket that a test holds.

use std::{fmt, io};

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{DatagramSpec, Outgoing};

use super::simulated::SharedNetwork;

/// A datagram socket on a simulated network, held by the test. Dropping it closes it.
///
/// All methods may be called from any callback and any thread.
///
/// [`MemoryReactor::open_datagrams`](super::MemoryReactor::open_datagrams) returns it.
///
/// ```
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::{Datagram, DatagramPort, DatagramProtocol};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
///         let _ = port.write_to(datagram.data, datagram.from);
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let server = net.listen_udp("10.0.0.1:7", Echo)?;
/// let client = net.open_datagrams("10.0.0.2:0")?;
/// assert_ne!(client.address().inet().unwrap().port(), 0);
/// client.send_to(b"hello", &server.host());
/// net.settle();
/// assert_eq!(client.receive(), Some((b"hello".to_vec(), server.host())));
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct TestDatagrams {
    network: SharedNetwork,
    key: Key,
    address: Address,
}

impl TestDatagrams {
    pub(super) fn open(network: &SharedNetwork, address: Address) -> io::Result<TestDatagrams> {
        let spec = DatagramSpec { most: 65_536, ..DatagramSpec::new(address) };
        let (key, address) = network.with_ends(|network, ends| network.open_datagrams(ends.owner(), &spec))?;
        Ok(TestDatagrams { network: network.clone(), key, address })
    }

    /// Sends a datagram to `to`.
    ///
    /// # Panics
    /// When the network does not take the datagram: it is too long, or `to` is of another family.
    pub fn send_to(&self, data: &[u8], to: &Address) {
        let (_, outcome) = self.network.with(|network| network.send_datagrams(self.key, &[Outgoing::to(data, to)]));
        if let Err(error) = outcome {
            panic!("cannot send a datagram to {to}: {error}");
        }
    }

    /// Returns the next datagram that has arrived, and its sender.
    pub fn receive(&self) -> Option<(Vec<u8>, Address)> {
        let (mut scratch, mut arrivals) = (vec![0; 65_536], Vec::new());
        let received = |network: &mut super::simulated::Network| {
            network.receive_datagrams(self.key, &mut scratch, 1, &mut arrivals)
        };
        // The socket has no peer, so no refusal can be reported here.
        self.network.with(received).ok()?;
        let arrival = arrivals.pop()?;
        Some((scratch[arrival.bytes].to_vec(), arrival.sender))
    }

    /// Returns the address of the socket, with the port that was chosen for port 0.
    pub fn address(&self) -> Address {
        self.address.clone()
    }
}

impl fmt::Debug for TestDatagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatagrams").field("address", &self.address.to_string()).finish_non_exhaustive()
    }
}

impl Drop for TestDatagrams {
    fn drop(&mut self) {
        self.network.with(|network| network.close(self.key));
    }
}
