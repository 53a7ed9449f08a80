//! Ends outside the reactor, like peers on another machine.

use std::rc::Rc;

use ropewalk::testing::{MemoryReactor, TestListener, TestStream};

use crate::end::End;
use crate::world::{OUTSIDE_ADDRESS, PLACES, World};

/// A peer outside the reactor, with a ledger like that of the other ends.
struct OutsidePeer {
    end: Rc<End>,
    stream: TestStream,
}

/// All outside peers, and the listener that the reactor's clients connect to.
pub(crate) struct OutsidePeers {
    world: Rc<World>,
    listener: TestListener,
    peers: Vec<OutsidePeer>,
}

impl OutsidePeers {
    pub(crate) fn new(world: &Rc<World>, net: &MemoryReactor) -> OutsidePeers {
        let listener = net.listen_stream(OUTSIDE_ADDRESS).expect("the address is free");
        OutsidePeers { world: world.clone(), listener, peers: Vec::new() }
    }

    /// Connects a new peer, or takes a random action on one.
    pub(crate) fn act(&mut self, net: &MemoryReactor) {
        while let Some(stream) = self.listener.accept() {
            self.add(stream);
        }
        let world = self.world.clone();
        match world.below(4) {
            0 => self.add(net.connect_stream(PLACES[world.below(PLACES.len())])),
            _ if self.peers.is_empty() => {}
            _ => self.peers[world.below(self.peers.len())].act(&world),
        }
    }

    /// Lets all peers read, then closes them.
    pub(crate) fn close_all(&mut self) {
        for peer in &self.peers {
            peer.stream.resume_reading();
            peer.stream.close();
        }
    }

    /// Checks the bytes that all peers have received.
    pub(crate) fn check(&self) {
        for OutsidePeer { end, stream } in &self.peers {
            end.receive(&self.world, &stream.take_received());
            if stream.is_eof() && !stream.is_reset() {
                end.check_whole(&self.world, "at the end of a peer's stream");
            }
        }
    }

    fn add(&mut self, stream: TestStream) {
        let end = self.world.new_end();
        end.is_outside.set(true);
        self.world.note(|| format!("outside peer {} connects", end.number));
        self.peers.push(OutsidePeer { end, stream });
    }
}

impl OutsidePeer {
    fn act(&self, world: &World) {
        let (end, stream) = (&self.end, &self.stream);
        let action = world.below(12);
        world.note(|| format!("outside peer {} takes action {action}", end.number));
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
                // A UNIX socket has no resets: its peer sees an ordinary end.
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
