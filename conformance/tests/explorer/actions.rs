//! Actions that are allowed at any time, inside any callback and outside of all.

use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Reactor, Transport};

use crate::end::End;
use crate::world::World;
use crate::{children, clients, datagrams, passing, producers, servers};

/// Takes a random action, most often on `own`, the end whose callback is on the stack.
pub(crate) fn act(world: &Rc<World>, reactor: &Reactor, own: Option<&Rc<End>>) {
    let own = own.filter(|_| world.chance(0.7)).cloned();
    match world.below(24) {
        0 | 1 => clients::connect(world, reactor),
        2 => clients::act_on_connector(world),
        3 => servers::listen(world, reactor),
        4 => servers::act_on_port(world),
        5 => act_later(world, reactor),
        6 => act_from_thread(world, reactor),
        7 if world.chance(0.5) => world.iterate(reactor),
        7 => world.continue_shutdown(),
        8 | 9 => datagrams::act_on_any(world, reactor),
        10 => children::act_on_any(world, reactor),
        _ => {
            if let Some(end) = own.or_else(|| world.any_end()) {
                act_on(world, reactor, &end);
            }
        }
    }
}

fn act_on(world: &Rc<World>, reactor: &Reactor, end: &Rc<End>) {
    let Some(transport) = end.transport.borrow().clone() else { return };
    match world.below(22) {
        // No byte may follow close_notify, which is queued at some point behind the request to close.
        0..=9 if end.closes_sealed() => {}
        0..=7 => write(world, end, 1 + world.below(300)),
        8 | 9 => write(world, end, 4000 + world.below(30_000)),
        10 => lose(world, end, &transport),
        11 => lose_write(world, end, &transport),
        12 => abort(world, end, &transport),
        13 | 14 => pause_for_a_while(world, reactor, end, &transport),
        15 => resume(world, end, &transport),
        16 => producers::register(world, reactor, end),
        17 => producers::unregister(end, &transport),
        18 | 19 => passing::pass(world, end, &transport),
        20 => transport.set_watermarks(world.below(100_000), world.below(100_000)),
        _ => look(world, end, &transport),
    }
}

/// Writes the next `count` bytes of the end's stream, in one of the ways to write.
pub(crate) fn write(world: &World, end: &End, count: usize) {
    let Some(transport) = end.transport.borrow().clone() else { return };
    world.note(|| format!("end {} writes {count} after {}", end.number, end.written.get()));
    let bytes = end.next_bytes(count);
    let accepted = end.accepts_writes();
    match world.below(3) {
        0 => transport.write(&bytes),
        1 => transport.write_sequence(bytes.chunks(1 + count / 3)),
        _ => transport.write_bytes(bytes),
    }
    if accepted {
        end.written.set(end.written.get() + count as u64);
    }
}

pub(crate) fn lose(world: &World, end: &End, transport: &Transport) {
    world.note(|| format!("end {} loses its connection", end.number));
    end.losing.set(true);
    transport.lose_connection();
}

fn lose_write(world: &World, end: &End, transport: &Transport) {
    world.note(|| format!("end {} loses its write connection", end.number));
    end.losing_write.set(true);
    transport.lose_write_connection();
}

pub(crate) fn abort(world: &World, end: &End, transport: &Transport) {
    world.note(|| format!("end {} aborts", end.number));
    if end.lives() {
        end.aborting.set(true);
        // A UNIX socket has no resets: its peer sees an ordinary end.
        end.cut_short.set(transport.peer().inet().is_none());
    }
    transport.abort_connection();
}

fn pause_for_a_while(world: &Rc<World>, reactor: &Reactor, end: &Rc<End>, transport: &Transport) {
    world.note(|| format!("end {} pauses", end.number));
    end.paused.set(true);
    transport.pause_producing();
    let (world, end) = (world.clone(), end.clone());
    reactor.call_later(Duration::from_millis(40), move |_| {
        if let Some(transport) = end.transport.borrow().clone() {
            resume(&world, &end, &transport);
        }
    });
}

pub(crate) fn resume(world: &World, end: &End, transport: &Transport) {
    world.note(|| format!("end {} resumes", end.number));
    end.paused.set(false);
    transport.resume_producing();
}

/// Checks that getters answer, also in the callback that reports the end of the connection.
fn look(world: &World, end: &End, transport: &Transport) {
    let alive = transport.is_connected();
    let fits = transport.host().is_ok() == alive && transport.set_tcp_no_delay(true).is_ok() == alive;
    world.expect(fits, || format!("end {} answers as if it were {}", end.number, if alive { "lost" } else { "alive" }));
    let made_and_not_lost = end.lives();
    world.expect(!made_and_not_lost || alive, || format!("end {} is over without connection_lost", end.number));
    world.expect(!alive || transport.tcp_keep_alive().is_ok(), || "an option of a living end is unknown".to_owned());
}

fn act_later(world: &Rc<World>, reactor: &Reactor) {
    let delay = Duration::from_micros(world.below(20_000) as u64);
    let due = reactor.now() + delay;
    let cancelled = world.chance(0.2);
    let later = world.clone();
    let call = reactor.call_later(delay, move |reactor| {
        later.event(reactor, || format!("a call due at {due:?}"));
        let now = reactor.now();
        later.expect(now >= due, || format!("a call due at {due:?} was made at {now:?}"));
        later.expect(!cancelled, || "a cancelled call was made".to_owned());
        if later.spend() {
            act(&later, reactor, None);
        }
    });
    if cancelled {
        let outcome = call.cancel();
        world.expect(outcome.is_ok() && !call.active(), || format!("cancelling: {outcome:?}"));
    }
}

/// Schedules an action from another thread. Such a call must be `Send`, so a timer that is due at once chooses the
/// action.
fn act_from_thread(world: &Rc<World>, reactor: &Reactor) {
    let handle = reactor.thread_handle();
    let again = world.clone();
    reactor.call_later(Duration::ZERO, move |reactor| {
        if again.spend() {
            act(&again, reactor, None);
        }
        handle.wake_up();
    });
}
