//! The least that an echo server on io_uring can do: multishot accept and receive, and one ring of buffers. Each buffer
//! is sent from where it was received.
//!
//! This server shows the kernel's share of io_uring for small messages, as `raw_epoll` does for epoll. From 16 KiB on
//! it only shows the cost of sending many small buffers one by one. Do not build on it: it has no timers, no wake-ups
//! and no other way to receive bulk. The number of buffers does not grow (a connection without a buffer waits for one).

#![allow(unsafe_code, reason = "the queues and the ring of buffers are shared with the kernel")]

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::net::sockopt;

/// The number of buffers, a power of two, and the size of each. Of the values measured, these are the fastest for small
/// messages.
const BUFFERS: u16 = 1024;
const BUFFER_BYTES: usize = 2048;

const GROUP: u16 = 0;
const ENTRIES: u32 = 512;
const COMPLETIONS: u32 = 8192;
const PAGE: usize = 4096;

/// The kind of operation that completed, in the upper half of its token. The descriptor is in the lower half.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;

struct Connection {
    socket: OwnedFd,
    /// Filled buffers, and the number of bytes in each. The first one is being sent.
    filled: VecDeque<(u16, usize)>,
    receiving: bool,
    ended: bool,
}

struct Server {
    ring: IoUring,
    buffers: Buffers,
    connections: Vec<Option<Connection>>,
    /// Connections that found no buffer.
    dry: Vec<usize>,
}

pub(super) fn serve(listener: TcpListener) -> io::Result<()> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_submit_all().setup_cqsize(COMPLETIONS).setup_single_issuer().setup_defer_taskrun();
    let ring: IoUring = builder.build(ENTRIES)?;
    let buffers = Buffers::register(&ring)?;
    let mut server = Server { ring, buffers, connections: Vec::new(), dry: Vec::new() };
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc_flags()).build().user_data(ACCEPT);
    server.push(&accept)?;
    let mut completions = Vec::new();
    loop {
        match server.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        completions.extend(server.ring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for (token, result, flags) in completions.drain(..) {
            let place = token as u32 as usize;
            match token & !u64::from(u32::MAX) {
                RECEIVE => server.received(place, result, flags)?,
                SEND => server.sent(place, result)?,
                _ if result >= 0 => server.accepted(result)?,
                _ => return Err(io::Error::from_raw_os_error(-result)),
            }
        }
    }
}

/// Returns SOCK_CLOEXEC only: the ring waits for readiness, so sockets may block.
fn libc_flags() -> i32 {
    rustix::net::SocketFlags::CLOEXEC.bits() as i32
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: entries point to the ring's buffers, which live as long as the process.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    fn accepted(&mut self, descriptor: i32) -> io::Result<()> {
        // SAFETY: the kernel has just created this descriptor for us.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let place = descriptor as usize;
        if place >= self.connections.len() {
            self.connections.resize_with(place + 1, || None);
        }
        self.connections[place] = Some(Connection { socket, filled: VecDeque::new(), receiving: false, ended: false });
        self.receive(place)
    }

    fn receive(&mut self, place: usize) -> io::Result<()> {
        let Some(connection) = self.connections[place].as_mut().filter(|known| !known.receiving && !known.ended) else {
            return Ok(());
        };
        connection.receiving = true;
        let entry = opcode::RecvMulti::new(Fd(connection.socket.as_raw_fd()), GROUP).build();
        self.push(&entry.user_data(RECEIVE | place as u64))
    }

    fn received(&mut self, place: usize, result: i32, flags: u32) -> io::Result<()> {
        const ENOBUFS: i32 = -105;
        let Some(connection) = &mut self.connections[place] else { return Ok(()) };
        connection.receiving = cqueue::more(flags);
        match (result, cqueue::buffer_select(flags)) {
            (count @ 1.., Some(id)) => {
                connection.filled.push_back((id, count as usize));
                if connection.filled.len() == 1 {
                    self.send(place)?;
                }
                self.receive(place)
            }
            (ENOBUFS, _) => {
                self.dry.push(place);
                Ok(())
            }
            _ => {
                connection.ended = true;
                self.close_when_sent(place);
                Ok(())
            }
        }
    }

    fn send(&mut self, place: usize) -> io::Result<()> {
        let Some(connection) = &self.connections[place] else { return Ok(()) };
        let Some(&(id, count)) = connection.filled.front() else { return Ok(()) };
        let (fd, start) = (Fd(connection.socket.as_raw_fd()), self.buffers.address(id));
        // MSG_WAITALL: the send completes when all bytes are sent.
        let flags = (rustix::net::SendFlags::NOSIGNAL.bits() | rustix::net::RecvFlags::WAITALL.bits()) as i32;
        let entry = opcode::Send::new(fd, start, count as u32).flags(flags).build();
        self.push(&entry.user_data(SEND | place as u64))
    }

    fn sent(&mut self, place: usize, result: i32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[place] else { return Ok(()) };
        connection.ended |= result < 0;
        if let Some((id, _)) = connection.filled.pop_front() {
            self.buffers.give_back(id);
        }
        self.send(place)?;
        self.close_when_sent(place);
        match self.dry.pop() {
            Some(dry) => self.receive(dry),
            None => Ok(()),
        }
    }

    /// The descriptor is reused only when no operation of the old connection is in flight.
    fn close_when_sent(&mut self, place: usize) {
        let is_over = |known: &Connection| known.ended && known.filled.is_empty() && !known.receiving;
        if self.connections[place].as_ref().is_some_and(is_over) {
            self.connections[place] = None;
        }
    }
}

/// Memory for the process's life: the ring's entries for the kernel, and the buffers that they point to.
struct Buffers {
    places: &'static mut [Place],
    memory: *mut u8,
    tail: u16,
}

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

type Place = BufRingEntry;

impl Buffers {
    fn register(ring: &IoUring) -> io::Result<Buffers> {
        let pages = |bytes: usize| -> *mut u8 {
            let pages: Vec<Page> = (0..bytes.div_ceil(PAGE)).map(|_| Page([0; PAGE])).collect();
            pages.leak().as_mut_ptr().cast()
        };
        let memory = pages(usize::from(BUFFERS) * BUFFER_BYTES);
        let places = pages(usize::from(BUFFERS) * size_of::<Place>());
        // SAFETY: the memory is page-aligned, zeroed, large enough, and never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(places as u64, BUFFERS, GROUP, 0) }?;
        // SAFETY: as above. The kernel only reads the places.
        let places = unsafe { std::slice::from_raw_parts_mut(places.cast(), BUFFERS.into()) };
        let mut buffers = Buffers { places, memory, tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give_back(id));
        Ok(buffers)
    }

    fn address(&self, id: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(id) * BUFFER_BYTES)
    }

    fn give_back(&mut self, id: u16) {
        let address = self.address(id) as u64;
        let place = &mut self.places[usize::from(self.tail & (BUFFERS - 1))];
        place.set_addr(address);
        place.set_len(BUFFER_BYTES as u32);
        place.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a field of the first place, which is valid.
        let tail = unsafe { BufRingEntry::tail(self.places.as_ptr()) };
        // SAFETY: the tail is aligned, and valid for the process's life.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.store(self.tail, Ordering::Release);
    }
}
