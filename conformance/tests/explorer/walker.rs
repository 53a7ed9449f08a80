//! The protocol of every end in the reactor. It checks each callback against its ledger, then takes random actions.

use std::panic::resume_unwind;
use std::rc::Rc;

use ropewalk::protocols::FileDescriptorReceiver;
use ropewalk::sys::OwnedWaitable;
use ropewalk::{Error, Protocol, Reactor, Transport};

use crate::actions::act;
use crate::end::End;
use crate::passing;
use crate::sealing::{is_sealed, is_truncated};
use crate::world::World;

/// The largest delivery.
const LONGEST: usize = 64 * 1024;

/// The largest delivery of a sealed connection: all records that one receive has brought, and the record before them.
const LONGEST_SEALED: usize = 160 * 1024;

pub(crate) struct Walker {
    world: Rc<World>,
    end: Rc<End>,
}

impl Walker {
    pub(crate) fn new(world: &Rc<World>) -> Walker {
        world.protocols.set(world.protocols.get() + 1);
        Walker { world: world.clone(), end: world.new_end() }
    }

    pub(crate) fn end(&self) -> &Rc<End> {
        &self.end
    }

    /// Checks a callback, then takes random actions. No other callback of this end may be on the stack.
    fn called(&self, transport: &Transport, name: &str, check: impl FnOnce(&World, &End)) {
        let (world, end) = (&self.world, &self.end);
        let Some(reactor) = transport.try_reactor() else {
            return world.expect(false, || format!("{name} of end {} came without a reactor", end.number));
        };
        world.event(&reactor, || format!("end {} {name}", end.number));
        world.expect(!end.busy.get(), || format!("{name} of end {} came inside another callback", end.number));
        world.expect(!end.lost.get(), || format!("{name} of end {} came after connection_lost", end.number));
        let made_first = end.made.get() || name == "connection_made";
        world.expect(made_first, || format!("{name} of end {} came before connection_made", end.number));
        check(world, end);
        end.busy.set(true);
        self.wander(&reactor);
        end.busy.set(false);
    }

    fn wander(&self, reactor: &Reactor) {
        let (world, end) = (&self.world, &self.end);
        while world.chance(0.5) && world.spend() {
            act(world, reactor, Some(end));
        }
        if world.panics && end.lives() && world.chance(0.02) && world.spend() {
            world.note(|| format!("end {} panics", end.number));
            end.busy.set(false);
            end.panicked.set(true);
            end.cut_short.set(true);
            // Unlike `panic!`, `resume_unwind` prints nothing.
            resume_unwind(Box::new("a walker panics on purpose"));
        }
    }

    /// Checks that the reason fits this end's record.
    fn check_reason(&self, reason: &Error) {
        let end = &self.end;
        let fits = match reason {
            _ if self.world.shutting_down.get() => true,
            Error::ConnectionAborted => end.aborting.get(),
            Error::Panicked(..) => end.panicked.get(),
            Error::FileDescriptorOverrun => !end.passed.borrow().is_empty(),
            Error::ConnectionDone => !end.aborting.get() && !end.panicked.get(),
            Error::ConnectionLost(cause) => cause.is_some() && !end.aborting.get() && !end.panicked.get(),
            _ => false,
        };
        self.world.expect(fits, || format!("end {} was lost because: {reason:?}", end.number));
        if is_truncated(reason) {
            // An end that closes in order says so.
            let peer = end.peer().and_then(|number| self.world.end(number));
            let is_cut = peer.is_none_or(|peer| peer.cut_short.get() || peer.aborting.get());
            self.world.expect(is_cut || self.world.shutting_down.get(), || format!("end {} was cut short", end.number));
        }
    }
}

impl Protocol for Walker {
    fn connection_made(&mut self, transport: &Transport) {
        *self.end.transport.borrow_mut() = Some(transport.clone());
        self.end.sealed.set(is_sealed(transport));
        self.called(transport, "connection_made", |world, end| {
            world.expect(!end.made.replace(true), || format!("end {} was made twice", end.number));
        });
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.called(transport, "data_received", |world, end| {
            world.note(|| format!("  {} bytes after {}", data.len(), end.received.get()));
            let size = data.len();
            let longest = if end.sealed.get() { LONGEST_SEALED } else { LONGEST };
            world.expect((1..=longest).contains(&size), || format!("end {} was given {size} bytes", end.number));
            let early = end.sealed.get() && !end.opened.get();
            world.expect(!early, || format!("end {} received before its TLS was open", end.number));
            let off = end.losing.get() || end.aborting.get() || end.read_lost.get();
            world.expect(!off, || format!("end {} received when it no longer reads", end.number));
            let paused = end.paused.get() && !end.is_producer.get();
            world.expect(!paused, || format!("end {} received while it was paused", end.number));
            end.receive(world, data);
        });
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        if self.end.takes_descriptors() { Some(self) } else { None }
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.called(transport, "layer_opened", |world, end| {
            world.expect(end.sealed.get(), || format!("end {} opened a layer that it has not", end.number));
            world.expect(!end.opened.replace(true), || format!("end {} opened its layer twice", end.number));
        });
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.called(transport, "read_connection_lost", |world, end| {
            let early = end.sealed.get() && !end.opened.get();
            world.expect(!early, || format!("end {} lost reading before its TLS was open", end.number));
            world.expect(!end.read_lost.replace(true), || format!("end {} lost reading twice", end.number));
            let off = end.losing.get() || end.aborting.get() || end.paused.get() && !end.is_producer.get();
            world.expect(!off, || format!("end {} lost reading when it did not read", end.number));
            end.check_whole(world, "at the end of the stream");
        });
        if self.world.chance(0.6) {
            self.end.losing.set(true);
            transport.lose_connection();
        }
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.called(transport, "write_connection_lost", |world, end| {
            world.expect(!end.write_lost.replace(true), || format!("end {} lost writing twice", end.number));
            world.expect(end.losing_write.get(), || format!("end {} lost writing unasked", end.number));
        });
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.world.note(|| format!("  end {} because {reason}", self.end.number));
        self.check_reason(reason);
        let world = &self.world;
        let connected = transport.is_connected();
        world.expect(!connected, || format!("end {} is lost and still connected", self.end.number));
        self.called(transport, "connection_lost", |_, end| {
            end.lost.set(true);
            let stopped = end.producer.take().is_none_or(|producer| producer.is_stopped());
            world.expect(stopped, || format!("the producer of end {} was not stopped", end.number));
            if world.shutting_down.get() {
                end.cut_short.set(true);
            }
        });
        self.end.transport.take();
    }
}

impl FileDescriptorReceiver for Walker {
    fn file_descriptor_received(&mut self, transport: &Transport, descriptor: OwnedWaitable) {
        self.called(transport, "file_descriptor_received", |world, end| {
            // The descriptors of one message arrive together, also if the callback for the first one closes it.
            passing::receive(world, end, descriptor);
        });
    }
}

impl Drop for Walker {
    fn drop(&mut self) {
        self.world.protocols.set(self.world.protocols.get() - 1);
    }
}
