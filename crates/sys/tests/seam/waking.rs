//! Wakers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use crate::bench::{Bench, PATIENCE};

pub(crate) fn a_wake_before_the_wait_is_not_lost(bench: &mut Bench) {
    bench.provider.waker().wake();
    let began = Instant::now();
    assert_eq!(bench.wait(PATIENCE), []);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(bench.settle(), [], "it ends one wait only");
}

pub(crate) fn a_wake_up_is_not_an_event(bench: &mut Bench) {
    let waker = bench.provider.waker();
    let (asleep, sleeper) = mpsc::channel();
    let waking = thread::spawn(move || {
        sleeper.recv().unwrap();
        thread::yield_now();
        waker.wake();
    });
    asleep.send(()).unwrap();
    let began = Instant::now();
    assert_eq!(bench.wait(PATIENCE), []);
    assert!(began.elapsed() < PATIENCE);
    waking.join().unwrap();
    assert_eq!(bench.settle(), []);
}

/// Every count is followed by a wake. So after the wait that the last wake interrupts, all counts are visible.
pub(crate) fn wakes_from_many_threads_are_never_lost(bench: &mut Bench) {
    const THREADS: u32 = 4;
    const WAKES: u32 = 2_000;
    let count = Arc::new(AtomicU32::new(0));
    let waking: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waker, count) = (bench.provider.waker(), count.clone());
            thread::spawn(move || {
                for _ in 0..WAKES {
                    count.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            })
        })
        .collect();
    let deadline = Instant::now() + 3 * PATIENCE;
    while count.load(Ordering::Relaxed) < THREADS * WAKES {
        assert_eq!(bench.wait(2 * PATIENCE), []);
        assert!(Instant::now() < deadline, "a wake was lost");
    }
    waking.into_iter().for_each(|thread| thread.join().unwrap());
}

pub(crate) fn a_waker_outlives_its_provider(bench: &mut Bench) {
    let waker = bench.provider.waker();
    bench.provider = crate::open(bench.provider.name());
    waker.wake();
    waker.clone().wake();
    assert_eq!(bench.settle(), [], "the new provider is not woken");
}
