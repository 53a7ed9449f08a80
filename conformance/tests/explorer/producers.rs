//! Producers that check how they are paused and resumed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::transports::{Producer, PullProducer, PushProducer};
use ropewalk::{Reactor, Transport};

use crate::actions::write;
use crate::end::End;
use crate::world::World;

/// Writes a few pieces for an end, as a pull producer or on its own.
pub(crate) struct CheckedProducer {
    world: Rc<World>,
    end: Rc<End>,
    pieces: Cell<usize>,
    paused: Cell<bool>,
    stopped: Cell<bool>,
}

/// Registers a producer for `end`.
pub(crate) fn register(world: &Rc<World>, reactor: &Reactor, end: &Rc<End>) {
    let Some(transport) = end.transport.borrow().clone().filter(|_| !end.closes_sealed()) else { return };
    if world.chance(0.3) {
        return forward(world, end);
    }
    let producer = Rc::new(CheckedProducer {
        world: world.clone(),
        end: end.clone(),
        pieces: Cell::new(1 + world.below(4)),
        paused: Cell::new(false),
        stopped: Cell::new(false),
    });
    let pull = world.chance(0.5);
    let registered = if pull { Producer::pull(producer.clone()) } else { Producer::push(producer.clone()) };
    if transport.register_producer(registered).is_err() {
        return;
    }
    end.has_producer.set(true);
    world.expect(end.lives() || producer.stopped.get(), || format!("the late producer of end {} lives", end.number));
    if end.lives() {
        *end.producer.borrow_mut() = Some(producer.clone());
    }
    if !pull {
        producer.produce_later(reactor, 20);
    }
}

/// Unregisters the producer of `end`.
pub(crate) fn unregister(end: &End, transport: &Transport) {
    end.producer.take();
    end.has_producer.set(false);
    transport.unregister_producer();
}

/// Makes another end the producer of this one. The schedule does not check how that end is paused and resumed.
fn forward(world: &Rc<World>, end: &Rc<End>) {
    let (Some(other), Some(transport)) = (world.any_end(), end.transport.borrow().clone()) else { return };
    let Some(source) = other.transport.borrow().clone() else { return };
    if other.number != end.number && transport.register_producer(source).is_ok() {
        other.is_producer.set(true);
        end.has_producer.set(true);
    }
}

impl CheckedProducer {
    /// Writes by itself at most `times` times, because it may be unregistered without notice while it is paused.
    fn produce_later(self: &Rc<CheckedProducer>, reactor: &Reactor, times: usize) {
        let producer = self.clone();
        reactor.call_later(Duration::from_millis(3), move |reactor| {
            if producer.stopped.get() || producer.pieces.get() == 0 || times == 0 {
                return;
            }
            if !producer.paused.get() {
                producer.produce();
            }
            producer.produce_later(reactor, times - 1);
        });
    }

    fn produce(&self) {
        let Some(transport) = self.end.transport.borrow().clone() else { return };
        if self.pieces.get() > 0 {
            self.pieces.set(self.pieces.get() - 1);
            write(&self.world, &self.end, 1 + self.world.below(50_000));
        }
        if self.pieces.get() == 0 {
            unregister(&self.end, &transport);
        }
    }

    /// Returns whether the producer was stopped, so that none of its writes would be sent.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    fn called(&self, what: &str) {
        let number = self.end.number;
        self.world.note(|| format!("producer of end {number}: {what}"));
        self.world
            .expect(!self.stopped.get(), || format!("the producer of end {number} was asked to {what} after stop"));
    }
}

impl PushProducer for CheckedProducer {
    fn pause_producing(&self) {
        self.called("pause");
        self.world.expect(!self.paused.replace(true), || "a producer was paused twice".to_owned());
    }

    fn resume_producing(&self) {
        self.called("resume");
        self.world.expect(self.paused.replace(false), || "a producer was resumed without a pause".to_owned());
        self.produce();
    }

    fn stop_producing(&self) {
        self.called("stop");
        self.stopped.set(true);
    }
}

impl PullProducer for CheckedProducer {
    fn resume_producing(&self) {
        self.called("produce");
        let buffered = self.end.transport.borrow().as_ref().map_or(0, ropewalk::Transport::buffered);
        self.world.expect(buffered == 0, || format!("asked for more with {buffered} bytes queued"));
        self.produce();
    }

    fn stop_producing(&self) {
        self.called("stop");
        self.stopped.set(true);
    }
}
