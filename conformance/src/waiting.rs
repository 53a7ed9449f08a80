//! Waiting for an expected event, and for the absence of further events, on a machine that may stand still for a time.
//!
//! After such a pause every timer is due at once, possibly before the next event of a conversation. So no specification
//! sets a time limit for an event: a specification waits until the event has happened. Further events would show in the
//! turns after that, each of which asks the provider.

use std::time::Duration;

use ropewalk::{Moment, Reactor};

use crate::script::{Log, stop};
use crate::{quiet, run};

/// The time between two checks, in which at least one turn runs.
const MOMENT: Duration = Duration::from_millis(1);

/// The number of turns in which no further event may happen.
const QUIET_TURNS: u32 = 30;

/// The time after which a missing event counts as lost, and the specification fails.
const PATIENCE: Duration = Duration::from_secs(20);

const LATE: &str = "the event that the specification waits for has not come";

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
        (false, _) if reactor.now() > deadline => {
            // The panic alone does not stop a reactor that logs panics.
            stop(reactor);
            panic!("{LATE} within {PATIENCE:?}");
        }
        (false, _) => look(reactor, done, then, QUIET_TURNS, deadline),
    });
}

/// Calls `then` after some turns, in which all pending work completes step by step.
pub fn after_some_turns(reactor: &Reactor, then: impl FnOnce(&Reactor) + 'static) {
    when(reactor, || true, then);
}

/// Runs until `done`, and some turns more, in which unwanted events would show.
pub fn run_until(reactor: &Reactor, done: impl Fn() -> bool + 'static) {
    when(reactor, done, stop);
    run(reactor);
}

/// Turns the loop until `done`, and some turns more, in which unwanted events would show.
pub fn iterate_until(reactor: &Reactor, done: impl Fn() -> bool) {
    let (deadline, mut turns_left) = (reactor.now() + PATIENCE, QUIET_TURNS);
    while turns_left > 0 {
        reactor.iterate(Some(MOMENT)).expect("a turn");
        turns_left = if done() { turns_left - 1 } else { QUIET_TURNS };
        let is_late = turns_left == QUIET_TURNS && reactor.now() > deadline;
        assert!(!is_late, "{LATE} within {PATIENCE:?}");
    }
}

/// Runs until the log has as many events as expected, and some turns more. Fails unless the log has exactly the
/// expected events.
#[track_caller]
pub fn run_and_expect(reactor: &Reactor, log: &Log, expected: &[&str]) {
    let (seen, enough) = (log.clone(), expected.len());
    when(reactor, move || seen.entries().len() >= enough, stop);
    let outcome = reactor.run_with(quiet());
    // First, because a difference of the log says more than a time-out.
    log.expect(expected);
    outcome.expect("the loop ends in order");
}
