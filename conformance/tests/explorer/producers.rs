//! Producers that check how they are paused and resumed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::transports::{Producer, PullProducer, PushProducer};
use ropewalk::{Reactor, Transport};

use crate::actions::write;
use crate::end::End;
use crate::world::World;

/// Produces a few pieces for an end, by being asked for each or on its own.
pub(crate) struct Spring {
    world: Rc<World>,
    end: Rc<End>,
    pieces: Cell<usize>,
    paused: Cell<bool>,
    stopped: Cell<bool>,
}

/// Has a producer registered for `end`.
pub(crate) fn register(world: &Rc<World>, reactor: &Reactor, end: &Rc<End>) {
    let Some(transport) = end.transport.borrow().clone() else { return };
    if world.chance(0.3) {
        return forward(world, end);
    }
    let spring = Rc::new(Spring {
        world: world.clone(),
        end: end.clone(),
        pieces: Cell::new(1 + world.below(4)),
        paused: Cell::new(false),
        stopped: Cell::new(false),
    });
    let pull = world.chance(0.5);
    let producer = if pull { Producer::pull(spring.clone()) } else { Producer::push(spring.clone()) };
    if transport.register_producer(producer).is_err() {
        return;
    }
    end.has_producer.set(true);
    world.expect(end.lives() || spring.stopped.get(), || format!("the late producer of end {} lives", end.number));
    if end.lives() {
        *end.spring.borrow_mut() = Some(spring.clone());
    }
    if !pull {
        spring.flow_later(reactor, 20);
    }
}

/// Whoever produces for `end` does so no more.
pub(crate) fn unregister(end: &End, transport: &Transport) {
    end.spring.take();
    end.has_producer.set(false);
    transport.unregister_producer();
}

/// Has another end paused when this one is too slow. What that other end is then told is not this schedule's to decide.
fn forward(world: &Rc<World>, end: &Rc<End>) {
    let (Some(other), Some(transport)) = (world.any_end(), end.transport.borrow().clone()) else { return };
    let Some(source) = other.transport.borrow().clone() else { return };
    if other.number != end.number && transport.register_producer(source).is_ok() {
        other.is_producer.set(true);
        end.has_producer.set(true);
    }
}

impl Spring {
    /// Flows on its own, for so many times: somebody may unregister it while it is paused, and tells it nothing.
    fn flow_later(self: &Rc<Spring>, reactor: &Reactor, times: usize) {
        let spring = self.clone();
        reactor.call_later(Duration::from_millis(3), move |reactor| {
            if spring.stopped.get() || spring.pieces.get() == 0 || times == 0 {
                return;
            }
            if !spring.paused.get() {
                spring.piece();
            }
            spring.flow_later(reactor, times - 1);
        });
    }

    fn piece(&self) {
        let Some(transport) = self.end.transport.borrow().clone() else { return };
        if self.pieces.get() > 0 {
            self.pieces.set(self.pieces.get() - 1);
            write(&self.world, &self.end, 1 + self.world.below(50_000));
        }
        if self.pieces.get() == 0 {
            unregister(&self.end, &transport);
        }
    }

    /// Whether it knows that nothing it writes will be sent.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    fn told(&self, what: &str) {
        let number = self.end.number;
        self.world.note(|| format!("producer of end {number}: {what}"));
        self.world
            .expect(!self.stopped.get(), || format!("the producer of end {number} was told to {what} after stop"));
    }
}

impl PushProducer for Spring {
    fn pause_producing(&self) {
        self.told("pause");
        self.world.expect(!self.paused.replace(true), || "a producer was paused twice".to_owned());
    }

    fn resume_producing(&self) {
        self.told("resume");
        self.world.expect(self.paused.replace(false), || "a producer was resumed and had not been paused".to_owned());
        self.piece();
    }

    fn stop_producing(&self) {
        self.told("stop");
        self.stopped.set(true);
    }
}

impl PullProducer for Spring {
    fn resume_producing(&self) {
        self.told("produce");
        let buffered = self.end.transport.borrow().as_ref().map_or(0, ropewalk::Transport::buffered);
        self.world.expect(buffered == 0, || format!("asked for more with {buffered} bytes queued"));
        self.piece();
    }

    fn stop_producing(&self) {
        self.told("stop");
        self.stopped.set(true);
    }
}
