//! Random schedules on the simulated network: thousands of seeds. Each seed is a small world of servers, clients,
//! datagram ports, child processes and outside peers that do anything at any time, on a network with faults. Some
//! servers and their clients speak TLS.
//!
//! These promises must hold in each of them: Bytes arrive once and in order. `connection_made` comes first, and
//! `connection_lost` exactly once and last. No callback comes while it is switched off. No bytes are stuck once all
//! ends read again. No source, timer, protocol or factory is left over. Virtual time never goes back. With TLS,
//! `layer_opened` precedes the first byte, the end of the input is an orderly one only if no byte is missing, and an end
//! that closes in order is never taken for a truncation.
//!
//! Each descriptor that is passed arrives once, in order and before its byte, or is closed. No datagram is invented,
//! changed or delivered elsewhere, and `stop_protocol` comes once and last. Each process exits exactly once, with the
//! status of its program, and ends after its pipes.
//!
//! A failure names its seed. `ROPEWALK_SEED=n cargo test -p ropewalk-conformance --test explorer replay` runs that seed
//! alone and shows all its events. A million seeds, on all cores:
//!
//! ```text
//! ROPEWALK_SEEDS=1000000 cargo test -p ropewalk-conformance --test explorer -- --ignored --nocapture
//! ```

mod actions;
mod children;
mod clients;
mod datagrams;
mod end;
mod outside_peers;
#[cfg_attr(not(unix), path = "passing_nothing.rs")]
mod passing;
mod producers;
mod schedule;
#[cfg_attr(not(target_os = "linux"), path = "sealing_nothing.rs")]
mod sealing;
mod servers;
mod walker;
mod world;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use schedule::{Finish, explore};

/// The number of seeds in each test. A test is a process of its own under cargo-nextest, so they run in parallel.
const SEEDS: u64 = 800;

/// The ways to finish, in the order in which the seeds of [`promises_hold_for_many_seeds`] use them.
const FINISHES: [Finish; 3] = [Finish::Close, Finish::Stop, Finish::Drop];

/// The time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

fn try_seed(seed: u64, finish: Finish) {
    if let Err(report) = explore(seed, finish) {
        panic!("seed {seed}, {finish:?}: {}\nROPEWALK_SEED={seed} replays it", report.tail());
    }
}

/// Tries [`SEEDS`] seeds from `first` on. No two tests share a seed.
fn try_seeds(finish: Finish, first: u64) {
    (first..first + SEEDS).for_each(|seed| try_seed(seed, finish));
}

#[test]
fn promises_hold_when_all_ends_close() {
    try_seeds(Finish::Close, 0);
}

#[test]
fn promises_hold_when_the_reactor_is_stopped() {
    try_seeds(Finish::Stop, 1_000_000_000);
}

#[test]
fn promises_hold_when_the_reactor_is_dropped() {
    try_seeds(Finish::Drop, 2_000_000_000);
}

#[test]
#[ignore = "runs by hand: ROPEWALK_SEEDS is the number of seeds"]
fn promises_hold_for_many_seeds() {
    let seeds =
        std::env::var("ROPEWALK_SEEDS").map_or(20_000, |seeds| seeds.parse().expect("ROPEWALK_SEEDS is a number"));
    let (next, started) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        let (running, ended) = mpsc::channel::<()>();
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            let (next, running) = (&next, running.clone());
            scope.spawn(move || {
                let _running = running;
                try_next_seeds(next, seeds);
            });
        }
        drop(running);
        while ended.recv_timeout(PROGRESS) == Err(mpsc::RecvTimeoutError::Timeout) {
            report_progress(next.load(Ordering::Relaxed).min(seeds), seeds, started.elapsed());
        }
    });
    report_progress(seeds, seeds, started.elapsed());
}

/// Tries one seed after the other. A failure makes the other threads stop after their present seed.
fn try_next_seeds(next: &AtomicU64, seeds: u64) {
    struct StopsOthers<'a>(&'a AtomicU64, u64);
    impl Drop for StopsOthers<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                report(&format!("seed {} failed", self.1));
                self.0.store(u64::MAX / 2, Ordering::Relaxed);
            }
        }
    }
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            return;
        }
        let _stops = StopsOthers(next, seed);
        try_seed(seed, FINISHES[seed as usize % FINISHES.len()]);
    }
}

fn report_progress(done: u64, seeds: u64, elapsed: Duration) {
    let rate = done as f64 / elapsed.as_secs_f64();
    report(&format!("{done} of {seeds} seeds in {:.0} s, {rate:.0} a second", elapsed.as_secs_f64()));
}

#[expect(clippy::print_stderr, reason = "a long run by hand shows its progress")]
fn report(line: &str) {
    eprintln!("{line}");
}

#[test]
fn a_seed_replays_exactly() {
    let mut events = 0;
    for seed in 0..40 {
        let finish = FINISHES[seed as usize % FINISHES.len()];
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
    for finish in FINISHES {
        if let Err(report) = explore(seed, finish) {
            panic!("seed {seed}, {finish:?}:\n{}", report.whole());
        }
    }
}
