//! IReactorCore: turns, starting and stopping, events and their triggers, panics.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk::proto::Deferred;
use ropewalk::{Error, PanicPolicy, Phase, Reactor, RunOptions, Transport, TriggerId, fail, succeed};

use crate::logged::logged;
use crate::script::{Log, Script, reason_name, stop};
use crate::{run, specifications};

const MOMENT: Duration = Duration::from_millis(1);
const PHASES: [(Phase, &str); 3] = [(Phase::Before, "before"), (Phase::During, "during"), (Phase::After, "after")];

/// Runs one turn that does not wait.
fn turn(reactor: &Reactor) {
    reactor.iterate(Some(Duration::ZERO)).unwrap();
}

/// Logs each phase of `event`, and whether the reactor counts as running then. Later phases are added first.
fn note_phases(reactor: &Reactor, event: &'static str, log: &Log) {
    for (phase, name) in PHASES.iter().rev() {
        let log = log.clone();
        reactor.add_system_event_trigger(*phase, event, move |reactor| {
            log.add(format!("{name} {event}, running {}", reactor.running()));
        });
    }
}

specifications! {
    core;

    fn a_turn_runs_thread_calls_before_due_calls(subject: &Subject) {
        // ReactorBase.runUntilCurrent, as observed on epoll. A call that a due call schedules waits for the next turn.
        let (reactor, log) = (subject.reactor(), Log::new());
        let later = log.clone();
        reactor.call_later(Duration::ZERO, move |reactor| {
            later.add("later 1");
            let nested = later.clone();
            reactor.call_later(Duration::ZERO, move |reactor| {
                nested.add("later in later");
                stop(reactor);
            });
        });
        reactor.call_later(Duration::ZERO, log.note("later 2"));
        for name in ["thread 1", "thread 2"] {
            reactor.call_from_thread(log.note(name));
        }
        run(&reactor);
        log.expect(&["thread 1", "thread 2", "later 1", "later 2", "later in later"]);
    }

    fn a_thread_call_queued_by_another_runs_in_the_next_turn(subject: &Subject) {
        // ReactorBase.runUntilCurrent makes only the calls that were queued when the turn began.
        let (reactor, log) = (subject.reactor(), Log::new());
        let nested = log.note("nested");
        reactor.call_from_thread(move |reactor| reactor.call_from_thread(nested));
        reactor.call_from_thread(log.note("second"));
        turn(&reactor);
        log.expect(&["second"]);
        turn(&reactor);
        log.expect(&["second", "nested"]);
    }

    fn a_nested_thread_call_wakes_the_loop(subject: &Subject) {
        // ReactorBase.callFromThread wakes the loop, also from the loop's own thread. No other event wakes the loop, so
        // the test ends only by this call.
        let reactor = subject.reactor();
        reactor.call_when_running(|reactor| {
            reactor.call_from_thread(|reactor| reactor.call_from_thread(|reactor| reactor.call_from_thread(stop)));
        });
        run(&reactor);
    }

    fn a_zero_delay_call_from_a_thread_call_runs_in_the_same_turn(subject: &Subject) {
        // ReactorBase.runUntilCurrent: due calls come after calls from threads.
        let (reactor, log) = (subject.reactor(), Log::new());
        let later = log.note("later");
        reactor.call_from_thread(move |reactor| drop(reactor.call_later(Duration::ZERO, later)));
        turn(&reactor);
        log.expect(&["later"]);
    }

    fn a_zero_delay_call_from_a_due_call_runs_in_the_next_turn(subject: &Subject) {
        // ReactorBase.runUntilCurrent, _insertNewDelayedCalls
        let (reactor, log) = (subject.reactor(), Log::new());
        let later = log.note("later");
        reactor.call_later(Duration::ZERO, move |reactor| drop(reactor.call_later(Duration::ZERO, later)));
        turn(&reactor);
        log.expect(&[]);
        turn(&reactor);
        log.expect(&["later"]);
    }

    fn self_rescheduling_calls_starve_no_other_source(subject: &Subject) {
        // A turn takes its due calls from a snapshot, so connections and threads get their share.
        fn again(reactor: &Reactor) {
            reactor.call_later(Duration::ZERO, again);
            reactor.call_from_thread(|_| {});
        }
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let (heard, handle) = (log.clone(), reactor.thread_handle());
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |_, _| {
            heard.add("echo");
            let (heard, handle) = (heard.clone(), handle.clone());
            std::thread::spawn(move || {
                handle.call_from_thread(move |reactor| {
                    heard.add("thread");
                    stop(reactor);
                });
            });
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        again(&reactor);
        run(&reactor);
        log.expect(&["echo", "thread"]);
    }

    fn due_calls_run_before_arrived_data_is_delivered(subject: &Subject) {
        // ReactorBase.mainLoop calls runUntilCurrent, then doIteration.
        let (reactor, log) = (subject.reactor(), Log::new());
        let arrived = log.clone();
        let server = Script::new().on_data(move |transport, _| {
            arrived.add("data");
            stop(&transport.reactor());
        });
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let due = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.write(b"x");
            let (thread, due) = (due.note("thread"), due.note("due"));
            transport.reactor().call_later(Duration::ZERO, due);
            transport.reactor().call_from_thread(thread);
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        log.expect(&["thread", "due", "data"]);
    }

    fn a_turn_that_stops_the_reactor_completes_its_due_calls(subject: &Subject) {
        // ReactorBase.runUntilCurrent: shutdown begins at the end of the turn.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.add_system_event_trigger(Phase::Before, "shutdown", log.note("shutdown"));
        reactor.call_from_thread(stop);
        reactor.call_from_thread(log.note("thread"));
        reactor.call_later(Duration::ZERO, log.note("due"));
        run(&reactor);
        log.expect(&["thread", "due", "shutdown"]);
    }

    fn stopping_a_reactor_that_does_not_run_is_an_error(subject: &Subject) {
        // IReactorCore.stop raises ReactorNotRunning, also for a second stop.
        let reactor = subject.reactor();
        assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
        reactor.call_when_running(|reactor| {
            reactor.stop().unwrap();
            assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
        });
        reactor.add_system_event_trigger(Phase::Before, "shutdown", |reactor: &Reactor| {
            assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
        });
        run(&reactor);
        assert!(matches!(reactor.stop(), Err(Error::ReactorNotRunning)));
    }

    fn a_reactor_counts_as_running_until_during_shutdown(subject: &Subject) {
        // IReactorCore.running is true from the phase "during startup" until the phase "during shutdown", also after
        // stop.
        let (reactor, log) = (subject.reactor(), Log::new());
        assert!(!reactor.running());
        note_phases(&reactor, "startup", &log);
        note_phases(&reactor, "shutdown", &log);
        let stopped = log.clone();
        reactor.call_later(MOMENT, move |reactor| {
            stop(reactor);
            stopped.add(format!("stopped, running {}", reactor.running()));
        });
        run(&reactor);
        assert!(!reactor.running());
        log.expect(&[
            "before startup, running false",
            "during startup, running true",
            "after startup, running true",
            "stopped, running true",
            "before shutdown, running true",
            "during shutdown, running false",
            "after shutdown, running false",
        ]);
    }

    fn calls_when_running_follow_the_start_in_order(subject: &Subject) {
        // IReactorCore.callWhenRunning: each call is made only once.
        let (reactor, log) = (subject.reactor(), Log::new());
        for name in ["first", "second"] {
            reactor.call_when_running(log.note(name));
        }
        reactor.add_system_event_trigger(Phase::During, "startup", log.note("startup"));
        for _ in 0..2 {
            reactor.call_later(Duration::ZERO, stop);
            run(&reactor);
        }
        log.expect(&["startup", "first", "second"]);
    }

    fn a_call_when_running_runs_at_once_in_a_running_reactor(subject: &Subject) {
        // IReactorCore.callWhenRunning
        let (reactor, log) = (subject.reactor(), Log::new());
        let called = log.clone();
        reactor.call_later(Duration::ZERO, move |reactor| {
            let id = reactor.call_when_running(called.note("called"));
            assert!(id.is_none());
            called.add("returned");
            stop(reactor);
        });
        run(&reactor);
        log.expect(&["called", "returned"]);
    }

    fn a_call_when_running_can_be_removed_before_the_start(subject: &Subject) {
        // IReactorCore.callWhenRunning returns the id of a trigger.
        let (reactor, log) = (subject.reactor(), Log::new());
        let id = reactor.call_when_running(log.note("removed")).expect("it waits for the start");
        reactor.call_when_running(stop);
        reactor.remove_system_event_trigger(&id).unwrap();
        run(&reactor);
        log.expect(&[]);
    }

    fn a_deferred_before_startup_delays_the_start(subject: &Subject) {
        // ReactorBase.startRunning: the loop turns while it waits, and `running` is False.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (deferred, resolver) = Deferred::new();
        reactor.add_system_event_trigger(Phase::Before, "startup", move |_: &Reactor| deferred);
        note_phases(&reactor, "startup", &log);
        reactor.call_when_running(stop);
        let fired = log.clone();
        reactor.call_later(MOMENT, move |reactor| {
            fired.add(format!("call, running {}", reactor.running()));
            resolver.callback(()).unwrap();
        });
        run(&reactor);
        log.expect(&[
            "before startup, running false",
            "call, running false",
            "during startup, running true",
            "after startup, running true",
        ]);
    }

    fn stopping_during_a_delayed_start_returns_from_run(subject: &Subject) {
        // ReactorBase.mainLoop fires shutdown even if the startup has not finished. Calls scheduled with
        // callWhenRunning wait for the next start.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (deferred, resolver) = Deferred::new();
        reactor.add_system_event_trigger(Phase::Before, "startup", move |_: &Reactor| deferred);
        reactor.call_when_running(log.note("started"));
        note_phases(&reactor, "shutdown", &log);
        reactor.call_later(MOMENT, stop);
        run(&reactor);
        resolver.callback(()).unwrap();
        log.expect(&[
            "before shutdown, running false",
            "during shutdown, running false",
            "after shutdown, running false",
        ]);
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert_eq!(log.count("started"), 1);
    }

    fn stopping_in_a_startup_trigger_completes_the_start_first(subject: &Subject) {
        // IReactorCore.stop, as observed: shutdown follows the start.
        for (phase, _) in PHASES {
            let (reactor, log) = (subject.reactor(), Log::new());
            reactor.add_system_event_trigger(phase, "startup", stop);
            note_phases(&reactor, "startup", &log);
            note_phases(&reactor, "shutdown", &log);
            run(&reactor);
            log.expect(&[
                "before startup, running false",
                "during startup, running true",
                "after startup, running true",
                "before shutdown, running true",
                "during shutdown, running false",
                "after shutdown, running false",
            ]);
        }
    }

    fn shutdown_waits_for_every_deferred_of_the_before_phase(subject: &Subject) {
        // IReactorCore.addSystemEventTrigger: a before trigger may return a Deferred.
        let (reactor, log) = (subject.reactor(), Log::new());
        for delay in [3, 1, 2] {
            let log = log.clone();
            reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor: &Reactor| {
                let (deferred, resolver) = Deferred::new();
                reactor.call_later(MOMENT * delay, move |_| {
                    log.add("fires");
                    let _ = resolver.callback(());
                });
                deferred
            });
        }
        reactor.add_system_event_trigger(Phase::During, "shutdown", log.note("during"));
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["fires", "fires", "fires", "during"]);
    }

    fn connections_are_served_while_shutdown_waits(subject: &Subject) {
        // IReactorCore.addSystemEventTrigger: I/O and timers work while shutdown waits.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        let echoed = log.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor: &Reactor| {
            let (deferred, resolver) = Deferred::new();
            let client = Script::new().on_made(|transport| transport.write(b"late")).on_data(move |_, data| {
                echoed.add(String::from_utf8_lossy(data));
                let _ = resolver.callback(());
            });
            reactor.connect_tcp(address, client.factory()).unwrap();
            deferred
        });
        reactor.add_system_event_trigger(Phase::During, "shutdown", log.note("during"));
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["late", "during"]);
    }

    fn a_failed_or_fired_deferred_does_not_delay_an_event(subject: &Subject) {
        // _ThreePhaseEvent waits for a DeferredList, which fires whatever the outcomes are.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.add_system_event_trigger(Phase::Before, "shutdown", |_: &Reactor| fail::<()>(std::fmt::Error));
        reactor.add_system_event_trigger(Phase::Before, "shutdown", |_: &Reactor| succeed(()));
        reactor.add_system_event_trigger(Phase::Before, "shutdown", |_: &Reactor| Deferred::<()>::new().0);
        note_phases(&reactor, "shutdown", &log);
        reactor.call_when_running(stop);
        run(&reactor);
        assert_eq!(log.entries().len(), 3);
    }

    fn a_deferred_of_a_later_phase_is_not_awaited(subject: &Subject) {
        // IReactorCore.addSystemEventTrigger: only the before phase waits.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (during, _never) = Deferred::<()>::new();
        let (after, _never_either) = Deferred::<()>::new();
        reactor.add_system_event_trigger(Phase::During, "shutdown", move |_: &Reactor| during);
        reactor.add_system_event_trigger(Phase::After, "shutdown", move |_: &Reactor| after);
        reactor.add_system_event_trigger(Phase::After, "shutdown", log.note("after"));
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["after"]);
    }

    fn a_trigger_added_by_a_trigger_of_its_phase_fires_with_it(subject: &Subject) {
        // _ThreePhaseEvent: triggers are popped as they run, so more can be added.
        for (phase, _) in PHASES {
            let (reactor, log) = (subject.reactor(), Log::new());
            let added = log.note("added");
            reactor.add_system_event_trigger(phase, "shutdown", move |reactor: &Reactor| {
                reactor.add_system_event_trigger(phase, "shutdown", added);
            });
            reactor.add_system_event_trigger(phase, "shutdown", log.note("there"));
            reactor.call_when_running(stop);
            run(&reactor);
            log.expect(&["there", "added"]);
        }
    }

    fn a_trigger_removed_while_its_event_fires_does_not_fire(subject: &Subject) {
        // IReactorCore.removeSystemEventTrigger; _ThreePhaseEvent.removeTrigger_BEFORE
        for (phase, _) in PHASES {
            let (reactor, log) = (subject.reactor(), Log::new());
            let victim: Rc<RefCell<Option<TriggerId>>> = Rc::default();
            let its_id = victim.clone();
            reactor.add_system_event_trigger(phase, "custom", move |reactor: &Reactor| {
                reactor.remove_system_event_trigger(its_id.borrow().as_ref().unwrap()).unwrap();
            });
            *victim.borrow_mut() = Some(reactor.add_system_event_trigger(phase, "custom", log.note("removed")));
            reactor.add_system_event_trigger(phase, "custom", log.note("kept"));
            reactor.fire_system_event("custom");
            log.expect(&["kept"]);
        }
    }

    fn a_fired_or_removed_trigger_is_unknown(subject: &Subject) {
        // IReactorCore.removeSystemEventTrigger: one error in place of Twisted's three kinds and a warning.
        let reactor = subject.reactor();
        let fired = reactor.add_system_event_trigger(Phase::Before, "custom", |_: &Reactor| {});
        reactor.fire_system_event("custom");
        let removed = reactor.add_system_event_trigger(Phase::Before, "custom", |_: &Reactor| {});
        reactor.remove_system_event_trigger(&removed).unwrap();
        for id in [fired, removed] {
            assert!(matches!(reactor.remove_system_event_trigger(&id), Err(Error::NoSuchTrigger)));
        }
    }

    fn an_event_fired_by_its_own_trigger_runs_each_trigger_once(subject: &Subject) {
        // _ThreePhaseEvent: a trigger calls fireSystemEvent for its own event.
        for (phase, _) in PHASES {
            let (reactor, log) = (subject.reactor(), Log::new());
            let first = log.clone();
            reactor.add_system_event_trigger(phase, "custom", move |reactor: &Reactor| {
                first.add("first");
                reactor.fire_system_event("custom");
            });
            reactor.add_system_event_trigger(phase, "custom", log.note("second"));
            reactor.add_system_event_trigger(Phase::After, "custom", log.note("last"));
            reactor.fire_system_event("custom");
            log.expect(&["first", "second", "last"]);
        }
    }

    fn a_custom_event_has_the_three_phases(subject: &Subject) {
        // IReactorCore.fireSystemEvent takes any name, and returns while the event waits for a Deferred.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (deferred, resolver) = Deferred::new();
        for (phase, name) in PHASES.iter().rev() {
            reactor.add_system_event_trigger(*phase, "persist", log.note(name));
        }
        reactor.add_system_event_trigger(Phase::Before, "persist", move |_: &Reactor| deferred);
        reactor.fire_system_event("persist");
        log.expect(&["before"]);
        resolver.callback(()).unwrap();
        log.expect(&["before", "during", "after"]);
        reactor.fire_system_event("persist");
        reactor.fire_system_event("an event without triggers");
        assert_eq!(log.entries().len(), 3);
    }

    fn firing_shutdown_stops_a_running_reactor(subject: &Subject) {
        // ReactorBase: the trigger `during shutdown` is `crash`. The connections end too, so the callback has to return
        // first.
        let (reactor, log) = (subject.reactor(), Log::new());
        for (phase, name) in PHASES {
            reactor.add_system_event_trigger(phase, "shutdown", log.note(name));
        }
        let fired = log.clone();
        reactor.call_when_running(move |reactor| {
            reactor.fire_system_event("shutdown");
            reactor.fire_system_event("shutdown");
            fired.add("fired");
        });
        run(&reactor);
        log.expect(&["fired", "before", "during", "after"]);
        assert!(!reactor.running());
    }

    fn the_events_of_a_run_are_fired_by_the_run_alone(subject: &Subject) {
        // A trigger runs only once. If user code could fire `startup` or `shutdown`, their triggers would be missing in
        // the run.
        let (reactor, log) = (subject.reactor(), Log::new());
        for event in ["startup", "shutdown"] {
            let ran = log.clone();
            reactor.add_system_event_trigger(Phase::During, event, move |reactor: &Reactor| {
                ran.add(event);
                reactor.fire_system_event("startup");
            });
            reactor.fire_system_event(event);
        }
        log.expect(&[]);
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["startup", "shutdown"]);
    }

    fn a_panic_in_a_trigger_stops_no_other_trigger(subject: &Subject) {
        // _ThreePhaseEvent: "Unhandled Error" is logged, and the reactor continues.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        for event in ["startup", "shutdown"] {
            for (phase, _) in PHASES {
                reactor.add_system_event_trigger(phase, event, |_: &Reactor| -> () { panic!("in a trigger") });
            }
            note_phases(&reactor, event, &log);
        }
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert_eq!(log.entries().len(), 6);
    }

    fn a_panic_in_one_call_keeps_the_others_of_its_turn(subject: &Subject) {
        // ReactorBase.runUntilCurrent: an exception in one call must not drop the rest.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        reactor.call_from_thread(|_| panic!("in a call from a thread"));
        reactor.call_from_thread(log.note("thread"));
        reactor.call_later(Duration::ZERO, |_| panic!("in a delayed call"));
        reactor.call_later(Duration::ZERO, log.note("due"));
        reactor.call_later(MOMENT, stop);
        run(&reactor);
        log.expect(&["thread", "due"]);
    }

    fn a_panic_is_logged_once_naming_its_callback(subject: &Subject) {
        // Twisted logs "Unhandled Error" with a traceback. Here the line has the callback's name, which includes the
        // function that made the callback.
        let reactor = subject.plain_reactor();
        let lines = logged(|| {
            reactor.call_later(Duration::ZERO, |_| panic!("in a delayed call"));
            reactor.call_from_thread(|_| panic!("in a call from {}", "a thread"));
            reactor.call_when_running(|_| panic!("in a trigger"));
            reactor.call_later(MOMENT, stop);
            run(&reactor);
        });
        for message in ["in a delayed call", "in a call from a thread", "in a trigger"] {
            let told = Vec::from_iter(lines.iter().filter(|line| line.contains(message)));
            assert_eq!(told.len(), 1, "{message}: {lines:?}");
            assert!(told[0].starts_with("ERROR"), "{}", told[0]);
            assert!(told[0].contains("a_panic_is_logged_once_naming_its_callback"), "{}", told[0]);
        }
    }

    fn a_panic_can_stop_the_reactor_in_order(subject: &Subject) {
        // PanicPolicy::Stop, for programs that prefer to stop.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_panic_policy(PanicPolicy::Stop);
        reactor.add_system_event_trigger(Phase::After, "shutdown", log.note("shut down"));
        reactor.call_later(Duration::ZERO, |_| panic!("the first of them"));
        reactor.call_later(Duration::ZERO, |_| panic!("the second"));
        let error = reactor.run_with(RunOptions::default().without_signal_handlers()).unwrap_err();
        let Error::Panicked(_, message) = error else { panic!("another error: {error}") };
        assert_eq!(&*message, "the first of them");
        log.expect(&["shut down"]);
    }

    fn a_panic_of_an_earlier_run_is_not_reported_by_the_next(subject: &Subject) {
        // PanicPolicy::Stop
        let reactor = subject.reactor();
        reactor.set_panic_policy(PanicPolicy::Stop);
        reactor.call_later(Duration::ZERO, |_| panic!("in a turn outside run"));
        turn(&reactor);
        reactor.call_when_running(stop);
        run(&reactor);
    }

    fn running_inside_a_run_is_a_harmless_error(subject: &Subject) {
        // IReactorCore.run: ReactorAlreadyRunning
        let (reactor, log) = (subject.reactor(), Log::new());
        let tried = log.clone();
        reactor.call_later(Duration::ZERO, move |reactor| {
            tried.add(reason_name(&reactor.run().unwrap_err()));
            reactor.call_later(Duration::ZERO, stop);
        });
        run(&reactor);
        log.expect(&["ReactorAlreadyRunning"]);
    }

    fn a_run_cannot_begin_before_the_last_one_has_ended(subject: &Subject) {
        // The end of the old run would stop the thread pool of the new one.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let told = log.clone();
        let client = Script::new().on_made(|transport| stop(&transport.reactor())).on_lost(move |transport, _| {
            let refused = matches!(transport.reactor().run(), Err(Error::ReactorAlreadyRunning));
            told.add(if refused { "refused" } else { "ran" });
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        log.expect(&["refused"]);
        let handle = reactor.thread_handle();
        reactor.call_in_thread(move || handle.call_from_thread(stop));
        run(&reactor);
    }

    fn a_stopped_reactor_can_run_again(subject: &Subject) {
        // Twisted says ReactorNotRestartable. Here everything works in the second run.
        let (reactor, log) = (subject.reactor(), Log::new());
        for _ in 0..3 {
            note_phases(&reactor, "startup", &log);
            note_phases(&reactor, "shutdown", &log);
            let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
            let client = Script::new()
                .on_made(|transport| transport.write(b"again"))
                .on_data(|transport, _| transport.reactor().call_from_thread(stop));
            reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
            run(&reactor);
            assert_eq!(client.received(), b"again");
            assert_eq!(reactor.source_count(), 0);
        }
        assert_eq!(log.entries().len(), 18);
    }

    fn crash_leaves_the_loop_without_firing_shutdown(subject: &Subject) {
        // IReactorCore.crash: pending calls and connections stay.
        let (reactor, log) = (subject.reactor(), Log::new());
        note_phases(&reactor, "shutdown", &log);
        reactor.call_later(Duration::ZERO, |reactor| {
            reactor.crash();
            assert!(!reactor.running());
        });
        let kept = reactor.call_later(Duration::from_secs(3600), stop);
        run(&reactor);
        log.expect(&[]);
        assert!(kept.active());
        kept.reset(Duration::ZERO).unwrap();
        run(&reactor);
        assert_eq!(log.entries().len(), 3);
    }

    fn a_reactor_can_crash_any_number_of_times(subject: &Subject) {
        // Trial runs each asynchronous test as run() ... crash().
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let transport: Rc<RefCell<Option<Transport>>> = Rc::default();
        let keep = transport.clone();
        let client = Script::new().on_data(|transport, _| transport.reactor().crash()).on_made(move |transport| {
            transport.write(b"x");
            *keep.borrow_mut() = Some(transport.clone());
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        for _ in 0..100 {
            reactor.call_when_running(log.note("started"));
            run(&reactor);
            transport.borrow().as_ref().expect("the first run has connected").write(b"x");
        }
        assert_eq!(log.count("started"), 100);
        assert_eq!(client.received(), [b'x'; 100]);
    }

    fn shutdown_ends_connections_before_user_triggers_of_during(subject: &Subject) {
        // ReactorBase: crash and disconnectAll are the first triggers during shutdown.
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = Script::logged(&log, "server").on_data(|transport, _| stop(&transport.reactor()));
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        let client = Script::new().on_made(|transport| transport.write(b"x"));
        let client = client.on_lost(|_, reason| assert!(matches!(reason, Error::ConnectionLost(None))));
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        note_phases(&reactor, "shutdown", &log);
        run(&reactor);
        log.expect(&[
            "server made",
            "server data x",
            "before shutdown, running true",
            "server lost ConnectionLost",
            "during shutdown, running false",
            "after shutdown, running false",
        ]);
        assert!(port.host().is_err());
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_panic_at_shutdown_still_closes_other_connections(subject: &Subject) {
        // ReactorBase.disconnectAll: errors are logged.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let lost = log.clone();
        let server = Script::new().on_lost(move |_, _| {
            lost.add("lost");
            panic!("while a connection is lost");
        });
        let made = Rc::new(Cell::new(0));
        let count = made.clone();
        let server = server.on_made(move |transport| {
            count.set(count.get() + 1);
            if count.get() == 5 {
                stop(&transport.reactor());
            }
        });
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        for _ in 0..5 {
            reactor.connect_tcp(port.host().unwrap().inet().unwrap(), Script::new().factory()).unwrap();
        }
        run(&reactor);
        assert_eq!(log.count("lost"), 5);
        assert_eq!(reactor.source_count(), 0);
    }

    fn several_reactors_run_in_several_threads(subject: &Subject) {
        // Unlike Twisted, a process may have many reactors, one in each thread.
        let threads = Vec::from_iter((0..4).map(|number| {
            let subject = *subject;
            std::thread::spawn(move || {
                let (reactor, log) = (subject.reactor(), Log::new());
                let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
                let client = Script::new()
                    .on_made(move |transport| transport.write(format!("reactor {number}").as_bytes()))
                    .on_data(|transport, _| stop(&transport.reactor()));
                reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
                reactor.call_when_running(log.note("started"));
                run(&reactor);
                log.expect(&["started"]);
                String::from_utf8(client.received()).unwrap()
            })
        }));
        let heard: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(heard, ["reactor 0", "reactor 1", "reactor 2", "reactor 3"]);
    }

    fn a_reactor_may_run_inside_a_callback_of_another(subject: &Subject) {
        // Unlike Twisted, a process may have many reactors. Each has its own state.
        let (outer, inner, log) = (subject.reactor(), subject.reactor(), Log::new());
        let ran = log.clone();
        outer.call_later(Duration::ZERO, move |outer| {
            inner.call_later(MOMENT, stop);
            run(&inner);
            assert!(!inner.running() && outer.running());
            ran.add("inner ended");
            stop(outer);
        });
        run(&outer);
        log.expect(&["inner ended"]);
    }

    fn inside_run_the_current_reactor_is_the_running_one(subject: &Subject) {
        // Reactor::current is for a library that was given no reactor. It works also in triggers of startup and
        // shutdown.
        let (reactor, seen) = (subject.reactor(), Rc::new(Cell::new(0)));
        let look = {
            let seen = seen.clone();
            move |reactor: &Reactor| {
                let current = Reactor::current().expect("inside run");
                current.call_later(Duration::MAX, |_| {});
                assert_eq!(reactor.get_delayed_calls().len(), seen.get() + 1);
                seen.set(seen.get() + 1);
            }
        };
        assert!(Reactor::current().is_none());
        for event in ["startup", "shutdown"] {
            for (phase, _) in PHASES {
                reactor.add_system_event_trigger(phase, event, look.clone());
            }
        }
        reactor.call_from_thread(stop);
        run(&reactor);
        assert!(Reactor::current().is_none());
        assert_eq!(seen.get(), 6);
    }

    fn iterate_waits_no_longer_than_its_limit(subject: &Subject) {
        // IReactorCore.iterate(delay=0). A hang is a failure.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.call_later(Duration::MAX, log.note("never"));
        turn(&reactor);
        reactor.iterate(Some(MOMENT)).unwrap();
        reactor.call_later(Duration::ZERO, log.note("due"));
        turn(&reactor);
        log.expect(&["due"]);
    }

    fn iterate_without_a_limit_waits_for_an_event(subject: &Subject) {
        // IReactorCore.iterate
        let (reactor, log) = (subject.reactor(), Log::new());
        let (handle, call) = (reactor.thread_handle(), log.note("call"));
        // The call queues a second call, because the turn may be early enough to make the first one before it waits.
        let thread = std::thread::spawn(move || {
            handle.call_from_thread(move |reactor| reactor.call_from_thread(call));
        });
        reactor.iterate(None).unwrap();
        turn(&reactor);
        turn(&reactor);
        log.expect(&["call"]);
        thread.join().unwrap();
    }

    fn turns_inside_a_callback_lose_no_event(subject: &Subject) {
        // IReactorCore.iterate: events of the outer turn come once, after the inner turns.
        let (reactor, log) = (subject.reactor(), Log::new());
        let inner = log.clone();
        reactor.call_from_thread(move |reactor| {
            reactor.call_from_thread(inner.note("inner thread"));
            reactor.call_later(Duration::ZERO, inner.note("inner due"));
            turn(reactor);
        });
        reactor.call_from_thread(log.note("outer thread"));
        reactor.call_later(Duration::ZERO, log.note("outer due"));
        turn(&reactor);
        let mut made = log.entries();
        made.sort_unstable();
        assert_eq!(made, ["inner due", "inner thread", "outer due", "outer thread"]);
    }

    fn data_callbacks_may_turn_the_loop(subject: &Subject) {
        // IReactorCore.iterate is called in dataReceived, two levels deep.
        let reactor = subject.reactor();
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        let done = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let done = done.clone();
            let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
                for _ in 0..3 {
                    turn(&transport.reactor());
                }
                done.set(done.get() + 1);
                if done.get() == 3 {
                    stop(&transport.reactor());
                }
            });
            reactor.connect_tcp(address, client.factory()).unwrap();
        }
        run(&reactor);
        assert_eq!(done.get(), 3);
    }

    fn a_reactor_can_be_dropped_with_work_in_progress(subject: &Subject) {
        // The reactor is dropped with operations in flight.
        let reactor = subject.reactor();
        let (token, held) = (Rc::new(()), Arc::new(()));
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let its = token.clone();
        let client = Script::new().on_made(move |transport| {
            let _keep = &its;
            transport.write(&[0; 1 << 20]);
            transport.reactor().crash();
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        drop(client);
        let its = token.clone();
        reactor.call_later(Duration::MAX, move |_| drop(its));
        let its = token.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_: &Reactor| drop(its));
        let its = token.clone();
        drop(reactor.spawn(async move {
            std::future::pending::<()>().await;
            drop(its);
        }));
        run(&reactor);
        let its = held.clone();
        reactor.call_from_thread(move |_| drop(its));
        let handle = reactor.thread_handle();
        drop((port, reactor));
        assert_eq!((Rc::strong_count(&token), Arc::strong_count(&held)), (1, 1));
        let its = held.clone();
        handle.call_from_thread(move |_| drop(its));
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[cfg(unix)]
    fn an_error_names_the_interface_that_the_provider_lacks(subject: &Subject) {
        // The HOWTO on choosing a reactor: some of the interfaces may not be implemented.
        let reactor = subject.reactor();
        let socket = Rc::new(Socket(std::net::TcpListener::bind("127.0.0.1:0").unwrap()));
        let adopted = reactor.adopt_stream_port(socket.0.try_clone().unwrap(), Script::new().factory());
        let watched = reactor.add_reader(&(socket as Rc<dyn ropewalk::Descriptor>));
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let (end, sharing) = (ropewalk::sys::PipeEnd::Reader, ropewalk::sys::Sharing::Owned);
        let pipe = reactor.adopt_pipe(reader, end, sharing, &Script::new().factory());
        let (_line, device) = crate::terminals::pseudo_terminal();
        let settings = ropewalk::serial::SerialSettings::default();
        let serial = reactor.open_serial_port(device, &settings, &Script::new().factory());
        let files = reactor.watch_files(ropewalk::files::WatchOptions::new(), |_, _| ());
        let outcomes = [
            (ropewalk::Interface::FileEvents, "file_events", files.map(drop)),
            (ropewalk::Interface::SerialPorts, "serial_ports", serial.map(drop)),
            (ropewalk::Interface::Pipes, "pipes", pipe.map(drop)),
            (ropewalk::Interface::Socket, "socket", adopted.map(drop)),
            (ropewalk::Interface::FdSet, "fd_set", watched),
        ];
        for (interface, name, outcome) in outcomes {
            if reactor.provides(interface) {
                outcome.unwrap();
                continue;
            }
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::Unsupported { interface, .. } if interface == name));
            assert!(error.to_string().contains(reactor.name()), "{error}");
        }
    }
}

/// An object with a descriptor.
#[cfg(unix)]
struct Socket(std::net::TcpListener);

#[cfg(unix)]
impl ropewalk::Descriptor for Socket {
    fn raw_io(&self) -> ropewalk::sys::RawWaitable {
        std::os::fd::AsRawFd::as_raw_fd(&self.0)
    }
}
