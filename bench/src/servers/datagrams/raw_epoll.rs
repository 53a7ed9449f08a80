//! The least that an echo server for datagrams can do on epoll: recvfrom(2) and sendto(2) until the socket is empty.

use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, recvfrom, sendto};

pub(super) fn serve(socket: &UdpSocket, buffer_bytes: usize) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, socket, EventData::new_u64(0), EventFlags::IN)?;
    let mut buffer = vec![0; buffer_bytes];
    let mut space = [MaybeUninit::<Event>::uninit(); 1];
    loop {
        match epoll::wait(&epoll, &mut space[..], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some((length, peer)) = receive(socket, &mut buffer)? {
            send(socket, &buffer[..length], &peer)?;
        }
    }
}

/// Not inlined, for the reason that the raw server for streams gives.
#[inline(never)]
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Option<(usize, SocketAddrAny)>, Errno> {
    match recvfrom(socket, buffer, RecvFlags::empty()) {
        Ok((length, _, peer)) => Ok(peer.map(|peer| (length, peer))),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

#[inline(never)]
fn send(socket: &UdpSocket, bytes: &[u8], peer: &SocketAddrAny) -> Result<(), Errno> {
    sendto(socket, bytes, SendFlags::NOSIGNAL, peer).map(drop)
}
