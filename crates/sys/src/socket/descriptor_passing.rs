//! Descriptors in and out of a UNIX connection: the system calls of [`DescriptorPassing`](crate::DescriptorPassing), for
//! all providers.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use ropewalk_proto::Outbox;
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    recvmsg, sendmsg,
};

use super::creation::{RECEIVE_FLAGS, SEND_FLAGS, close_by_exec};
use super::raw_address::RawAddress;
use super::transfer::{retry, send_by, send_slices};
use crate::seam::{DescriptorQueue, PassedDescriptors};
use crate::system_error::explained_error;

/// The room for the descriptors of one message.
const DESCRIPTORS: usize = cmsg_space!(ScmRights(DescriptorQueue::MOST));

/// The room for other control data that the program may have switched on, such as credentials.
const OTHERS: usize = 256;

/// Sends from the outbox as [`send_outbox`](super::transfer::send_outbox), and each descriptor with its byte. Returns
/// whether the socket would block. [`check_family`] has accepted the socket.
pub(crate) fn send(socket: BorrowedFd<'_>, outbox: &mut Outbox, queue: &mut DescriptorQueue) -> io::Result<bool> {
    send_by(outbox, |slices, offered| {
        if queue.is_empty() {
            return send_slices(socket, slices, offered);
        }
        let first = &slices[0];
        let message = &first[..queue.bytes_until_next().unwrap_or(usize::MAX).min(first.len())];
        let taken = send_message(socket, message, queue)?;
        queue.sent(taken);
        Ok((taken, taken < message.len()))
    })
}

/// Sends `bytes` with the descriptors of the first byte.
fn send_message(socket: BorrowedFd<'_>, bytes: &[u8], queue: &DescriptorQueue) -> io::Result<usize> {
    let descriptors: Vec<_> = queue.with_next_byte().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); DESCRIPTORS];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        // The space is enough for a full queue.
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    retry(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SEND_FLAGS)).map_err(explain)
}

/// Receives bytes, and the descriptors that came with them.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    scratch: &mut [u8],
    passed: &mut PassedDescriptors,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); DESCRIPTORS + OTHERS];
    // Closes the descriptors that are not taken out.
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(scratch)], &mut control, RECEIVE_FLAGS)?;
    for part in control.drain() {
        let RecvAncillaryMessage::ScmRights(descriptors) = part else { continue };
        for descriptor in descriptors {
            close_by_exec(&descriptor)?;
            passed.descriptors.push(descriptor);
        }
    }
    passed.are_lost |= message.flags.contains(ReturnFlags::CTRUNC);
    Ok(message.bytes)
}

/// Checks that the socket is a UNIX socket. TCP would take the bytes and drop the descriptors without an error.
///
/// # Errors
/// `InvalidInput` for a socket of another family. The errors of getsockname(2).
pub(crate) fn check_family(socket: BorrowedFd<'_>) -> io::Result<()> {
    if RawAddress::local(socket)?.family() == AddressFamily::UNIX {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "only a UNIX connection carries descriptors"))
}

fn explain(error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) != Some(Errno::TOOMANYREFS) {
        return error;
    }
    let message = "too many descriptors are in flight: peers must receive some first, or raise RLIMIT_NOFILE";
    explained_error(error.kind(), error, message)
}
