//! Models of the code that threads share: the bell of the waker, the queue of calls from threads, requests, and the
//! thread pool, in which names are looked up.
//!
//! The files of the crates are included as they are. Only their primitives differ: `sync` is std's there and loom's here.
//! loom runs a model in many orders of its steps, with the memory model of C11, and fails when a thread waits for ever.
//! Each model ends only when its loop has done all its work, so a lost wake-up is a deadlock.
//!
//! ```text
//!   pusher: queue an item, then ring        loop: look for items, fall asleep, wait for the channel, wake up
//! ```
//!
//! Child processes have no model, because threads share nothing there that loom could run in another order. The thread of
//! a reactor alone waits for the reactor's children, one by one. Children that no reactor watches any more are in one list
//! behind one lock. The race is in the system: another thread that waits for all children takes a status away. Therefore
//! a specification has such a thread (`conformance/src/specs/process_abuse.rs`), and `cargo xtask load` has a thread that
//! waits for its own children beside ten thousand others.

#![cfg(unix)]

#[path = "../../crates/reactor/src/kernel/attention.rs"]
#[allow(dead_code, reason = "a model calls a part of the module")]
mod attention;
#[path = "../../crates/sys/src/waker/bell.rs"]
#[allow(dead_code, reason = "a model has no descriptors")]
mod bell;
mod channel;
#[path = "../../crates/reactor/src/kernel/thread_calls.rs"]
#[allow(dead_code, reason = "a model calls a part of the module")]
mod thread_calls;
#[path = "../../crates/reactor/src/interfaces/thread_pool.rs"]
#[allow(dead_code, unreachable_pub, reason = "a model calls a part of the module, and exports none")]
mod thread_pool;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use ropewalk_sys::{Wake, Waker};

use attention::Attention;
use bell::Bell;
use thread_calls::ThreadCalls;
use thread_pool::ThreadPool;

/// The primitives of the included files.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(crate) use loom::thread::{self, ThreadId};
}

const INTERRUPTIONS: usize = 2;

/// Rings a bell after work, while its loop looks for work and falls asleep.
pub fn a_ring_wakes_a_loop_that_falls_asleep() {
    check(|| {
        let (bell, work) = (Bell::new().expect("a channel"), Arc::new(AtomicUsize::new(0)));
        let threads = [(); 2].map(|()| {
            let (waker, work) = (bell.waker(), work.clone());
            thread::spawn(move || {
                work.fetch_add(1, Ordering::Relaxed);
                waker.wake();
            })
        });
        // The ring itself orders the work before the look at it.
        while work.load(Ordering::Relaxed) < threads.len() {
            sleep(&bell);
        }
        threads.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
    });
}

/// Rings a bell while a host loop begins to watch its descriptor.
pub fn a_watched_bell_makes_its_channel_readable() {
    check(|| {
        let bell = Bell::new().expect("a channel");
        let waker = bell.waker();
        let thread = thread::spawn(move || waker.wake());
        bell.watch();
        bell.channel.wait();
        thread.join().expect("the thread does not panic");
    });
}

/// Queues calls from two threads while the loop takes them, and falls asleep in between.
pub fn calls_from_threads_are_all_taken_in_order() {
    check(|| {
        let bell = Bell::new().expect("a channel");
        let calls = Arc::new(ThreadCalls::<(usize, usize)>::new(bell.waker()));
        let threads = [2, 1].map(|count| {
            let calls = calls.clone();
            thread::spawn(move || (0..count).for_each(|number| calls.push(Box::new((count, number)))))
        });
        let (mut taken, mut batch) = (Vec::new(), VecDeque::new());
        while taken.len() < 3 {
            if calls.are_waiting() {
                // A turn takes a limited number of calls, and does not sleep when it leaves some behind.
                calls.move_to(&mut batch, 1);
            }
            taken.extend(batch.drain(..).map(|call| *call));
            if taken.len() < 3 && !calls.are_waiting() {
                sleep(&bell);
            }
        }
        threads.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
        let of = |pusher: usize| Vec::from_iter(taken.iter().filter(|call| call.0 == pusher).map(|call| call.1));
        assert_eq!((of(2), of(1)), (vec![0, 1], vec![0]));
    });
}

/// Queues a call while the queue is closed: the call is returned or dropped.
pub fn a_call_on_a_closing_queue_is_not_kept() {
    check(|| {
        let bell = Bell::new().expect("a channel");
        let calls = Arc::new(ThreadCalls::<Arc<()>>::new(bell.waker()));
        let (witness, pushed) = (Arc::new(()), calls.clone());
        let call = Box::new(witness.clone());
        let thread = thread::spawn(move || pushed.push(call));
        drop(calls.close());
        thread.join().expect("the thread does not panic");
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}

/// Requests a call of the features from another thread, while the loop answers requests and falls asleep.
pub fn a_request_from_a_thread_is_answered() {
    check(|| {
        let bell = Bell::new().expect("a channel");
        let (attention, work) = (Arc::new(Attention::new(bell.waker())), Arc::new(AtomicUsize::new(0)));
        let (asking, queued) = (attention.clone(), work.clone());
        let thread = thread::spawn(move || {
            queued.store(1, Ordering::Relaxed);
            asking.ask();
        });
        let mut found = 0;
        while found == 0 {
            attention.set_asleep(false);
            if attention.take() {
                // The request orders the work before this look at it.
                found = work.load(Ordering::Relaxed);
                assert_eq!(found, 1);
            }
            attention.set_asleep(true);
            if found == 0 && !attention.is_asked() {
                sleep(&bell);
            }
        }
        thread.join().expect("the thread does not panic");
    });
}

/// Withdraws a look-up while a thread of the pool may begin it: it runs or is returned, and never both. The end of the
/// pool waits for its threads.
pub fn cancelled_work_runs_or_is_returned() {
    check(|| {
        let (pool, runs) = (ThreadPool::new(1), Arc::new(AtomicUsize::new(0)));
        let [first, _second] = [(); 2].map(|()| {
            let runs = runs.clone();
            pool.submit(Box::new(move || count(&runs)))
        });
        let returned = first.withdraw();
        end(&pool);
        assert_eq!(runs.load(Ordering::Relaxed) + usize::from(returned.is_some()), 2);
        assert!(first.withdraw().is_none());
    });
}

/// Adds work to a pool whose size is lowered meanwhile: the thread that is woken may be the one that ends.
pub fn a_smaller_pool_leaves_no_work_behind() {
    check(|| {
        let (pool, runs) = (ThreadPool::new(2), Arc::new(AtomicUsize::new(0)));
        for size in [2, 1, 1] {
            pool.set_size(size);
            let runs = runs.clone();
            pool.call_in_thread(move || count(&runs));
        }
        end(&pool);
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    });
}

fn count(runs: &AtomicUsize) {
    runs.fetch_add(1, Ordering::Relaxed);
}

/// Waits for the end of a pool. loom's clock never advances, so a thread that does not end is a deadlock.
fn end(pool: &ThreadPool) {
    pool.end();
    pool.join(Instant::now() + Duration::from_secs(3600));
}

/// Runs a model in every order of its steps in which a thread is interrupted at most `INTERRUPTIONS` times. loom's
/// documentation states that most faults show with two.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(INTERRUPTIONS);
    builder.check(model);
}

/// Waits as a provider does.
fn sleep(bell: &Bell) {
    if bell.fall_asleep() {
        bell.channel.wait();
    }
    bell.wake_up();
    bell.drain();
}
