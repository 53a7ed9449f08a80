//! Sending: sendto(2) or sendmsg(2) for one message, sendmmsg(2) for more. A message is a datagram or a train.

use std::array;
use std::ffi::c_void;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::slice;

use libc::{iovec, mmsghdr, msghdr, sockaddr_in};
use ropewalk_proto::Address;
use rustix::net::SocketAddrAny;

use super::super::DatagramSocket;
use super::super::family::{Family, plain_ip};
use super::control::Control;
use super::trains::{PARTS_MAX, is_refusal, message_length};
use super::{BATCH, NO_HEADER, NO_VECTOR};
use crate::seam::Outgoing;

/// A destination as the system calls read it.
enum Name {
    /// The peer of a connected socket.
    Peer,
    /// The usual one, which is written without copies.
    V4(sockaddr_in),
    Other(SocketAddrAny),
}

impl Name {
    fn v4(to: SocketAddrV4) -> Name {
        Name::V4(sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
            sin_zero: [0; 8],
        })
    }

    /// Returns the place of the name, and its length.
    fn raw(&self) -> (*const c_void, usize) {
        match self {
            Name::Peer => (ptr::null(), 0),
            Name::V4(name) => (ptr::from_ref(name).cast(), size_of_val(name)),
            Name::Other(name) => (name.as_ptr().cast(), name.addr_len() as usize),
        }
    }
}

/// The destination and the control messages of a message, for the time of one system call.
struct Envelope {
    to: Name,
    /// Most datagrams have no control messages, and then there is nothing to clear.
    control: Option<Control>,
}

impl Envelope {
    const fn new() -> Envelope {
        Envelope { to: Name::Peer, control: None }
    }

    fn control(&mut self) -> &mut Control {
        self.control.get_or_insert_with(Control::new)
    }
}

/// Makes one system call for messages. Returns the number of messages that were sent.
trait Call: FnMut(RawFd, &mut [mmsghdr]) -> io::Result<usize> {}

impl<C: FnMut(RawFd, &mut [mmsghdr]) -> io::Result<usize>> Call for C {}

/// Sends in order. Returns the number that was sent, and the reason why the next one was not.
pub(in super::super) fn send(socket: &mut DatagramSocket, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
    send_by(socket, batch, &mut call)
}

/// Sends by a system call, which a test may replace.
fn send_by(socket: &mut DatagramSocket, batch: &[Outgoing<'_>], call: &mut impl Call) -> (usize, io::Result<()>) {
    let mut sent = 0;
    while sent < batch.len() {
        let outcome = match &batch[sent..] {
            [only] => send_one(socket, only, call),
            rest => send_some::<BATCH, PARTS_MAX>(socket, rest, call),
        };
        match outcome {
            Ok(count) => sent += count,
            Err(error) => return (sent, Err(error)),
        }
    }
    (sent, Ok(()))
}

/// Sends one datagram. Returns the number of datagrams that were sent.
fn send_one(socket: &mut DatagramSocket, datagram: &Outgoing<'_>, call: &mut impl Call) -> io::Result<usize> {
    send_some::<1, 1>(socket, slice::from_ref(datagram), call)
}

/// Makes one system call for at most `MESSAGES` messages, which have at most `PARTS` parts together. Returns the number
/// of datagrams that were sent.
///
/// # Errors
/// The error of the first message. A later message with an error is left to the next call.
#[inline]
fn send_some<const MESSAGES: usize, const PARTS: usize>(
    socket: &mut DatagramSocket,
    batch: &[Outgoing<'_>],
    call: &mut impl Call,
) -> io::Result<usize> {
    let part_max = socket.abilities.trains.part_max();
    let mut envelopes: [Envelope; MESSAGES] = array::from_fn(|_| Envelope::new());
    let mut vectors = [NO_VECTOR; PARTS];
    let mut headers = [NO_HEADER; MESSAGES];
    let (mut rest, mut free, mut prepared) = (batch, &mut vectors[..], 0);
    for (header, envelope) in headers.iter_mut().zip(&mut envelopes) {
        let parts = message_length(rest, part_max);
        if parts == 0 || parts > free.len() {
            break;
        }
        let (message, behind) = rest.split_at(parts);
        match address(socket, envelope, &message[0]) {
            Err(error) if prepared == 0 => return Err(error),
            Err(_) => break,
            Ok(()) => {}
        }
        if parts > 1 {
            envelope.control().push_segment(message[0].bytes.len() as u16);
        }
        let (own, others) = mem::take(&mut free).split_at_mut(parts);
        point_to(&mut header.msg_hdr, envelope, message, own);
        (rest, free, prepared) = (behind, others, prepared + 1);
    }
    match call(socket.fd().as_raw_fd(), &mut headers[..prepared]) {
        Ok(sent) => Ok(headers[..sent].iter().map(parts_of).sum()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) if parts_of(&headers[0]) > 1 && is_refusal(&error) => send_alone(socket, batch, &error, call),
        Err(error) => Err(error),
    }
}

/// Sends the first datagram of a train that the system has refused with `refusal`.
#[cold]
fn send_alone(
    socket: &mut DatagramSocket,
    batch: &[Outgoing<'_>],
    refusal: &io::Error,
    call: &mut impl Call,
) -> io::Result<usize> {
    let sent = send_one(socket, &batch[0], call)?;
    if sent > 0 {
        socket.abilities.trains.refused(refusal, batch[0].bytes.len());
    }
    Ok(sent)
}

/// Writes the destination of a message, its source and its mark.
#[inline]
fn address(socket: &DatagramSocket, envelope: &mut Envelope, datagram: &Outgoing<'_>) -> io::Result<()> {
    envelope.to = match datagram.to {
        None => Name::Peer,
        Some(&Address::Inet(SocketAddr::V4(to))) if socket.family == Family::V4 => Name::v4(to),
        Some(to) => Name::Other(socket.family.destination(to)?),
    };
    if datagram.ecn == 0 && datagram.interface == 0 && datagram.from.is_none() {
        return Ok(());
    }
    let Some(to) = datagram.to.or(socket.peer()).and_then(Address::inet) else { return Ok(()) };
    let is_v4 = plain_ip(to.ip()).is_ipv4();
    push_source(socket, envelope, datagram, is_v4)?;
    if datagram.ecn != 0 {
        envelope.control().push_ecn(datagram.ecn, is_v4);
    }
    Ok(())
}

fn push_source(
    socket: &DatagramSocket,
    envelope: &mut Envelope,
    datagram: &Outgoing<'_>,
    is_v4: bool,
) -> io::Result<()> {
    let from = datagram.from.map(plain_ip).filter(|from| !from.is_multicast());
    match (from, is_v4) {
        (None, _) if datagram.interface == 0 => {}
        (None, true) => envelope.control().push_v4_source(Ipv4Addr::UNSPECIFIED, datagram.interface),
        (None, false) => envelope.control().push_v6_source(Ipv6Addr::UNSPECIFIED, datagram.interface),
        (Some(IpAddr::V4(from)), true) => envelope.control().push_v4_source(from, datagram.interface),
        (Some(IpAddr::V6(from)), false) => envelope.control().push_v6_source(from, datagram.interface),
        (Some(from), _) => return Err(socket.family.error(SocketAddr::new(from, 0).into())),
    }
    Ok(())
}

/// Makes a header point to a message and its envelope, by way of `vectors`.
fn point_to(header: &mut msghdr, envelope: &Envelope, message: &[Outgoing<'_>], vectors: &mut [iovec]) {
    for (vector, part) in vectors.iter_mut().zip(message) {
        *vector = iovec { iov_base: part.bytes.as_ptr().cast_mut().cast(), iov_len: part.bytes.len() };
    }
    let (name, length) = envelope.to.raw();
    header.msg_name = name.cast_mut();
    header.msg_namelen = length as _;
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    if let Some(control) = &envelope.control {
        let control = control.as_bytes();
        header.msg_control = control.as_ptr().cast::<c_void>().cast_mut();
        header.msg_controllen = control.len() as _;
    }
}

/// Returns the number of datagrams of a message.
#[allow(clippy::unnecessary_cast, reason = "the number has another type in other C libraries")]
fn parts_of(header: &mmsghdr) -> usize {
    header.msg_hdr.msg_iovlen as usize
}

/// Makes the system call once. Returns the number of messages that were sent.
fn call(fd: RawFd, headers: &mut [mmsghdr]) -> io::Result<usize> {
    if let [only] = headers {
        let sent = match &only.msg_hdr {
            plain if plain.msg_iovlen == 1 && plain.msg_controllen == 0 => send_plain(fd, plain),
            // SAFETY: the descriptor is open. The header points to memory that lives longer than the call, which only
            // reads it.
            header => unsafe { libc::sendmsg(fd, header, libc::MSG_NOSIGNAL) },
        };
        return if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) };
    }
    // SAFETY: as above, for each header. The call writes `msg_len`.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as _, libc::MSG_NOSIGNAL as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Makes the call for one vector without control messages: sendto(2), which costs the kernel less than sendmsg(2).
fn send_plain(fd: RawFd, header: &msghdr) -> isize {
    // SAFETY: the header points to one vector.
    let iovec { iov_base, iov_len } = unsafe { *header.msg_iov };
    let (name, length) = (header.msg_name.cast(), header.msg_namelen);
    // SAFETY: the descriptor is open. The vector and the name point to memory that lives longer than the call, which
    // only reads it.
    unsafe { libc::sendto(fd, iov_base, iov_len, libc::MSG_NOSIGNAL, name, length) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::seam::DatagramSpec;

    const ANYWHERE: &str = "127.0.0.1:0";

    fn open() -> DatagramSocket {
        let anywhere: SocketAddr = ANYWHERE.parse().unwrap();
        DatagramSocket::open(&DatagramSpec::new(anywhere.into())).unwrap()
    }

    fn receiver() -> (UdpSocket, Address) {
        let socket = UdpSocket::bind(ANYWHERE).unwrap();
        socket.set_nonblocking(true).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 2 << 20).unwrap();
        let address = socket.local_addr().unwrap().into();
        (socket, address)
    }

    /// Returns the number that each datagram begins with, in the order of arrival.
    fn arrived(socket: &UdpSocket) -> Vec<u8> {
        let mut bytes = [0; 2000];
        std::iter::from_fn(|| socket.recv(&mut bytes).ok().map(|_| bytes[0])).collect()
    }

    /// Returns a system call that refuses trains with `errno`, and the number of calls so far.
    fn refusing<'a>(errno: i32, calls: &'a mut u32) -> impl Call + 'a {
        move |fd, headers: &mut [mmsghdr]| {
            *calls += 1;
            let is_train = |header: &mmsghdr| header.msg_hdr.msg_iovlen > 1;
            match headers.iter().position(is_train) {
                Some(0) => Err(io::Error::from_raw_os_error(errno)),
                Some(first) => call(fd, &mut headers[..first]),
                None => call(fd, headers),
            }
        }
    }

    #[test]
    fn datagrams_of_a_refused_train_leave_one_by_one() {
        // U13: none is lost, and none leaves twice.
        for errno in [libc::EIO, libc::EINVAL, libc::EMSGSIZE] {
            let (mut socket, (receiver, to), mut calls) = (open(), receiver(), 0);
            let contents: Vec<_> = (0..130_u8).map(|number| [number; 700]).collect();
            let batch: Vec<_> = contents.iter().map(|content| Outgoing::to(content, &to)).collect();
            let (sent, outcome) = send_by(&mut socket, &batch, &mut refusing(errno, &mut calls));
            assert!(sent == 130 && outcome.is_ok(), "{sent}: {outcome:?}");
            assert_eq!(arrived(&receiver), (0..130).collect::<Vec<_>>());
            assert_eq!(calls, 2 + 129_u32.div_ceil(BATCH as u32), "the train is tried once");
            assert_eq!(socket.abilities.trains.segments_max() > 1, errno != libc::EIO);
        }
    }

    #[test]
    fn shorter_datagrams_still_leave_as_trains() {
        let (mut socket, (_receiver, to)) = (open(), receiver());
        let refusal = io::Error::from_raw_os_error(libc::EMSGSIZE);
        socket.abilities.trains.refused(&refusal, 1200);
        for (length, expected) in [(1199, 1), (1200, 3)] {
            let (content, mut calls) = (vec![0; length], Vec::new());
            let (_, outcome) = send_by(&mut socket, &[Outgoing::to(&content, &to); 3], &mut |fd, headers: &mut [_]| {
                calls.push(headers.len());
                call(fd, headers)
            });
            assert!(outcome.is_ok());
            assert_eq!(calls, [expected], "messages of {length} bytes");
        }
    }

    #[test]
    fn refused_trains_are_tried_again_later() {
        let (mut socket, (_receiver, to), mut refusals) = (open(), receiver(), 0);
        for _ in 0..3000 {
            let (sent, outcome) = send_by(&mut socket, &[Outgoing::to(b"x", &to); 2], &mut |fd, headers: &mut [_]| {
                let is_train = headers[0].msg_hdr.msg_iovlen > 1;
                refusals += u32::from(is_train);
                if is_train { Err(io::Error::from_raw_os_error(libc::EIO)) } else { call(fd, headers) }
            });
            assert!(sent == 2 && outcome.is_ok());
        }
        assert!((3..=4).contains(&refusals), "{refusals}");
    }

    #[test]
    fn a_destination_that_is_refused_alone_leaves_trains_on() {
        // udp(7): EINVAL for port 0.
        let (mut socket, (receiver, to)) = (open(), receiver());
        let nowhere = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (sent, outcome) = send(&mut socket, &[Outgoing::to(b"x", &nowhere); 5]);
        assert_eq!((sent, outcome.unwrap_err().raw_os_error()), (0, Some(libc::EINVAL)));
        let mut messages = 0;
        let batch = [1, 2, 3].map(|number| [number]);
        let batch = [0, 1, 2].map(|at| Outgoing::to(&batch[at], &to));
        let (sent, outcome) = send_by(&mut socket, &batch, &mut |fd, headers: &mut [_]| {
            messages += headers.len();
            call(fd, headers)
        });
        assert!(sent == 3 && outcome.is_ok());
        assert_eq!((messages, arrived(&receiver)), (1, vec![1, 2, 3]));
    }
}
