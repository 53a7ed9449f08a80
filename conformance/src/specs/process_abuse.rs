//! Child processes under unusual use: spawns, signals and panics in every callback, floods, many children at once.

use std::cell::{Cell, RefCell};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ropewalk::processes::{Command, ExitStatus, Process, ProcessProtocol, Signal};
use ropewalk::{Error, PanicPolicy, Phase, Reactor};

use crate::child::{Child, shell, short};
use crate::scenario::Performance;
use crate::script::Log;
use crate::waiting::{iterate_until, run_until, when};
use crate::{quiet, run, specifications};

/// The places at which a protocol is called, in the order of the first calls.
const CALLBACKS: [&str; 5] = ["made", "data", "lost", "exited", "ended"];

/// A protocol that acts in one of its callbacks, or in its destructor.
struct Acting {
    at: &'static str,
    act: Rc<dyn Fn(&Process)>,
    /// Shared to find out when the protocol is dropped.
    _life: Rc<()>,
}

impl Acting {
    fn new(at: &'static str, life: &Rc<()>, act: impl Fn(&Process) + 'static) -> Acting {
        Acting { at, act: Rc::new(act), _life: life.clone() }
    }

    fn called(&self, at: &str, process: &Process) {
        if self.at == at {
            (self.act)(process);
        }
    }
}

impl ProcessProtocol for Acting {
    fn connection_made(&mut self, process: &Process) {
        self.called("made", process);
    }

    fn child_data_received(&mut self, process: &Process, _fd: u32, _data: &[u8]) {
        self.called("data", process);
    }

    fn child_connection_lost(&mut self, process: &Process, _fd: u32) {
        self.called("lost", process);
    }

    fn process_exited(&mut self, process: &Process, _status: ExitStatus) {
        self.called("exited", process);
    }

    fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
        self.called("ended", process);
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn exists(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// Counts the events of many children.
#[derive(Clone, Default)]
struct Many {
    running: Rc<Cell<usize>>,
    left: Rc<Cell<usize>>,
    pids: Rc<RefCell<Vec<u32>>>,
}

struct One {
    many: Many,
    code: usize,
}

impl Many {
    /// Spawns children, 200 at once, until none is left to spawn.
    fn fill(&self, reactor: &Reactor) {
        while self.running.get() < 200 && self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            self.running.set(self.running.get() + 1);
            let code = self.left.get() % 100;
            let command = Command::new("sh").args(["-c", &format!("exit {code}")]);
            let process = reactor.spawn_process(&command, One { many: self.clone(), code }).unwrap();
            self.pids.borrow_mut().push(process.pid());
        }
    }

    fn is_done(&self) -> bool {
        self.running.get() == 0 && self.left.get() == 0
    }
}

impl ProcessProtocol for One {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status.code(), Some(i32::try_from(self.code).unwrap()));
        self.many.running.set(self.many.running.get() - 1);
        self.many.fill(&process.reactor());
    }
}

specifications! {
    process_abuse;

    fn every_callback_may_spawn(subject: &Subject) {
        let reactor = subject.reactor();
        for at in CALLBACKS {
            let (before, spawned) = (open_descriptors(), Child::new());
            let (life, child) = (Rc::new(()), spawned.clone());
            let first = Cell::new(true);
            let protocol = Acting::new(at, &life, move |process| if first.replace(false) {
                process.reactor().spawn_process(&shell("echo inner; exit 4"), child.clone()).unwrap();
            });
            reactor.spawn_process(&shell("echo outer; exit 3"), protocol).unwrap();
            let (inner, outer) = (spawned.clone(), life.clone());
            run_until(&reactor, move || inner.log().contains("ended 4") && Rc::strong_count(&outer) == 2);
            assert_eq!(spawned.text(1), "inner\n", "{at}");
            assert_eq!((reactor.source_count(), open_descriptors()), (0, before), "{at}");
        }
    }

    fn every_callback_may_signal(subject: &Subject) {
        // No callback is made within another one, and a signal to an ended process is an error.
        let reactor = subject.reactor();
        for at in CALLBACKS {
            let life = Rc::new(());
            let protocol = Acting::new(at, &life, |process| {
                assert_eq!(process.signal(Signal::KILL).is_ok(), process.status().is_none());
                let _ = process.signal_group(Signal::KILL);
                process.end_group(Duration::ZERO).add_both(drop);
            });
            let process = reactor.spawn_process(&shell("echo x; exec >&- 2>&-; sleep 0.1").own_group(), protocol).unwrap();
            let outer = life.clone();
            run_until(&reactor, move || Rc::strong_count(&outer) == 2);
            assert!(!exists(process.pid()), "{at}");
            assert_eq!(reactor.source_count(), 0, "{at}");
        }
    }

    fn every_callback_may_panic_under_every_policy(subject: &Subject) {
        // PanicPolicy: the protocol is dropped in the end, and the next reactor runs as before.
        for policy in [PanicPolicy::Log, PanicPolicy::Stop, PanicPolicy::Resume] {
            for at in CALLBACKS {
                let reactor = subject.plain_reactor();
                reactor.set_panic_policy(policy);
                let life = Rc::new(());
                let protocol = Acting::new(at, &life, |_| panic!("a bug in the protocol"));
                let spawned = catch_unwind(AssertUnwindSafe(|| reactor.spawn_process(&shell("echo x; exit 3"), protocol)));
                let outer = life.clone();
                let ended = spawned.as_ref().ok().map(|spawned| spawned.as_ref().unwrap().when_ended());
                let has_ended = move || ended.as_ref().is_some_and(ropewalk::Deferred::is_done);
                when(&reactor, move || has_ended() && Rc::strong_count(&outer) == 2, crate::script::stop);
                let ran = catch_unwind(AssertUnwindSafe(|| reactor.run_with(quiet())));
                match policy {
                    PanicPolicy::Log => {
                        assert!(ran.is_ok_and(|ran| ran.is_ok()), "{at}");
                        assert_eq!(reactor.source_count(), 0, "{at}");
                    }
                    // The loop does not run yet, so there is nothing to stop.
                    PanicPolicy::Stop if at == "made" => assert!(ran.is_ok_and(|ran| ran.is_ok())),
                    _ => assert!(spawned.is_err() || !ran.is_ok_and(|ran| ran.is_ok()), "{policy:?} {at}"),
                }
                drop(reactor);
                drop(spawned);
                assert_eq!(Rc::strong_count(&life), 1, "{policy:?} {at}");
            }
        }
    }

    fn the_shutdown_may_spawn(subject: &Subject) {
        // A process of the shutdown is abandoned as the others are, and its protocol is notified once.
        for phase in [Phase::Before, Phase::During, Phase::After] {
            let reactor = subject.reactor();
            let (child, pid) = (Child::new(), Rc::new(Cell::new(None)));
            let (spawned, found) = (child.clone(), pid.clone());
            reactor.add_system_event_trigger(phase, "shutdown", move |reactor| {
                let process = reactor.spawn_process(&shell("sleep 60").own_group(), spawned.clone());
                found.set(process.ok().map(|process| process.pid()));
            });
            reactor.call_when_running(crate::script::stop);
            run(&reactor);
            let entries = child.log().entries();
            if entries.iter().any(|entry| entry == "exited abandoned") {
                assert_eq!(child.log().count("ended abandoned"), 1, "{phase:?} {entries:?}");
            }
            drop(reactor);
            kill_group(pid.get());
        }
    }

    fn floods_wait_for_a_paused_consumer(subject: &Subject) {
        // Each pipe holds its bytes back. Nothing is lost, and nothing is collected in this process.
        let reactor = subject.reactor();
        let child = Child::new().on_made(Process::pause_producing);
        let script = "head -c 4000000 /dev/zero & head -c 4000000 /dev/zero >&2; wait";
        let process = reactor.spawn_process(&shell(script), child.clone()).unwrap();
        for _ in 0..50 {
            reactor.iterate(Some(Duration::from_millis(2))).unwrap();
        }
        assert_eq!((child.received(1).len(), child.received(2).len()), (0, 0));
        assert_eq!(process.status(), None, "the program waits for the pipe");
        process.resume_producing();
        let ended = child.clone();
        run_until(&reactor, move || ended.log().contains("ended 0"));
        assert_eq!((child.received(1).len(), child.received(2).len()), (4_000_000, 4_000_000));
    }

    fn many_children_leave_nothing_behind(subject: &Subject) {
        // Never waitpid(-1), also when hundreds end at once. Every status is that of its own child.
        let reactor = subject.reactor();
        let before = open_descriptors();
        let done = Arc::new(AtomicBool::new(false));
        let besides: Vec<_> = (0..2).map(|_| {
            let done = done.clone();
            thread::spawn(move || while !done.load(Ordering::Relaxed) {
                let status = std::process::Command::new("sh").args(["-c", "exit 7"]).status().unwrap();
                assert_eq!(status.code(), Some(7));
            })
        }).collect();
        let many = Many::default();
        many.left.set(600);
        many.fill(&reactor);
        let all = many.clone();
        run_until(&reactor, move || all.is_done());
        done.store(true, Ordering::Relaxed);
        besides.into_iter().for_each(|beside| beside.join().unwrap());
        let parent = format!(" {} ", std::process::id());
        let is_left = |pid: &&u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(&parent));
        assert_eq!(many.pids.borrow().iter().filter(is_left).count(), 0);
        assert_eq!((reactor.source_count(), open_descriptors()), (0, before));
    }

    fn an_exit_is_kept_while_the_wait_is_detached(subject: &Subject) {
        // Reactor::detach_wait in a callback: an edge-triggered provider reports the other exits of the batch only once.
        let (reactor, taken, log) = (subject.reactor(), Rc::new(RefCell::new(None)), Log::new());
        let pids = Vec::from_iter((0..8).map(|number| {
            let (take, note) = (taken.clone(), log.clone());
            let child = Child::new().on_exited(move |process| {
                let mut place = take.borrow_mut();
                if place.is_none() {
                    *place = process.reactor().detach_wait().ok();
                }
                note.add(short(process.status().unwrap()));
                assert!(matches!(process.reactor().spawn_process(&shell("true"), Child::new()), Err(Error::Waiting)));
            });
            reactor.spawn_process(&shell(&format!("exit {number}")), child).unwrap().pid()
        }));
        let is_zombie = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        while !pids.iter().all(is_zombie) {
            thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..200 {
            reactor.iterate(Some(Duration::from_millis(5))).unwrap();
            drop(taken.take());
        }
        assert!((0..8).all(|number| log.contains(&number.to_string())), "{:?}", log.entries());
        iterate_until(&reactor, || reactor.source_count() == 0);
    }

    fn exits_during_a_detached_wait_are_its_events(subject: &Subject) {
        // DetachedWait: the children end while another thread waits with the provider.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (gate, opener) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        for number in 0..8 {
            let noted = log.clone();
            let child = Child::new().on_ended(move |process| noted.add(short(process.status().unwrap())));
            let command = shell(&format!("read line <&3; exit {number}")).descriptor(3, gate.try_clone().unwrap());
            reactor.spawn_process(&command, child).unwrap();
        }
        drop(gate);
        let mut opener = Some(opener);
        while log.entries().len() < 8 {
            let limit = reactor.prepare().unwrap();
            let mut wait = reactor.detach_wait().unwrap();
            let waiting = thread::spawn(move || {
                let events = wait.wait(limit).unwrap();
                (wait, events)
            });
            drop(opener.take());
            let (wait, events) = waiting.join().unwrap();
            let before = log.entries().len();
            drop(wait);
            assert_eq!(log.entries().len(), before, "a callback ran without the loop");
            reactor.dispatch_events(events);
        }
        let mut statuses = log.entries();
        statuses.sort();
        assert_eq!(statuses, ["0", "1", "2", "3", "4", "5", "6", "7"]);
        iterate_until(&reactor, || reactor.source_count() == 0);
    }

    fn a_wait_for_all_children_hides_no_end(subject: &Subject) {
        // waitpid(-1) in another thread takes statuses away. Linux 6.15 and later remember them: PIDFD_GET_INFO.
        let mut play = Performance::begin(subject, "children beside a thief");
        let line = play.line().unwrap();
        let counts: Vec<u32> = line.split(' ').filter_map(|count| count.parse().ok()).collect();
        let [right, unknown] = counts[..] else { panic!("{line}") };
        assert_eq!(right + unknown, 200);
        assert!(unknown == 0 || !remembers_statuses(), "{line}");
        play.ends();
    }

    fn a_fork_leaves_children_to_the_parent(subject: &Subject) {
        // The daemon has copies of the pipes, and notices the end. Only the parent can wait for the status.
        let mut play = Performance::begin(subject, "children before a fork");
        let line = play.line().unwrap();
        assert!(["daemon: hello, ended 5", "daemon: hello, ended ?"].contains(&&*line), "{line}");
        play.expect(&["daemon: ended 6", "parent: ended 5"]);
        play.ends();
    }

    fn handles_may_be_dropped_in_every_callback(subject: &Subject) {
        // The reactor keeps the process, so a dropped handle changes nothing.
        let reactor = subject.reactor();
        for at in CALLBACKS {
            let (life, place) = (Rc::new(()), Rc::new(RefCell::new(None::<Process>)));
            let own = place.clone();
            let protocol = Acting::new(at, &life, move |_| drop(own.take()));
            let process = reactor.spawn_process(&shell("echo x; exit 3"), protocol).unwrap();
            place.replace(Some(process));
            let outer = life.clone();
            run_until(&reactor, move || Rc::strong_count(&outer) == 2);
            drop(place.take());
            assert_eq!((reactor.source_count(), Rc::strong_count(&life)), (0, 1), "{at}");
        }
    }
}

/// Whether this is Linux 6.15 or later.
fn remembers_statuses() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|other: char| !other.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

/// Kills a group that a specification has left running.
fn kill_group(pid: Option<u32>) {
    if let Some(pid) = pid {
        let killed = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status();
        assert!(killed.is_ok());
    }
}
