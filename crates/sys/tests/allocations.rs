//! The steady path allocates nothing: a wait, a message in, a message out, a connection that comes and goes.
#![cfg(unix)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ropewalk_proto::{Address, Key, Outbox};
use ropewalk_sys::{EventProvider, Events, ListenSpec, Received, Sent, providers};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts for each thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Echo {
    provider: Box<dyn EventProvider>,
    events: Events,
    scratch: Vec<u8>,
    outbox: Outbox,
    port: Key,
}

impl Echo {
    /// Waits once, and answers each event. Returns the number of messages answered.
    fn turn(&mut self) -> u32 {
        let mut answered = 0;
        self.provider.wait(Some(Duration::from_secs(10)), &mut self.events).unwrap();
        for event in self.events.drain(..) {
            if event.key == self.port {
                while let Some((key, _)) = self.provider.streams().unwrap().accept(event.key).unwrap() {
                    self.provider.streams().unwrap().set_reading(key, true).unwrap();
                }
                continue;
            }
            match self.provider.streams().unwrap().receive(event.key, &mut self.scratch).unwrap() {
                Received::Drained(count) => {
                    self.outbox.write(&self.scratch[..count]);
                    assert_eq!(self.provider.streams().unwrap().send(event.key, &mut self.outbox).unwrap(), Sent::All);
                    answered += 1;
                }
                Received::Eof => self.provider.streams().unwrap().close(event.key),
                _ => unreachable!("small messages over a loopback"),
            }
        }
        answered
    }

    fn exchange(&mut self, peer: &mut TcpStream) {
        peer.write_all(b"hello").unwrap();
        while self.turn() == 0 {}
        // Sent bytes may leave with the next wait.
        self.provider.wait(Some(Duration::ZERO), &mut self.events).unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
    }

    fn visit(&mut self, address: SocketAddr) {
        let mut peer = TcpStream::connect(address).unwrap();
        self.exchange(&mut peer);
        drop(peer);
        self.turn();
    }
}

#[test]
fn echoing_over_short_connections_allocates_nothing() {
    for provider in providers() {
        let mut provider = (provider.open)().unwrap();
        let loopback = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (port, address) = provider.streams().unwrap().listen(&ListenSpec::new(loopback)).unwrap();
        provider.streams().unwrap().set_reading(port, true).unwrap();
        let scratch = vec![0; 64 * 1024];
        let mut echo = Echo { provider, events: Events::new(), scratch, outbox: Outbox::new(), port };
        let address = address.inet().unwrap();
        let mut peer = TcpStream::connect(address).unwrap();
        // The first exchanges let the buffers grow to their size.
        echo.exchange(&mut peer);
        echo.visit(address);
        let before = ALLOCATIONS.get();
        for _ in 0..100 {
            echo.exchange(&mut peer);
            echo.visit(address);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{}", echo.provider.name());
    }
}
