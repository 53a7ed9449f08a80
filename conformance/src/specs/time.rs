//! IReactorTime.

use std::time::Duration;

use ropewalk::{Error, Moment};

use crate::script::{Log, stop};
use crate::{run, specifications};

const MOMENT: Duration = Duration::from_millis(1);

specifications! {
    time;

    fn calls_are_made_in_the_order_of_their_deadlines(subject: &Subject) {
        // IReactorTime.callLater
        let (reactor, log) = (subject.reactor(), Log::new());
        for (name, delay) in [("third", 3), ("first", 1), ("second", 2)] {
            let log = log.clone();
            reactor.call_later(MOMENT * delay, move |_| log.add(name));
        }
        reactor.call_later(MOMENT * 4, stop);
        run(&reactor);
        log.expect(&["first", "second", "third"]);
    }

    fn calls_due_at_the_same_time_are_made_in_the_order_they_were_scheduled(subject: &Subject) {
        // Contract: FIFO, where the original has the order of a heap.
        let (reactor, log) = (subject.reactor(), Log::new());
        let delay = MOMENT;
        let base = reactor.call_later(delay, |_| {});
        for number in 0..12 {
            let log = log.clone();
            let call = reactor.call_later(delay, move |_| log.add(number.to_string()));
            // The clock moves while these are scheduled: make the deadlines equal.
            let early = call.get_time().unwrap() - base.get_time().unwrap();
            call.hasten(early).unwrap();
            assert_eq!(call.get_time(), base.get_time());
        }
        reactor.call_later(delay * 2, stop);
        run(&reactor);
        let expected: Vec<_> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(log.entries(), expected);
    }

    fn a_cancelled_call_is_never_made_and_cannot_be_cancelled_again(subject: &Subject) {
        // IDelayedCall.cancel
        let (reactor, log) = (subject.reactor(), Log::new());
        let cancelled = log.clone();
        let call = reactor.call_later(MOMENT, move |_| cancelled.add("made"));
        call.cancel().unwrap();
        assert!(!call.active());
        assert!(matches!(call.cancel(), Err(Error::AlreadyCancelled)));
        reactor.call_later(MOMENT * 3, stop);
        run(&reactor);
        log.expect(&[]);
    }

    fn a_delay_of_a_trillion_seconds_or_more_is_accepted_and_does_not_wake_the_loop(subject: &Subject) {
        // LESSONS, bug 1: a timeout that overflows the system call's argument fires at once.
        let reactor = subject.reactor();
        for delay in [Duration::from_secs(1_000_000_000_000), Duration::MAX, Duration::from_secs(30 * 86400)] {
            reactor.call_later(delay, |_| panic!("this is due after the end of the test"));
        }
        let call = reactor.call_later(Duration::MAX, |_| {});
        assert_eq!(call.get_time(), Some(Moment::NEVER));
        reactor.call_later(MOMENT, stop);
        run(&reactor);
    }
}
