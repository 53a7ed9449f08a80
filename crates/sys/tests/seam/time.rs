//! Waiting, and the clock. These specifications use the real clock, because they test it.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ropewalk_proto::Moment;
use ropewalk_sys::Events;

use crate::bench::Bench;

/// A timeout that is rounded down to milliseconds makes the loop spin before a deadline.
pub(crate) fn a_wait_is_never_cut_short(bench: &mut Bench) {
    for timeout in [Duration::from_micros(300), Duration::from_micros(1700), Duration::from_millis(5)] {
        let clock = bench.provider.clock();
        let before = clock();
        assert_eq!(bench.wait(timeout), []);
        let waited = clock() - before;
        assert!(waited >= timeout, "{waited:?} is less than {timeout:?}");
    }
}

/// An `int` of milliseconds overflows after 24.8 days.
pub(crate) fn the_longest_timeout_waits(bench: &mut Bench) {
    for timeout in [Duration::from_secs(25 * 24 * 3600), Duration::from_secs(1_000_000_000_000), Duration::MAX] {
        let waker = bench.provider.waker();
        let (asleep, sleeper) = mpsc::channel();
        let waking = thread::spawn(move || {
            sleeper.recv().unwrap();
            thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        let began = Instant::now();
        asleep.send(()).unwrap();
        assert_eq!(bench.wait(timeout), []);
        assert!(began.elapsed() >= Duration::from_millis(20), "{timeout:?} was over at once");
        waking.join().unwrap();
    }
}

pub(crate) fn a_wait_of_zero_does_not_block(bench: &mut Bench) {
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(bench.wait(Duration::ZERO), []);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// EINTR, signal(7): waiting is never restarted by SA_RESTART.
pub(crate) fn a_signal_interrupts_a_wait_without_an_event(bench: &mut Bench) {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, which is async-signal-safe.
    unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    // SAFETY: pthread_self(3) has no preconditions.
    let loop_thread = unsafe { libc::pthread_self() } as usize;
    let (done, is_done) = mpsc::channel::<()>();
    let signalling = thread::spawn(move || {
        // Signals repeatedly, because the first signal may come before the wait.
        while is_done.recv_timeout(Duration::from_millis(5)) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: the signalled thread waits for this one before it ends.
            unsafe { libc::pthread_kill(loop_thread as libc::pthread_t, libc::SIGUSR1) };
        }
    });
    let mut events = Events::new();
    bench.provider.wait(None, &mut events).unwrap();
    assert_eq!(events, []);
    drop(done);
    signalling.join().unwrap();
}

pub(crate) fn the_clock_never_goes_back(bench: &mut Bench) {
    let clock = bench.provider.clock();
    let first = clock();
    assert!(first - Moment::ZERO < Duration::from_secs(60));
    let mut last = first;
    for _ in 0..1000 {
        let now = clock();
        assert!(now >= last);
        last = now;
    }
}
