//! Systems other than Linux: one datagram with each call, without details, trains, or a choice of the source.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{send as send_one, sendto};

use super::DatagramSocket;
use super::family::{Family, plain};
use crate::seam::{Arrival, Outgoing};
use crate::socket::creation::SEND_FLAGS;
use crate::socket::raw_address::RawAddress;

/// The facts about a socket that only such a system needs: none.
pub(super) struct Abilities;

impl Abilities {
    /// # Errors
    /// `Unsupported` if `details` are wanted.
    pub(super) fn set_up(_fd: BorrowedFd<'_>, family: Family, details: bool) -> io::Result<Abilities> {
        if details && family.is_inet() { Err(lacks("the details of a datagram")) } else { Ok(Abilities) }
    }

    pub(super) fn segments_max(&self) -> usize {
        1
    }
}

/// Receives at most `most` datagrams. Returns whether more may be waiting.
pub(super) fn receive(
    socket: &DatagramSocket,
    scratch: &mut [u8],
    most: usize,
    arrivals: &mut Vec<Arrival>,
) -> io::Result<bool> {
    // The byte more shows that a datagram was longer.
    let slot = (socket.most + 1).min(scratch.len()).max(1);
    let slots = scratch.chunks_exact_mut(slot).take(most.max(1)).enumerate();
    for (number, place) in slots {
        let Some((length, sender)) = receive_one(socket, place)? else { return Ok(false) };
        let start = number * slot;
        let mut arrival = Arrival::new(start..start + length.min(socket.most), plain(sender.decode()));
        arrival.is_cut = length > socket.most;
        arrivals.push(arrival);
    }
    Ok(true)
}

/// Receives one datagram. Returns its length and its sender, or `None` if there is none.
fn receive_one(socket: &DatagramSocket, place: &mut [u8]) -> io::Result<Option<(usize, RawAddress)>> {
    let (fd, start, room) = (socket.fd().as_raw_fd(), place.as_mut_ptr().cast(), place.len());
    loop {
        let received = RawAddress::written_by(|name, length| {
            // SAFETY: the descriptor is open, `place` has this size, and the other pointers are those of `written_by`.
            unsafe { libc::recvfrom(fd, start, room, 0, name, length) as _ }
        });
        match received {
            Ok((length, sender)) => return Ok(Some((usize::try_from(length).unwrap_or(0), sender))),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends in order. Returns the number that was sent, and the reason why the next one was not.
pub(super) fn send(socket: &mut DatagramSocket, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
    for (sent, datagram) in batch.iter().enumerate() {
        if let Err(error) = send_datagram(socket, datagram) {
            return (sent, Err(error));
        }
    }
    (batch.len(), Ok(()))
}

fn send_datagram(socket: &DatagramSocket, datagram: &Outgoing<'_>) -> io::Result<()> {
    if datagram.from.is_some() || datagram.interface != 0 || datagram.ecn != 0 {
        return Err(lacks("the choice of a datagram's source or mark"));
    }
    let to = datagram.to.map(|to| socket.family.destination(to)).transpose()?;
    loop {
        let sent = match &to {
            Some(to) => sendto(socket.fd(), datagram.bytes, SEND_FLAGS, to),
            None => send_one(socket.fd(), datagram.bytes, SEND_FLAGS),
        };
        match sent {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome.map(drop)?),
        }
    }
}

pub(super) fn only_own_groups(_fd: BorrowedFd<'_>, _is_v6: bool) -> io::Result<()> {
    Ok(())
}

pub(super) fn set_mtu_probing(_fd: BorrowedFd<'_>, _family: Family, _on: bool) -> io::Result<()> {
    Err(lacks("probing of the path MTU"))
}

pub(super) fn mtu_probing(_fd: BorrowedFd<'_>, _family: Family) -> io::Result<bool> {
    Err(lacks("probing of the path MTU"))
}

pub(super) fn dropped(_fd: BorrowedFd<'_>) -> io::Result<u64> {
    Err(lacks("the number of dropped datagrams"))
}

/// Returns the error of an ability that this system does not have.
pub(super) fn lacks(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("this system does not offer {what} yet"))
}
