//! IReactorThreads: calls from other threads, and work in threads.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use ropewalk::proto::{Abandoned, Cancelled};
use ropewalk::{Error, Failure, Phase, Reactor, ThreadHandle, ThreadPool, gather_results};

use crate::script::{Log, stop};
use crate::{run, specifications};

/// Shares a receiver among threads. Each message goes to one of them.
fn shared<T: Send + 'static>(receiver: Receiver<T>) -> impl Fn() -> Option<T> + Clone + Send + 'static {
    let receiver = Arc::new(Mutex::new(receiver));
    move || receiver.lock().unwrap().recv().ok()
}

/// Submits `count` jobs. Each reports its number and blocks until the returned sender is dropped.
fn submit_waiting(reactor: &Reactor, count: usize, began: &Sender<usize>) -> Sender<()> {
    let (release, released) = channel::<()>();
    let wait = shared(released);
    for number in 0..count {
        let (began, wait) = (began.clone(), wait.clone());
        reactor.call_in_thread(move || {
            began.send(number).unwrap();
            wait();
        });
    }
    release
}

/// The time that the end of a run waits for work in threads.
const JOIN_TIMEOUT: Duration = Duration::from_millis(300);

/// Waits long enough for work to begin, and fails if any work begins.
#[track_caller]
fn nothing_begins(beginning: &Receiver<usize>, otherwise: &str) {
    for _ in 0..1000 {
        thread::yield_now();
        assert!(beginning.try_recv().is_err(), "{otherwise}");
    }
}

specifications! {
    threads;

    fn calls_from_one_thread_keep_their_order(subject: &Subject) {
        // IReactorFromThreads.callFromThread: first in, first out for each thread, also with parallel threads.
        const THREADS: usize = 4;
        const CALLS: usize = 1000;
        let reactor = subject.reactor();
        let left = Arc::new(AtomicUsize::new(THREADS * CALLS));
        let threads = Vec::from_iter((0..THREADS).map(|_| {
            let (handle, left, last) = (reactor.thread_handle(), left.clone(), Arc::new(AtomicUsize::new(0)));
            thread::spawn(move || {
                for number in 1..=CALLS {
                    let (left, last) = (left.clone(), last.clone());
                    handle.call_from_thread(move |reactor| {
                        assert_eq!(last.swap(number, Ordering::Relaxed), number - 1);
                        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                            stop(reactor);
                        }
                    });
                }
            })
        }));
        run(&reactor);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn no_wake_up_is_lost_before_the_loop_sleeps(subject: &Subject) {
        // No other event wakes this loop: a lost wake-up hangs.
        let reactor = subject.reactor();
        let handle = reactor.thread_handle();
        let thread = thread::spawn(move || {
            for number in 0..5_000 {
                assert_eq!(handle.blocking_call_from_thread(move |_| number).unwrap(), number);
            }
            handle.call_from_thread(stop);
        });
        run(&reactor);
        thread.join().unwrap();
    }

    fn a_thousand_calls_to_a_busy_loop_cost_one_wake_up(subject: &Subject) {
        // IReactorFromThreads.wakeUp costs one system call and one turn.
        let (reactor, counts) = subject.counted();
        let (made, before) = (Arc::new(AtomicUsize::new(0)), Rc::new(Cell::new(None)));
        let (count, start) = (made.clone(), before.clone());
        reactor.call_when_running(move |reactor| {
            start.set(Some((counts.clone(), counts.now())));
            let handle = reactor.thread_handle();
            let busy = thread::spawn(move || {
                for _ in 0..1000 {
                    let count = count.clone();
                    handle.call_from_thread(move |_| {
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
                handle.call_from_thread(stop);
            });
            busy.join().unwrap();
        });
        run(&reactor);
        assert_eq!(made.load(Ordering::Relaxed), 1000);
        let (counts, before) = before.take().unwrap();
        let cost = counts.since(before);
        assert_eq!(cost.wakes, 1);
        // A host loop begins its turn with a look at the events.
        assert!(cost.waits <= 1, "{cost:?}");
    }

    fn a_turn_makes_a_bounded_number_of_thread_calls(subject: &Subject) {
        // Threads that schedule calls without a pause must not delay timers and connections.
        const CALLS: usize = 10_000;
        let (reactor, made) = (subject.reactor(), Arc::new(AtomicUsize::new(0)));
        for number in 0..CALLS {
            let made = made.clone();
            reactor.call_from_thread(move |reactor| {
                assert_eq!(made.fetch_add(1, Ordering::Relaxed), number);
                if number == CALLS - 1 {
                    stop(reactor);
                }
            });
        }
        let (at_first_timer, seen) = (Rc::new(Cell::new(0)), made.clone());
        let count = at_first_timer.clone();
        reactor.call_later(Duration::ZERO, move |_| count.set(seen.load(Ordering::Relaxed)));
        run(&reactor);
        assert_eq!(made.load(Ordering::Relaxed), CALLS);
        assert!((1..CALLS / 2).contains(&at_first_timer.get()), "{}", at_first_timer.get());
    }

    fn the_calls_of_a_full_queue_are_refused(subject: &Subject) {
        // callFromThread has no bound, so a program whose threads may be faster than its loop needs one.
        let (reactor, log) = (subject.reactor(), Log::new());
        let handle = reactor.thread_handle();
        for number in 0..5 {
            let call = log.note(["0", "1", "2", "3", "4"][number]);
            assert_eq!(handle.try_call_from_thread(3, call).is_ok(), number < 3);
        }
        let again = handle.clone();
        let last = log.note("last");
        handle.call_from_thread(move |_| {
            // The calls of this turn have left the queue.
            assert!(again.try_call_from_thread(1, last).is_ok());
            assert!(again.try_call_from_thread(1, |_| {}).is_err());
            again.call_from_thread(stop);
        });
        run(&reactor);
        log.expect(&["0", "1", "2", "last"]);
    }

    fn a_thread_call_before_the_run_is_made_in_it(subject: &Subject) {
        // IReactorFromThreads.callFromThread; `wakeUp` also works before `run`.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (handle, call) = (reactor.thread_handle(), log.note("call"));
        thread::spawn(move || {
            handle.wake_up();
            handle.call_from_thread(call);
            handle.call_from_thread(stop);
        }).join().unwrap();
        log.expect(&[]);
        run(&reactor);
        log.expect(&["call"]);
    }

    fn a_thread_call_between_two_runs_is_made_in_the_second(subject: &Subject) {
        // A call from another thread is not lost while the loop is stopped.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.call_when_running(stop);
        run(&reactor);
        reactor.thread_handle().call_from_thread(log.note("call"));
        log.expect(&[]);
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["call"]);
    }

    fn thread_calls_queued_behind_a_crash_run_in_the_next_run(subject: &Subject) {
        // IReactorCore.crash leaves everything else as it is.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.call_from_thread(|reactor| {
            reactor.crash();
            reactor.call_from_thread(stop);
        });
        reactor.call_from_thread(log.note("same turn"));
        run(&reactor);
        log.expect(&["same turn"]);
        run(&reactor);
    }

    fn a_thread_handle_is_harmless_after_its_reactor_is_gone(subject: &Subject) {
        // IReactorFromThreads.wakeUp after the end. Calls are dropped, and waiting threads get Closed.
        let (reactor, dropped) = (subject.reactor(), Arc::new(()));
        let handle = reactor.thread_handle();
        let (waiting, held) = (handle.clone(), dropped.clone());
        reactor.call_from_thread(move |_| drop(held));
        let waiter = thread::spawn(move || waiting.blocking_call_from_thread(|_| {}));
        drop(reactor);
        assert!(matches!(waiter.join().unwrap(), Err(Error::Closed)));
        handle.wake_up();
        let held = dropped.clone();
        handle.call_from_thread(move |_| drop(held));
        assert_eq!(Arc::strong_count(&dropped), 1);
        assert!(matches!(handle.blocking_call_from_thread(|_| {}), Err(Error::Closed)));
    }

    fn a_blocking_call_from_a_thread_returns_its_result(subject: &Subject) {
        // threads.blockingCallFromThread returns the result of the call, or re-raises its panic.
        let reactor = subject.reactor();
        let handle = reactor.thread_handle();
        let thread = thread::spawn(move || {
            let name = handle.blocking_call_from_thread(Reactor::name).unwrap();
            let its = handle.clone();
            let panic = thread::spawn(move || its.blocking_call_from_thread(|_| panic!("no result"))).join();
            assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"no result"));
            handle.call_from_thread(stop);
            name
        });
        run(&reactor);
        assert_eq!(thread.join().unwrap(), subject.name());
    }

    fn a_blocking_call_waits_for_a_deferred(subject: &Subject) {
        // threads.blockingCallFromThread
        let reactor = subject.reactor();
        let handle = reactor.thread_handle();
        let thread = thread::spawn(move || {
            let slow = handle.blocking_wait_from_thread(|reactor| {
                let reactor = reactor.clone();
                reactor.clone().spawn(async move {
                    reactor.sleep(Duration::from_millis(1)).await;
                    42
                })
            });
            let failed = handle.blocking_wait_from_thread(|_| ropewalk::fail::<()>(Error::ConnectTimedOut(None)));
            let foreign = handle.blocking_wait_from_thread(|_| ropewalk::fail::<()>(std::fmt::Error));
            handle.call_from_thread(stop);
            (slow, failed, foreign)
        });
        run(&reactor);
        let (slow, failed, foreign) = thread.join().unwrap();
        assert_eq!(slow.unwrap(), 42);
        assert!(matches!(failed, Err(Error::ConnectTimedOut(None))));
        assert_eq!(foreign.unwrap_err().to_string(), std::fmt::Error.to_string());
    }

    fn the_result_of_work_is_delivered_on_the_reactors_thread(subject: &Subject) {
        // threads.deferToThread: the work itself runs in another thread.
        let reactor = subject.reactor();
        let here = thread::current().id();
        reactor.call_when_running(move |reactor| {
            let result = reactor.defer_to_thread(|| thread::current().id());
            let reactor = reactor.clone();
            result.add_callback(move |there| {
                assert_ne!(there, here);
                assert_eq!(thread::current().id(), here);
                stop(&reactor);
            });
        });
        run(&reactor);
    }

    fn the_result_of_work_wakes_the_loop(subject: &Subject) {
        // Hundreds of results: the callback of each one requests the next. No other event wakes this loop.
        fn again(reactor: &Reactor, left: usize) {
            let handle = reactor.clone();
            reactor.defer_to_thread(move || left).add_callback(move |left| match left {
                0 => stop(&handle),
                _ => again(&handle, left - 1),
            });
        }
        let reactor = subject.reactor();
        again(&reactor, 300);
        run(&reactor);
    }

    fn failed_work_fails_its_deferred(subject: &Subject) {
        // threads.deferToThread: the exception is the failure. A panic leaves its thread usable.
        let reactor = subject.reactor();
        reactor.suggest_thread_pool_size(1);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let results = [
            reactor.defer_to_thread(|| "x".parse::<u32>()).and_then(|parsed| parsed),
            reactor.defer_to_thread(|| panic!("in a thread")),
            reactor.defer_to_thread(|| 7),
        ];
        for result in results {
            let (seen, reactor) = (seen.clone(), reactor.clone());
            result.add_both(move |result: Result<u32, Failure>| {
                seen.borrow_mut().push(result.map_err(|failure| failure.to_string()));
                if seen.borrow().len() == 3 {
                    stop(&reactor);
                }
            });
        }
        run(&reactor);
        let seen = seen.borrow();
        assert_eq!(seen[0], Err("invalid digit found in string".to_owned()));
        assert!(seen[1].as_ref().is_err_and(|message| message.contains("in a thread")), "{:?}", seen[1]);
        assert_eq!(seen[2], Ok(7));
    }

    fn cancelling_work_drops_only_its_result(subject: &Subject) {
        // Deferred.cancel: the work itself cannot be stopped.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (began, beginning) = channel();
        let release = submit_waiting(&reactor, 1, &began);
        let (work, seen) = (log.clone(), log.clone());
        let result = reactor.defer_to_thread(move || work.add("worked"));
        let cancel = result.cancel_handle();
        result.add_errback(move |failure| seen.add(format!("cancelled {}", failure.check::<Cancelled>())));
        reactor.call_when_running(move |reactor| {
            beginning.recv().unwrap();
            cancel.cancel();
            drop(release);
            let reactor = reactor.clone();
            reactor.clone().defer_to_thread(|| {}).add_callback(move |()| stop(&reactor));
        });
        reactor.suggest_thread_pool_size(1);
        run(&reactor);
        log.expect(&["cancelled true", "worked"]);
    }

    fn a_panic_in_call_in_thread_leaves_its_thread_usable(subject: &Subject) {
        // IReactorInThreads.callInThread: the panic is logged.
        let reactor = subject.reactor();
        reactor.suggest_thread_pool_size(1);
        reactor.call_in_thread(|| panic!("in a thread"));
        let handle = reactor.thread_handle();
        reactor.call_in_thread(move || handle.call_from_thread(stop));
        run(&reactor);
    }

    fn ten_pieces_of_work_run_at_once(subject: &Subject) {
        // ReactorBase.getThreadPool: 0..10 threads. An eleventh piece of work waits.
        let reactor = subject.reactor();
        let (began, beginning) = channel();
        let release = submit_waiting(&reactor, 11, &began);
        reactor.call_when_running(move |reactor| {
            let first = HashSet::<usize>::from_iter((0..10).map(|_| beginning.recv().unwrap()));
            assert_eq!(first, HashSet::from_iter(0..10));
            nothing_begins(&beginning, "an eleventh thread works");
            drop(release);
            assert_eq!(beginning.recv(), Ok(10));
            stop(reactor);
        });
        run(&reactor);
    }

    fn the_pool_size_is_at_least_one_thread(subject: &Subject) {
        // IReactorThreads.suggestThreadPoolSize: there are never more threads than suggested, but at least one.
        for (size, at_once) in [(0, 1), (1, 1), (3, 3)] {
            let reactor = subject.reactor();
            reactor.suggest_thread_pool_size(size);
            let (now, most, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(20)));
            for _ in 0..20 {
                let (now, most, left, handle) = (now.clone(), most.clone(), left.clone(), reactor.thread_handle());
                reactor.call_in_thread(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                        handle.call_from_thread(stop);
                    }
                });
            }
            run(&reactor);
            assert!((1..=at_once).contains(&most.load(Ordering::SeqCst)));
        }
    }

    fn a_pool_of_one_thread_keeps_the_order_of_submission(subject: &Subject) {
        // ThreadPool is a queue.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.suggest_thread_pool_size(1);
        for number in 0..10 {
            let log = log.clone();
            reactor.call_in_thread(move || log.add(number.to_string()));
        }
        let handle = reactor.thread_handle();
        reactor.call_in_thread(move || handle.call_from_thread(stop));
        run(&reactor);
        assert_eq!(log.entries(), Vec::from_iter((0..10).map(|number| number.to_string())));
    }

    fn a_larger_pool_starts_waiting_work(subject: &Subject) {
        // ThreadPool.adjustPoolsize. The three pieces of work meet at a barrier, so all of them must run.
        let reactor = subject.reactor();
        reactor.suggest_thread_pool_size(1);
        let meeting = Arc::new(Barrier::new(3));
        let handle = reactor.thread_handle();
        for _ in 0..3 {
            let (meeting, handle) = (meeting.clone(), handle.clone());
            reactor.call_in_thread(move || {
                if meeting.wait().is_leader() {
                    handle.call_from_thread(stop);
                }
            });
        }
        reactor.call_later(Duration::from_millis(1), |reactor| reactor.suggest_thread_pool_size(3));
        run(&reactor);
    }

    fn work_starts_only_when_the_reactor_runs(subject: &Subject) {
        // ReactorBase._initThreadPool: started by callWhenRunning, so a fork before run copies no thread.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (work, handle) = (log.clone(), reactor.thread_handle());
        reactor.call_in_thread(move || {
            work.add("work");
            handle.call_from_thread(stop);
        });
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        reactor.add_system_event_trigger(Phase::Before, "startup", log.note("starting"));
        run(&reactor);
        log.expect(&["starting", "work"]);
    }

    fn the_end_of_a_run_waits_for_short_work(subject: &Subject) {
        // ReactorBase._stopThreadPool joins the threads, also if work was submitted in the turn of the stop.
        for _attempt in 0..20 {
            let (reactor, log) = (subject.reactor(), Log::new());
            let work = log.clone();
            reactor.call_when_running(move |reactor| {
                for _ in 0..2 {
                    let work = work.clone();
                    reactor.call_in_thread(move || work.add("worked"));
                }
                stop(reactor);
            });
            reactor.add_system_event_trigger(Phase::During, "shutdown", log.note("during"));
            let began = reactor.now();
            run(&reactor);
            if reactor.now().since(began) < JOIN_TIMEOUT {
                return log.expect(&["worked", "worked", "during"]);
            }
            // The machine stood still, so the work was not short and this attempt proves nothing.
        }
        panic!("this machine is too busy to tell");
    }

    fn endless_work_does_not_block_the_end_of_a_run(subject: &Subject) {
        // ReactorBase._stopThreadPool would join the busy thread. Here the work is detached after 300 ms.
        let reactor = subject.reactor();
        let (began, beginning) = channel();
        let release = submit_waiting(&reactor, 10, &began);
        let next = submit_waiting(&reactor, 1, &began);
        reactor.call_when_running(move |reactor| {
            assert_eq!(beginning.iter().take(10).count(), 10);
            stop(reactor);
        });
        run(&reactor);
        drop((release, next));
    }

    fn threads_of_an_earlier_run_do_not_count_for_the_next(subject: &Subject) {
        // Detached work finishes by itself. Its thread must neither reduce the next run's pool nor take the next run's
        // work.
        let reactor = subject.reactor();
        reactor.suggest_thread_pool_size(2);
        let (began, beginning) = channel();
        let beginning = Rc::new(beginning);
        let (old, first) = (submit_waiting(&reactor, 2, &began), beginning.clone());
        reactor.call_when_running(move |reactor| {
            assert_eq!(first.iter().take(2).count(), 2);
            stop(reactor);
        });
        run(&reactor);
        // The next run has two threads of its own while the old ones are busy and after they have ended.
        let new = submit_waiting(&reactor, 3, &began);
        reactor.call_when_running(move |reactor| {
            assert_eq!(beginning.iter().take(2).count(), 2);
            drop(old);
            nothing_begins(&beginning, "an old thread does the new run's work");
            drop(new);
            beginning.recv().unwrap();
            stop(reactor);
        });
        run(&reactor);
    }

    fn a_reactor_that_runs_again_has_threads_again(subject: &Subject) {
        // Unlike in Twisted, a reactor can run again.
        let reactor = subject.reactor();
        for _ in 0..5 {
            let handle = reactor.thread_handle();
            reactor.call_in_thread(move || handle.call_from_thread(stop));
            run(&reactor);
        }
    }

    fn a_crash_keeps_pending_results_for_the_next_run(subject: &Subject) {
        // Trial runs each asynchronous test as run() ... crash().
        let reactor = subject.reactor();
        let (began, beginning) = channel();
        let release = submit_waiting(&reactor, 1, &began);
        let done = Rc::new(Cell::new(false));
        let (set, ends) = (done.clone(), reactor.clone());
        let (go, gone) = channel::<()>();
        reactor.defer_to_thread(move || gone.recv().is_err()).add_callback(move |released| {
            set.set(released);
            stop(&ends);
        });
        reactor.call_when_running(move |reactor| {
            beginning.recv().unwrap();
            reactor.crash();
        });
        run(&reactor);
        assert!(!done.get());
        drop((release, go));
        run(&reactor);
        assert!(done.get());
    }

    fn dropping_a_reactor_fails_pending_work(subject: &Subject) {
        // The loop is dropped with operations in flight.
        let reactor = subject.reactor();
        let failed = Rc::new(Cell::new(false));
        let set = failed.clone();
        reactor.defer_to_thread(|| {}).add_errback(move |_| set.set(true));
        drop(reactor);
        assert!(failed.get());
    }

    fn a_thread_handle_reaches_the_reactor_from_any_thread(subject: &Subject) {
        // Only ThreadHandle crosses threads.
        fn crosses<T: Send + Sync + Clone + 'static>(handle: &T) -> T {
            handle.clone()
        }
        let reactor = subject.reactor();
        let handle: ThreadHandle = crosses(&reactor.thread_handle());
        let (sender, receiver) = channel();
        let inner = handle.clone();
        let threads = Vec::from_iter((0..3).map(|_| {
            let (handle, sender) = (inner.clone(), sender.clone());
            thread::spawn(move || handle.call_from_thread(move |reactor| sender.send(reactor.name()).unwrap()))
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        handle.call_from_thread(stop);
        run(&reactor);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [subject.name(); 3]);
    }

    fn call_multiple_in_thread_keeps_the_order(subject: &Subject) {
        // threads.callMultipleInThread makes all calls in one thread. After a panic in one call, the next call is still
        // made.
        let reactor = subject.reactor();
        let (sender, done) = channel();
        let handle = reactor.thread_handle();
        reactor.call_multiple_in_thread((0..10).map(move |number| {
            let (sender, handle) = (sender.clone(), handle.clone());
            move || {
                sender.send((number, thread::current().id())).unwrap();
                if number == 9 {
                    handle.call_from_thread(stop);
                }
                assert!(number % 2 == 0, "an odd piece of work");
            }
        }));
        run(&reactor);
        let done = Vec::from_iter(done.try_iter());
        assert_eq!(Vec::from_iter(done.iter().map(|(number, _)| *number)), Vec::from_iter(0..10));
        assert!(done.iter().all(|(_, thread)| *thread == done[0].1));
    }

    fn the_result_of_work_in_another_pool_reaches_the_loop(subject: &Subject) {
        // threads.deferToThreadPool: the pool's thread does the work, the loop's thread gets the result.
        let (reactor, pool, log) = (subject.reactor(), ThreadPool::new(1), Log::new());
        let (seen, here) = (log.clone(), thread::current().id());
        let both = [(); 2].map(|()| reactor.defer_to_thread_pool(&pool, || thread::current().id()));
        let ends = reactor.clone();
        gather_results(both.into()).add_callback(move |threads| {
            seen.add(format!("{} {} {}", threads[0] == threads[1], threads[0] == here, thread::current().id() == here));
            stop(&ends);
        });
        run(&reactor);
        log.expect(&["true false true"]);
    }

    fn work_that_a_pool_drops_fails_its_deferred(subject: &Subject) {
        // The Deferred must fire: the pool is dropped while its only thread is busy.
        let (reactor, log) = (subject.reactor(), Log::new());
        let pool = ThreadPool::new(1);
        let (began, beginning) = channel();
        let (release, released) = channel::<()>();
        let first = reactor.defer_to_thread_pool(&pool, move || {
            began.send(()).unwrap();
            let _ = released.recv();
        });
        beginning.recv().unwrap();
        let (seen, ends) = (log.clone(), reactor.clone());
        reactor.defer_to_thread_pool(&pool, || ()).add_errback(move |failure| {
            seen.add(failure.check::<Abandoned>().to_string());
            stop(&ends);
        });
        drop(pool);
        drop(release);
        run(&reactor);
        log.expect(&["true"]);
        drop(first.add_errback(|_| ()));
    }
}
