//! Bytes in and out of a connection.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use ropewalk_proto::Outbox;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use super::creation::SEND_FLAGS;

/// The number of slices that one call takes. Passing more slices in one call brought no gain.
const SLICES: usize = 64;

/// The number of bytes that one call takes. More bytes do not fit into a socket's buffer at once.
const CALL_BYTES: usize = 128 * 1024;

/// The most bytes that one turn of a connection sends, so that it does not starve the others.
const TURN_BYTES: usize = 256 * 1024;

/// Receives bytes. Returns `None` if nothing has arrived, and zero at the end of the stream. Only io_uring calls this.
#[cfg(target_os = "linux")]
pub(crate) fn receive(socket: BorrowedFd<'_>, scratch: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match receive_directly(socket, scratch) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Calls recv(2) once and returns its result unchanged.
#[inline(always)]
pub(crate) fn receive_directly(socket: BorrowedFd<'_>, scratch: &mut [u8]) -> rustix::io::Result<usize> {
    recv(socket, scratch, RecvFlags::empty()).map(|(_, count)| count)
}

/// Sends from the outbox until it is empty, the socket would block or the turn's share is used up. Returns whether the
/// socket would block.
pub(crate) fn send_outbox(socket: BorrowedFd<'_>, outbox: &mut Outbox) -> io::Result<bool> {
    send_by(outbox, |slices, offered| send_slices(socket, slices, offered))
}

/// Sends `slices`, which have `offered` bytes. Returns the number of bytes that were taken, and whether the socket would
/// block.
pub(super) fn send_slices(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>], offered: usize) -> io::Result<(usize, bool)> {
    let taken = match slices {
        [slice] => send_slice(socket, slice)?,
        slices => retry(|| sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SEND_FLAGS))?,
    };
    // The system took fewer bytes than offered: the socket's buffer is full, so another call would only return EAGAIN.
    Ok((taken, taken < offered))
}

/// Sends from the outbox by `send` until it is empty, `send` returns that nothing more fits, or the turn's share is
/// used up. `send` gets the slices of one system call and their total length. It returns the number of bytes that were
/// taken. Returns whether nothing more fits.
pub(crate) fn send_by(
    outbox: &mut Outbox,
    mut send: impl FnMut(&[IoSlice<'_>], usize) -> io::Result<(usize, bool)>,
) -> io::Result<bool> {
    let mut share = TURN_BYTES;
    while !outbox.is_empty() && share > 0 {
        let front = outbox.front();
        let (taken, is_full) = if outbox.is_contiguous() || front.len() >= CALL_BYTES {
            let front = &front[..front.len().min(CALL_BYTES)];
            send(&[IoSlice::new(front)], front.len())?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = outbox.slices(&mut slices);
            let (count, offered) = within_call(&slices[..filled]);
            send(&slices[..count], offered)?
        };
        outbox.advance(taken);
        if is_full {
            return Ok(true);
        }
        share = share.saturating_sub(taken);
    }
    Ok(false)
}

/// Sends as many bytes as the system takes at once.
pub(crate) fn send_slice(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    retry(|| send_directly(socket, bytes))
}

/// Returns how many slices fit into one call, and their total length. The caller ensures that the first slice fits.
fn within_call(slices: &[IoSlice<'_>]) -> (usize, usize) {
    let mut bytes = 0;
    for (count, slice) in slices.iter().enumerate() {
        if bytes + slice.len() > CALL_BYTES {
            return (count, bytes);
        }
        bytes += slice.len();
    }
    (slices.len(), bytes)
}

/// Calls send(2) once and returns its result unchanged.
#[inline(always)]
pub(crate) fn send_directly(socket: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    send(socket, bytes, SEND_FLAGS)
}

/// Calls recv(2) on a socket that may be blocking, because others use it. Never blocks.
pub(crate) fn receive_shared(socket: BorrowedFd<'_>, scratch: &mut [u8]) -> rustix::io::Result<usize> {
    recv(socket, scratch, RecvFlags::DONTWAIT).map(|(_, count)| count)
}

/// Calls send(2) on a socket that may be blocking, because others use it. Never blocks.
pub(crate) fn send_shared(socket: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    send(socket, bytes, SEND_FLAGS | SendFlags::DONTWAIT)
}

pub(super) fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            outcome => return Ok(outcome?),
        }
    }
}
