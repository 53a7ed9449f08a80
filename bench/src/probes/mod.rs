//! Operations of a candidate inside one process: timers, and calls from another thread. All candidates have the same
//! methods.
//!
//! Each probe runs in a process of its own on one core. It is timed on the processor clock of its thread or process,
//! which excludes other processes of the machine.

mod raw_epoll;
mod ropewalk;
mod tokio;

use std::hint::black_box;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::candidate::Candidate;

/// Timers that are live while one is scheduled, cancelled or fired.
pub(crate) const LIVE: usize = 100_000;

/// Calls that another thread queues before it waits for the last one.
pub(crate) const BURST: usize = 1000;

/// The number of bursts, and of single calls, that are timed.
const BURSTS: usize = 200;
const SINGLES: usize = 20_000;

/// Programs that are started one after another.
const SPAWNED: usize = 300;

/// The size of a large process.
const LARGE: usize = 1 << 30;

/// The latest deadline of the timers that fire. It is long enough for a timing wheel to cascade, as it does in
/// practice.
const FIRING_SPAN: Duration = Duration::from_secs(1);

/// A loop's timers.
trait Timers {
    /// Schedules a callback that counts.
    fn schedule(&mut self, delay: Duration);

    /// Schedules a callback and cancels it at once.
    fn schedule_and_cancel(&mut self, delay: Duration);

    /// Runs the loop until this many callbacks have run, and returns their number.
    fn fire(&mut self, count: usize) -> io::Result<usize>;
}

/// A loop that other threads queue calls on.
trait Calls {
    /// The handle for the other thread.
    type Queue: Queue;

    fn queue(&self) -> Self::Queue;

    /// Runs the loop until [`Queue::stop`].
    fn run(&mut self) -> io::Result<()>;
}

/// The other thread's end.
trait Queue: Send + 'static {
    fn call(&self, callback: impl FnOnce() + Send + 'static);

    fn stop(&self);
}

/// Returns the nanoseconds to schedule a timer, to set and cancel one, and to fire one, with [`LIVE`] timers live.
///
/// # Errors
/// If the loop cannot be created, or the candidate has no timers.
pub(crate) fn timers(candidate: Candidate) -> io::Result<[f64; 3]> {
    match candidate {
        Candidate::Tokio => time_timers(tokio::TokioTimers::new),
        Candidate::ROPEWALK => time_timers(ropewalk::RopewalkTimers::new),
        _ => Err(io::Error::other(format!("{candidate} has no timers"))),
    }
}

/// A loop that starts programs.
trait Spawns {
    /// Starts `/bin/true` with three pipes, reads both outputs to the end, and waits for the exit.
    fn spawn(&mut self) -> io::Result<()>;
}

/// Returns the nanoseconds of the loop's thread to start a program and see its end: from a small process, and from one
/// with [`LARGE`] bytes.
///
/// # Errors
/// If the loop cannot be created, or the candidate starts no programs.
pub(crate) fn spawns(candidate: Candidate) -> io::Result<[f64; 2]> {
    match candidate {
        Candidate::RawEpoll => time_spawns(raw_epoll::RawSpawns::new()?),
        Candidate::Tokio => time_spawns(tokio::TokioSpawns::new()?),
        Candidate::Ropewalk(provider) => time_spawns(ropewalk::RopewalkSpawns::new(provider)?),
        _ => Err(io::Error::other(format!("{candidate} starts no programs"))),
    }
}

/// Returns the nanoseconds of both threads for a call queued from another thread: in bursts, and one at a time.
///
/// # Errors
/// If the loop cannot be created, or the candidate has no such queue.
pub(crate) fn calls(candidate: Candidate) -> io::Result<[f64; 2]> {
    match candidate {
        Candidate::Tokio => time_calls(tokio::TokioCalls::new()?),
        Candidate::ROPEWALK => time_calls(ropewalk::RopewalkCalls::new()?),
        _ => Err(io::Error::other(format!("{candidate} takes no calls from threads"))),
    }
}

fn time_timers<T: Timers>(new: impl Fn() -> io::Result<T>) -> io::Result<[f64; 3]> {
    let mut delays = Delays(1);
    let mut timers = new()?;
    let far = || Duration::from_secs(60);
    let schedule = nanos_each(ClockId::ThreadCPUTime, LIVE, || timers.schedule(far() + delays.next(far())));
    let cancel = nanos_each(ClockId::ThreadCPUTime, LIVE, || timers.schedule_and_cancel(far() + delays.next(far())));
    drop(timers);
    let mut timers = new()?;
    for _ in 0..LIVE {
        timers.schedule(delays.next(FIRING_SPAN));
    }
    // All deadlines have passed when the loop runs, so that waiting is not part of the figure.
    thread::sleep(FIRING_SPAN + Duration::from_millis(5));
    let begun = processor_nanos(ClockId::ThreadCPUTime);
    timers.fire(LIVE)?;
    let fire = (processor_nanos(ClockId::ThreadCPUTime) - begun) as f64 / LIVE as f64;
    Ok([schedule, cancel, fire])
}

fn time_spawns(mut spawns: impl Spawns) -> io::Result<[f64; 2]> {
    let mut time = || {
        let mut outcome = Ok(());
        let nanos = nanos_each(ClockId::ThreadCPUTime, SPAWNED, || {
            if outcome.is_ok() {
                outcome = spawns.spawn();
            }
        });
        outcome.map(|()| nanos)
    };
    let small = time()?;
    // Each page is written, so that the system has a table of it.
    let memory = black_box(vec![1_u8; LARGE]);
    let large = time()?;
    drop(memory);
    Ok([small, large])
}

fn time_calls<C: Calls>(mut calls: C) -> io::Result<[f64; 2]> {
    let queue = calls.queue();
    let other = thread::spawn(move || {
        let single = nanos_each(ClockId::ProcessCPUTime, SINGLES, || call_and_wait(&queue, 1));
        let burst = nanos_each(ClockId::ProcessCPUTime, BURSTS, || call_and_wait(&queue, BURST)) / BURST as f64;
        queue.stop();
        [burst, single]
    });
    calls.run()?;
    other.join().map_err(|_| io::Error::other("the calling thread panicked"))
}

/// Queues calls, and waits for the last of them.
fn call_and_wait(queue: &impl Queue, count: usize) {
    let (done, last) = mpsc::channel();
    for _ in 1..count {
        queue.call(|| {
            black_box(());
        });
    }
    queue.call(move || done.send(()).expect("the caller waits"));
    last.recv().expect("the loop runs every call");
}

/// Returns the processor time of one of `count` operations.
fn nanos_each(clock: ClockId, count: usize, mut operation: impl FnMut()) -> f64 {
    let begun = processor_nanos(clock);
    for _ in 0..count {
        operation();
    }
    (processor_nanos(clock) - begun) as f64 / count as f64
}

fn processor_nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Delays in random order, the same in each run: xorshift64.
struct Delays(u64);

impl Delays {
    fn next(&mut self, below: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_nanos(self.0 % below.as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn delays_stay_below_their_bound() {
        let bound = Duration::from_millis(50);
        let (mut first, mut second) = (Delays(1), Delays(1));
        for _ in 0..1000 {
            let delay = first.next(bound);
            assert!(delay < bound);
            assert_eq!(delay, second.next(bound));
        }
    }

    #[test]
    fn timers_fire_as_often_as_they_were_scheduled() {
        fires_what_was_scheduled(tokio::TokioTimers::new().unwrap());
        fires_what_was_scheduled(ropewalk::RopewalkTimers::new().unwrap());
    }

    #[test]
    fn calls_from_another_thread_run_in_order() {
        runs_calls_in_order(tokio::TokioCalls::new().unwrap());
        runs_calls_in_order(ropewalk::RopewalkCalls::new().unwrap());
    }

    #[test]
    fn programs_are_started_to_their_end() {
        raw_epoll::RawSpawns::new().unwrap().spawn().unwrap();
        tokio::TokioSpawns::new().unwrap().spawn().unwrap();
        ropewalk::RopewalkSpawns::new("epoll").unwrap().spawn().unwrap();
    }

    fn fires_what_was_scheduled(mut timers: impl Timers) {
        let count = 50;
        for index in 0..count {
            timers.schedule(Duration::from_millis(index % 3));
            timers.schedule_and_cancel(Duration::from_millis(1));
        }
        assert_eq!(timers.fire(count as usize).unwrap(), count as usize);
    }

    fn runs_calls_in_order(mut calls: impl Calls) {
        let queue = calls.queue();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorded = seen.clone();
        let other = thread::spawn(move || {
            for index in 0..100 {
                let seen = seen.clone();
                queue.call(move || seen.lock().unwrap().push(index));
            }
            call_and_wait(&queue, 1);
            queue.stop();
        });
        calls.run().unwrap();
        other.join().unwrap();
        assert_eq!(*recorded.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }
}
