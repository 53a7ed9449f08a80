//! Crates of the async world on a reactor. The book's chapter about them names these tests.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use ropewalk::Failure;
use ropewalk::prelude::*;
use ropewalk::task::{AsyncStream, StreamFactory};
use ropewalk::testing::{Clock, MemoryReactor};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::compat::FuturesAsyncReadCompatExt;

const SECOND: Duration = Duration::from_secs(1);

/// Runs the task on a clock for some seconds, and returns its output.
fn after_seconds<F: Future<Output: 'static> + 'static>(seconds: u32, task: impl FnOnce(Reactor) -> F) -> F::Output {
    let clock = Clock::new();
    let outcome = clock.spawn(task(Reactor::clone(&clock)));
    clock.advance(seconds * SECOND);
    outcome.try_result().expect("the task has ended").unwrap()
}

/// Runs the task on a real reactor until it ends, for work of other threads.
fn on_a_real_reactor<F: Future<Output: 'static> + 'static>(task: F) -> F::Output {
    let reactor = Reactor::new().unwrap();
    let (result, handle) = (Rc::new(RefCell::new(None)), reactor.clone());
    let place = result.clone();
    reactor.spawn(task).add_both(move |output| {
        *place.borrow_mut() = Some(output);
        handle.stop().unwrap();
    });
    reactor.run().unwrap();
    result.take().expect("the task has ended").unwrap()
}

#[test]
fn tokio_select_takes_the_first_branch() {
    let winner = after_seconds(1, |reactor| async move {
        tokio::select! {
            () = reactor.sleep(SECOND) => "one second",
            () = reactor.sleep(2 * SECOND) => "two seconds",
        }
    });
    assert_eq!(winner, "one second");
}

#[test]
fn tokio_join_waits_for_all_branches() {
    let waited = after_seconds(2, |reactor| async move {
        let began = reactor.now();
        tokio::join!(reactor.sleep(SECOND), reactor.sleep(2 * SECOND));
        reactor.now().since(began)
    });
    assert_eq!(waited, 2 * SECOND);
}

#[test]
fn futures_select_takes_the_first_branch() {
    use futures_util::FutureExt;
    let winner = after_seconds(1, |reactor| async move {
        futures_util::select! {
            () = reactor.sleep(SECOND).fuse() => "one second",
            () = reactor.sleep(2 * SECOND).fuse() => "two seconds",
        }
    });
    assert_eq!(winner, "one second");
}

#[test]
fn futures_unordered_yields_each_output_when_it_is_ready() {
    let order = after_seconds(3, |reactor| async move {
        let sleeps = [3, 1, 2].map(|seconds| {
            let sleep = reactor.sleep(seconds * SECOND);
            async move {
                sleep.await;
                seconds
            }
        });
        sleeps.into_iter().collect::<futures_util::stream::FuturesUnordered<_>>().collect::<Vec<_>>().await
    });
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn tokio_sync_connects_tasks() {
    let sum = after_seconds(1, |reactor| async move {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (lock, notify) = (Rc::new(tokio::sync::Mutex::new(0)), Rc::new(tokio::sync::Notify::new()));
        let (total, done) = (lock.clone(), notify.clone());
        let adding = reactor.spawn(async move {
            while let Some(number) = receiver.recv().await {
                *total.lock().await += number;
            }
            done.notify_one();
        });
        for number in 1..=10 {
            sender.send(number).await.unwrap();
        }
        drop(sender);
        notify.notified().await;
        adding.await.unwrap();
        *lock.lock().await
    });
    assert_eq!(sum, 55);
}

#[test]
fn tokio_sync_is_woken_from_another_thread() {
    let received = on_a_real_reactor(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (answer, answered) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            for number in 0..100 {
                sender.blocking_send(number).unwrap();
            }
            answer.send("done").unwrap();
        });
        let mut received = Vec::new();
        while let Some(number) = receiver.recv().await {
            received.push(number);
        }
        assert_eq!(answered.await, Ok("done"));
        received
    });
    assert_eq!(received, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_codec_of_tokio_util_frames_a_stream() {
    let net = MemoryReactor::seeded(7).with_faults(ropewalk::testing::Faults::none().short_reads());
    let serve = StreamFactory::new(|stream: AsyncStream, reactor: &Reactor| {
        // The feature `futures-io`, then the adapter of tokio-util.
        let mut lines = Framed::new(stream.compat(), LinesCodec::new());
        drop(reactor.spawn(async move {
            while let Some(line) = lines.next().await {
                lines.send(line.unwrap().to_uppercase()).await.unwrap();
            }
        }));
    });
    net.listen_tcp("10.0.0.1:80", serve).unwrap();
    let client = net.connect_stream("10.0.0.1:80");
    client.write(b"good\nmorning\n");
    net.advance(SECOND);
    assert_eq!(client.received(), b"GOOD\nMORNING\n");
}

#[test]
fn futures_io_copies_from_stream_to_stream() {
    use futures_util::AsyncReadExt;
    let net = MemoryReactor::new();
    net.listen_tcp(
        "10.0.0.1:7",
        StreamFactory::new(|stream: AsyncStream, reactor: &Reactor| {
            let (read, mut write) = stream.split();
            drop(reactor.spawn(async move { futures_util::io::copy(read, &mut write).await }));
        }),
    )
    .unwrap();
    let client = net.connect_stream("10.0.0.1:7");
    client.write(b"hello");
    net.settle();
    assert_eq!(client.received(), b"hello");
}

#[test]
fn a_tokio_runtime_in_its_own_thread_sends_results_here() {
    let answer = on_a_real_reactor(async {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let runtime = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                answer.send(42).unwrap();
            });
        });
        let answer = answered.await;
        runtime.join().unwrap();
        answer
    });
    assert_eq!(answer, Ok(42));
}

#[test]
fn timers_of_tokio_need_a_runtime_of_tokio() {
    let net = MemoryReactor::new();
    net.set_panic_policy(ropewalk::PanicPolicy::Log);
    let outcome = net.spawn(async { tokio::time::sleep(SECOND).await });
    net.settle();
    let failure: Failure = outcome.try_result().unwrap().unwrap_err();
    assert!(failure.to_string().contains("there is no reactor running"), "{failure}");
}

#[test]
fn tasks_of_tokio_need_a_runtime_of_tokio() {
    let net = MemoryReactor::new();
    net.set_panic_policy(ropewalk::PanicPolicy::Log);
    let outcome = net.spawn(async { drop(tokio::spawn(async {})) });
    net.settle();
    let failure: Failure = outcome.try_result().unwrap().unwrap_err();
    assert!(failure.to_string().contains("there is no reactor running"), "{failure}");
}
