//! Waiting for what must happen, and for whether more happens than must, on a machine that may stand still.
//!
//! When such a machine goes on, every timer is due at once, and what had arrived is found after them. So no specification
//! says by when something must have happened: it waits until it has. Whether anything more comes is seen in the turns
//! after that, each of which asks the provider.

use std::time::Duration;

use ropewalk::{Moment, Reactor};

use crate::run;
use crate::script::{Log, stop};

/// Between two looks. Each is a turn at least.
const MOMENT: Duration = Duration::from_millis(1);

/// How often nothing more must have happened.
const QUIET_TURNS: u32 = 30;

/// After this it never happens: the run ends, and whoever asserts says what is missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `then` when `done` has been true for some turns.
pub fn when(reactor: &Reactor, done: impl Fn() -> bool + 'static, then: impl FnOnce(&Reactor) + 'static) {
    look(reactor, done, then, QUIET_TURNS, reactor.now() + PATIENCE);
}

fn look(
    reactor: &Reactor,
    done: impl Fn() -> bool + 'static,
    then: impl FnOnce(&Reactor) + 'static,
    turns_left: u32,
    deadline: Moment,
) {
    reactor.call_later(MOMENT, move |reactor| match (done(), turns_left) {
        (true, 0) => then(reactor),
        (true, _) => look(reactor, done, then, turns_left - 1, deadline),
        (false, _) if reactor.now() > deadline => stop(reactor),
        (false, _) => look(reactor, done, then, QUIET_TURNS, deadline),
    });
}

/// Calls `then` after some turns, in which everything happens that happens by itself, one thing after the other.
pub fn after_some_turns(reactor: &Reactor, then: impl FnOnce(&Reactor) + 'static) {
    when(reactor, || true, then);
}

/// Runs until `done`, and some turns more, for what must not happen.
pub fn run_until(reactor: &Reactor, done: impl Fn() -> bool + 'static) {
    when(reactor, done, stop);
    run(reactor);
}

/// Makes turns until `done`, and some more, for what must not happen.
pub fn iterate_until(reactor: &Reactor, done: impl Fn() -> bool) {
    let (deadline, mut turns_left) = (reactor.now() + PATIENCE, QUIET_TURNS);
    while turns_left > 0 && reactor.now() < deadline {
        reactor.iterate(Some(MOMENT)).expect("a turn");
        turns_left = if done() { turns_left - 1 } else { QUIET_TURNS };
    }
}

/// Runs until so much has happened, and some turns more; fails unless it was exactly this, in this order.
#[track_caller]
pub fn run_and_expect(reactor: &Reactor, log: &Log, expected: &[&str]) {
    let (seen, enough) = (log.clone(), expected.len());
    run_until(reactor, move || seen.entries().len() >= enough);
    log.expect(expected);
}
