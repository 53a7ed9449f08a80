//! Datagram sockets: a one-shot poll, and the calls that every provider makes.
//!
//! The kernel's own multishot receive gained nothing that could be measured over a poll and recvmmsg(2). It would need
//! a second ring of buffers, with room for names and control messages in each.

use std::io;

use ropewalk_proto::Key;

use super::Uring;
use super::polling::Polling;
use super::slot::{Resource, Slot};
use crate::socket::datagrams::{DatagramSocket, KeepsDatagrams};
use crate::socket::table::not_datagrams;

pub(super) struct DatagramSlot {
    pub(super) socket: DatagramSocket,
    pub(super) polling: Polling,
}

impl KeepsDatagrams for Uring {
    fn keep_datagrams(&mut self, socket: DatagramSocket) -> io::Result<Key> {
        Ok(self.sources.insert(Slot::datagrams(socket)))
    }

    fn datagram_socket(&mut self, key: Key) -> io::Result<&mut DatagramSocket> {
        Ok(&mut self.source_mut(key)?.as_datagrams()?.socket)
    }

    fn await_room(&mut self, key: Key) -> io::Result<()> {
        self.source_mut(key)?.as_datagrams()?.polling.await_write();
        self.arm(key);
        self.submit_for_host()
    }
}

impl Slot {
    fn as_datagrams(&mut self) -> io::Result<&mut DatagramSlot> {
        match &mut self.resource {
            Resource::Datagrams(datagrams) => Ok(datagrams),
            _ => Err(not_datagrams()),
        }
    }
}
