//! A reactor as the guest of a host loop: inner loops, the budget, the outcome of a run, and the refusal of two hosts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop, Next};
use ropewalk::proto::Deferred;
use ropewalk::proto::panics::catch;
use ropewalk::{Budget, Error, Phase, Reactor, Transport};

use crate::hosts::{Hosted, message_loop};
use crate::script::{Log, Script, stop};
use crate::{Subject, quiet, run, specifications};

const MOMENT: Duration = Duration::from_millis(1);

/// Returns a flag, and a function that sets it.
fn flag() -> (Rc<Cell<bool>>, impl Fn() + Clone + 'static) {
    let flag = Rc::new(Cell::new(false));
    let set = flag.clone();
    (flag, move || set.set(true))
}

/// Returns a function that runs the host's loop in a callback, as a modal dialog does, until a delayed call is made.
fn dialog(hosted: &Rc<Hosted>, log: &Log) -> impl Fn(&Reactor) + 'static {
    let (hosted, log) = (hosted.clone(), log.clone());
    move |reactor: &Reactor| {
        let (done, end) = flag();
        log.add("dialog opens");
        reactor.call_later(3 * MOMENT, move |_| end());
        hosted.run_until(|| done.get());
        log.add("dialog closes");
    }
}

/// Makes a connection whose server's end is scripted, and returns the client's end.
fn client_of(reactor: &Reactor, hosted: &Hosted, server: &Script) -> Transport {
    let made = Rc::new(RefCell::new(None));
    let own = made.clone();
    let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
    let client = Script::new().on_made(move |transport| *own.borrow_mut() = Some(transport.clone()));
    reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
    hosted.run_until(|| made.borrow().is_some());
    made.take().unwrap()
}

/// A host that refuses each run.
struct Refuses;

impl HostLoop for Refuses {
    fn may_run(&self, _guest: &Guest) -> ropewalk::Result<bool> {
        Ok(false)
    }

    fn run(&self, _guest: &Guest) {
        unreachable!("it refused");
    }

    fn iterate(&self, _guest: &Guest, _delay: Option<Duration>) {}
}

/// A host that panics in its loop.
struct Panics;

impl HostLoop for Panics {
    fn run(&self, _guest: &Guest) {
        panic!("a bug of the host");
    }

    fn iterate(&self, _guest: &Guest, _delay: Option<Duration>) {}
}

specifications! {
    guests;

    fn a_second_guest_is_refused(subject: &Subject) {
        // Two adapters on one reactor would take each other's events.
        let (reactor, hosted) = subject.hosted_reactor();
        assert!(matches!(Guest::new(&reactor), Err(Error::Hosted)));
        drop(hosted);
        Guest::new(&reactor).unwrap();
    }

    fn a_reactor_whose_host_cannot_run_says_so(subject: &Subject) {
        // The program runs the host's loop itself.
        let reactor = crate::Subject::named(subject.name()).reactor();
        let guest = Guest::new(&reactor).unwrap();
        let error = reactor.run_with(quiet()).unwrap_err();
        assert_eq!(error.to_string(), "the reactor is a guest of another loop: run that loop");
        drop(guest);
        reactor.call_later(MOMENT, stop);
        run(&reactor);
    }

    fn a_host_may_refuse_a_run(subject: &Subject) {
        // Another instance of the program runs already. The services of this one must not start.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        reactor.call_when_running(log.note("startup"));
        hosted.guest.set_host(Rc::new(Refuses));
        run(&reactor);
        log.expect(&[]);
        hosted.guest.set_host(hosted.host.clone());
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["startup"]);
    }

    fn a_panic_of_the_host_leaves_no_run_behind(subject: &Subject) {
        // A toolkit's own callback panics. The program may catch it, and run the reactor again.
        let (reactor, hosted) = subject.hosted_reactor();
        hosted.guest.set_host(Rc::new(Panics));
        let panic = catch(|| reactor.run_with(quiet())).expect_err("a panic");
        assert_eq!(panic.message(), "a bug of the host");
        hosted.guest.set_host(hosted.host.clone());
        reactor.call_when_running(stop);
        run(&reactor);
    }

    fn turns_are_made_only_during_a_run(subject: &Subject) {
        // At other times the host need not watch the descriptor, which a call from a thread makes readable.
        let (reactor, hosted) = subject.hosted_reactor();
        assert!(!hosted.guest.makes_turns());
        reactor.start_running(quiet()).unwrap();
        assert!(hosted.guest.makes_turns());
        stop(&reactor);
        hosted.guest.finish().unwrap();
        assert!(!hosted.guest.makes_turns());
    }

    fn each_hook_is_called_in_its_order(subject: &Subject) {
        // The adapter and the program have work of their own when a run has ended.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        for entry in ["first", "second"] {
            let log = log.clone();
            hosted.guest.on_end(move || log.add(entry));
        }
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["first", "second"]);
    }

    #[cfg(unix)]
    fn a_fork_leaves_the_guest_to_the_parent(subject: &Subject) {
        // The child has a copy of the reactor, but the host that makes its turns is the parent's.
        let mut play = crate::scenario::Performance::begin(subject, "a guest before a fork");
        play.expect(&["daemon: Err(\"Forked\"), again Err(\"Forked\")", "parent: Ok(())"]);
        play.ends();
    }

    fn a_running_reactor_becomes_no_guest(subject: &Subject) {
        // Its own loop owns the thread.
        let reactor = crate::Subject::named(subject.name()).reactor();
        reactor.call_when_running(|reactor| {
            assert!(matches!(Guest::new(reactor), Err(Error::ReactorAlreadyRunning)));
            stop(reactor);
        });
        run(&reactor);
    }

    fn a_loop_in_a_delayed_call_sleeps_no_longer_than_the_next(subject: &Subject) {
        // A dialog that is opened in a delayed call, without other traffic. A hang is a failure.
        let (reactor, hosted) = subject.hosted_reactor();
        let (hosted, log) = (Rc::new(hosted), Log::new());
        let open = dialog(&hosted, &log);
        reactor.call_later(MOMENT, move |reactor| {
            open(reactor);
            // The inner loop has slept without a limit at its end. This call is due sooner.
            reactor.call_later(MOMENT, stop);
        });
        run(&reactor);
        log.expect(&["dialog opens", "dialog closes"]);
    }

    fn a_loop_in_data_received_serves_other_connections(subject: &Subject) {
        // The dialog asks about one connection. The others continue.
        let (reactor, hosted) = subject.hosted_reactor();
        let (hosted, log) = (Rc::new(hosted), Log::new());
        reactor.start_running(quiet()).unwrap();
        let (answered, answer) = flag();
        let asks = hosted.clone();
        let entries = log.clone();
        let asking = Script::new().on_data(move |_, _| {
            entries.add("asks");
            asks.run_until(|| answered.get());
            entries.add("answered");
        });
        let other = Script::logged(&log, "other").on_data(move |_, _| answer());
        let (asker, client) = (client_of(&reactor, &hosted, &asking), client_of(&reactor, &hosted, &other));
        asker.write(b"x");
        let writes = client.clone();
        reactor.call_later(3 * MOMENT, move |_| writes.write(b"yes"));
        hosted.run_until(|| log.contains("answered"));
        let heard = log.entries().into_iter().filter(|entry| ["asks", "other data yes", "answered"].contains(&&**entry));
        assert_eq!(heard.collect::<Vec<_>>(), ["asks", "other data yes", "answered"]);
        reactor.stop().unwrap();
        hosted.guest.finish().unwrap();
    }

    fn a_loop_in_a_callback_of_the_host_is_an_ordinary_turn(subject: &Subject) {
        // The host handles an event of its own, between two turns, and runs its loop there.
        let (reactor, hosted) = subject.hosted_reactor();
        let (hosted, log) = (Rc::new(hosted), Log::new());
        reactor.start_running(quiet()).unwrap();
        dialog(&hosted, &log)(&reactor);
        log.expect(&["dialog opens", "dialog closes"]);
        stop(&reactor);
        hosted.guest.finish().unwrap();
    }

    fn a_budget_leaves_calls_to_the_next_turn(subject: &Subject) {
        // The host's windows are drawn between two turns.
        let (reactor, hosted) = subject.hosted_reactor();
        let (guest, log) = (&hosted.guest, Log::new());
        reactor.start_running(quiet()).unwrap();
        for entry in ["one", "two", "three"] {
            reactor.call_later(Duration::ZERO, log.note(entry));
        }
        for count in 1..=3 {
            assert_eq!(guest.next(), Next::Now);
            assert_eq!(guest.timeout(), Some(Duration::ZERO));
            guest.turn(Budget::default().calls(1));
            assert_eq!(log.entries().len(), count);
        }
        assert_eq!(guest.next(), Next::Never);
        log.expect(&["one", "two", "three"]);
        stop(&reactor);
        guest.finish().unwrap();
    }

    fn a_budget_leaves_events_that_are_reported_once(subject: &Subject) {
        // A level-triggered provider reports an event again in each wait until it has been handled.
        let (reactor, hosted) = subject.hosted_reactor();
        let count = Rc::new(Cell::new(0));
        let counts = count.clone();
        let server = Script::new().on_data(move |_, _| counts.set(counts.get() + 1));
        reactor.start_running(quiet()).unwrap();
        let clients = [(); 3].map(|()| client_of(&reactor, &hosted, &server));
        clients.iter().for_each(|client| client.write(b"x"));
        while count.get() < 3 {
            let before = count.get();
            std::thread::sleep(MOMENT);
            hosted.guest.turn(Budget::default().calls(1));
            assert!(count.get() <= before + 1);
        }
        for _ in 0..5 {
            hosted.guest.turn(Budget::default());
        }
        assert_eq!(count.get(), 3);
        stop(&reactor);
        hosted.guest.finish().unwrap();
    }

    fn a_budget_of_no_time_makes_progress_with_each_kind(subject: &Subject) {
        // Delayed calls, calls from threads and tasks: none of them waits for the end of the others.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        reactor.start_running(quiet()).unwrap();
        for _ in 0..2 {
            reactor.call_from_thread(log.note("thread"));
            reactor.call_later(Duration::ZERO, log.note("call"));
            let task = log.clone();
            drop(reactor.spawn(async move { task.add("task") }));
        }
        for turn in 1..=2 {
            hosted.guest.turn(Budget::of(Duration::ZERO));
            // A call that a standstill of the machine made late lets the events precede it, for one turn.
            let counts = ["thread", "call", "task"].map(|entry| log.count(entry));
            assert!(counts == [turn; 3] || counts == [turn, turn - 1, turn], "{:?}", log.entries());
        }
        while log.count("call") < 2 {
            hosted.guest.turn(Budget::of(Duration::ZERO));
        }
        stop(&reactor);
        hosted.guest.finish().unwrap();
    }

    fn a_budget_leaves_nothing_of_the_last_turn(subject: &Subject) {
        // ReactorBase.runUntilCurrent: the shutdown begins at the end of the turn that stops the reactor.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", log.note("shutdown"));
        reactor.start_running(quiet()).unwrap();
        reactor.call_from_thread(stop);
        for entry in ["one", "two"] {
            reactor.call_from_thread(log.note(entry));
        }
        hosted.guest.turn(Budget::of(Duration::ZERO));
        log.expect(&["one", "two", "shutdown"]);
        hosted.guest.finish().unwrap();
    }

    fn a_late_call_is_made_although_events_are_always_left(subject: &Subject) {
        // A standstill makes the call late, so the events that have arrived precede it. They must not precede it for ever.
        let (reactor, hosted) = subject.hosted_reactor();
        reactor.start_running(quiet()).unwrap();
        let clients = [(); 3].map(|()| {
            let made = Rc::new(RefCell::new(None));
            let own = made.clone();
            let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
            let client = Script::echo().on_made(move |transport| *own.borrow_mut() = Some(transport.clone()));
            reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
            hosted.run_until(|| made.borrow().is_some());
            made.take().unwrap()
        });
        clients.iter().for_each(|client| client.write(b"x"));
        let (done, end) = flag();
        reactor.call_later(MOMENT, move |_| end());
        std::thread::sleep(20 * MOMENT);
        let turns = (0..10_000).find(|_| {
            hosted.guest.turn(Budget::default().calls(1));
            done.get()
        });
        assert!(turns.is_some(), "the call was never made");
        stop(&reactor);
        hosted.guest.finish().unwrap();
    }

    fn a_panic_is_the_outcome_of_the_hosts_run(subject: &Subject) {
        // PanicPolicy::Stop, of a program that runs the host's loop itself. No panic reaches the host.
        let (reactor, hosted) = subject.hosted_reactor();
        reactor.start_running(quiet()).unwrap();
        reactor.call_later(Duration::ZERO, |_| panic!("a bug"));
        hosted.run_until(|| !hosted.guest.is_started());
        let error = hosted.guest.finish().unwrap_err();
        assert!(error.to_string().ends_with("panicked: a bug"), "{error}");
        reactor.call_when_running(stop);
        run(&reactor);
    }

    fn each_end_is_reported_once(subject: &Subject) {
        // Nothing else reports Reactor::crash, and a host that does not notice the end sleeps for ever.
        let (reactor, hosted) = subject.hosted_reactor();
        let ends = Rc::new(Cell::new(0));
        let end = ends.clone();
        hosted.guest.on_end(move || end.set(end.get() + 1));
        reactor.start_running(quiet()).unwrap();
        hosted.guest.turn(Budget::default());
        assert_eq!(ends.get(), 0);
        reactor.crash();
        assert_eq!(ends.get(), 1);
        reactor.call_later(MOMENT, stop);
        run(&reactor);
        assert_eq!(ends.get(), 2);
        hosted.guest.turn(Budget::default());
        assert_eq!((ends.get(), hosted.guest.next()), (2, Next::Never));
    }

    fn an_end_is_reported_after_the_last_trigger(subject: &Subject) {
        // The Deferred of a `before` trigger may be fired by code of the host, outside of a turn.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        let ended = log.clone();
        hosted.guest.on_end(move || ended.add("end"));
        let (deferred, resolver) = Deferred::<()>::new();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| deferred);
        reactor.add_system_event_trigger(Phase::After, "shutdown", log.note("after"));
        reactor.start_running(quiet()).unwrap();
        stop(&reactor);
        for _ in 0..3 {
            hosted.guest.turn(Budget::default());
        }
        log.expect(&[]);
        resolver.callback(()).unwrap();
        log.expect(&["after", "end"]);
        hosted.guest.finish().unwrap();
    }

    fn a_host_that_leaves_first_gets_a_complete_shutdown(subject: &Subject) {
        // The user has closed the last window. A `before` trigger still delays the end.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", |reactor| {
            let (deferred, resolver) = Deferred::<()>::new();
            reactor.call_later(2 * MOMENT, move |_| resolver.callback(()).unwrap());
            deferred
        });
        reactor.add_system_event_trigger(Phase::After, "shutdown", log.note("after"));
        reactor.start_running(quiet()).unwrap();
        hosted.guest.turn(Budget::default());
        hosted.guest.finish().unwrap();
        log.expect(&["after"]);
        assert!(!reactor.is_started());
    }

    fn work_of_the_host_makes_a_turn_due(subject: &Subject) {
        // A button that schedules a call, while the host would sleep without a limit.
        let (reactor, hosted) = subject.hosted_reactor();
        let guest = &hosted.guest;
        let told = Rc::new(Cell::new(0));
        let tell = told.clone();
        guest.on_sooner(move || tell.set(tell.get() + 1));
        reactor.start_running(quiet()).unwrap();
        while guest.next() != Next::Never {
            guest.turn(Budget::default());
        }
        told.set(0);
        let call = reactor.call_later(Duration::from_secs(3600), |_| {});
        assert_eq!((told.get(), guest.next()), (1, Next::Now));
        guest.turn(Budget::default());
        assert_eq!(Some(guest.next()), call.get_time().map(Next::At));
        assert!(guest.timeout_within(Some(MOMENT)) == Some(MOMENT));
        stop(&reactor);
        guest.finish().unwrap();
    }

    fn code_of_the_host_may_listen_between_turns(subject: &Subject) {
        // While the host sleeps, the provider may be in another thread.
        let (reactor, hosted) = subject.hosted_reactor();
        let log = Log::new();
        reactor.start_running(quiet()).unwrap();
        while hosted.guest.next() != Next::Never {
            hosted.guest.turn(Budget::default());
        }
        let client = client_of(&reactor, &hosted, &Script::logged(&log, "server"));
        client.write(b"hello");
        hosted.run_until(|| log.contains("server data hello"));
        stop(&reactor);
        hosted.guest.finish().unwrap();
    }

    fn a_turn_that_comes_early_leaves_the_thread_waiting(subject: &Subject) {
        // The thread returns by itself for a delayed call, so no wake-up of the host that has become stale interrupts it.
        let (reactor, counts) = Subject::named(subject.name()).counted();
        let guest = message_loop(&reactor).guest;
        reactor.start_running(quiet()).unwrap();
        reactor.call_later(20 * MOMENT, stop);
        while guest.is_started() {
            guest.turn(Budget::default());
        }
        guest.finish().unwrap();
        assert_eq!(counts.now().wakes, 0);
    }

    fn the_deadline_hook_of_the_program_stays(subject: &Subject) {
        // Reactor::set_deadline_hook, beside the adapter's.
        let (reactor, hosted) = subject.hosted_reactor();
        let told = Rc::new(Cell::new(false));
        let tell = told.clone();
        reactor.set_deadline_hook(Some(Rc::new(move || tell.set(true))));
        reactor.start_running(quiet()).unwrap();
        hosted.guest.turn(Budget::default());
        told.set(false);
        reactor.call_later(MOMENT, stop);
        assert!(told.get());
        hosted.run_until(|| !hosted.guest.is_started());
        hosted.guest.finish().unwrap();
    }

    fn a_dropped_reactor_leaves_its_guest_without_work(subject: &Subject) {
        // The adapter may live longer than the reactor.
        let (reactor, hosted) = subject.hosted_reactor();
        reactor.start_running(quiet()).unwrap();
        hosted.guest.turn(Budget::default());
        drop(reactor);
        assert!(hosted.guest.reactor().is_none() && !hosted.guest.is_started());
        hosted.guest.turn(Budget::default());
        assert_eq!((hosted.guest.next(), hosted.guest.timeout()), (Next::Never, None));
        assert!(matches!(hosted.guest.finish(), Err(Error::Closed)));
    }
}
