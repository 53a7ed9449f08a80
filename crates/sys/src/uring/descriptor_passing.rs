//! Descriptors that travel with the bytes of UNIX connections: sendmsg(2) and recvmsg(2) of our own.
//!
//! No receive of the kernel competes for the messages, because a UNIX connection is always polled (`stops_short`).

use std::io;
use std::os::fd::AsFd;

use ropewalk_proto::{Key, Outbox};
use rustix::io::Errno;

use super::Uring;
use crate::seam::{DescriptorPassing, DescriptorQueue, PassedDescriptors, Received, Sent, Streams};
use crate::socket::descriptor_passing;

impl DescriptorPassing for Uring {
    fn send_with_descriptors(
        &mut self,
        key: Key,
        outbox: &mut Outbox,
        queue: &mut DescriptorQueue,
    ) -> io::Result<Sent> {
        self.flush_batched(key)?;
        let connection = self.source_mut(key)?.as_connection()?;
        descriptor_passing::check_family(connection.fd.as_fd())?;
        connection.check()?;
        if connection.unsent().is_some() {
            connection.awaits_write = true;
            return Ok(Sent::InFlight);
        }
        self.send_by(key, outbox, |socket, outbox| descriptor_passing::send(socket, outbox, queue))
    }

    fn receive_with_descriptors(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        passed: &mut PassedDescriptors,
    ) -> io::Result<Received> {
        if !self.source_mut(key)?.as_connection()?.stops_short {
            return self.receive(key, scratch);
        }
        self.receive_by(key, scratch, |socket, scratch| {
            loop {
                match descriptor_passing::receive(socket, scratch, passed) {
                    Ok(count) => return Ok(Some(count)),
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }
}
