//! Futures on the loop: spawn, sleep, awaited Deferreds, and AsyncStream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use ropewalk::proto::{Cancelled, Deferred};
use ropewalk::task::{AddTimeout, AsyncStream, LoopingCall, StreamFactory, channel, yield_now};
use ropewalk::{Error, Failure, Phase, Reactor};

use crate::script::{Log, Script, stop};
use crate::waiting::{after_some_turns, run_and_expect, when};
use crate::{run, specifications};

const MOMENT: Duration = Duration::from_millis(1);

fn turn(reactor: &Reactor) {
    reactor.iterate(Some(Duration::ZERO)).unwrap();
}

/// Spawns a task, and ignores its output.
fn spawn(reactor: &Reactor, future: impl Future<Output = ()> + 'static) {
    drop(reactor.spawn(future));
}

/// Reads until the end of the input.
async fn read_all(stream: &mut AsyncStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Connects a scripted client to a server of async code.
fn connect<F: Future<Output = ()> + 'static>(
    reactor: &Reactor,
    client: Script,
    serve: impl Fn(AsyncStream, Reactor) -> F + 'static,
) {
    let factory = StreamFactory::new(move |stream, reactor: &Reactor| spawn(reactor, serve(stream, reactor.clone())));
    let port = reactor.listen_tcp("127.0.0.1:0", factory).unwrap();
    reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
}

specifications! {
    task;

    fn a_task_starts_in_the_next_turn(subject: &Subject) {
        // Reactor::spawn never runs user code in the caller's stack.
        let (reactor, log) = (subject.reactor(), Log::new());
        let its = log.clone();
        spawn(&reactor, async move { its.add("task") });
        log.add("spawned");
        turn(&reactor);
        log.expect(&["spawned", "task"]);
    }

    fn the_output_of_a_task_fires_its_deferred(subject: &Subject) {
        // Reactor::spawn returns a Deferred.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (seen, ends) = (log.clone(), reactor.clone());
        reactor.spawn(async { 6 * 7 }).add_callback(move |output| {
            seen.add(output.to_string());
            stop(&ends);
        });
        run(&reactor);
        log.expect(&["42"]);
    }

    fn tasks_run_after_due_calls_in_wake_order(subject: &Subject) {
        // A turn runs calls from threads, then due calls, then tasks.
        let (reactor, log) = (subject.reactor(), Log::new());
        for name in ["task 1", "task 2", "task 3"] {
            let log = log.clone();
            spawn(&reactor, async move {
                log.add(name);
                yield_now().await;
                log.add(name);
            });
        }
        reactor.call_later(Duration::ZERO, log.note("due"));
        reactor.call_from_thread(log.note("thread"));
        turn(&reactor);
        log.expect(&["thread", "due", "task 1", "task 2", "task 3"]);
        turn(&reactor);
        assert_eq!(log.entries()[5..], ["task 1", "task 2", "task 3"]);
    }

    fn a_task_that_always_yields_starves_no_other_source(subject: &Subject) {
        // A task is polled at most once in a turn.
        let (reactor, log) = (subject.reactor(), Log::new());
        spawn(&reactor, async {
            loop {
                yield_now().await;
            }
        });
        let client = Script::new().on_data({
            let log = log.clone();
            move |transport, _| {
                log.add("data");
                transport.reactor().call_from_thread(stop);
            }
        });
        connect(&reactor, client, |mut stream, _| async move { stream.write_all(b"x").await.unwrap() });
        run(&reactor);
        log.expect(&["data"]);
    }

    fn a_task_is_polled_only_when_woken(subject: &Subject) {
        // std::task::Waker. A turn without a wake-up must not poll.
        let (reactor, polls) = (subject.reactor(), Rc::new(Cell::new(0)));
        let (waker, count) = (Rc::new(RefCell::new(None::<Waker>)), polls.clone());
        let its = waker.clone();
        spawn(&reactor, poll_fn(move |context| {
            count.set(count.get() + 1);
            *its.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        }));
        for _ in 0..3 {
            turn(&reactor);
        }
        assert_eq!(polls.get(), 1);
        for _ in 0..3 {
            waker.borrow().as_ref().unwrap().wake_by_ref();
        }
        turn(&reactor);
        turn(&reactor);
        assert_eq!(polls.get(), 2);
    }

    fn a_wake_up_from_another_thread_wakes_the_loop(subject: &Subject) {
        // No other event wakes this loop. The test makes thousands of wake-ups, each after the previous one was
        // received.
        struct Baton(Arc<Mutex<(u32, Option<Waker>)>>, u32);
        impl Future for Baton {
            type Output = ();
            fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
                let mut state = self.0.lock().unwrap();
                if state.0 >= self.1 {
                    return Poll::Ready(());
                }
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
        const TIMES: u32 = 3000;
        let (reactor, state) = (subject.reactor(), Arc::new(Mutex::new((0, None::<Waker>))));
        let (its, ends) = (state.clone(), reactor.clone());
        spawn(&reactor, async move {
            for number in 1..=TIMES {
                Baton(its.clone(), number).await;
            }
            stop(&ends);
        });
        let thread = thread::spawn(move || {
            let mut passed = 0;
            while passed < TIMES {
                let mut state = state.lock().unwrap();
                if let Some(waker) = state.1.take() {
                    passed += 1;
                    state.0 = passed;
                    drop(state);
                    waker.wake();
                } else {
                    drop(state);
                    thread::yield_now();
                }
            }
        });
        run(&reactor);
        thread.join().unwrap();
    }

    fn a_panic_in_a_task_fails_only_its_own_deferred(subject: &Subject) {
        // A panic in one callback must not drop the rest of the batch.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let (failed, its) = (log.clone(), log.clone());
        reactor.spawn(async { panic!("in a task") }).add_both(move |outcome: Result<(), Failure>| {
            let is_panic = matches!(outcome.unwrap_err().downcast_ref(), Some(Error::Panicked(..)));
            failed.add(if is_panic { "failed" } else { "otherwise" });
        });
        spawn(&reactor, async move { its.add("other") });
        run_and_expect(&reactor, &log, &["failed", "other"]);
    }

    fn cancelling_the_deferred_of_a_task_drops_its_future(subject: &Subject) {
        // Deferred.cancel is called before the first poll, or while the task waits.
        let reactor = subject.reactor();
        for turns in [0, 1] {
            let (token, held) = (Rc::new(()), Rc::new(()));
            let (its, its_own) = (token.clone(), held.clone());
            let output = reactor.spawn(async move {
                std::future::pending::<()>().await;
                drop(its);
            });
            (0..turns).for_each(|_| turn(&reactor));
            let cancelled = Rc::new(Cell::new(false));
            let set = cancelled.clone();
            let cancel = output.cancel_handle();
            output.add_errback(move |failure| {
                set.set(failure.check::<Cancelled>());
                drop(its_own);
            });
            cancel.cancel();
            assert!(cancelled.get());
            assert_eq!((Rc::strong_count(&token), Rc::strong_count(&held)), (1, 1));
            turn(&reactor);
        }
    }

    fn a_task_may_cancel_itself(subject: &Subject) {
        // Deferred.cancel is called from within the task: the task is dropped when its poll returns.
        let (reactor, token) = (subject.reactor(), Rc::new(()));
        let cancel = Rc::new(RefCell::new(None::<ropewalk::proto::CancelHandle>));
        let (its, itself) = (token.clone(), cancel.clone());
        let output = reactor.spawn(async move {
            if let Some(cancel) = itself.take() {
                cancel.cancel();
            }
            let _held = its;
            std::future::pending::<()>().await;
        });
        *cancel.borrow_mut() = Some(output.cancel_handle());
        output.add_errback(|_| ());
        turn(&reactor);
        assert_eq!(Rc::strong_count(&token), 1);
    }

    fn a_waker_that_outlives_its_task_wakes_no_other(subject: &Subject) {
        // The slot of a task is reused. A stale waker must not wake the next task in the slot.
        let (reactor, polls) = (subject.reactor(), Rc::new(Cell::new(0)));
        let old = Rc::new(RefCell::new(None::<Waker>));
        let its = old.clone();
        spawn(&reactor, poll_fn(move |context| {
            *its.borrow_mut() = Some(context.waker().clone());
            Poll::Ready(())
        }));
        turn(&reactor);
        let count = polls.clone();
        spawn(&reactor, poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::Pending
        }));
        turn(&reactor);
        old.take().unwrap().wake();
        turn(&reactor);
        assert_eq!(polls.get(), 1);
    }

    fn a_waker_is_harmless_after_its_reactor_is_gone(subject: &Subject) {
        // std::task::Waker may outlive the loop.
        let (reactor, kept) = (subject.reactor(), Rc::new(RefCell::new(None::<Waker>)));
        let its = kept.clone();
        spawn(&reactor, poll_fn(move |context| {
            *its.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        }));
        turn(&reactor);
        drop(reactor);
        kept.take().unwrap().wake();
    }

    fn a_task_can_await_another_task(subject: &Subject) {
        // The Deferred of spawn is a future.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (handle, done) = (reactor.clone(), log.clone());
        spawn(&reactor, async move {
            let inner = handle.clone();
            let outer = handle.spawn(async move { inner.spawn(async { 20 }).await.unwrap() + 1 });
            done.add(outer.await.unwrap().to_string());
            stop(&handle);
        });
        run(&reactor);
        log.expect(&["21"]);
    }

    fn a_task_woken_during_its_own_nested_turn_is_polled_again(subject: &Subject) {
        // The task turns the loop in its poll. A wake-up in that turn must not be lost.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (handle, done, waited) = (reactor.clone(), log.clone(), Cell::new(false));
        spawn(&reactor, poll_fn(move |context| {
            if waited.replace(true) {
                done.add("polled again");
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            turn(&handle);
            Poll::Pending
        }));
        turn(&reactor);
        turn(&reactor);
        log.expect(&["polled again"]);
    }

    fn sleeps_end_in_the_order_of_their_deadlines(subject: &Subject) {
        // task.deferLater: no sleep ends too early.
        let (reactor, ended) = (subject.reactor(), Rc::new(RefCell::new(Vec::new())));
        for delay in [30, 1, 15] {
            let (handle, ended) = (reactor.clone(), ended.clone());
            spawn(&reactor, async move {
                let earliest = handle.now() + MOMENT * delay;
                let sleep = handle.sleep(MOMENT * delay);
                let latest = handle.now() + MOMENT * delay;
                sleep.await;
                assert!(handle.now() >= earliest);
                ended.borrow_mut().push((earliest, latest));
                if ended.borrow().len() == 3 {
                    stop(&handle);
                }
            });
        }
        run(&reactor);
        // Each sleep ended before the latest deadline of the sleep that ended next.
        assert!(ended.borrow().windows(2).all(|pair| pair[0].0 <= pair[1].1), "{ended:?}");
    }

    fn a_dropped_sleep_cancels_its_call(subject: &Subject) {
        // task.deferLater: cancelling cancels the timer.
        let reactor = subject.reactor();
        drop(reactor.sleep(Duration::MAX));
        let handle = reactor.clone();
        let task = reactor.spawn(async move { handle.sleep(Duration::from_secs(3600)).await });
        turn(&reactor);
        assert_eq!(reactor.get_delayed_calls().len(), 1);
        task.cancel();
        assert!(reactor.get_delayed_calls().is_empty());
        task.add_errback(|_| ());
    }

    fn awaiting_a_deferred_returns_its_result(subject: &Subject) {
        // Deferred.__await__ returns the value or raises the failure.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (handle, seen) = (reactor.clone(), log.clone());
        spawn(&reactor, async move {
            let (value, resolver) = Deferred::new();
            handle.call_later(MOMENT, move |_| resolver.callback(7).unwrap());
            seen.add(value.await.unwrap().to_string());
            let failure = handle.defer_to_thread(|| "x".parse::<u32>()).and_then(|parsed| parsed).await.unwrap_err();
            seen.add(failure.to_string());
            stop(&handle);
        });
        run(&reactor);
        log.expect(&["7", "invalid digit found in string"]);
    }

    fn shutdown_waits_for_a_task_of_a_before_trigger(subject: &Subject) {
        // IReactorCore.addSystemEventTrigger: the trigger runs at the end of a turn, and the task that it spawns must
        // still be polled.
        let (reactor, log) = (subject.reactor(), Log::new());
        let its = log.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor: &Reactor| {
            let handle = reactor.clone();
            reactor.spawn(async move {
                handle.sleep(MOMENT).await;
                its.add("task");
            })
        });
        reactor.add_system_event_trigger(Phase::During, "shutdown", log.note("during"));
        reactor.call_when_running(stop);
        run(&reactor);
        log.expect(&["task", "during"]);
    }

    fn a_task_continues_in_the_next_run(subject: &Subject) {
        // IReactorCore.crash leaves everything else as it is.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (handle, its) = (reactor.clone(), log.clone());
        spawn(&reactor, async move {
            for _ in 0..3 {
                its.add("run");
                handle.crash();
                yield_now().await;
            }
        });
        for runs in 1..=3 {
            run(&reactor);
            assert_eq!(log.count("run"), runs);
        }
    }

    fn async_code_echoes_until_the_end_of_the_input(subject: &Subject) {
        // AsyncStream: read returns 0 bytes at the end. Dropping the stream flushes, then closes.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::new()
            .on_made(|transport| {
                transport.write(&[b'x'; 5000]);
                transport.lose_write_connection();
            })
            .stop_when_lost();
        let its = log.clone();
        connect(&reactor, client.clone(), move |mut stream, _| {
            let log = its.clone();
            async move {
                let all = read_all(&mut stream).await;
                log.add(format!("{} bytes", all.len()));
                stream.write_all(&all).await.unwrap();
            }
        });
        run(&reactor);
        log.expect(&["5000 bytes"]);
        assert_eq!(client.received(), [b'x'; 5000]);
    }

    fn a_writer_that_does_not_read_notices_a_reset(subject: &Subject) {
        // AsyncStream: `connection_lost` waits until the task reads, and until then the transport drops what is written.
        // A task that only writes would otherwise never return from its poll.
        const ENOUGH: usize = 100_000;
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::new().on_made(|transport| {
            transport.pause_producing();
            transport.write(&[b'x'; 200_000]);
            let transport = transport.clone();
            when(&transport.reactor(), || true, move |_| transport.abort_connection());
        });
        let its = log.clone();
        connect(&reactor, client, move |mut stream, reactor| {
            let log = its.clone();
            async move {
                for _ in 0..ENOUGH {
                    if let Err(error) = stream.write_all(&[b'y'; 10_000]).await {
                        log.add(format!("{}", error.kind()));
                        return stop(&reactor);
                    }
                }
                stop(&reactor);
            }
        });
        run(&reactor);
        log.expect(&["broken pipe"]);
    }

    fn a_writer_waits_for_a_slow_reader(subject: &Subject) {
        // AsyncStream: back-pressure bounds the queue.
        const PIECE: usize = 16 * 1024;
        let (reactor, most, written) = (subject.reactor(), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let client = Script::new().on_made(|transport| {
            transport.pause_producing();
            let transport = transport.clone();
            transport.reactor().call_later(MOMENT * 20, move |_| transport.resume_producing());
        }).stop_when_lost();
        let (bound, count) = (most.clone(), written.clone());
        connect(&reactor, client.clone(), move |mut stream, _| {
            let (most, written) = (bound.clone(), count.clone());
            async move {
                while written.get() < 16 << 20 {
                    stream.write_all(&[7; PIECE]).await.unwrap();
                    written.set(written.get() + PIECE);
                    most.set(most.get().max(stream.transport().buffered()));
                }
            }
        });
        run(&reactor);
        assert_eq!(client.received().len(), 16 << 20);
        assert!(most.get() <= 64 * 1024 + 2 * PIECE, "{} bytes were queued", most.get());
    }

    fn a_reader_that_does_not_read_pauses_the_sender(subject: &Subject) {
        // AsyncStream: above 64 KiB of unread data it pauses the transport.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::new().on_made(|transport| {
            transport.write(&vec![1; 8 << 20]);
            transport.lose_write_connection();
        }).stop_when_lost();
        let its = log.clone();
        connect(&reactor, client, move |mut stream, reactor| {
            let log = its.clone();
            async move {
                while !stream.transport().is_paused() {
                    reactor.sleep(MOMENT).await;
                }
                log.add(read_all(&mut stream).await.len().to_string());
            }
        });
        run(&reactor);
        log.expect(&[&(8 << 20).to_string()]);
    }

    fn a_broken_connection_is_an_error_of_its_stream(subject: &Subject) {
        // AsyncStream: an abort at the other end is an error for readers and writers, not a clean end.
        let (reactor, log) = (subject.reactor(), Log::new());
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| transport.abort_connection());
        let its = log.clone();
        connect(&reactor, client, move |mut stream, reactor| {
            let log = its.clone();
            async move {
                let mut buffer = [0; 10];
                log.add(format!("{:?}", stream.read(&mut buffer).await.unwrap()));
                stream.write_all(b"y").await.unwrap();
                log.add(format!("{:?}", stream.read(&mut buffer).await.unwrap_err().kind()));
                log.add(format!("{:?}", stream.write_all(b"z").await.unwrap_err().kind()));
                stop(&reactor);
            }
        });
        run(&reactor);
        log.expect(&["1", &format!("{:?}", ErrorKind::ConnectionReset), &format!("{:?}", ErrorKind::BrokenPipe)]);
    }

    fn only_a_late_deferred_times_out(subject: &Subject) {
        // Deferred.addTimeout(timeout, clock)
        let (reactor, log) = (subject.reactor(), Log::new());
        let (in_time, resolver) = Deferred::new();
        let (late, _held) = Deferred::<()>::new();
        reactor.call_later(MOMENT, move |_| resolver.callback(()).unwrap());
        let (first, second, ends) = (log.clone(), log.clone(), reactor.clone());
        in_time.add_timeout(Duration::from_secs(60), &reactor).add_callback(move |()| first.add("in time"));
        late.add_timeout(20 * MOMENT, &reactor).add_errback(move |failure| {
            second.add(failure.to_string());
            stop(&ends);
        });
        run(&reactor);
        log.expect(&["in time", "timed out after 20ms"]);
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn a_wake_up_on_the_loops_thread_needs_no_system_call(subject: &Subject) {
        // To wake a task on the loop's own thread, the waker only puts it into a queue.
        const TASKS: usize = 100;
        let (reactor, counts) = subject.counted();
        let (resolvers, woken) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        for _ in 0..TASKS {
            let (answer, resolver) = Deferred::new();
            resolvers.borrow_mut().push(resolver);
            let (count, ends) = (woken.clone(), reactor.clone());
            spawn(&reactor, async move {
                answer.await.unwrap();
                yield_now().await;
                count.set(count.get() + 1);
                if count.get() == TASKS {
                    stop(&ends);
                }
            });
        }
        after_some_turns(&reactor, move |_| {
            resolvers.take().iter().for_each(|resolver| resolver.callback(()).unwrap());
        });
        let before = counts.now();
        run(&reactor);
        assert_eq!((woken.get(), counts.since(before).wakes), (TASKS, 0));
    }

    fn a_hundred_wake_ups_from_a_thread_wake_the_loop_once(subject: &Subject) {
        // Only a wake-up that finds the queue empty wakes the loop. The loop is busy during these wake-ups, and then
        // takes all of them.
        const TASKS: usize = 100;
        let (reactor, counts) = subject.counted();
        let (wakers, polls) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        for _ in 0..TASKS {
            let (wakers, polls, ends) = (wakers.clone(), polls.clone(), reactor.clone());
            spawn(&reactor, poll_fn(move |context| {
                polls.set(polls.get() + 1);
                if polls.get() <= TASKS {
                    wakers.borrow_mut().push(context.waker().clone());
                    return Poll::Pending;
                }
                if polls.get() == 2 * TASKS {
                    stop(&ends);
                }
                Poll::Ready(())
            }));
        }
        let cost = Rc::new(Cell::new(None));
        let (total, count) = (cost.clone(), counts.clone());
        let waiting = wakers.clone();
        when(&reactor, move || waiting.borrow().len() == TASKS, move |_| {
            let (before, wakers) = (count.now(), wakers.take());
            thread::spawn(move || wakers.iter().for_each(Waker::wake_by_ref)).join().unwrap();
            total.set(Some(count.since(before).wakes));
        });
        run(&reactor);
        assert_eq!((cost.get(), polls.get()), (Some(1), 2 * TASKS));
    }

    fn only_a_late_future_times_out(subject: &Subject) {
        // Reactor::timeout, as asyncio.timeout: a late future is dropped. The provider's clock measures the time.
        let (reactor, log, token) = (subject.reactor(), Log::new(), Rc::new(()));
        let (handle, seen, held) = (reactor.clone(), log.clone(), token.clone());
        spawn(&reactor, async move {
            let in_time = handle.timeout(Duration::from_secs(60), handle.sleep(MOMENT)).await;
            seen.add(format!("{:?}", in_time.is_ok()));
            let late = handle.timeout(20 * MOMENT, async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            seen.add(late.await.unwrap_err().to_string());
            stop(&handle);
        });
        run(&reactor);
        log.expect(&["true", "timed out after 20ms"]);
        assert_eq!(Rc::strong_count(&token), 1);
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn a_channel_applies_back_pressure_to_connections(subject: &Subject) {
        // task::channel with one place, so each connection waits for the receiving task.
        const CONNECTIONS: usize = 20;
        let (reactor, (sender, mut receiver)) = (subject.reactor(), channel(1));
        for _ in 0..CONNECTIONS {
            let sender = sender.clone();
            connect(&reactor, Script::new().on_made(|transport| transport.write(b"x")), move |mut stream, _| {
                let sender = sender.clone();
                async move {
                    let count = stream.read(&mut [0; 10]).await.unwrap();
                    sender.send(count).await.unwrap();
                }
            });
        }
        let (ends, total) = (reactor.clone(), Rc::new(Cell::new(0)));
        let sum = total.clone();
        spawn(&reactor, async move {
            while sum.get() < CONNECTIONS {
                assert!(receiver.len() <= 1);
                sum.set(sum.get() + receiver.recv().await.unwrap());
                yield_now().await;
            }
            stop(&ends);
        });
        run(&reactor);
        assert_eq!(total.get(), CONNECTIONS);
    }

    fn a_looping_call_counts_every_tick(subject: &Subject) {
        // LoopingCall.withCount: the counts add up to the ticks that have passed, however late the loop is.
        let (reactor, total, calls) = (subject.reactor(), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (began, sum, count) = (reactor.now(), total.clone(), calls.clone());
        let looping = LoopingCall::with_count(&reactor, move |looping, ticks| {
            sum.set(sum.get() + ticks);
            count.set(count.get() + 1);
            let passed = looping.reactor().now().since(began).as_nanos() / MOMENT.as_nanos() + 1;
            assert!(ticks > 0 && u128::from(sum.get()) <= passed, "{} ticks of {passed}", sum.get());
            if count.get() == 20 {
                looping.stop();
            }
        });
        let ends = reactor.clone();
        looping.start(MOMENT).add_callback(move |()| stop(&ends));
        run(&reactor);
        assert_eq!(calls.get(), 20);
        assert!(total.get() >= 20);
    }
}
