//! Sending: sendmsg(2) for one message, sendmmsg(2) for more. A message is a datagram or a train.

use std::array;
use std::ffi::c_void;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};

use libc::{iovec, mmsghdr, msghdr};
use ropewalk_proto::Address;
use rustix::net::SocketAddrAny;

use super::super::DatagramSocket;
use super::super::family::plain_ip;
use super::BATCH;
use super::control::Control;
use super::trains::{PARTS_MAX, message_length};
use crate::seam::Outgoing;

/// A message that was prepared for one system call.
struct Message {
    to: Option<SocketAddrAny>,
    control: Control,
    /// The number of datagrams.
    count: usize,
}

/// Sends in order. Returns the number that was sent, and the reason why the next one was not.
pub(in super::super) fn send(socket: &mut DatagramSocket, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
    let mut sent = 0;
    while sent < batch.len() {
        let rest = &batch[sent..];
        let outcome = if rest.len() == 1 { send_some::<1>(socket, rest) } else { send_some::<BATCH>(socket, rest) };
        match outcome {
            Ok(count) => sent += count,
            Err(error) => return (sent, Err(error)),
        }
    }
    (sent, Ok(()))
}

/// Makes one system call, with at most `N` messages. Returns the number of datagrams that were sent.
fn send_some<const N: usize>(socket: &mut DatagramSocket, batch: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut vectors = [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PARTS_MAX];
    let mut messages: [Message; N] = array::from_fn(|_| Message { to: None, control: Control::new(), count: 0 });
    let prepared = prepare(socket, batch, &mut messages)?;
    let mut parts = batch.iter();
    let mut free = &mut vectors[..];
    let mut headers: [mmsghdr; N] = array::from_fn(|at| {
        let count = messages[at].count;
        let (own, rest) = mem::take(&mut free).split_at_mut(count);
        free = rest;
        for (vector, part) in own.iter_mut().zip(&mut parts) {
            *vector = iovec { iov_base: part.bytes.as_ptr().cast_mut().cast(), iov_len: part.bytes.len() };
        }
        header(&messages[at], own)
    });
    match call(socket.fd().as_raw_fd(), &mut headers[..prepared]) {
        Ok(sent) => Ok(messages[..sent].iter().map(|message| message.count).sum()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) if messages[0].count > 1 && socket.train_failed(&error, batch[0].bytes.len()) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Fills `messages` from the start of `batch`. Returns their number.
///
/// # Errors
/// The error of the first message. A later message with an error is left to the next call.
fn prepare(socket: &DatagramSocket, batch: &[Outgoing<'_>], messages: &mut [Message]) -> io::Result<usize> {
    let (mut rest, mut vectors_left) = (batch, PARTS_MAX);
    for (at, message) in messages.iter_mut().enumerate() {
        let count = message_length(rest, socket.abilities.train_part_max);
        if count == 0 || count > vectors_left {
            return Ok(at);
        }
        match address(socket, message, &rest[0]) {
            Err(error) if at == 0 => return Err(error),
            Err(_) => return Ok(at),
            Ok(()) => {}
        }
        if count > 1 {
            message.control.push_segment(rest[0].bytes.len() as u16);
        }
        message.count = count;
        vectors_left -= count;
        rest = &rest[count..];
    }
    Ok(messages.len())
}

/// Writes the destination of a message, its source and its mark.
fn address(socket: &DatagramSocket, message: &mut Message, datagram: &Outgoing<'_>) -> io::Result<()> {
    message.to = datagram.to.map(|to| socket.family.destination(to)).transpose()?;
    if datagram.ecn == 0 && datagram.interface == 0 && datagram.from.is_none() {
        return Ok(());
    }
    let Some(to) = datagram.to.or(socket.peer()).and_then(Address::inet) else { return Ok(()) };
    let is_v4 = plain_ip(to.ip()).is_ipv4();
    push_source(socket, &mut message.control, datagram, is_v4)?;
    if datagram.ecn != 0 {
        message.control.push_ecn(datagram.ecn, is_v4);
    }
    Ok(())
}

fn push_source(socket: &DatagramSocket, control: &mut Control, datagram: &Outgoing<'_>, is_v4: bool) -> io::Result<()> {
    let from = datagram.from.map(plain_ip).filter(|from| !from.is_multicast());
    match (from, is_v4) {
        (None, _) if datagram.interface == 0 => {}
        (None, true) => control.push_v4_source(Ipv4Addr::UNSPECIFIED, datagram.interface),
        (None, false) => control.push_v6_source(Ipv6Addr::UNSPECIFIED, datagram.interface),
        (Some(IpAddr::V4(from)), true) => control.push_v4_source(from, datagram.interface),
        (Some(IpAddr::V6(from)), false) => control.push_v6_source(from, datagram.interface),
        (Some(from), _) => return Err(socket.family.error(std::net::SocketAddr::new(from, 0).into())),
    }
    Ok(())
}

fn header(message: &Message, vectors: &mut [iovec]) -> mmsghdr {
    // SAFETY: null pointers and zero lengths are valid. Some C libraries have private padding, which must be zero.
    let mut header: msghdr = unsafe { mem::zeroed() };
    if let Some(to) = &message.to {
        header.msg_name = to.as_ptr().cast::<c_void>().cast_mut();
        header.msg_namelen = to.addr_len() as _;
    }
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    let control = message.control.as_bytes();
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast::<c_void>().cast_mut();
        header.msg_controllen = control.len() as _;
    }
    mmsghdr { msg_hdr: header, msg_len: 0 }
}

/// Makes the system call once. Returns the number of messages that were sent.
fn call(fd: RawFd, headers: &mut [mmsghdr]) -> io::Result<usize> {
    if let [only] = headers {
        // SAFETY: the descriptor is open. The header points to memory that lives longer than the call, which only reads
        // it.
        let sent = unsafe { libc::sendmsg(fd, &raw const only.msg_hdr, libc::MSG_NOSIGNAL) };
        return if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) };
    }
    // SAFETY: as above, for each header. The call writes `msg_len`.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as _, libc::MSG_NOSIGNAL as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
