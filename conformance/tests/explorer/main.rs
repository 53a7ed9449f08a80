//! Random schedules on the simulated network: thousands of seeds, each a small world of servers, clients and guests
//! that do anything at any time, on a network with faults.
//!
//! What must hold in each of them (DESIGN section 8, "Simulation"): bytes arrive once and in order; `connection_made`
//! comes first and `connection_lost` exactly once and last; nothing comes while it was switched off; nothing is stuck
//! when everybody listens again; no source, timer, protocol or factory is left over; virtual time never goes back.
//!
//! A failure names its seed. `ROPEWALK_SEED=n cargo test -p ropewalk-conformance --test explorer replay` runs that one
//! alone and shows everything that happened in it; `ROPEWALK_SEEDS=n` tries n seeds a test instead of the usual few.

mod actions;
mod clients;
mod end;
mod guests;
mod producers;
mod schedule;
mod servers;
mod walker;
mod world;

use schedule::{Finish, explore};

/// How many seeds each test tries. A test is a process of its own under cargo-nextest, so they run side by side.
const SEEDS: u64 = 800;

/// Tries many seeds, those of each test apart from those of the others.
fn try_seeds(finish: Finish, first: u64) {
    let seeds =
        std::env::var("ROPEWALK_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("ROPEWALK_SEEDS is a number"));
    for seed in first..first + seeds {
        if let Err(report) = explore(seed, finish) {
            panic!("seed {seed}, {finish:?}: {}\nROPEWALK_SEED={seed} replays it", report.tail());
        }
    }
}

#[test]
fn every_schedule_keeps_the_promises_when_everybody_leaves_in_peace() {
    try_seeds(Finish::Peace, 0);
}

#[test]
fn every_schedule_keeps_the_promises_when_the_reactor_is_stopped() {
    try_seeds(Finish::Stop, 1_000_000_000);
}

#[test]
fn every_schedule_keeps_the_promises_when_the_reactor_is_dropped() {
    try_seeds(Finish::Drop, 2_000_000_000);
}

#[test]
fn a_seed_replays_exactly() {
    let mut events = 0;
    for seed in 0..40 {
        let finish = [Finish::Peace, Finish::Stop, Finish::Drop][seed as usize % 3];
        let [first, second] =
            [(); 2].map(|()| explore(seed, finish).unwrap_or_else(|report| panic!("{}", report.tail())));
        assert_eq!(first.events(), second.events(), "seed {seed}, {finish:?}");
        events += first.events().len();
    }
    assert!(events > 40 * 100, "{events} events in 40 seeds are too quiet to prove anything");
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("ROPEWALK_SEED") else { return };
    let seed = seed.parse().expect("ROPEWALK_SEED is a number");
    for finish in [Finish::Peace, Finish::Stop, Finish::Drop] {
        if let Err(report) = explore(seed, finish) {
            panic!("seed {seed}, {finish:?}:\n{}", report.whole());
        }
    }
}
