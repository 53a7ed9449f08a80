//! IReactorCore.

use std::time::Duration;

use ropewalk::Error;

use crate::script::{Log, stop};
use crate::{run, specifications};

specifications! {
    core;

    fn a_turn_makes_calls_from_threads_then_due_calls_and_later_ones_in_the_next_turn(subject: &Subject) {
        // ReactorBase.runUntilCurrent, as seen on epoll.
        let (reactor, log) = (subject.reactor(), Log::new());
        for name in ["thread 1", "thread 2"] {
            let log = log.clone();
            reactor.call_from_thread(move |_| log.add(name));
        }
        let later = log.clone();
        reactor.call_later(Duration::ZERO, move |reactor| {
            later.add("later 1");
            let nested = later.clone();
            reactor.call_later(Duration::ZERO, move |reactor| {
                nested.add("later in later");
                stop(reactor);
            });
        });
        let later = log.clone();
        reactor.call_later(Duration::ZERO, move |_| later.add("later 2"));
        run(&reactor);
        log.expect(&["thread 1", "thread 2", "later 1", "later 2", "later in later"]);
    }

    fn stop_before_run_and_a_second_stop_are_errors(subject: &Subject) {
        // IReactorCore.stop: ReactorNotRunning
        let reactor = subject.reactor();
        assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
        reactor.call_when_running(|reactor| {
            reactor.stop().unwrap();
            assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
        });
        run(&reactor);
        assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
    }
}
