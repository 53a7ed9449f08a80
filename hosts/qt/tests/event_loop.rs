//! The reactor in Qt's loop, without windows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::prelude::Phase;
use ropewalk::{Error, Reactor, RunOptions};
use ropewalk_qt::{QtHost, application, install};

/// `QEventLoop`.
#[repr(C)]
struct Loop([u8; 0]);

unsafe extern "C" {
    safe fn nested_new() -> *mut Loop;
    fn nested_exec(nested: *mut Loop) -> i32;
    fn nested_exit(nested: *mut Loop, code: i32);
    fn nested_delete(nested: *mut Loop);
    safe fn application_exec() -> i32;
    safe fn application_quit_after(milliseconds: i32);
}

const SOON: Duration = Duration::from_millis(20);

fn start(provider: &str) -> (Reactor, QtHost) {
    application().expect("each test is a process");
    let reactor = Reactor::with(provider).expect("the system has it");
    let qt = install(&reactor).expect("a new reactor");
    (reactor, qt)
}

fn stop(reactor: &Reactor) {
    reactor.stop().expect("it runs");
}

fn quiet() -> RunOptions {
    RunOptions::default().without_signal_handlers()
}

#[test]
fn install_without_an_application_is_refused() {
    let reactor = Reactor::new().unwrap();
    assert!(matches!(install(&reactor), Err(Error::Failed(_))));
    application().unwrap();
    let other = thread::spawn(|| matches!(install(&Reactor::new().unwrap()), Err(Error::Failed(_))));
    assert!(other.join().unwrap(), "the application belongs to another thread");
    assert!(install(&reactor).is_ok());
}

#[test]
fn a_stopped_reactor_runs_a_second_time() {
    for provider in ["epoll", "uring", "poll"] {
        let (reactor, _qt) = start(provider);
        for _ in 0..2 {
            reactor.call_later(SOON, stop);
            reactor.run().unwrap();
        }
    }
}

#[test]
fn a_delayed_call_closes_a_loop_inside_a_delayed_call() {
    for provider in ["epoll", "poll"] {
        let (reactor, _qt) = start(provider);
        let order = Rc::new(RefCell::new(Vec::new()));
        let nested = nested_new();
        let log = order.clone();
        reactor.call_later(SOON, move |reactor| {
            let inner = log.clone();
            reactor.call_later(SOON, move |_| {
                inner.borrow_mut().push("closes");
                // SAFETY: the loop runs.
                unsafe { nested_exit(nested, 7) };
            });
            // SAFETY: it is deleted after the run.
            let code = unsafe { nested_exec(nested) };
            assert_eq!(code, 7);
            log.borrow_mut().push("closed");
            stop(reactor);
        });
        reactor.run().unwrap();
        assert_eq!(*order.borrow(), ["closes", "closed"]);
        // SAFETY: nothing has it any more.
        unsafe { nested_delete(nested) };
    }
}

#[test]
fn a_call_from_a_thread_wakes_the_loop() {
    for provider in ["epoll", "uring", "poll"] {
        let (reactor, _qt) = start(provider);
        let remote = reactor.thread_handle();
        let caller = thread::spawn(move || {
            thread::sleep(SOON);
            remote.call_from_thread(stop);
        });
        let began = Instant::now();
        reactor.run().unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        caller.join().unwrap();
    }
}

#[test]
fn an_idle_reactor_makes_no_turns() {
    for provider in ["epoll", "uring", "poll"] {
        let (reactor, qt) = start(provider);
        let counted = Rc::new(Cell::new(0));
        let (turns, count) = (qt.clone(), counted.clone());
        reactor.call_later(SOON, move |_| count.set(turns.turns()));
        let (turns, count) = (qt.clone(), counted.clone());
        reactor.call_later(Duration::from_millis(300), move |reactor| {
            // The turn of this call. The thread of poll may look once more when it lends the provider.
            let made = turns.turns() - count.get();
            assert!(made <= 2, "{made} turns on {}", reactor.name());
            stop(reactor);
        });
        reactor.run().unwrap();
        assert!(counted.get() > 0);
    }
}

#[test]
fn a_quit_of_the_application_stops_the_reactor() {
    let (reactor, _qt) = start("epoll");
    let stopped = Rc::new(Cell::new(false));
    let set = stopped.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| set.set(true));
    application_quit_after(20);
    reactor.run().unwrap();
    assert!(stopped.get());
}

#[test]
fn the_program_runs_the_loop_itself() {
    let (reactor, qt) = start("epoll");
    qt.guest().on_end(|| application_quit_after(0));
    reactor.start_running(quiet()).unwrap();
    reactor.call_later(SOON, stop);
    application_exec();
    assert!(!reactor.is_started());
    qt.guest().finish().unwrap();
}

#[test]
fn a_call_from_a_thread_between_two_runs_makes_no_turn() {
    let (reactor, qt) = start("epoll");
    reactor.call_later(SOON, stop);
    reactor.run().unwrap();
    let made = qt.turns();
    let remote = reactor.thread_handle();
    thread::spawn(move || remote.call_from_thread(stop)).join().unwrap();
    application_quit_after(50);
    application_exec();
    assert_eq!(qt.turns(), made);
    reactor.run().unwrap();
}

#[test]
fn the_adapter_may_be_dropped_in_a_callback() {
    for provider in ["epoll", "poll"] {
        let (reactor, qt) = start(provider);
        let held = RefCell::new(Some(qt));
        reactor.call_later(SOON, move |_| drop(held.take()));
        drop(reactor.run());
        assert!(install(&reactor).is_ok());
    }
}
