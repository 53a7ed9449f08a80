//! IReactorTime.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk::task::AddTimeout;
use ropewalk::{Deferred, DelayedCall, Error, Moment, Reactor, Transport};

use crate::links::Transports;
use crate::logged::logged;
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{iterate_until, run_and_expect};
use crate::{Subject, run, specifications};

const MOMENT: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Connects a client to `server`, and returns the client's end.
fn connected(subject: &Subject, reactor: &Reactor, server: Script) -> Transport {
    let (servers, clients) = (Transports::new(), Transports::new());
    subject.join(reactor, &server.listed_in(&servers), &Script::new().listed_in(&clients));
    iterate_until(reactor, || servers.all().len() + clients.all().len() == 2);
    clients.first()
}

specifications! {
    time;

    fn calls_are_made_in_the_order_of_their_deadlines(subject: &Subject) {
        // IReactorTime.callLater
        let (reactor, log) = (subject.reactor(), Log::new());
        let mut calls = [("third", 3), ("first", 1), ("second", 2)].map(|(name, delay)| {
            let call = reactor.call_later(MOMENT * delay, log.note(name));
            (call.get_time(), name)
        });
        reactor.call_later(MOMENT * 4, stop);
        run(&reactor);
        // Sorts by deadline. The names have the same order, unless the machine stood still while the calls were
        // scheduled.
        calls.sort_unstable();
        log.expect(&calls.map(|(_, name)| name));
    }

    fn simultaneous_calls_are_made_in_scheduling_order(subject: &Subject) {
        // IReactorTime.callLater: first in, first out. Twisted has the order of a heap.
        let (reactor, log) = (subject.reactor(), Log::new());
        let calls = Vec::from_iter((0..12).map(|number| {
            let log = log.clone();
            reactor.call_later(MOMENT, move |_| log.add(number.to_string()))
        }));
        // The clock moves while these calls are scheduled, so `reset` makes their deadlines equal.
        let due = calls[11].get_time().unwrap() + MOMENT;
        for call in calls {
            call.delay(due - call.get_time().unwrap()).unwrap();
            assert_eq!(call.get_time(), Some(due));
        }
        reactor.call_later(MOMENT * 3, stop);
        run(&reactor);
        let expected: Vec<_> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(log.entries(), expected);
    }

    fn a_cancelled_call_is_never_made(subject: &Subject) {
        // IDelayedCall.cancel raises AlreadyCancelled when it is called again.
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

    fn a_delay_of_a_trillion_seconds_is_accepted(subject: &Subject) {
        // epoll_wait(2): a timeout that overflows the argument fires at once. `real_time` has the specifications of the
        // waits.
        let reactor = subject.reactor();
        for delay in [Duration::from_secs(1_000_000_000_000), Duration::MAX, Duration::from_secs(30 * 86400)] {
            reactor.call_later(delay, |_| panic!("this is due after the end of the test"));
        }
        let call = reactor.call_later(Duration::MAX, |_| {});
        assert_eq!(call.get_time(), Some(Moment::NEVER));
        reactor.call_later(MOMENT, stop);
        run(&reactor);
    }

    fn moving_a_call_by_any_duration_does_not_overflow(subject: &Subject) {
        // IDelayedCall.delay with Duration::MAX.
        let (reactor, log) = (subject.reactor(), Log::new());
        let call = reactor.call_later(MOMENT, log.note("made"));
        call.delay(Duration::MAX).unwrap();
        assert_eq!(call.get_time(), Some(Moment::NEVER));
        call.reset(Duration::MAX).unwrap();
        assert_eq!(call.get_time(), Some(Moment::NEVER));
        call.hasten(Duration::MAX).unwrap();
        reactor.call_later(MOMENT, stop);
        run(&reactor);
        log.expect(&["made"]);
    }

    fn a_call_is_never_made_before_it_is_due(subject: &Subject) {
        // IReactorTime.callLater. A timeout must never be cut short by rounding.
        let reactor = subject.reactor();
        for micros in [1, 10, 100, 900, 999, 1000, 1001, 1999, 2500] {
            let call = reactor.call_later(Duration::from_micros(micros), |_| {});
            let due = call.get_time().unwrap();
            call.cancel().unwrap();
            let made = reactor.call_later(Duration::from_micros(micros), move |reactor| assert!(reactor.now() >= due));
            assert!(made.get_time().unwrap() >= due);
        }
        reactor.call_later(MOMENT * 3, stop);
        run(&reactor);
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn a_reset_counts_from_now(subject: &Subject) {
        // IDelayedCall.reset counts from now, and IDelayedCall.delay from the call's deadline.
        let reactor = subject.reactor();
        let call = reactor.call_later(MINUTE * 10, |_| {});
        let due = call.get_time().unwrap();
        call.delay(MINUTE * 5).unwrap();
        assert_eq!(call.get_time(), Some(due + MINUTE * 5));
        call.hasten(MINUTE * 7).unwrap();
        assert_eq!(call.get_time().map(|time| time + MINUTE * 2), Some(due));
        let before = reactor.now();
        call.reset(MINUTE * 10).unwrap();
        let (reset, after) = (call.get_time().unwrap(), reactor.now());
        assert!(before + MINUTE * 10 <= reset && reset <= after + MINUTE * 10);
    }

    fn a_moved_call_is_made_once_at_its_new_time(subject: &Subject) {
        // DelayedCall.reset moves a call to an earlier time at once, and to a later time lazily. Other calls lie in
        // between.
        let (reactor, log) = (subject.reactor(), Log::new());
        let later = reactor.call_later(MOMENT, log.note("moved to later"));
        let earlier = reactor.call_later(MINUTE, log.note("moved to earlier"));
        let between = reactor.call_later(MOMENT * 30, log.note("between"));
        later.reset(MOMENT * 35).unwrap();
        earlier.reset(MOMENT).unwrap();
        let mut calls = [(earlier, "moved to earlier"), (between, "between"), (later, "moved to later")];
        // Sorts by deadline. The calls are in order already, unless the machine stood still while they were scheduled.
        calls.sort_unstable_by_key(|(call, _)| call.get_time());
        reactor.call_later(MOMENT * 36, stop);
        run(&reactor);
        log.expect(&calls.map(|(_, name)| name));
    }

    fn a_call_moved_to_the_time_of_others_follows_them(subject: &Subject) {
        // A moved call counts as scheduled at the time of the move.
        let (reactor, log) = (subject.reactor(), Log::new());
        let moved = reactor.call_later(Duration::ZERO, log.note("moved"));
        let second = reactor.call_later(MOMENT, log.note("second"));
        let first = reactor.call_later(MOMENT, log.note("first"));
        second.delay(first.get_time().unwrap() - second.get_time().unwrap()).unwrap();
        moved.delay(first.get_time().unwrap() - moved.get_time().unwrap()).unwrap();
        assert_eq!([&moved, &second].map(DelayedCall::get_time), [first.get_time(); 2]);
        reactor.call_later(MOMENT * 2, stop);
        run(&reactor);
        log.expect(&["first", "second", "moved"]);
    }

    fn a_call_that_is_reset_repeatedly_is_made_once_at_the_end(subject: &Subject) {
        // DelayedCall.reset is called repeatedly, as by an idle timeout.
        let (reactor, log) = (subject.reactor(), Log::new());
        let end = log.clone();
        let idle = Rc::new(reactor.call_later(MOMENT * 2, move |reactor| {
            end.add("idle");
            reactor.call_later(Duration::ZERO, stop);
        }));
        for number in 1..=10 {
            let (idle, log) = (idle.clone(), log.clone());
            reactor.call_later(MOMENT * number, move |_| {
                if idle.reset(MOMENT * 50).is_ok() {
                    log.add("busy");
                }
            });
        }
        idle.reset(MOMENT * 50).unwrap();
        run(&reactor);
        assert_eq!((log.count("busy"), log.count("idle")), (10, 1));
        assert_eq!(log.entries()[10], "idle");
    }

    fn a_made_or_cancelled_call_cannot_be_changed(subject: &Subject) {
        // IDelayedCall: AlreadyCalled, AlreadyCancelled
        let reactor = subject.reactor();
        let made = reactor.call_later(Duration::ZERO, |_| {});
        let cancelled = reactor.call_later(Duration::ZERO, |_| {});
        cancelled.cancel().unwrap();
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        for (call, error) in [(made, "AlreadyCalled"), (cancelled, "AlreadyCancelled")] {
            let outcomes = [call.cancel(), call.reset(MOMENT), call.delay(MOMENT), call.hasten(MOMENT)];
            assert_eq!(outcomes.map(|outcome| reason_name(&outcome.unwrap_err())), [error; 4]);
            assert!(!call.active());
            assert_eq!(call.get_time(), None);
        }
    }

    fn a_call_cancelled_by_another_handle_is_cancelled(subject: &Subject) {
        // IReactorTime.getDelayedCalls returns the calls themselves, which know that they were cancelled.
        let reactor = subject.reactor();
        let [first, second] = [1, 2].map(|number| reactor.call_later(MOMENT * number, |_| {}));
        let listed = reactor.get_delayed_calls();
        listed.iter().for_each(|call| call.cancel().unwrap());
        for call in [first, second].iter().chain(&listed) {
            assert!(matches!(call.cancel(), Err(Error::AlreadyCancelled)));
        }
    }

    fn a_call_is_inactive_while_it_runs(subject: &Subject) {
        // DelayedCall.called is set before the function is called.
        let (reactor, log) = (subject.reactor(), Log::new());
        let itself: Rc<RefCell<Option<DelayedCall>>> = Rc::default();
        let (look, seen) = (itself.clone(), log.clone());
        let call = reactor.call_later(Duration::ZERO, move |reactor| {
            let call = look.take().unwrap();
            seen.add(format!("active {}", call.active()));
            seen.add(reason_name(&call.cancel().unwrap_err()));
            seen.add(format!("listed {}", reactor.get_delayed_calls().len()));
            stop(reactor);
        });
        *itself.borrow_mut() = Some(call);
        run(&reactor);
        log.expect(&["active false", "AlreadyCalled", "listed 0"]);
    }

    fn a_call_can_cancel_another_of_the_same_turn(subject: &Subject) {
        // IDelayedCall.cancel and reset of a call that is already due.
        let (reactor, log) = (subject.reactor(), Log::new());
        let victims: Rc<RefCell<Vec<DelayedCall>>> = Rc::default();
        let its = victims.clone();
        reactor.call_later(Duration::ZERO, move |_| {
            its.borrow()[0].cancel().unwrap();
            its.borrow()[1].reset(MOMENT).unwrap();
        });
        for name in ["cancelled", "moved", "left alone"] {
            victims.borrow_mut().push(reactor.call_later(Duration::ZERO, log.note(name)));
        }
        run_and_expect(&reactor, &log, &["left alone", "moved"]);
    }

    fn nested_calls_may_schedule_others(subject: &Subject) {
        // IReactorTime.callLater and IDelayedCall.cancel in a call, two levels deep.
        let (reactor, log) = (subject.reactor(), Log::new());
        let outer = log.clone();
        reactor.call_later(MOMENT, move |reactor| {
            let later: Rc<RefCell<Option<DelayedCall>>> = Rc::default();
            let (cancelled, inner) = (later.clone(), outer.note("innermost"));
            reactor.call_later(Duration::ZERO, move |reactor| {
                cancelled.take().unwrap().cancel().unwrap();
                reactor.call_later(Duration::ZERO, move |reactor| {
                    reactor.call_later(Duration::ZERO, inner);
                    reactor.call_later(MOMENT * 3, stop);
                });
            });
            *later.borrow_mut() = Some(reactor.call_later(MOMENT, outer.note("cancelled")));
        });
        run(&reactor);
        log.expect(&["innermost"]);
    }

    fn a_stale_handle_does_not_affect_a_later_call(subject: &Subject) {
        // Keys of calls are reused. An old handle must not cancel or move the next call with its key.
        let (reactor, log) = (subject.reactor(), Log::new());
        let old = Vec::from_iter((0..10).map(|_| reactor.call_later(MOMENT, |_| {})));
        for call in &old[..5] {
            call.cancel().unwrap();
        }
        reactor.call_later(MOMENT * 2, Reactor::crash);
        run(&reactor);
        for _ in 0..20 {
            reactor.call_later(Duration::ZERO, log.note("new"));
        }
        for call in &old {
            assert!(call.cancel().is_err() && call.reset(Duration::MAX).is_err() && call.delay(Duration::MAX).is_err());
        }
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        assert_eq!(log.count("new"), 20);
    }

    fn get_delayed_calls_lists_exactly_the_pending_calls(subject: &Subject) {
        // IReactorTime.getDelayedCalls
        let reactor = subject.reactor();
        let (made, kept) = (reactor.call_later(Duration::ZERO, |_| {}), reactor.call_later(Duration::MAX, |_| {}));
        let (cancelled, due) = (reactor.call_later(MOMENT, |_| {}), reactor.call_later(MINUTE, |_| {}));
        cancelled.cancel().unwrap();
        assert_eq!(reactor.get_delayed_calls().len(), 3);
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        assert!(!made.active());
        let mut times = Vec::from_iter(reactor.get_delayed_calls().iter().map(DelayedCall::get_time));
        times.sort_unstable();
        assert_eq!(times, [due.get_time(), kept.get_time()]);
        for call in reactor.get_delayed_calls() {
            call.cancel().unwrap();
        }
        assert!(!kept.active() && !due.active());
    }

    fn a_call_drops_its_closure_when_cancelled_or_made(subject: &Subject) {
        // DelayedCall: func and args are dropped on cancel.
        let (reactor, token) = (subject.reactor(), Rc::new(()));
        let hold = || {
            let held = token.clone();
            move |_: &Reactor| drop(held)
        };
        let (made, cancelled) = (reactor.call_later(Duration::ZERO, hold()), reactor.call_later(Duration::MAX, hold()));
        assert_eq!(Rc::strong_count(&token), 3);
        cancelled.cancel().unwrap();
        assert_eq!(Rc::strong_count(&token), 2);
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        assert_eq!(Rc::strong_count(&token), 1);
        drop((made, cancelled));
    }

    fn a_closures_destructor_may_use_the_reactor(subject: &Subject) {
        // Nothing is borrowed while user code runs, destructors included.
        struct CancelsWhenDropped(DelayedCall);
        impl Drop for CancelsWhenDropped {
            fn drop(&mut self) {
                self.0.cancel().unwrap();
            }
        }
        let reactor = subject.reactor();
        let inner = CancelsWhenDropped(reactor.call_later(Duration::MAX, |_| {}));
        let outer = reactor.call_later(Duration::MAX, move |_| drop(inner));
        outer.cancel().unwrap();
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn dropping_the_handle_of_a_call_does_not_cancel_it(subject: &Subject) {
        // IReactorTime.callLater: the result may be ignored.
        let (reactor, log) = (subject.reactor(), Log::new());
        drop(reactor.call_later(Duration::ZERO, log.note("made")));
        reactor.call_later(Duration::ZERO, stop);
        run(&reactor);
        log.expect(&["made"]);
    }

    fn a_call_handle_is_harmless_after_its_reactor_is_gone(subject: &Subject) {
        // A stale handle's methods are no-ops or return Closed.
        let reactor = subject.reactor();
        let call = reactor.call_later(MOMENT, |_| {});
        drop(reactor);
        assert!(matches!(call.cancel(), Err(Error::Closed)) && matches!(call.reset(MOMENT), Err(Error::Closed)));
        assert_eq!((call.active(), call.get_time()), (false, None));
    }

    fn cancelled_or_moved_calls_do_not_wake_the_loop(subject: &Subject) {
        // DelayedCall.reset leaves the old entry in the heap. That entry must not wake the loop.
        let (reactor, counts) = subject.counted();
        for _ in 0..100 {
            reactor.call_later(MOMENT, |_| {}).cancel().unwrap();
            reactor.call_later(MOMENT, |_| {}).reset(Duration::MAX).unwrap();
            reactor.call_later(MOMENT, |_| {}).delay(Duration::from_secs(3600)).unwrap();
        }
        reactor.call_later(MOMENT * 5, stop);
        run(&reactor);
        // If the end was due before the run, the loop does not wait. It waits again if it found the end late.
        assert!(counts.now().waits <= 2, "{:?}", counts.now());
    }

    fn a_cancelled_call_leaves_no_entry_behind(subject: &Subject) {
        // Cancelled timers must not accumulate. costs.rs counts their memory.
        let reactor = subject.reactor();
        for _ in 0..10_000 {
            reactor.call_later(Duration::from_secs(3600), |_| {}).cancel().unwrap();
        }
        assert!(reactor.get_delayed_calls().is_empty());
        assert_eq!(reactor.deadline(), None);
    }

    fn data_that_arrived_during_a_standstill_precedes_late_calls(subject: &Subject) {
        // A call that closes an idle connection must not run before the data that proves its peer alive. The loop pauses
        // between two turns, as in a process that was stopped and continued. Virtual time does not.
        let (reactor, log) = (subject.reactor(), Log::new());
        let received = log.clone();
        let client = connected(subject, &reactor, Script::new().on_data(move |_, _| received.add("data")));
        // A write of this size does not wait for the next turn.
        client.write(&[0; 10_000]);
        reactor.call_later(MOMENT * 10, log.note("call"));
        thread::sleep(MOMENT * 30);
        iterate_until(&reactor, || log.contains("call"));
        assert_eq!(log.entries().last().map(String::as_str), Some("call"));
        assert!(log.contains("data"));
    }

    fn tasks_that_a_standstill_has_woken_precede_late_calls(subject: &Subject) {
        // A task whose data has arrived is not cancelled by its timeout.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (arrival, resolver) = Deferred::<()>::new();
        let resolver = Cell::new(Some(resolver));
        let wake = move |_: &Transport, _: &[u8]| {
            if let Some(resolver) = resolver.take() {
                resolver.callback(()).unwrap();
            }
        };
        let client = connected(subject, &reactor, Script::new().on_data(wake));
        let task = reactor.spawn(async move {
            let _ = arrival.await;
        });
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        client.write(&[0; 10_000]);
        let told = log.clone();
        task.add_timeout(MOMENT * 10, &reactor).add_both(move |outcome| {
            told.add(if outcome.is_ok() { "done" } else { "timed out" });
        });
        thread::sleep(MOMENT * 30);
        iterate_until(&reactor, || !log.entries().is_empty());
        log.expect(&["done"]);
    }

    fn a_thousand_changed_calls_are_made_in_order(subject: &Subject) {
        // IReactorTime: calls are scheduled in a scrambled order, and some of them are cancelled or moved.
        let (reactor, made) = (subject.reactor(), Rc::new(RefCell::new(Vec::new())));
        let mut expected = 0;
        for number in 0..1000_u32 {
            let micros = u64::from(number * 7919 % 1009);
            let made = made.clone();
            let due = Rc::new(Cell::new(Moment::ZERO));
            let its = due.clone();
            let call = reactor.call_later(Duration::from_micros(micros), move |_| made.borrow_mut().push(its.get()));
            match number % 3 {
                0 => call.cancel().unwrap(),
                1 => call.delay(Duration::from_micros(u64::from(number * 31 % 503))).unwrap(),
                _ => call.hasten(Duration::from_micros(u64::from(number * 17 % 101))).unwrap(),
            }
            if let Some(time) = call.get_time() {
                due.set(time);
                expected += 1;
            }
        }
        reactor.call_later(MOMENT * 5, stop);
        run(&reactor);
        assert_eq!(made.borrow().len(), expected);
        assert!(made.borrow().is_sorted());
    }

    fn suppressed_log_lines_are_counted_at_the_end_of_a_run(subject: &Subject) {
        // A flood of peers must not flood the log, and the log must not hide the flood.
        let reactor = subject.reactor();
        let lines = logged(|| {
            reactor.call_when_running(|reactor| {
                for peer in 0..1000 {
                    reactor.limit_log(MINUTE, "refused", |suppressed| tracing::warn!(peer, suppressed, "refused"));
                }
                stop(reactor);
            });
            run(&reactor);
        });
        let refused = Vec::from_iter(lines.iter().filter(|line| line.contains("refused")));
        assert_eq!(refused.len(), 2, "{lines:?}");
        assert!(!refused[0].contains("suppressed") && refused[1].contains("suppressed=999"), "{lines:?}");
    }
}
