//! This program again, as a child that runs one task on a reactor and prints figures.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ropewalk::Deferred;
use ropewalk::prelude::*;

use crate::arguments::{SubjectArguments, Task};
use crate::server::{Server, descriptors, resident_bytes};
use crate::spawning;

const PERIOD: Duration = Duration::from_millis(10);

/// The number of calls that each thread may have queued. Without a limit the queue would grow for ever.
const QUEUED_MAX: usize = 10_000;

/// A running child.
pub(crate) struct Subject(Server);

impl Subject {
    /// Starts a task.
    ///
    /// # Errors
    /// If this program cannot be started again.
    pub(crate) fn start(task: Task, reactor: &str, amount: u64) -> io::Result<Subject> {
        let task = task.to_possible_value().expect("no task is hidden");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["subject", task.get_name(), reactor, &amount.to_string()]).stdin(Stdio::null());
        Server::spawn(command).map(Subject)
    }

    /// Returns the port that the child listens at.
    pub(crate) fn port(&mut self) -> io::Result<u16> {
        let line = self.0.line()?;
        line.trim().parse().map_err(|_| io::Error::other(format!("the subject printed {line:?}")))
    }

    /// Waits for the figures of the child.
    pub(crate) fn figures(mut self) -> io::Result<Vec<f64>> {
        let line = self.0.line()?;
        let figures = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
        match self.0.wait()? {
            Some(status) if status.success() => figures.map_err(io::Error::other),
            status => Err(io::Error::other(format!("the subject ended with {status:?}"))),
        }
    }
}

/// Runs a task in this process.
pub(crate) fn run(arguments: &SubjectArguments) -> io::Result<()> {
    let SubjectArguments { task, ref reactor, amount } = *arguments;
    match task {
        Task::Firehose | Task::Calls | Task::Threads => lateness(task, reactor, Duration::from_millis(amount)),
        Task::Reactors => reactors(reactor, amount),
        Task::Deferreds => deferreds(amount),
        Task::Spawns => print_all(&spawning::spawns(reactor, amount)?),
        Task::Deaths => print_all(&spawning::deaths(reactor, amount)?),
    }
}

/// A timer that reschedules itself, and its worst lateness.
struct Ticker {
    worst: Cell<Duration>,
    until: Instant,
}

fn lateness(task: Task, name: &str, time: Duration) -> io::Result<()> {
    let reactor = Reactor::with(name).map_err(io::Error::other)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    match task {
        Task::Firehose => listen(&reactor)?,
        Task::Calls => (0..1000).for_each(|_| reschedule(&reactor)),
        _ => threads.extend((0..4).map(|_| flood(&reactor, &is_over))),
    }
    let ticker = Rc::new(Ticker { worst: Cell::default(), until: Instant::now() + time });
    tick(&reactor, ticker.clone());
    reactor.run().map_err(io::Error::other)?;
    is_over.store(true, Ordering::Relaxed);
    print(&(ticker.worst.get().as_secs_f64() * 1e3).to_string());
    threads.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
    Ok(())
}

fn tick(reactor: &Reactor, ticker: Rc<Ticker>) {
    let due = Instant::now() + PERIOD;
    reactor.call_later(PERIOD, move |reactor| {
        ticker.worst.set(ticker.worst.get().max(due.elapsed()));
        if Instant::now() < ticker.until {
            tick(reactor, ticker);
        } else {
            reactor.stop().expect("the reactor runs");
        }
    });
}

/// Discards everything.
struct Discard;

impl Protocol for Discard {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
}

fn listen(reactor: &Reactor) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    print(&listener.local_addr()?.port().to_string());
    reactor.adopt_stream_port(listener, || Discard).map_err(io::Error::other)?;
    Ok(())
}

fn reschedule(reactor: &Reactor) {
    reactor.call_later(Duration::ZERO, reschedule);
}

/// Queues calls from another thread, as fast as the reactor makes them.
fn flood(reactor: &Reactor, is_over: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (handle, is_over) = (reactor.thread_handle(), is_over.clone());
    let queued = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            if queued.load(Ordering::Relaxed) >= QUEUED_MAX {
                thread::yield_now();
                continue;
            }
            queued.fetch_add(1, Ordering::Relaxed);
            let queued = queued.clone();
            handle.call_from_thread(move |_| {
                queued.fetch_sub(1, Ordering::Relaxed);
            });
        }
    })
}

/// Creates, runs and drops reactors. Prints the growth of memory in KiB, and of descriptors.
fn reactors(name: &str, count: u64) -> io::Result<()> {
    let turn = || {
        let reactor = Reactor::with(name).map_err(io::Error::other)?;
        reactor.call_later(Duration::ZERO, |reactor| reactor.stop().expect("the reactor runs"));
        reactor.run().map_err(io::Error::other)
    };
    (0..count / 10).try_for_each(|_| turn())?;
    let (memory, opened) = (memory()?, descriptors(std::process::id())?);
    (0..count).try_for_each(|_| turn())?;
    let more = descriptors(std::process::id())? as f64 - opened as f64;
    print(&format!("{} {more}", growth(memory)?));
    Ok(())
}

/// Creates and fires Deferreds with callbacks. Prints the growth of memory in KiB.
fn deferreds(count: u64) -> io::Result<()> {
    let sum = Rc::new(RefCell::new(0));
    let one = |number: u64| {
        let (deferred, resolver) = Deferred::new();
        let total = sum.clone();
        deferred.add_callback(|number: u64| number + 1).add_callback(move |number| *total.borrow_mut() += number);
        resolver.callback(number).expect("it is fired once");
    };
    (0..count / 10).for_each(one);
    let before = memory()?;
    (0..count).for_each(one);
    print(&growth(before)?.to_string());
    Ok(())
}

fn memory() -> io::Result<u64> {
    resident_bytes(std::process::id())
}

fn growth(before: u64) -> io::Result<f64> {
    Ok(memory()?.saturating_sub(before) as f64 / 1024.0)
}

fn print_all(figures: &[f64]) -> io::Result<()> {
    print(&figures.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads the figures")]
fn print(line: &str) {
    println!("{line}");
}
