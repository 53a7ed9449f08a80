//! The least that an echo server on epoll can do: level-triggered, one receive for each event, one buffer for all.
//!
//! This server measures the kernel's share and the fewest instructions. Do not build on it: it has no timers, no
//! wake-ups from other threads and no protocols.
//!
//! Receiving and sending are separate functions, like recv(2) and send(2) of a C library. If they were inlined into the
//! loop, no function would return after a system call. On some virtual machines that alone saves a fifth of the
//! processor time, because entering the kernel spoils the prediction of returns. A real program has such functions.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

struct Connection {
    socket: OwnedFd,
    /// Bytes that the kernel did not take. While there are any, nothing more is received.
    unsent: Vec<u8>,
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    /// The connections by descriptor.
    connections: Vec<Option<Connection>>,
    buffer: Box<[u8]>,
}

pub(super) fn serve(listener: TcpListener, buffer_bytes: usize) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let accepting = listener.as_raw_fd();
    epoll::add(&epoll, &listener, data(accepting), EventFlags::IN)?;
    let mut server = Server { epoll, listener, connections: Vec::new(), buffer: vec![0; buffer_bytes].into() };
    let mut space = [MaybeUninit::<Event>::uninit(); super::EVENTS];
    loop {
        let events = match epoll::wait(&server.epoll, &mut space[..], None) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let descriptor = event.data.u64() as RawFd;
            if descriptor == accepting { server.accept() } else { server.serve(descriptor, event.flags) }
        }
    }
}

fn data(descriptor: RawFd) -> EventData {
    EventData::new_u64(descriptor as u64)
}

impl Server {
    fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            let place = socket.as_raw_fd() as usize;
            let _ = sockopt::set_tcp_nodelay(&socket, true);
            if epoll::add(&self.epoll, &socket, data(socket.as_raw_fd()), EventFlags::IN).is_err() {
                continue;
            }
            if place >= self.connections.len() {
                self.connections.resize_with(place + 1, || None);
            }
            self.connections[place] = Some(Connection { socket, unsent: Vec::new() });
        }
    }

    fn serve(&mut self, descriptor: RawFd, ready: EventFlags) {
        let Some(connection) = &mut self.connections[descriptor as usize] else { return };
        let outcome = if ready.contains(EventFlags::OUT) {
            connection.flush(&self.epoll)
        } else {
            connection.echo(&self.epoll, &mut self.buffer)
        };
        if outcome.is_err() {
            self.connections[descriptor as usize] = None;
        }
    }
}

impl Connection {
    /// Receives once and echoes. An error means that the connection has ended, for whatever reason.
    fn echo(&mut self, epoll: &OwnedFd, buffer: &mut [u8]) -> Result<(), Errno> {
        let received = match receive(&self.socket, buffer) {
            Ok(0) => return Err(Errno::PIPE),
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        let sent = send_some(&self.socket, &buffer[..received])?;
        if sent < received {
            self.unsent.extend_from_slice(&buffer[sent..received]);
            epoll::modify(epoll, &self.socket, data(self.socket.as_raw_fd()), EventFlags::OUT)?;
        }
        Ok(())
    }

    fn flush(&mut self, epoll: &OwnedFd) -> Result<(), Errno> {
        let sent = send_some(&self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            epoll::modify(epoll, &self.socket, data(self.socket.as_raw_fd()), EventFlags::IN)?;
        }
        Ok(())
    }
}

#[inline(never)]
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    recv(socket, buffer, RecvFlags::empty()).map(|(count, _)| count)
}

#[inline(never)]
fn send_some(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match send(socket, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}
