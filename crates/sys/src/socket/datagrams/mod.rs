//! Datagram sockets: one implementation of [`Datagrams`] for every provider that keeps a [`DatagramSocket`] under a key.
//!
//! ```text
//!   socket.rs    a socket with the facts that each send and receive needs: family, peer, lengths
//!   family.rs    which addresses it can send to, and IPv4 addresses in their mapped form
//!   options.rs   options, and groups
//!   groups_*     groups of IPv4, with or without the number of an interface
//!   linux/       many datagrams with one call, trains, details
//!   plain/       other systems: one datagram with each call, no details
//! ```

use std::io;
use std::net::IpAddr;

use ropewalk_proto::{Address, Key};

use crate::io_handle::OwnedSocket;
use crate::seam::{Arrival, DatagramOption, DatagramSpec, Datagrams, Outgoing};

mod family;
#[cfg_attr(multicast_by_index, path = "groups_by_index.rs")]
#[cfg_attr(not(multicast_by_index), path = "groups_anywhere.rs")]
mod groups;
mod options;
mod socket;
#[cfg_attr(linux_like, path = "linux/mod.rs")]
#[cfg_attr(not(linux_like), path = "plain/mod.rs")]
mod system;

pub(crate) use socket::DatagramSocket;

/// A provider that keeps datagram sockets under keys.
pub(crate) trait KeepsDatagrams {
    /// Returns a key for `socket`. The key reports nothing yet.
    fn keep_datagrams(&mut self, socket: DatagramSocket) -> io::Result<Key>;

    /// # Errors
    /// `NotFound` for a stale key, `InvalidInput` for a key of another kind.
    fn datagram_socket(&mut self, key: Key) -> io::Result<&mut DatagramSocket>;

    /// Reports WRITE once when there is room.
    fn await_room(&mut self, key: Key) -> io::Result<()>;
}

impl<P: KeepsDatagrams> Datagrams for P {
    fn open_datagrams(&mut self, spec: &DatagramSpec) -> io::Result<(Key, Address)> {
        let socket = DatagramSocket::open(spec)?;
        let address = socket.local_address()?;
        Ok((self.keep_datagrams(socket)?, address))
    }

    fn adopt_datagrams(
        &mut self,
        socket: OwnedSocket,
        spec: &DatagramSpec,
    ) -> io::Result<(Key, Address, Option<Address>)> {
        let socket = DatagramSocket::adopt(socket, spec)?;
        let (address, peer) = (socket.local_address()?, socket.peer().cloned());
        Ok((self.keep_datagrams(socket)?, address, peer))
    }

    fn connect_datagrams(&mut self, key: Key, peer: &Address) -> io::Result<Address> {
        let socket = self.datagram_socket(key)?;
        socket.connect(peer)?;
        socket.local_address()
    }

    fn receive_datagrams(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<bool> {
        system::receive(self.datagram_socket(key)?, scratch, most, arrivals)
    }

    fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        let socket = match self.datagram_socket(key) {
            Ok(socket) => socket,
            Err(error) => return (0, Err(error)),
        };
        let (sent, mut outcome) = system::send(socket, batch);
        let is_full = outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if is_full && socket.can_await_room() {
            if let Err(error) = self.await_room(key) {
                outcome = Err(error);
            }
        }
        (sent, outcome)
    }

    fn join_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        options::join(self.datagram_socket(key)?, group, interface)
    }

    fn leave_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        options::leave(self.datagram_socket(key)?, group, interface)
    }

    fn datagram_option(&mut self, key: Key, option: DatagramOption) -> io::Result<u32> {
        options::get(self.datagram_socket(key)?, option)
    }

    fn set_datagram_option(&mut self, key: Key, option: DatagramOption, value: u32) -> io::Result<()> {
        options::set(self.datagram_socket(key)?, option, value)
    }

    fn segments_max(&mut self, key: Key) -> io::Result<usize> {
        Ok(self.datagram_socket(key)?.abilities.segments_max())
    }

    fn dropped_datagrams(&mut self, key: Key) -> io::Result<u64> {
        system::dropped(self.datagram_socket(key)?.fd())
    }
}
