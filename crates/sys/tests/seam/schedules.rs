//! Random schedules of reads, sends, pauses and closes. The next wait must report all readiness that is present and
//! wanted. Some mechanisms report each event only once, so the provider must remember the rest.
//!
//! Peers live in the same thread, so a seed repeats a schedule, except for the kernel's timing.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ropewalk_proto::{Key, Outbox};
use ropewalk_sys::{Event, Ready, Received, Sent};
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use crate::bench::{Bench, PATIENCE};

const SEEDS: u64 = 10;
const STEPS: usize = 300;
const CONNECTIONS: usize = 4;

/// The most that one end of a connection sends.
const BYTES_MOST: usize = 1 << 20;

pub(crate) fn all_readiness_is_reported_in_random_schedules(bench: &mut Bench) {
    let text: Vec<u8> = (0..BYTES_MOST + CONNECTIONS).map(|place| (place * 31 + place / 251) as u8).collect();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed, &text, bench);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
    }
}

struct World<'a> {
    seed: u64,
    random: Random,
    bench: &'a mut Bench,
    /// The stream of both ends of a connection. The stream of each link starts at a position of its own.
    text: &'a [u8],
    links: Vec<Link>,
}

struct Link {
    number: usize,
    key: Key,
    reads: bool,
    /// Whether the other end was found to send no more.
    ended: bool,
    blocked: bool,
    outbox: Outbox,
    written: usize,
    received: usize,
    peer: TcpStream,
    peer_sent: usize,
    peer_received: usize,
    peer_ended: bool,
    peer_was_urgent: bool,
}

impl<'a> World<'a> {
    fn new(seed: u64, text: &'a [u8], bench: &'a mut Bench) -> World<'a> {
        let mut random = Random(seed);
        let links = (0..CONNECTIONS).map(|number| Link::new(number, &mut random, bench)).collect();
        World { seed, random, bench, text, links }
    }

    fn step(&mut self) {
        let index = self.random.below(self.links.len());
        match self.random.below(40) {
            0 => self.peer_ends(index),
            1 => self.peer_is_urgent(index),
            2 if self.random.below(30) == 0 => drop(self.bench.provider.host_handle()),
            3 if self.random.below(30) == 0 => self.bench.provider.release_host_handle(),
            4 if self.random.below(10) == 0 => self.bench.provider.submit().unwrap(),
            2..7 => self.set_reading(index, !self.links[index].reads),
            7..12 => self.send(index),
            12..20 => self.peer_sends(index),
            20..24 => self.peer_takes(index),
            // Reads whether or not the bytes were reported.
            24..27 => self.receive(index),
            27..37 => self.turn(Duration::ZERO),
            _ => self.settle(),
        }
    }

    fn set_reading(&mut self, index: usize, on: bool) {
        let link = &mut self.links[index];
        link.reads = on && !link.ended;
        self.bench.streams().set_reading(link.key, link.reads).unwrap();
    }

    fn send(&mut self, index: usize) {
        let length = self.random.length();
        let link = &mut self.links[index];
        if link.outbox.is_empty() {
            let bytes = part(self.text, link.number, link.written, length);
            link.outbox.write(bytes);
            link.written += bytes.len();
        }
        self.flush(index);
    }

    fn flush(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.blocked && !link.outbox.is_empty() {
            link.blocked = self.bench.streams().send(link.key, &mut link.outbox).unwrap() != Sent::All;
        }
    }

    fn peer_sends(&mut self, index: usize) {
        let length = self.random.length();
        let link = &mut self.links[index];
        if !link.peer_ended {
            let bytes = part(self.text, link.number, link.peer_sent, length);
            link.peer_sent += send(&link.peer, bytes, SendFlags::DONTWAIT).unwrap_or(0);
        }
    }

    /// Sends at most one urgent byte for a link: a second one would turn the first into ordinary data. Does nothing on
    /// `uring`, whose polls do not report urgent data during bulk.
    fn peer_is_urgent(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.peer_ended && !link.peer_was_urgent && self.bench.provider.name() != "uring" {
            link.peer_was_urgent = send(&link.peer, b"!", SendFlags::DONTWAIT | SendFlags::OOB).is_ok();
        }
    }

    fn peer_ends(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.peer_ended = true;
        link.peer.shutdown(Shutdown::Write).unwrap();
    }

    fn peer_takes(&mut self, index: usize) {
        let link = &mut self.links[index];
        while let Ok((count @ 1.., _)) = recv(&link.peer, &mut *self.bench.scratch, RecvFlags::DONTWAIT) {
            let expected = part(self.text, link.number, link.peer_received, count);
            assert!(self.bench.scratch[..count] == *expected, "seed {}: the peer got other bytes", self.seed);
            link.peer_received += count;
        }
    }

    fn turn(&mut self, timeout: Duration) {
        for event in self.bench.wait(timeout) {
            self.serve(event);
        }
    }

    /// Lets the owner take some of the reported data, or switch the reports off.
    fn serve(&mut self, event: Event) {
        let index = self.links.iter().position(|link| link.key == event.key).expect("no link was closed");
        if event.ready.contains(Ready::READ) {
            assert!(self.links[index].reads, "seed {}: reading is off", self.seed);
            match self.random.below(4) {
                0 => self.set_reading(index, false),
                times => (0..times).for_each(|_| self.receive(index)),
            }
        }
        if event.ready.contains(Ready::WRITE) {
            self.links[index].blocked = false;
            self.flush(index);
        }
    }

    fn receive(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.reads {
            return;
        }
        let room = self.random.room(link.peer_sent - link.received, self.bench.scratch.len());
        let received = self.bench.receive_up_to(link.key, room).unwrap();
        let bytes = match &received {
            Received::Filled(count) | Received::Drained(count) => &self.bench.scratch[..*count],
            Received::Lent(chunk) => chunk,
            Received::Empty => return,
            Received::Eof => {
                assert!(
                    link.peer_ended && link.received == link.peer_sent,
                    "seed {}: the end came too early",
                    self.seed
                );
                link.ended = true;
                return self.set_reading(index, false);
            }
        };
        let expected = part(self.text, link.number, link.received, bytes.len());
        assert!(bytes == expected, "seed {}: not the bytes that were sent", self.seed);
        link.received += bytes.len();
    }

    /// Serves events until none is owed. Nothing more arrives meanwhile, so each must have been remembered.
    fn settle(&mut self) {
        loop {
            for index in 0..self.links.len() {
                if self.links[index].blocked {
                    self.peer_takes(index);
                }
            }
            let owed: Vec<_> = self.links.iter().filter(|link| link.is_owed()).map(|link| link.number).collect();
            if owed.is_empty() {
                return;
            }
            let deadline = Instant::now() + PATIENCE;
            let mut events = self.bench.wait(PATIENCE);
            while events.is_empty() && Instant::now() < deadline {
                events = self.bench.wait(PATIENCE);
            }
            assert!(!events.is_empty(), "seed {}: nothing was reported, but something is owed to {owed:?}", self.seed);
            events.into_iter().for_each(|event| self.serve(event));
        }
    }

    /// Lets all ends read until everything has arrived. Then checks that waits block.
    fn end(mut self) {
        (0..self.links.len()).for_each(|index| self.peer_ends(index));
        while self.links.iter().any(|link| !link.ended || link.blocked) {
            (0..self.links.len()).for_each(|index| self.set_reading(index, true));
            self.settle();
        }
        assert_eq!(self.bench.settle(), [], "seed {}", self.seed);
        for link in self.links.drain(..) {
            assert!(link.outbox.is_empty() && link.received == link.peer_sent, "seed {}", self.seed);
            self.bench.streams().close(link.key);
        }
    }
}

impl Link {
    fn new(number: usize, random: &mut Random, bench: &mut Bench) -> Link {
        let (key, peer) = match random.below(2) {
            0 => bench.connection(),
            _ => connected(bench),
        };
        if random.below(2) == 0 {
            sockopt::set_socket_send_buffer_size(&peer, 1 + random.below(20_000)).unwrap();
        }
        Link {
            number,
            key,
            reads: false,
            ended: false,
            blocked: false,
            outbox: Outbox::new(),
            written: 0,
            received: 0,
            peer,
            peer_sent: 0,
            peer_received: 0,
            peer_ended: false,
            peer_was_urgent: false,
        }
    }

    /// Returns whether a wait must report this link. The peer of a blocked link has taken everything.
    fn is_owed(&self) -> bool {
        let is_there = self.received < self.peer_sent || self.peer_ended;
        self.blocked || self.reads && is_there
    }
}

/// Returns a connection that the provider opened, and its peer.
fn connected(bench: &mut Bench) -> (Key, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = bench.connecting(listener.local_addr().unwrap());
    bench.expect(key, Ready::WRITE);
    bench.streams().finish_connect(key).unwrap();
    (key, listener.accept().unwrap().0)
}

/// Returns the part of the stream from this position, as far as the text goes.
fn part(text: &[u8], number: usize, begin: usize, length: usize) -> &[u8] {
    &text[number..][begin..BYTES_MOST.min(begin + length)]
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

    /// Returns the size of a message: mostly small, sometimes too large for a single receive or for the socket's
    /// buffer.
    fn length(&mut self) -> usize {
        let most = [50, 2000, 20_000, 70_000, 300_000][self.below(5)];
        1 + self.below(most)
    }

    /// Returns the size of a buffer: exactly for the `there` bytes, or smaller, or larger.
    fn room(&mut self, there: usize, most: usize) -> usize {
        match self.below(4) {
            0 => there.clamp(1, most),
            1 => 1 + self.below(there.clamp(1, most)),
            2 => 1 + self.below(most),
            _ => most,
        }
    }
}
