//! Tests the program `supervisor`: in virtual time with programs that are closures, then with real ones.

// `main` is not called here.
#[allow(dead_code)]
#[path = "../supervisor.rs"]
mod supervisor;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::Moment;
use ropewalk::processes::{Command, Signal};
use ropewalk::testing::{Faults, MemoryReactor, Program as Simulation, SimulatedChild};

use supervisor::{Program, Supervisor, Times};

const SECOND: Duration = Duration::from_secs(1);

const TIMES: Times = Times {
    first_pause: SECOND,
    longest_pause: Duration::from_secs(8),
    stable_after: Duration::from_secs(60),
    grace: SECOND,
};

/// The events of a supervisor, with the seconds at which they came.
#[derive(Clone, Default)]
struct Events(Rc<RefCell<Vec<(f64, String)>>>);

impl Events {
    /// Returns the seconds of the events that contain `text`.
    fn times(&self, text: &str) -> Vec<f64> {
        self.0.borrow().iter().filter(|(_, line)| line.contains(text)).map(|(time, _)| *time).collect()
    }
}

fn supervise(net: &MemoryReactor, programs: &[&str]) -> (Supervisor, Events) {
    let events = Events::default();
    let (kept, clock) = (events.clone(), (**net).clone());
    let report = move |line| kept.0.borrow_mut().push((clock.seconds(), line));
    let program = |name: &&str| Program { name: (*name).into(), command: Command::new(*name).own_group() };
    (Supervisor::start(net, TIMES, programs.iter().map(program).collect(), report), events)
}

/// A program that runs for ever, and ends slowly when it gets TERM.
fn server(child: &SimulatedChild) {
    child.on_signal(Signal::TERM, |child| child.call_later(SECOND / 2, |child| child.exit(0)));
}

/// A program that ignores TERM.
fn stubborn(child: &SimulatedChild) {
    child.on_signal(Signal::TERM, |_| ());
}

fn alive(net: &MemoryReactor) -> usize {
    net.spawned().iter().filter(|child| child.status().is_none()).count()
}

#[test]
fn the_pauses_grow_up_to_the_longest() {
    let net = MemoryReactor::new();
    net.install_program("broken", Simulation::exit(1));
    let (_supervisor, events) = supervise(&net, &["broken"]);
    net.advance(35 * SECOND); // takes no real time
    // Pauses of 1, 2, 4, 8 and 8 seconds.
    let starts: Vec<f64> = events.times("runs as").into_iter().map(f64::round).collect();
    assert_eq!(starts, [0.0, 1.0, 3.0, 7.0, 15.0, 23.0, 31.0]);
}

#[test]
fn a_stable_program_starts_again_soon() {
    let net = MemoryReactor::new();
    net.install_program("worker", Simulation::script().sleep(100 * SECOND).exit(1));
    let (_supervisor, events) = supervise(&net, &["worker"]);
    net.advance(350 * SECOND);
    let starts: Vec<f64> = events.times("runs as").into_iter().map(f64::round).collect();
    assert_eq!(starts, [0.0, 101.0, 202.0, 303.0]);
}

#[test]
fn a_program_that_cannot_start_is_tried_again() {
    let net = MemoryReactor::new();
    let (_supervisor, events) = supervise(&net, &["late"]);
    net.advance(2 * SECOND);
    assert_eq!(events.times("no folder in PATH has a program of this name").len(), 2);
    net.install_program("late", server);
    net.advance(2 * SECOND);
    assert_eq!(alive(&net), 1);
}

#[test]
fn a_stop_is_graceful_for_each_program() {
    let net = MemoryReactor::new();
    net.install_program("server", server);
    net.install_program("stubborn", stubborn);
    let (supervisor, events) = supervise(&net, &["server", "stubborn"]);
    net.advance(SECOND);
    let stopped = supervisor.stop();
    net.advance(3 * SECOND);
    assert!(stopped.is_done());
    // The last one first: it needs the grace and a KILL. The other one then ends by itself.
    let seconds = |text: &str| (events.times(text)[0] * 10.0).round();
    assert_eq!((seconds("killed by signal 9"), seconds("exited with status 0")), (20.0, 25.0));
    net.advance(60 * SECOND);
    assert_eq!((alive(&net), net.spawned().len()), (0, 2), "nothing has started again");
}

#[test]
fn no_seed_finds_two_copies_or_a_survivor() {
    for seed in 0..200 {
        let faults = Faults::none().spawn_failures(0.2).deaths(0.5, 5 * SECOND).exit_jitter(SECOND);
        let net = MemoryReactor::seeded(seed).with_faults(faults);
        net.install_program("server", server);
        net.install_program("worker", Simulation::script().write(1, "ready\n").sleep(3 * SECOND).exit(3));
        net.install_program("stubborn", stubborn);
        let (supervisor, events) = supervise(&net, &["server", "worker", "stubborn"]);
        // The stop comes in the middle of anything: a start, a pause, an exit.
        for _ in 0..seed {
            net.advance(SECOND / 4);
            assert!(alive(&net) <= 3, "seed {seed}: {:?}", events.0.borrow());
        }
        let stopped = supervisor.stop();
        net.advance(10 * SECOND);
        assert!(stopped.is_done() && alive(&net) == 0, "seed {seed}: {:?}", events.0.borrow());
        let started = net.spawned().len();
        net.advance(60 * SECOND);
        assert_eq!((started, net.now() > Moment::ZERO), (net.spawned().len(), true), "seed {seed}");
    }
}

#[cfg(target_os = "linux")]
mod real {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process, test_kill_process};

    #[test]
    fn real_programs_are_kept_running_until_the_end() {
        for info in ropewalk::reactors().into_iter().filter(|info| info.unavailable.is_none()) {
            let mut program = Command::new(env!("CARGO_BIN_EXE_supervisor"));
            program.args(["exit 3", "sleep 1000 & echo left $!.; wait"]).env("ROPEWALK_REACTOR", info.name);
            let mut supervisor = program.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(supervisor.stdout.take().unwrap()).lines().map(Result::unwrap);
            // Three starts of the first program, and the process that the second one has started.
            let (mut starts, mut left) = (0, None);
            while starts < 3 || left.is_none() {
                let line = lines.next().expect("the supervisor runs");
                starts += usize::from(line.starts_with("* 'exit 3' runs as"));
                left = left
                    .or_else(|| line.strip_prefix("left ")?.strip_suffix('.')?.parse().ok().and_then(Pid::from_raw));
            }
            kill_process(Pid::from_child(&supervisor), Signal::TERM).unwrap();
            assert!(lines.any(|line| line.contains("killed by signal 15")), "on {}", info.name);
            assert!(supervisor.wait().unwrap().success());
            // The group has ended with its leader, and another process waits for the member.
            while test_kill_process(left.unwrap()).is_ok() && !is_zombie(left.unwrap()) {
                std::thread::yield_now();
            }
        }
    }

    fn is_zombie(pid: Pid) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    }
}
