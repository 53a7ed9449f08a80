//! Tasks of a subject: thousands of child processes, many at once. Each status is compared with the one that the program
//! was asked for.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::process::Command as StdCommand;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::prelude::*;
use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol, Signal};
use ropewalk::testing::Random;
use rustix::time::{ClockId, clock_gettime};

use crate::server::{descriptors, own_sleeps, peak_resident_bytes, resident_bytes};

/// The number of children at once.
pub(crate) const AT_ONCE: u64 = 200;

/// The number of different codes with which the children exit.
const CODES: u64 = 200;

/// The number of starts between two looks at the descriptors, which cost a millisecond.
const LOOK_EVERY: u64 = 50;

/// The longest time after which a child of [`Life::Random`] gets KILL. Its program takes half of that.
const KILL_WITHIN: Duration = Duration::from_millis(20);

/// The ways in which the children of a task live.
#[derive(Clone, Copy)]
enum Life {
    /// Each exits with a code of its own.
    Exit,
    /// A third exits, a third gets KILL at a random moment, and a third leaves a program behind that holds the pipes.
    Random,
}

/// The end that a child must have.
#[derive(Clone, Copy)]
enum Expected {
    Code(i32),
    SuccessOrKill,
}

/// The children of a task.
struct Crowd {
    life: Life,
    random: RefCell<Random>,
    left: Cell<u64>,
    running: Cell<u64>,
    wrong: Cell<u64>,
    exited: Cell<u64>,
    most_descriptors: Cell<usize>,
}

/// Spawns `count` children that exit, beside a thread that waits for its own children. Returns, in this order: wrong
/// statuses, wrong statuses of the thread, children that are left, descriptors more, most descriptors at once, peak memory
/// above the start in MB, and for each child the processor time in microseconds and the sleeps of the loop's thread, and
/// the seconds.
pub(crate) fn spawns(reactor: &str, count: u64) -> io::Result<Vec<f64>> {
    let reactor = Reactor::with(reactor).map_err(io::Error::other)?;
    // The first children grow the tables, and map what the library loads lazily.
    Crowd::new(Life::Exit, AT_ONCE).run(&reactor)?;
    let pid = std::process::id();
    let (memory, opened) = (resident_bytes(pid)?, descriptors(pid)?);
    let is_over = Arc::new(AtomicBool::new(false));
    let crowd = Crowd::new(Life::Exit, count);
    let beside = wait_beside(&is_over);
    let (began, processor, sleeps) = (Instant::now(), processor_time(), own_sleeps()?);
    crowd.run(&reactor)?;
    let (seconds, processor, sleeps) = (began.elapsed(), processor_time() - processor, own_sleeps()? - sleeps);
    is_over.store(true, Ordering::Relaxed);
    let wrong_beside = beside.join().expect("the thread does not panic")?;
    let each = |total: f64| total / count as f64;
    Ok(vec![
        crowd.faults(count) as f64,
        wrong_beside as f64,
        children()? as f64,
        descriptors(pid)? as f64 - opened as f64,
        crowd.most_descriptors.get() as f64,
        peak_resident_bytes(pid)?.saturating_sub(memory) as f64 / 1e6,
        each(processor.as_secs_f64() * 1e6),
        each(sleeps as f64),
        seconds.as_secs_f64(),
    ])
}

/// Spawns `count` children of [`Life::Random`]. Returns wrong statuses, children that are left, and descriptors more.
pub(crate) fn deaths(reactor: &str, count: u64) -> io::Result<Vec<f64>> {
    let reactor = Reactor::with(reactor).map_err(io::Error::other)?;
    let opened = descriptors(std::process::id())?;
    let crowd = Crowd::new(Life::Random, count);
    crowd.run(&reactor)?;
    let more = descriptors(std::process::id())? as f64 - opened as f64;
    Ok(vec![crowd.faults(count) as f64, children()? as f64, more])
}

impl Crowd {
    fn new(life: Life, count: u64) -> Rc<Crowd> {
        Rc::new(Crowd {
            life,
            random: RefCell::new(Random::new(count)),
            left: Cell::new(count),
            running: Cell::default(),
            wrong: Cell::default(),
            exited: Cell::default(),
            most_descriptors: Cell::default(),
        })
    }

    /// Runs until all children have ended. A child that is never reported keeps the subject from ending in time.
    fn run(self: &Rc<Crowd>, reactor: &Reactor) -> io::Result<()> {
        let crowd = self.clone();
        reactor.call_when_running(move |reactor| crowd.fill(reactor));
        reactor.run().map_err(io::Error::other)
    }

    fn fill(self: &Rc<Crowd>, reactor: &Reactor) {
        while self.running.get() < AT_ONCE && self.left.get() > 0 {
            let number = self.left.get() - 1;
            self.left.set(number);
            self.running.set(self.running.get() + 1);
            self.spawn(reactor, number);
            if number % LOOK_EVERY == 0 {
                let open = descriptors(std::process::id()).unwrap_or_default();
                self.most_descriptors.set(self.most_descriptors.get().max(open));
            }
        }
    }

    fn spawn(self: &Rc<Crowd>, reactor: &Reactor, number: u64) {
        let code = i32::try_from(number % CODES).expect("a small number");
        let kind = match self.life {
            Life::Exit => 0,
            Life::Random => number % 3,
        };
        let (script, expected) = match kind {
            0 => (format!("exit {code}"), Expected::Code(code)),
            1 => ("exec sleep 0.01".to_owned(), Expected::SuccessOrKill),
            _ => (format!("sleep 0.02 & exit {code}"), Expected::Code(code)),
        };
        let child = One { crowd: self.clone(), expected, has_exited: false };
        match reactor.spawn_process(&Command::new("sh").args(["-c", &script]), child) {
            Ok(process) if kind == 1 => {
                let moment = self.random.borrow_mut().duration(KILL_WITHIN);
                // It fails if the child has ended.
                reactor.call_later(moment, move |_| drop(process.signal(Signal::KILL)));
            }
            Ok(_) => {}
            Err(error) => {
                crate::run::say(&format!("a child did not start: {error}"));
                self.wrong.set(self.wrong.get() + 1);
                self.running.set(self.running.get() - 1);
            }
        }
    }

    /// Returns the number of children whose end was wrong, missing or reported twice.
    fn faults(&self, count: u64) -> u64 {
        self.wrong.get() + self.exited.get().abs_diff(count)
    }
}

/// The protocol of one child.
struct One {
    crowd: Rc<Crowd>,
    expected: Expected,
    has_exited: bool,
}

impl ProcessProtocol for One {
    fn process_exited(&mut self, _process: &Process, status: ExitStatus) {
        let is_right = match self.expected {
            Expected::Code(code) => status.code() == Some(code),
            Expected::SuccessOrKill => status.is_success() || status.signal() == Some(Signal::KILL.number()),
        };
        if !is_right || std::mem::replace(&mut self.has_exited, true) {
            self.crowd.wrong.set(self.crowd.wrong.get() + 1);
        }
        self.crowd.exited.set(self.crowd.exited.get() + 1);
    }

    fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
        let crowd = &self.crowd;
        crowd.running.set(crowd.running.get() - 1);
        crowd.fill(&process.reactor());
        if crowd.running.get() == 0 {
            process.reactor().stop().expect("the reactor runs");
        }
    }
}

/// Spawns children of the standard library one after another, and returns the number of wrong statuses.
fn wait_beside(is_over: &Arc<AtomicBool>) -> thread::JoinHandle<io::Result<u64>> {
    let is_over = is_over.clone();
    thread::spawn(move || {
        let mut wrong = 0;
        for code in (0..200).cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let status = StdCommand::new("sh").args(["-c", &format!("exit {code}")]).status()?;
            wrong += u64::from(status.code() != Some(code));
        }
        Ok(wrong)
    })
}

/// Returns the processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

/// Returns the number of children of this process, zombies too.
fn children() -> io::Result<usize> {
    let mut count = 0;
    for task in fs::read_dir("/proc/self/task")? {
        count += fs::read_to_string(task?.path().join("children"))?.split_whitespace().count();
    }
    Ok(count)
}
