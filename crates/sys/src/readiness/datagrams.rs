//! Datagram sockets, which are watched level-triggered.

use std::io;

use ropewalk_proto::Key;

use super::registration::Registration;
use super::selector::{Selector, Watch};
use super::{Readiness, want};
use crate::socket::datagrams::{DatagramSocket, KeepsDatagrams};
use crate::socket::table::stale;

impl<S: Selector> KeepsDatagrams for Readiness<S> {
    fn keep_datagrams(&mut self, socket: DatagramSocket) -> io::Result<Key> {
        self.insert(Registration::datagrams(socket), Watch::empty())
    }

    fn datagram_socket(&mut self, key: Key) -> io::Result<&mut DatagramSocket> {
        self.sources.get_mut(key).ok_or_else(stale)?.as_datagrams()
    }

    fn await_room(&mut self, key: Key) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        let wanted = source.wanted | Watch::WRITE;
        want(&mut self.selector, source, key, wanted)
    }
}
