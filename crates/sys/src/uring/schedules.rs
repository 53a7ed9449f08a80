//! Random schedules on real sockets. Keys are closed, cancelled, paused, kept or moved to another ring at any time. No
//! connection gets another's bytes, no byte is lost or doubled, and all memory lent to the kernel comes back.
//!
//! Peers live in the same thread, so a seed repeats a schedule, except for the kernel's timing.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_proto::{Key, Outbox};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::ring::{Ring, Setup};
use super::slot::Pace;
use super::tests::buffers_in_ring;
use super::*;
use crate::seam::{Event, EventProvider, Kind, Ready, Received, Sent};

const SEEDS: u64 = 12;
const STEPS: usize = 600;
const CONNECTIONS_MOST: usize = 24;

#[test]
fn no_byte_goes_astray_however_sources_end() {
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
    }
}

struct World {
    seed: u64,
    random: Random,
    provider: Uring,
    links: Vec<Link>,
    /// Chunks that are kept, with the link and the position that they came from.
    kept: Vec<(u64, usize, Bytes)>,
    scratch: Vec<u8>,
    made: u64,
}

/// A connection and its peer. Both ends send the same endless text, which differs from the text of every other link.
struct Link {
    number: u64,
    key: Key,
    reads: bool,
    blocked: bool,
    outbox: Outbox,
    written: usize,
    received: usize,
    peer: OwnedFd,
    is_tcp: bool,
    peer_sent: usize,
    peer_received: usize,
}

impl World {
    fn new(seed: u64) -> World {
        // Some seeds get a small completion queue, which overflows.
        let completions = if seed % 4 == 0 { 8 } else { 4096 };
        let provider = Uring::on(Ring::with_completions(Setup::Deferred, completions).unwrap()).unwrap();
        let (links, kept) = (Vec::new(), Vec::new());
        World { seed, random: Random(seed), provider, links, kept, scratch: vec![0; 64 * 1024], made: 0 }
    }

    fn step(&mut self) {
        let index = self.random.below(self.links.len().max(1));
        match self.random.below(40) {
            _ if self.links.is_empty() => self.connect(),
            0..3 if self.links.len() < CONNECTIONS_MOST => self.connect(),
            3 => self.close(index),
            4 => self.abort(index),
            5 => drop(shutdown(&self.links[index].peer, Shutdown::Write)),
            6..9 => self.switch_reading(index),
            9 => self.kept.clear(),
            10 => self.change_pace(index),
            11 if self.random.below(20) == 0 => drop(self.provider.host_handle().unwrap()),
            12 if self.random.below(20) == 0 => self.provider.release_host_handle(),
            13 if self.random.below(10) == 0 => self.provider.submit().unwrap(),
            11..15 => self.send(index),
            15..23 => self.peer_sends(index),
            23..26 => self.peer_receives(index),
            // Takes completions in without looking at their events.
            26 => drop(self.provider.enter(None).unwrap()),
            _ => self.turn(),
        }
    }

    fn connect(&mut self) {
        let is_tcp = self.random.below(3) == 0;
        let (near, peer) = pair(is_tcp);
        let key = self.provider.adopt(near, Kind::StreamConnection).unwrap();
        self.made += 1;
        self.links.push(Link {
            number: self.made,
            key,
            reads: true,
            blocked: false,
            outbox: Outbox::new(),
            written: 0,
            received: 0,
            peer,
            is_tcp,
            peer_sent: 0,
            peer_received: 0,
        });
        self.provider.set_reading(key, true).unwrap();
        self.change_pace(self.links.len() - 1);
    }

    fn change_pace(&mut self, index: usize) {
        let pace = [Pace::New(0), Pace::Calm, Pace::Busy(0)][self.random.below(3)];
        let key = self.links[index].key;
        self.provider.source_mut(key).unwrap().as_connection().unwrap().pace = pace;
        self.provider.mark_due(key);
    }

    fn switch_reading(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.reads = !link.reads;
        self.provider.set_reading(link.key, link.reads).unwrap();
    }

    fn send(&mut self, index: usize) {
        let length = self.random.length();
        let link = &mut self.links[index];
        if link.outbox.is_empty() {
            link.outbox.write(&text(link.number, link.written, length));
            link.written += length;
        }
        self.flush(index);
    }

    fn flush(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.blocked || link.outbox.is_empty() {
            return;
        }
        match self.provider.send(link.key, &mut link.outbox) {
            Ok(sent) => link.blocked = sent != Sent::All,
            Err(_) => self.abort(index),
        }
    }

    fn peer_sends(&mut self, index: usize) {
        let length = self.random.length();
        let link = &mut self.links[index];
        let bytes = text(link.number, link.peer_sent, length);
        link.peer_sent += send(&link.peer, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
    }

    fn peer_receives(&mut self, index: usize) {
        self.links[index].peer_takes(&mut self.scratch);
    }

    fn turn(&mut self) {
        let mut events = Events::new();
        self.provider.wait(Some(Duration::ZERO), &mut events).unwrap();
        for event in events {
            self.serve(event);
        }
    }

    fn serve(&mut self, event: Event) {
        let Some(index) = self.links.iter().position(|link| link.key == event.key) else { return };
        if event.ready.contains(Ready::WRITE) {
            self.links[index].blocked = false;
            self.flush(index);
        }
        // The key may be gone now, and another source may use its place.
        if event.ready.contains(Ready::READ) && self.links.get(index).is_some_and(|link| link.key == event.key) {
            self.receive(index);
        }
    }

    fn receive(&mut self, index: usize) {
        let room = 1 + self.random.below(self.scratch.len());
        let link = &mut self.links[index];
        let chunk = match self.provider.receive(link.key, &mut self.scratch[..room]) {
            Ok(Received::Filled(count) | Received::Drained(count)) => Bytes::copy_from_slice(&self.scratch[..count]),
            Ok(Received::Lent(chunk)) => chunk,
            Ok(Received::Empty) => return,
            Ok(Received::Eof) => {
                assert_eq!(link.received, link.peer_sent, "seed {}: the end came too early", self.seed);
                return self.close(index);
            }
            Err(_) => return self.abort(index),
        };
        link.check(self.seed, link.received, &chunk);
        let begin = link.received;
        link.received += chunk.len();
        assert!(link.received <= link.peer_sent, "seed {}: bytes that were not sent", self.seed);
        if self.random.below(3) == 0 {
            self.kept.push((link.number, begin, chunk));
        }
    }

    /// Closes a link. Bytes that were taken still arrive, unless a TCP connection left bytes unread: close(2) resets
    /// it.
    fn close(&mut self, index: usize) {
        let mut link = self.links.swap_remove(index);
        self.provider.close(link.key);
        let taken = link.written - link.outbox.len();
        for _ in 0..10_000 {
            if link.is_tcp || link.peer_received == taken {
                break;
            }
            link.peer_takes(&mut self.scratch);
            self.turn();
        }
        let complete = link.is_tcp || link.peer_received == taken;
        assert!(complete, "seed {}: {} of {taken} bytes arrived", self.seed, link.peer_received);
    }

    fn abort(&mut self, index: usize) {
        let link = self.links.swap_remove(index);
        self.provider.abort(link.key);
    }

    fn end(mut self) {
        while !self.links.is_empty() {
            self.close(0);
        }
        for (number, begin, chunk) in self.kept.drain(..) {
            assert!(chunk == text(number, begin, chunk.len()), "seed {}: a kept chunk changed", self.seed);
        }
        // A draining connection whose TCP peer is gone ends with a reset.
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.provider.is_busy() {
            assert!(Instant::now() < deadline, "seed {}: operations are left", self.seed);
            self.turn();
        }
        self.turn();
        assert_eq!(self.provider.sources.len(), 0);
        assert_eq!(
            buffers_in_ring(&mut self.provider),
            usize::from(self.provider.buffers.count()),
            "seed {}",
            self.seed
        );
    }
}

impl Link {
    fn peer_takes(&mut self, scratch: &mut [u8]) {
        while let Ok((count @ 1.., _)) = recv(&self.peer, &mut *scratch, RecvFlags::DONTWAIT) {
            self.check(0, self.peer_received, &scratch[..count]);
            self.peer_received += count;
        }
    }

    fn check(&self, seed: u64, begin: usize, bytes: &[u8]) {
        assert!(
            bytes == text(self.number, begin, bytes.len()),
            "seed {seed}: not the bytes that were sent, at {begin}"
        );
    }
}

/// Returns a part of a link's text.
fn text(number: u64, begin: usize, length: usize) -> Vec<u8> {
    (begin..begin + length).map(|place| (place * 31 + place / 251 + number as usize * 101) as u8).collect()
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// Returns the size of a message: mostly small, sometimes too large for the socket's buffer.
    fn length(&mut self) -> usize {
        let most = [50, 2000, 5000, 20_000, 200_000][self.below(5)];
        1 + self.below(most)
    }
}

/// Returns a connected pair of sockets: the provider's, and the peer's.
fn pair(tcp: bool) -> (OwnedFd, OwnedFd) {
    if !tcp {
        let (near, peer) = UnixStream::pair().unwrap();
        return (near.into(), peer.into());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0.into(), peer.into())
}
