//! Receiving: recvfrom(2) or recvmsg(2) for one datagram, recvmmsg(2) for more.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;
use std::slice;

use libc::{c_int, iovec, mmsghdr, msghdr};

use super::super::DatagramSocket;
use super::super::family::plain;
use super::control::{ROOM, read_details};
use super::{BATCH, NO_HEADER, NO_VECTOR};
use crate::seam::Arrival;
use crate::socket::raw_address::decode;

/// The size of sockaddr_storage.
const NAME: usize = 128;

/// Makes the returned length the true one, also if the datagram was cut: recv(2).
const FLAGS: c_int = libc::MSG_TRUNC;

/// Room for the name of a sender. The kernel fills its start, so it is not cleared before.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Name([MaybeUninit<u8>; NAME]);

impl Name {
    const EMPTY: Name = Name([MaybeUninit::uninit(); NAME]);

    /// Returns the name, of which the kernel reports the length: all of it, also if only a part had room.
    ///
    /// # Safety
    /// The kernel was given this room with its size, and has returned `length`.
    unsafe fn written(&self, length: usize) -> &[u8] {
        // SAFETY: the kernel has written `length` bytes, or has filled the room.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), length.min(NAME)) }
    }
}

/// The kernel's notes about one datagram.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Envelope<const CONTROL: usize> {
    name: Name,
    /// The kernel leaves the padding between control messages as it is.
    control: [u8; CONTROL],
}

/// Receives at most `most` datagrams. Returns whether more may be waiting.
pub(in super::super) fn receive(
    socket: &DatagramSocket,
    scratch: &mut [u8],
    most: usize,
    arrivals: &mut Vec<Arrival>,
) -> io::Result<bool> {
    let slot = socket.most.min(scratch.len()).max(1);
    match (most.min(scratch.len() / slot), socket.abilities.has_details) {
        (0 | 1, false) => receive_plain(socket, scratch, arrivals),
        (0 | 1, true) => receive_batch::<1, ROOM>(socket, scratch, 1, arrivals),
        (few @ 2..=4, false) => receive_batch::<4, 0>(socket, scratch, few, arrivals),
        (few @ 2..=4, true) => receive_batch::<4, ROOM>(socket, scratch, few, arrivals),
        (many, false) => receive_batch::<BATCH, 0>(socket, scratch, many.min(BATCH), arrivals),
        (many, true) => receive_batch::<BATCH, ROOM>(socket, scratch, many.min(BATCH), arrivals),
    }
}

/// Receives one datagram without details, with recvfrom(2), which costs the kernel less than recvmsg(2).
fn receive_plain(socket: &DatagramSocket, scratch: &mut [u8], arrivals: &mut Vec<Arrival>) -> io::Result<bool> {
    let slot = socket.most.min(scratch.len());
    let (fd, place) = (socket.fd().as_raw_fd(), scratch.as_mut_ptr().cast());
    let mut name = Name::EMPTY;
    let received = retry(|| {
        let mut room = NAME as libc::socklen_t;
        // SAFETY: the descriptor is open. The call writes at most `slot` bytes to `place`, which are a part of `scratch`,
        // and at most `room` bytes to `name`, which has as many.
        let length = unsafe { libc::recvfrom(fd, place, slot, FLAGS, name.0.as_mut_ptr().cast(), &raw mut room) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        Ok((length, room as usize))
    });
    match received {
        Ok((length, name_length)) => {
            // SAFETY: the call has returned both.
            let name = unsafe { name.written(name_length) };
            arrivals.push(arrival(0, slot, length, name));
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Receives at most `most` datagrams, for which there are `N` envelopes.
#[allow(clippy::unnecessary_cast, reason = "the lengths have other types in other C libraries")]
fn receive_batch<const N: usize, const CONTROL: usize>(
    socket: &DatagramSocket,
    scratch: &mut [u8],
    most: usize,
    arrivals: &mut Vec<Arrival>,
) -> io::Result<bool> {
    let slot = socket.most.min(scratch.len()).max(1);
    let mut envelopes = [Envelope { name: Name::EMPTY, control: [0; CONTROL] }; N];
    let mut vectors = [NO_VECTOR; N];
    let mut headers = [NO_HEADER; N];
    let mut places = scratch.chunks_exact_mut(slot);
    for ((header, vector), envelope) in headers.iter_mut().zip(&mut vectors).zip(&mut envelopes) {
        let place = places.next().unwrap_or_default();
        *vector = iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
        point_to(&mut header.msg_hdr, vector, envelope);
    }
    let count = match retry(|| call(socket, &mut headers[..most])) {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    };
    for (at, (header, envelope)) in headers.iter().zip(&envelopes).take(count).enumerate() {
        // SAFETY: `point_to` has given the name with its size to the kernel, which has returned the length.
        let name = unsafe { envelope.name.written(header.msg_hdr.msg_namelen as usize) };
        let mut arrival = arrival(at * slot, slot, header.msg_len as usize, name);
        arrival.is_cut |= header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        if CONTROL > 0 {
            let control = (header.msg_hdr.msg_controllen as usize).min(CONTROL);
            read_details(&envelope.control[..control], &mut arrival);
        }
        arrivals.push(arrival);
    }
    Ok(count == most)
}

/// Makes the system call once. Returns the number of datagrams.
fn call(socket: &DatagramSocket, headers: &mut [mmsghdr]) -> io::Result<usize> {
    let fd = socket.fd().as_raw_fd();
    if let [only] = headers {
        // SAFETY: the descriptor is open. The header points to memory that lives longer than the call, and has the
        // lengths of that memory.
        let length = unsafe { libc::recvmsg(fd, &raw mut only.msg_hdr, FLAGS) };
        only.msg_len = u32::try_from(length).map_err(|_| io::Error::last_os_error())?;
        return Ok(1);
    }
    // SAFETY: as above, for each header. No timeout is passed.
    let count = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), headers.len() as _, FLAGS as _, ptr::null_mut()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn retry<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn point_to<const CONTROL: usize>(header: &mut msghdr, vector: &mut iovec, envelope: &mut Envelope<CONTROL>) {
    header.msg_name = envelope.name.0.as_mut_ptr().cast();
    header.msg_namelen = NAME as _;
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header.msg_control = envelope.control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
}

/// Returns the arrival of a datagram of `length` bytes in the slot that begins at `start`.
#[inline]
fn arrival(start: usize, slot: usize, length: usize, name: &[u8]) -> Arrival {
    let mut arrival = Arrival::new(start..start + length.min(slot), plain(decode(name)));
    arrival.is_cut = length > slot;
    arrival
}
