//! A reactor inside another loop, its host: the pieces of a turn, the deadline, the hook, and a wait in another thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ropewalk::proto::Deferred;
use ropewalk::{DetachedWait, Error, Phase, Reactor, RunOptions, Transport};

use crate::script::{Log, Script, stop};
use crate::specifications;
use crate::waiting::iterate_until;

const MOMENT: Duration = Duration::from_millis(1);

/// Runs the simplest host loop until the reactor ends.
fn host(reactor: &Reactor) {
    reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
    while reactor.is_started() {
        let limit = reactor.prepare().unwrap();
        if reactor.is_started() {
            reactor.wait(limit).unwrap();
            reactor.dispatch();
        }
    }
}

/// Counts the notices that the host's sleep has become too long.
fn count_hook(reactor: &Reactor) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let its = count.clone();
    reactor.set_deadline_hook(Some(Rc::new(move || its.set(its.get() + 1))));
    count
}

/// Turns the loop until a connection is established, and returns its ends: the server's and the client's.
fn connected(reactor: &Reactor, server: Script, client: Script) -> (Transport, Transport) {
    let ends: Rc<RefCell<Vec<Transport>>> = Rc::default();
    let port = reactor.listen_tcp("127.0.0.1:0", keep(server, &ends).factory()).unwrap();
    let address = port.host().unwrap().inet().unwrap();
    reactor.connect_tcp(address, keep(client, &ends).factory()).unwrap();
    while ends.borrow().len() < 2 {
        reactor.iterate(Some(MOMENT)).unwrap();
    }
    let mut ends = ends.take();
    ends.sort_by_key(|end| end.host().unwrap().inet() != Some(address));
    let client = ends.pop().unwrap();
    (ends.pop().unwrap(), client)
}

fn keep(script: Script, ends: &Rc<RefCell<Vec<Transport>>>) -> Script {
    let ends = ends.clone();
    script.on_made(move |transport| ends.borrow_mut().push(transport.clone()))
}

/// Waits in another thread, and returns the wait from it.
fn wait_elsewhere(mut wait: DetachedWait, timeout: Option<Duration>) -> thread::JoinHandle<(DetachedWait, usize)> {
    thread::spawn(move || {
        let events = wait.wait(timeout).unwrap();
        (wait, events.len())
    })
}

specifications! {
    host;

    fn an_idle_reactor_lets_the_host_sleep_indefinitely(subject: &Subject) {
        // ReactorBase.timeout: None
        let reactor = subject.reactor();
        assert_eq!(reactor.prepare().unwrap(), None);
        reactor.call_later(Duration::MAX, |_| {});
        assert_eq!(reactor.prepare().unwrap(), None);
        assert_eq!(reactor.deadline(), None);
    }

    fn the_host_may_sleep_until_the_next_call_is_due(subject: &Subject) {
        // ReactorBase.timeout
        let reactor = subject.reactor();
        let hour = Duration::from_secs(3600);
        let near = reactor.call_later(hour, |_| {});
        let far = reactor.call_later(hour * 2, |_| {});
        assert_eq!(reactor.deadline(), near.get_time());
        let limit = reactor.prepare().unwrap().unwrap();
        assert!(limit <= hour && reactor.now() + limit >= near.get_time().unwrap());
        near.reset(hour * 3).unwrap();
        assert_eq!(reactor.deadline(), far.get_time());
        far.cancel().unwrap();
        assert_eq!(reactor.deadline(), near.get_time());
    }

    fn the_host_must_not_sleep_while_work_is_pending(subject: &Subject) {
        // ReactorBase.timeout: zero
        let reactor = subject.reactor();
        reactor.call_later(Duration::ZERO, |reactor| drop(reactor.call_later(Duration::ZERO, |_| {})));
        assert_eq!(reactor.prepare().unwrap(), Some(Duration::ZERO));
        assert_eq!(reactor.prepare().unwrap(), None);
        drop(reactor.spawn(std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })));
        assert_eq!(reactor.prepare().unwrap(), Some(Duration::ZERO));
    }

    fn each_piece_of_a_turn_does_its_own_part(subject: &Subject) {
        // prepare runs what is due, wait collects events, dispatch delivers them.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_server, client) = connected(&reactor, Script::logged(&log, "server"), Script::new());
        client.write(b"x");
        reactor.call_later(Duration::ZERO, log.note("due"));
        let before = log.entries().len();
        let limit = reactor.prepare().unwrap();
        assert_eq!(log.entries()[before..], ["due"]);
        reactor.wait(limit).unwrap();
        assert_eq!(log.entries().len(), before + 1);
        reactor.dispatch();
        assert_eq!(log.entries()[before..], ["due", "server data x"]);
    }

    fn a_wait_with_zero_timeout_does_not_block(subject: &Subject) {
        // GMainContext.iteration(may_block=False) and similar calls need a wait that does not block. A hang is a
        // failure.
        let reactor = subject.reactor();
        for _ in 0..3 {
            reactor.prepare().unwrap();
            reactor.wait(Some(Duration::ZERO)).unwrap();
            reactor.dispatch();
        }
    }

    fn a_host_loop_serves_all_sources_as_run_does(subject: &Subject) {
        // ReactorBase.startRunning and the pieces of mainLoop: connections, delayed calls, calls from threads.
        let (reactor, log) = (subject.reactor(), Log::new());
        for (phase, name) in [(Phase::During, "during"), (Phase::After, "after")] {
            reactor.add_system_event_trigger(phase, "startup", log.note(name));
            reactor.add_system_event_trigger(phase, "shutdown", log.note(name));
        }
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let echo = log.clone();
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
            echo.add("echo");
            let (thread, handle) = (echo.note("thread"), transport.reactor().thread_handle());
            transport.reactor().call_later(MOMENT, move |_| {
                thread::spawn(move || {
                    handle.call_from_thread(thread);
                    handle.call_from_thread(stop);
                });
            });
        });
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
        host(&reactor);
        log.expect(&["during", "after", "echo", "thread", "during", "after"]);
        assert!(matches!(reactor.start_running(RunOptions::default().without_signal_handlers()), Ok(())));
        assert!(matches!(reactor.run(), Err(Error::ReactorAlreadyRunning)));
        reactor.crash();
    }

    fn the_deadline_hook_runs_when_work_is_added_during_a_sleep(subject: &Subject) {
        // Without such a hook, as in libuv, a host must ask for the deadline before each sleep.
        let reactor = subject.reactor();
        let (_server, client) = connected(&reactor, Script::new(), Script::new());
        let call = reactor.call_later(Duration::from_secs(3600), |_| {});
        reactor.start_running(RunOptions::default().without_signal_handlers()).unwrap();
        let told = count_hook(&reactor);
        type Work = fn(&Reactor, &Transport, &ropewalk::DelayedCall);
        let works: [(&str, Work); 8] = [
            ("a call", |reactor, _, _| drop(reactor.call_later(Duration::ZERO, |_| {}))),
            ("an earlier time", |_, _, call| call.reset(Duration::from_secs(60)).unwrap()),
            ("a task", |reactor, _, _| drop(reactor.spawn(async {}))),
            ("a write", |_, client, _| client.write(b"x")),
            ("an option of a connection", |_, client, _| client.pause_producing()),
            ("a cancelled call", |_, _, call| call.cancel().unwrap()),
            ("the end of a connection", |_, client, _| client.lose_connection()),
            ("the end", |reactor, _, _| stop(reactor)),
        ];
        for (name, work) in works {
            reactor.prepare().unwrap();
            reactor.wait(Some(Duration::ZERO)).unwrap();
            reactor.dispatch();
            reactor.prepare().unwrap();
            told.set(0);
            work(&reactor, &client, &call);
            assert_ne!(told.get(), 0, "{name}");
        }
        reactor.prepare().unwrap();
        assert!(!reactor.is_started());
    }

    fn the_deadline_hook_ignores_work_added_during_a_turn(subject: &Subject) {
        // The hook is only for sleeping hosts, because `prepare`, which follows `dispatch`, sees the work of a turn.
        let reactor = subject.reactor();
        let data = Script::new().on_data(|transport, _| {
            transport.write(b"answer");
            transport.reactor().call_later(Duration::ZERO, |_| {});
            drop(transport.reactor().spawn(async {}));
        });
        let (_server, client) = connected(&reactor, data, Script::new());
        client.write(b"x");
        let told = count_hook(&reactor);
        reactor.call_later(Duration::ZERO, |reactor| drop(reactor.call_later(Duration::ZERO, |_| {})));
        told.set(0);
        for _ in 0..5 {
            let limit = reactor.prepare().unwrap();
            reactor.wait(Some(limit.unwrap_or(MOMENT).min(MOMENT))).unwrap();
            reactor.dispatch();
        }
        assert_eq!(told.get(), 0);
        reactor.set_deadline_hook(None);
        reactor.prepare().unwrap();
        reactor.call_later(Duration::ZERO, |_| {});
        assert_eq!(told.get(), 0);
    }

    fn a_deadline_hook_may_use_the_reactor(subject: &Subject) {
        // The reactor borrows nothing while user code runs. Most hosts only set a flag in the hook, and some schedule a
        // call at once.
        let reactor = subject.reactor();
        let weak = Rc::new(RefCell::new(Some(reactor.clone())));
        let its = weak.clone();
        reactor.set_deadline_hook(Some(Rc::new(move || {
            if let Some(reactor) = &*its.borrow() {
                assert!(reactor.deadline().is_some());
                assert_eq!(reactor.get_delayed_calls().len(), 1);
            }
        })));
        reactor.prepare().unwrap();
        reactor.call_later(Duration::from_secs(60), |_| {});
        weak.take();
    }

    fn events_reported_before_a_detached_wait_are_delivered_later(subject: &Subject) {
        // Reactor::detach_wait in a callback: an edge-triggered provider reports the batch's other events only once.
        let (reactor, taken, served) = (subject.reactor(), Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
        let (take, count) = (taken.clone(), served.clone());
        let server = Script::new().on_data(move |transport, _| {
            count.set(count.get() + 1);
            if count.get() == 1 {
                *take.borrow_mut() = transport.reactor().detach_wait().ok();
            }
        });
        subject.ready_together(&reactor, 3, &server);
        while taken.borrow().is_none() {
            reactor.iterate(Some(MOMENT)).unwrap();
        }
        assert_eq!(served.get(), 1);
        drop(taken.take());
        while served.get() < 3 {
            reactor.iterate(Some(MOMENT)).unwrap();
        }
    }

    fn a_reply_is_sent_after_a_wait_detached_in_its_callback(subject: &Subject) {
        // Reactor::detach_wait: writes are queued until the provider is back.
        let (reactor, taken) = (subject.reactor(), Rc::new(RefCell::new(None)));
        let take = taken.clone();
        let server = Script::new().on_data(move |transport, _| {
            transport.write(b"reply");
            *take.borrow_mut() = transport.reactor().detach_wait().ok();
            transport.lose_write_connection();
        });
        let ended = Rc::new(Cell::new(false));
        let end = ended.clone();
        let client = Script::new().on_read_lost(move |transport| {
            end.set(true);
            transport.lose_connection();
        });
        let (_server, client_side) = connected(&reactor, server, client.clone());
        client_side.write(b"x");
        while taken.borrow().is_none() {
            reactor.iterate(Some(MOMENT)).unwrap();
        }
        drop(taken.take());
        while !ended.get() {
            reactor.iterate(Some(MOMENT)).unwrap();
        }
        assert_eq!(client.received(), b"reply");
    }

    fn a_detached_wait_returns_its_events(subject: &Subject) {
        // DetachedWait owns the provider and is Send, so that a host can release an interpreter's lock meanwhile.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_server, client) = connected(&reactor, Script::logged(&log, "server"), Script::new());
        client.write(b"x");
        let limit = reactor.prepare().unwrap();
        let mut wait = reactor.detach_wait().unwrap();
        let (wait, events) = thread::spawn(move || {
            let events = wait.wait(limit).unwrap();
            (wait, events)
        }).join().unwrap();
        drop(wait);
        assert!(!log.contains("server data x"));
        reactor.dispatch_events(events);
        assert!(log.contains("server data x"));
    }

    fn a_method_that_needs_the_provider_fails_while_it_is_detached(subject: &Subject) {
        // Error::Waiting
        let reactor = subject.reactor();
        reactor.prepare().unwrap();
        let wait = reactor.detach_wait().unwrap();
        assert!(matches!(reactor.prepare(), Err(Error::Waiting)));
        assert!(matches!(reactor.wait(None), Err(Error::Waiting)));
        assert!(matches!(reactor.iterate(None), Err(Error::Waiting)));
        assert!(matches!(reactor.detach_wait(), Err(Error::Waiting)));
        assert!(matches!(reactor.listen_tcp("127.0.0.1:0", Script::new().factory()), Err(Error::Waiting)));
        assert_eq!(reactor.host_handle(), None);
        drop(wait);
        reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        reactor.prepare().unwrap();
    }

    fn a_thread_call_wakes_a_detached_wait(subject: &Subject) {
        // IReactorFromThreads.callFromThread wakes the waiting thread. No other event wakes it.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.prepare().unwrap();
        let waiting = wait_elsewhere(reactor.detach_wait().unwrap(), None);
        let (handle, call) = (reactor.thread_handle(), log.note("call"));
        thread::spawn(move || handle.call_from_thread(call)).join().unwrap();
        drop(waiting.join().unwrap());
        reactor.prepare().unwrap();
        log.expect(&["call"]);
    }

    fn added_work_wakes_a_detached_wait(subject: &Subject) {
        // Added work makes the timeout of the other thread too long. No other event interrupts these waits.
        let reactor = subject.reactor();
        let (_server, client) = connected(&reactor, Script::new(), Script::new());
        type Work = fn(&Reactor, &Transport);
        let works: [Work; 4] = [
            |reactor, _| drop(reactor.call_later(Duration::ZERO, |_| {})),
            |reactor, _| drop(reactor.spawn(async {})),
            |_, client| client.write(b"x"),
            |_, client| client.lose_connection(),
        ];
        for work in works {
            reactor.prepare().unwrap();
            let waiting = wait_elsewhere(reactor.detach_wait().unwrap(), None);
            work(&reactor, &client);
            drop(waiting.join().unwrap());
        }
    }

    fn a_task_woken_outside_the_loop_wakes_a_detached_wait(subject: &Subject) {
        // A wake-up from the reactor's own thread is not lost while the loop sleeps in another thread.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (deferred, resolver) = Deferred::new();
        let done = log.clone();
        drop(reactor.spawn(async move {
            let _ = deferred.await;
            done.add("woken");
        }));
        reactor.prepare().unwrap();
        let waiting = wait_elsewhere(reactor.detach_wait().unwrap(), None);
        resolver.callback(()).unwrap();
        drop(waiting.join().unwrap());
        reactor.prepare().unwrap();
        log.expect(&["woken"]);
    }

    fn data_written_during_a_detached_wait_is_sent_afterwards(subject: &Subject) {
        // ITransport.write never fails. The rest of a large write and the end of the connection follow after the wait.
        let reactor = subject.reactor();
        let received = Script::new();
        let (_server, client) = connected(&reactor, received.clone(), Script::new());
        reactor.prepare().unwrap();
        let wait = reactor.detach_wait().unwrap();
        client.write(b"small ");
        client.write(&[b'x'; 10_000]);
        client.lose_connection();
        drop(wait);
        let sent = [&b"small "[..], &[b'x'; 10_000]].concat();
        iterate_until(&reactor, || !client.is_connected() && received.received().len() >= sent.len());
        assert_eq!(received.received(), sent);
    }

    fn a_port_closed_during_a_detached_wait_frees_its_address_later(subject: &Subject) {
        // The provider closes the connection after the wait.
        let reactor = subject.reactor();
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        reactor.prepare().unwrap();
        let wait = reactor.detach_wait().unwrap();
        let stopped = port.stop_listening();
        drop(wait);
        while !stopped.is_done() {
            reactor.iterate(Some(Duration::ZERO)).unwrap();
        }
        reactor.listen_tcp(address, Script::new().factory()).unwrap();
    }

    fn a_detached_wait_may_outlive_its_reactor(subject: &Subject) {
        // The loop is dropped with operations in flight.
        let reactor = subject.reactor();
        reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        reactor.prepare().unwrap();
        let (go, gone) = channel::<()>();
        let mut wait = reactor.detach_wait().unwrap();
        let thread = thread::spawn(move || {
            let _ = gone.recv();
            wait.wait(Some(Duration::ZERO)).map(|events| events.len())
        });
        drop(reactor);
        drop(go);
        assert_eq!(thread.join().unwrap().unwrap(), 0);
    }
}
