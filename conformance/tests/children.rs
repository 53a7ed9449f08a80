//! Child processes of the simulated network: programs that are closures, in virtual time, with faults by seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::prelude::*;
use ropewalk::processes::{
    Capture, Command, ExitStatus, Output, Process, ProcessProtocol, Signal, SpawnStep, WindowSize,
};
use ropewalk::testing::{Faults, MemoryReactor, Program, SimulatedChild, SimulatedNetwork};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Records everything that happens to a process, with the virtual time.
#[derive(Clone, Default)]
struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    fn add(&self, process: &Process, event: impl std::fmt::Display) {
        self.0.borrow_mut().push(format!("{:?} {event}", process.reactor().now()));
    }

    fn events(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Returns the place of the first event with this text.
    fn place(&self, text: &str) -> usize {
        let events = self.events();
        events.iter().position(|event| event.contains(text)).unwrap_or_else(|| panic!("no '{text}' in {events:?}"))
    }
}

impl ProcessProtocol for Trace {
    fn child_data_received(&mut self, process: &Process, fd: u32, data: &[u8]) {
        self.add(process, format!("{fd}: {}", String::from_utf8_lossy(data)));
    }

    fn child_connection_lost(&mut self, process: &Process, fd: u32) {
        self.add(process, format!("{fd} lost"));
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.add(process, format!("exited: {status}"));
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.add(process, format!("ended: {status}"));
    }
}

/// A supervisor that restarts its worker after a pause, and records both.
fn supervise(reactor: &Reactor, trace: &Trace) {
    let restart = |reactor: &Reactor, trace: &Trace| {
        let trace = trace.clone();
        reactor.call_later(SECOND, move |reactor| supervise(reactor, &trace));
    };
    match reactor.spawn_process(&Command::new("worker"), trace.clone()) {
        Ok(process) => {
            let (reactor, trace) = (reactor.clone(), trace.clone());
            let _ended = process.when_ended().add_callback(move |_| restart(&reactor, &trace));
        }
        Err(error) => {
            trace.0.borrow_mut().push(error.to_string());
            restart(reactor, trace);
        }
    }
}

fn output(net: &MemoryReactor, command: &Command, capture: Capture) -> Output {
    let output = net.process_output(command, capture);
    net.settle();
    net.advance(10 * SECOND);
    output.try_result().expect("it has fired").expect("the program runs")
}

#[test]
fn the_same_seed_replays_the_same_trace() {
    let run = |seed| {
        let faults = Faults::none().short_reads().short_writes().lent_reads().shuffled().spurious_events();
        let faults = faults.spawn_failures(0.2).deaths(0.5, 5 * SECOND).exit_jitter(100 * MS);
        let net = MemoryReactor::seeded(seed).with_faults(faults);
        net.install_program(
            "worker",
            Program::script().write(1, "ready\n").sleep(3 * SECOND).write(2, "tired").exit(3),
        );
        let trace = Trace::default();
        supervise(&net, &trace);
        net.advance(60 * SECOND);
        trace.events()
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    let all: Vec<String> = (0..10).flat_map(run).collect();
    for expected in ["cannot make a process", "killed by signal 9", "exited with status 3", "1: ready"] {
        assert!(all.iter().any(|event| event.contains(expected)), "{expected}");
    }
    assert!((1..10).any(|seed| run(seed) != run(0)));
}

#[test]
fn a_program_takes_only_virtual_time() {
    let net = MemoryReactor::new();
    net.install_program("sleep", Program::sleep());
    let value = net.process_value(&Command::new("sleep").arg("86400"));
    net.settle(); // waits for segments, not for programs
    assert!(!value.is_done());
    assert_eq!(net.now(), ropewalk::Moment::ZERO);
    net.advance(86_399 * SECOND);
    assert!(!value.is_done());
    net.advance(SECOND);
    assert_eq!(value.try_result().unwrap().unwrap(), ExitStatus::Exited(0));
    assert_eq!((net.open_sources(), net.source_count()), (0, 0));
}

#[test]
fn a_run_jumps_to_the_calls_of_programs() {
    let net = MemoryReactor::new();
    net.install_program("sleep", Program::sleep());
    let stopping = (*net).clone();
    let value = net.process_value(&Command::new("sleep").arg("3600"));
    let _ended = value.add_callback(move |_| stopping.stop().unwrap());
    net.run().unwrap();
    assert_eq!(net.seconds(), 3600.0);
}

#[test]
fn every_start_is_recorded_with_its_plan() {
    let net = MemoryReactor::new();
    net.install_program("echo", Program::echo());
    let _first = net.process_value(&Command::new("echo").arg("one"));
    let _second = net.process_value(&Command::new("echo").arg("two").env_clear().env("A", "b"));
    assert!(net.process_value(&Command::new("missing")).try_result().unwrap().is_err());
    let spawned = net.spawned();
    let arguments: Vec<_> = spawned.iter().map(|child| child.args()[0].to_str().unwrap()).collect();
    assert_eq!(arguments, ["one", "two"]);
    assert_eq!(spawned[1].env("A").unwrap(), "b");
    assert_eq!(spawned[0].status(), None);
    net.settle();
    assert_eq!(spawned[0].status(), Some(ExitStatus::Exited(0)));
    assert_ne!(spawned[0].pid(), spawned[1].pid());
}

#[test]
fn bytes_are_neither_lost_nor_reordered() {
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    for seed in 0..5 {
        let faults = Faults::none().short_reads().short_writes().lent_reads().spurious_events().exit_jitter(SECOND);
        let net = MemoryReactor::seeded(seed).with_faults(faults.buffer(4096).latency(SECOND).resets(1.0));
        net.install_program("cat", Program::cat());
        let patient = Capture::new().input(input.clone()).patience(2 * SECOND);
        let output = output(&net, &Command::new("cat"), patient);
        assert!(output.out == input, "seed {seed}: {} bytes of {}", output.out.len(), input.len());
    }
}

#[test]
fn a_held_pipe_delays_the_end_alone() {
    let net = MemoryReactor::new();
    net.install_program("server", |child: &SimulatedChild| {
        child.fork(|helper| helper.call_later(60 * SECOND, |helper| helper.write(1, "late")));
        child.write(1, "early");
        child.exit(0);
    });
    let trace = Trace::default();
    let process = net.spawn_process(&Command::new("server").own_group(), trace.clone()).unwrap();
    net.advance(SECOND);
    assert_eq!(process.status(), Some(ExitStatus::Exited(0)));
    assert!(!process.when_ended().is_done());
    net.advance(60 * SECOND);
    assert!(trace.place("exited") < trace.place("late"));
    process.signal_group(Signal::TERM).unwrap();
    net.settle();
    assert!(trace.place("late") < trace.place("ended"));
    assert!(process.signal_group(Signal::TERM).is_err());
    let held = output(&net, &Command::new("server"), Capture::new());
    assert!(held.pipe_held && held.out == b"early");
}

#[test]
fn the_exit_comes_before_or_after_the_pipes() {
    let exits_first = |seed| {
        let net = MemoryReactor::seeded(seed).with_faults(Faults::none().exit_jitter(SECOND));
        net.install_program("true", Program::exit(0));
        let trace = Trace::default();
        net.spawn_process(&Command::new("true"), trace.clone()).unwrap();
        net.settle();
        assert_eq!(trace.place("ended"), trace.events().len() - 1);
        trace.place("exited") < trace.place("lost")
    };
    assert!((0..20).any(exits_first) && !(0..20).all(exits_first));
}

#[test]
fn a_program_catches_signals_except_kill() {
    let net = MemoryReactor::new();
    net.install_program("stubborn", |child: &SimulatedChild| {
        for signal in [Signal::TERM, Signal::KILL] {
            child.on_signal(signal, move |child| child.write(1, format!("{signal}\n")));
        }
    });
    let trace = Trace::default();
    let process = net.spawn_process(&Command::new("stubborn"), trace.clone()).unwrap();
    net.settle();
    process.signal(Signal::CONT).unwrap();
    process.signal(Signal::TERM).unwrap();
    net.settle();
    assert_eq!(process.status(), None);
    process.signal(Signal::KILL).unwrap();
    net.settle();
    assert_eq!(process.status().and_then(ExitStatus::signal), Some(Signal::KILL.number()));
    assert!(trace.place("SIGTERM") < trace.place("killed by signal 9"));
}

#[test]
fn an_exit_waits_for_the_last_byte() {
    let net = MemoryReactor::new();
    net.install_program("talker", |child: &SimulatedChild| {
        child.write(1, vec![b'x'; 200_000]);
        child.exit(5);
    });
    let trace = Trace::default();
    let process = net.spawn_process(&Command::new("talker"), trace).unwrap();
    process.pause_producing();
    net.advance(SECOND);
    assert_eq!(process.status(), None);
    process.resume_producing();
    net.settle();
    assert_eq!(process.status(), Some(ExitStatus::Exited(5)));
}

#[test]
fn a_terminal_has_a_size_in_both_directions() {
    let net = MemoryReactor::new();
    net.install_program("top", |child: &SimulatedChild| {
        let show = |child: &SimulatedChild| {
            let size = child.window_size().unwrap();
            child.write(1, format!("{}x{}", size.rows, size.columns));
        };
        show(child);
        child.on_signal(Signal::WINCH, show);
        child.on_data(0, |child, keys| child.write(2, keys));
    });
    let trace = Trace::default();
    let command = Command::new("top").terminal(WindowSize::new(24, 80));
    let process = net.spawn_process(&command, trace.clone()).unwrap();
    net.settle();
    process.resize(WindowSize::new(50, 132)).unwrap();
    net.settle();
    process.write(b"q");
    net.settle();
    assert!(trace.place("1: 24x80") < trace.place("1: 50x132"));
    assert!(trace.place("1: 50x132") < trace.place("1: q"));
    process.pipe(0).unwrap().lose_connection();
    net.settle();
    assert_eq!(process.status().and_then(ExitStatus::signal), Some(Signal::HUP.number()));
}

#[test]
fn a_host_takes_its_children_with_it() {
    let network = SimulatedNetwork::seeded(3);
    for end in [SimulatedNetwork::crash, SimulatedNetwork::kill] {
        let host = network.host("10.0.0.1");
        host.install_program("sleep", Program::sleep());
        let value = host.process_value(&Command::new("sleep").arg("60"));
        network.settle();
        end(&network, "10.0.0.1");
        network.advance(120 * SECOND);
        assert!(!value.is_done());
        assert_eq!(network.open_sources(), 0);
        assert!(host.process_value(&Command::new("sleep")).try_result().unwrap().is_err());
        let restarted = network.host("10.0.0.1");
        assert!(restarted.process_value(&Command::new("sleep")).try_result().unwrap().is_err());
        network.kill("10.0.0.1");
    }
}

#[test]
fn a_start_needs_a_descriptor() {
    let net = MemoryReactor::new().with_faults(Faults::none().descriptors(2));
    net.install_program("sleep", Program::sleep());
    net.spawn_process(&Command::new("sleep").arg("60"), Trace::default()).unwrap();
    let error = net.spawn_process(&Command::new("sleep").arg("60"), Trace::default()).unwrap_err();
    let Error::Spawn(error) = error else { panic!("{error}") };
    assert_eq!(error.step(), SpawnStep::Descriptors);
}

#[test]
fn a_program_may_turn_the_loop() {
    // Nothing is lost that arrives meanwhile.
    let trace = Trace::default();
    let net = MemoryReactor::new();
    let reactor = net.downgrade();
    net.install_program("cat", move |child: &SimulatedChild| {
        let reactor = reactor.clone();
        child.on_data(0, move |child, data| {
            let seen = data.len();
            for _ in 0..3 {
                reactor.upgrade().unwrap().iterate(Some(MS)).unwrap();
            }
            child.write(1, format!("{seen} "));
        });
        child.on_end(0, |child| child.exit(0));
    });
    let process = net.spawn_process(&Command::new("cat"), trace.clone()).unwrap();
    process.write(b"one");
    net.settle();
    process.write(b"three");
    process.close_stdin();
    net.settle();
    assert!(trace.place("1: 3 ") < trace.place("1: 5 "));
    assert_eq!(process.status(), Some(ExitStatus::Exited(0)));
}

#[test]
fn a_replaced_closure_may_set_others_when_dropped() {
    // User code runs in the destructor of what a closure has captured.
    struct SetsAnother(SimulatedChild);
    impl Drop for SetsAnother {
        fn drop(&mut self) {
            self.0.on_end(0, |child| child.exit(3));
        }
    }
    let net = MemoryReactor::new();
    net.install_program("cat", |child: &SimulatedChild| {
        let dropped = SetsAnother(child.clone());
        child.on_data(0, move |child, _| child.write(1, format!("{:?}", dropped.0)));
        child.on_data(0, |child, data| child.write(1, data));
    });
    let output = output(&net, &Command::new("cat"), Capture::new().input("hello"));
    assert_eq!((&*output.out, output.status), (&b"hello"[..], ExitStatus::Exited(3)));
}

#[test]
#[should_panic(expected = "a bug in the program")]
fn a_panic_in_a_program_fails_the_test() {
    let net = MemoryReactor::new();
    net.install_program("broken", |_: &SimulatedChild| panic!("a bug in the program"));
    let _value = net.process_value(&Command::new("broken"));
    net.settle();
}

#[test]
fn many_children_leave_nothing_behind() {
    let net = MemoryReactor::seeded(5).with_faults(Faults::none().shuffled().deaths(0.3, SECOND));
    net.install_program("worker", |child: &SimulatedChild| {
        let code = child.args()[0].to_str().unwrap().parse().unwrap();
        child.call_later(500 * MS, move |child| child.exit(code));
    });
    let processes: Vec<Process> = (0..200)
        .map(|code| net.spawn_process(&Command::new("worker").arg(code.to_string()), Trace::default()).unwrap())
        .collect();
    net.advance(2 * SECOND);
    for (code, process) in processes.iter().enumerate() {
        let status = process.status().unwrap();
        assert!(status.code() == Some(code as i32) || status.signal() == Some(9), "{status}");
    }
    assert_eq!((net.open_sources(), net.source_count()), (0, 0));
}
