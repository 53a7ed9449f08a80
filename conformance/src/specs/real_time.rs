//! Real time, as kernels measure it: behaviour that virtual time cannot show.

use std::time::{Duration, SystemTime};

use ropewalk::Reactor;

use crate::script::{Log, stop};
use crate::{run, specifications};

/// Wakes the loop `times` times from another thread, one after the other, then stops it.
fn wake_from_a_thread(reactor: &Reactor, times: u64) -> std::thread::JoinHandle<()> {
    let handle = reactor.thread_handle();
    std::thread::spawn(move || {
        for _ in 0..times {
            handle.blocking_call_from_thread(|_| {}).unwrap();
        }
        handle.call_from_thread(stop);
    })
}

specifications! {
    real_time;

    fn a_distant_call_does_not_keep_the_loop_awake(subject: &Subject) {
        // epoll_wait(2): a timeout over 24.8 days overflows an int of milliseconds. A nearer call would hide such an
        // overflow, so another thread stops the loop. A spinning loop makes many more waits than that thread makes
        // calls.
        const DAY: u64 = 86400;
        let two_to_32_millis = 1 << 22;
        let seconds = [24 * DAY, 25 * DAY, 50 * DAY, two_to_32_millis, 1_000_000_000_000, u64::MAX];
        for distant in seconds.map(Duration::from_secs) {
            let (reactor, counts) = subject.counted();
            reactor.call_later(distant, |_| panic!("this is due after the end of the test"));
            let thread = wake_from_a_thread(&reactor, 100);
            run(&reactor);
            thread.join().unwrap();
            // Each call wakes the loop once, and a second time if the loop took the call before the wake-up arrived.
            assert!(counts.now().waits <= 202, "{:?} for a delay of {distant:?}", counts.now());
        }
    }

    fn a_distant_call_does_not_hide_a_nearer_one(subject: &Subject) {
        // IReactorTime.callLater: the deadline is the nearest call, whatever the order of scheduling.
        let reactor = subject.reactor();
        reactor.call_later(Duration::MAX, |_| panic!("this is due after the end of the test"));
        reactor.call_later(Duration::from_millis(2), stop);
        reactor.call_later(Duration::from_secs(25 * 86400), |_| panic!("this is due after the end of the test"));
        run(&reactor);
    }

    fn a_wait_of_less_than_a_millisecond_does_not_spin(subject: &Subject) {
        // poll(2): a timeout rounded down to zero milliseconds spins until it is over, as Twisted's poll reactor may.
        for micros in [1, 50, 300, 999, 1001, 1500] {
            let (reactor, counts) = subject.counted();
            reactor.call_later(Duration::from_micros(micros), stop);
            run(&reactor);
            // There is a second wait if the loop found the call late, and a host makes turns of its own before that. A
            // loop that spins waits dozens of times.
            assert!(counts.now().waits <= 4, "{:?} for {micros} us", counts.now());
        }
    }

    fn a_call_that_becomes_due_during_a_turn_waits_for_the_next(subject: &Subject) {
        // ReactorBase.runUntilCurrent reads the time once in a turn.
        for _attempt in 0..100 {
            let (reactor, log) = (subject.reactor(), Log::new());
            let (slow, due) = (log.clone(), reactor.now() + Duration::from_millis(2));
            reactor.call_later(Duration::ZERO, move |reactor| {
                slow.add(if reactor.now() < due { "in time" } else { "too late" });
                while reactor.now() < due {
                    std::hint::spin_loop();
                }
            });
            let call = reactor.call_later(Duration::from_millis(2), log.note("became due"));
            call.hasten(call.get_time().unwrap() - due).unwrap();
            reactor.iterate(Some(Duration::ZERO)).unwrap();
            if log.contains("too late") {
                // The machine was too busy, so this attempt proves nothing.
                continue;
            }
            log.expect(&["in time"]);
            reactor.iterate(Some(Duration::ZERO)).unwrap();
            return log.expect(&["in time", "became due"]);
        }
        panic!("this machine is too busy to tell");
    }

    fn seconds_are_those_of_the_wall_clock(subject: &Subject) {
        // IReactorTime.seconds: epoch time.
        let reactor = subject.reactor();
        let epoch = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let (before, seconds, after) = (epoch(), reactor.seconds(), epoch());
        assert!(before <= seconds && seconds <= after, "{before} {seconds} {after}");
    }

    fn a_call_scheduled_during_a_detached_wait_counts_from_then(subject: &Subject) {
        // The reactor's thread continues during a wait in another thread, and a call that it schedules must not run
        // early.
        let reactor = subject.reactor();
        reactor.prepare().unwrap();
        let wait = reactor.detach_wait().unwrap();
        let (began, delay) = (reactor.now(), Duration::from_millis(1));
        while reactor.now() < began + delay * 2 {
            std::hint::spin_loop();
        }
        let call = reactor.call_later(delay, |_| {});
        assert!(call.get_time().unwrap() >= began + delay * 3);
        drop(wait);
    }

    fn delayed_calls_become_due_while_the_loop_is_stopped(subject: &Subject) {
        // IReactorTime.callLater follows the monotonic clock, not the loop.
        let reactor = subject.reactor();
        let call = reactor.call_later(Duration::from_micros(10), stop);
        while reactor.now() < call.get_time().unwrap() {
            std::hint::spin_loop();
        }
        assert_eq!(reactor.prepare().unwrap(), None);
        assert!(!call.active());
    }
}
