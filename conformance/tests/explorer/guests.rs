//! Ends outside the reactor: what a peer on another machine might do.

use std::rc::Rc;

use ropewalk::testing::{MemoryReactor, TestListener, TestStream};

use crate::end::End;
use crate::world::{GUEST_HOUSE, PLACES, World};

/// A peer in the test's hands, with a ledger like everybody's.
struct Guest {
    end: Rc<End>,
    stream: TestStream,
}

/// All of them, and the house at which those arrive whom the reactor's clients connect to.
pub(crate) struct Guests {
    world: Rc<World>,
    house: TestListener,
    guests: Vec<Guest>,
}

impl Guests {
    pub(crate) fn new(world: &Rc<World>, net: &MemoryReactor) -> Guests {
        let house = net.listen_stream(GUEST_HOUSE).expect("nobody else listens at the guest house");
        Guests { world: world.clone(), house, guests: Vec::new() }
    }

    /// Somebody arrives, or a guest does something.
    pub(crate) fn act(&mut self, net: &MemoryReactor) {
        while let Some(stream) = self.house.accept() {
            self.welcome(stream);
        }
        let world = self.world.clone();
        match world.below(4) {
            0 => self.welcome(net.connect_stream(PLACES[world.below(PLACES.len())])),
            _ if self.guests.is_empty() => {}
            _ => self.guests[world.below(self.guests.len())].act(&world),
        }
    }

    /// Everybody reads what is there and says goodbye.
    pub(crate) fn leave(&mut self) {
        for guest in &self.guests {
            guest.stream.resume_reading();
            guest.stream.close();
        }
    }

    /// Checks what everybody has received.
    pub(crate) fn check(&self) {
        for Guest { end, stream } in &self.guests {
            end.receive(&self.world, &stream.take_received());
            if stream.is_eof() && !stream.is_reset() {
                end.check_whole(&self.world, "at the end of a guest's stream");
            }
        }
    }

    fn welcome(&mut self, stream: TestStream) {
        let end = self.world.new_end();
        self.world.note(|| format!("guest {} arrives", end.number));
        self.guests.push(Guest { end, stream });
    }
}

impl Guest {
    fn act(&self, world: &World) {
        let (end, stream) = (&self.end, &self.stream);
        let action = world.below(12);
        world.note(|| format!("guest {} does {action}", end.number));
        match action {
            0..=4 => self.write(1 + world.below(500)),
            5 => self.write(20_000),
            6 => {
                end.losing_write.set(true);
                stream.finish();
            }
            7 => {
                end.losing_write.set(true);
                stream.close();
            }
            8 => {
                end.losing_write.set(true);
                // A UNIX socket has no resets: its peer sees an end that is like any other.
                end.cut_short.set(stream.peer_address().inet().is_none());
                stream.abort();
            }
            9 => stream.pause_reading(),
            _ => stream.resume_reading(),
        }
    }

    fn write(&self, count: usize) {
        self.stream.write(&self.end.next_bytes(count));
        if !self.end.losing_write.get() {
            self.end.written.set(self.end.written.get() + count as u64);
        }
    }
}
