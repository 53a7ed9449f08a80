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
    let mut share = TURN_BYTES;
    while !outbox.is_empty() && share > 0 {
        let (offered, taken) = send_once(socket, outbox)?;
        outbox.advance(taken);
        // The system took fewer bytes than offered: the socket's buffer is full, so another call would only return
        // EAGAIN.
        if taken < offered {
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

/// Makes one system call. Returns the number of bytes offered to the system and the number of bytes that it took.
fn send_once(socket: BorrowedFd<'_>, outbox: &Outbox) -> io::Result<(usize, usize)> {
    let front = outbox.front();
    if outbox.is_contiguous() || front.len() >= CALL_BYTES {
        let front = &front[..front.len().min(CALL_BYTES)];
        return Ok((front.len(), send_slice(socket, front)?));
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = outbox.slices(&mut slices);
    let slices = within(&slices[..filled], CALL_BYTES);
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let taken = retry(|| sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SEND_FLAGS))?;
    Ok((offered, taken))
}

/// Returns as many slices as have at most `most` bytes together. The caller ensures that the first slice fits.
pub(crate) fn within<'a, 'b>(slices: &'a [IoSlice<'b>], most: usize) -> &'a [IoSlice<'b>] {
    let mut bytes = 0;
    let fits = |slice: &IoSlice<'_>| {
        bytes += slice.len();
        bytes <= most
    };
    let beyond = slices.iter().map(fits).position(|fits| !fits);
    &slices[..beyond.unwrap_or(slices.len())]
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

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            outcome => return Ok(outcome?),
        }
    }
}
