//! Descriptors that travel with the bytes of UNIX connections.

use std::io;

use ropewalk_proto::{Key, Outbox};

use super::Readiness;
use super::selector::Selector;
use crate::seam::{DescriptorPassing, DescriptorQueue, PassedDescriptors, Received, Sent};
use crate::socket::descriptor_passing;
use crate::socket::table::{HasSocket, stale};

impl<S: Selector> DescriptorPassing for Readiness<S> {
    fn send_with_descriptors(
        &mut self,
        key: Key,
        outbox: &mut Outbox,
        queue: &mut DescriptorQueue,
    ) -> io::Result<Sent> {
        let source = self.sources.get(key).ok_or_else(stale)?;
        let socket = source.socket()?;
        descriptor_passing::check_family(socket)?;
        let full = descriptor_passing::send(socket, outbox, queue)?;
        self.sent(key, outbox, full)
    }

    fn receive_with_descriptors(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        passed: &mut PassedDescriptors,
    ) -> io::Result<Received> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        match descriptor_passing::receive(source.socket()?, scratch, passed) {
            Ok(0) => Ok(Received::Eof),
            Ok(count) if count < scratch.len() && passed.is_empty() && !source.stops_short => {
                source.unread = false;
                Ok(Received::Drained(count))
            }
            // A read stops short at a message with descriptors.
            Ok(count) => {
                self.left_unread(key);
                Ok(Received::Filled(count))
            }
            Err(error) => self.received_nothing(key, error),
        }
    }
}
