//! ProcessMonitor with real programs. The source is twisted.runner.test.test_procmon.

use std::cell::{Cell, RefCell};
use std::fs;
use std::time::Duration;

use super::*;
use crate::application::ServiceHandle;
use crate::endpoints::TcpClientEndpoint;
use crate::processes::{Command, ExitStatus, Signal};
use crate::protocols::Protocol;
use crate::testing::{MemoryReactor, SimulatedChild};
use crate::transports::Transport;

const SOON: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> MonitoredProcess {
    MonitoredProcess::new(Command::new("sh").args(["-c", script])).retry_policy(|_| SOON).kill_time(PATIENCE)
}

/// A monitor on a reactor of its own, which is stopped at the end.
struct Bench {
    reactor: Reactor,
    monitor: ProcessMonitor,
    service: ServiceHandle,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Bench {
    fn new() -> Bench {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let kept = lines.clone();
        let monitor = ProcessMonitor::new().on_output(move |line| {
            let text = String::from_utf8_lossy(line.text);
            kept.borrow_mut().push(format!("{} {} {text}", line.process, line.fd));
        });
        Bench { reactor: Reactor::new().unwrap(), service: ServiceHandle::new(monitor.clone()), monitor, lines }
    }

    fn with(processes: &[(&str, &str)]) -> Bench {
        let bench = Bench::new();
        processes.iter().for_each(|(name, script)| bench.monitor.add_process(*name, shell(script)).unwrap());
        bench
    }

    fn start(&self) -> Deferred<()> {
        self.service.start(&self.reactor)
    }

    #[track_caller]
    fn turn_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let limit = self.reactor.now() + PATIENCE;
        while !condition() {
            assert!(self.reactor.now() < limit, "timed out: {what}: {:?}", self.monitor);
            self.reactor.iterate(Some(SOON)).unwrap();
        }
    }

    #[track_caller]
    fn has_line(&self, line: &str) {
        self.turn_until(line, || self.lines.borrow().iter().any(|other| other == line));
    }

    /// Stops the monitor, and checks that nothing is left.
    #[track_caller]
    fn stop(&self) {
        let stopped = self.service.stop(&self.reactor);
        self.turn_until("the stop", || stopped.is_done());
        self.turn_until("no source is left", || self.reactor.source_count() == 0);
        assert!(self.reactor.get_delayed_calls().is_empty());
        assert!(self.monitor.processes().iter().all(|process| process.state == ProcessState::Stopped));
    }

    fn report(&self, index: usize) -> ProcessReport {
        self.monitor.processes().remove(index)
    }
}

fn exists(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

#[test]
fn a_process_that_ends_is_started_again() {
    let bench = Bench::with(&[("web", "echo up; exit 3")]);
    assert!(bench.start().is_done());
    bench.turn_until("restarts", || bench.report(0).restarts > 2);
    assert_eq!(bench.report(0).status, Some(ExitStatus::Exited(3)));
    assert!(bench.lines.borrow().iter().all(|line| line == "web 1 up"));
    bench.stop();
}

#[test]
fn the_delay_counts_quick_exits() {
    let bench = Bench::new();
    let failures = Rc::new(RefCell::new(Vec::new()));
    let noted = failures.clone();
    let policy = move |number| {
        noted.borrow_mut().push(number);
        Duration::ZERO
    };
    bench.monitor.add_process("web", shell("exit 1").retry_policy(policy)).unwrap();
    bench.start().add_both(drop);
    bench.turn_until("failures", || failures.borrow().len() > 2);
    bench.stop();
    assert_eq!(failures.borrow()[..3], [1, 2, 3]);
}

#[test]
fn a_longer_life_resets_the_delay() {
    let bench = Bench::new();
    let process = shell("exit 1").threshold(Duration::ZERO).retry_policy(|_| panic!("no quick exit"));
    bench.monitor.add_process("web", process).unwrap();
    bench.start().add_both(drop);
    bench.turn_until("restarts", || bench.report(0).restarts > 2);
    bench.stop();
}

#[test]
fn the_restart_setting_chooses_the_ends() {
    let bench = Bench::new();
    for (name, script, restart) in [
        ("never", "exit 3", Restart::Never),
        ("on success", "exit 0", Restart::OnFailure),
        ("on failure", "test -e /proc/self || exit 1; exit 3", Restart::OnFailure),
    ] {
        bench.monitor.add_process(name, shell(script).restart(restart)).unwrap();
    }
    bench.start().add_both(drop);
    bench.turn_until("restarts", || bench.report(2).restarts > 2);
    let states = [0, 1].map(|index| (bench.report(index).state, bench.report(index).restarts));
    assert_eq!(states, [(ProcessState::Finished, 0); 2]);
    assert!(!bench.report(0).has_succeeded() && bench.report(1).has_succeeded());
    let removed = bench.monitor.remove_process("on failure");
    let finished = bench.monitor.when_finished();
    bench.turn_until("the end of all", || removed.is_done() && finished.is_done());
    bench.stop();
}

#[test]
fn a_missing_program_is_tried_again() {
    let bench = Bench::new();
    let missing = MonitoredProcess::new(Command::new("/no/such/program")).retry_policy(|_| SOON);
    bench.monitor.add_process("web", missing).unwrap();
    bench.start().add_both(drop);
    bench.turn_until("restarts", || bench.report(0).restarts > 2);
    let report = bench.report(0);
    assert_eq!((report.state, report.pid, report.status), (ProcessState::Waiting, None, None));
    assert!(report.error.unwrap().to_string().contains("/no/such/program"));
    bench.stop();
}

#[test]
fn delays_pass_in_virtual_time() {
    // No simulated reactor starts programs without a description of them, so each start fails.
    let (net, monitor) = (MemoryReactor::new(), ProcessMonitor::new());
    monitor.add_process("web", MonitoredProcess::new(Command::new("web"))).unwrap();
    let service = ServiceHandle::new(monitor.clone());
    assert!(service.start(&net).is_done());
    let mut starts = Vec::new();
    for second in 0..16 {
        starts.push((second, monitor.processes()[0].restarts));
        net.advance(Duration::from_secs(1));
    }
    starts.dedup_by_key(|(_, restarts)| *restarts);
    assert_eq!(starts, [(0, 0), (1, 1), (3, 2), (7, 3), (15, 4)]);
    assert!(service.stop(&net).is_done());
    assert!(net.get_delayed_calls().is_empty());
}

/// A service on a simulated reactor with one program, which `policy` restarts. The policy gets the monitor.
fn simulated(
    process: MonitoredProcess,
    program: impl Fn(&SimulatedChild) + 'static,
    policy: impl Fn(&ProcessMonitor) -> Duration + 'static,
) -> (MemoryReactor, ProcessMonitor, ServiceHandle) {
    let (net, monitor) = (MemoryReactor::new(), ProcessMonitor::new());
    net.install_program("web", program);
    let asked = Rc::downgrade(&monitor.0);
    let policy = move |_| asked.upgrade().map_or(Duration::ZERO, |asked| policy(&ProcessMonitor(asked)));
    monitor.add_process("web", process.retry_policy(policy)).unwrap();
    let service = ServiceHandle::new(monitor.clone());
    service.start(&net).add_both(drop);
    (net, monitor, service)
}

fn web() -> MonitoredProcess {
    MonitoredProcess::new(Command::new("web"))
}

#[test]
fn a_policy_that_restarts_gets_one_new_process() {
    let is_first = Cell::new(true);
    let program = move |child: &SimulatedChild| {
        if is_first.replace(false) {
            child.exit(1);
        }
    };
    let (net, monitor, service) = simulated(web(), program, |monitor| {
        monitor.restart_all();
        assert_eq!(monitor.processes()[0].state, ProcessState::Waiting);
        Duration::from_secs(10)
    });
    net.advance(Duration::from_secs(60));
    assert_eq!(net.spawned().len(), 2);
    assert_eq!((monitor.processes()[0].state, net.get_delayed_calls().len()), (ProcessState::Ready, 0));
    let stopped = service.stop(&net);
    net.settle();
    assert!(stopped.is_done() && net.spawned().iter().all(|child| child.status().is_some()));
}

#[test]
fn a_policy_may_stop_or_remove_its_process() {
    let stops: [fn(&ProcessMonitor); 3] = [
        |monitor| drop(monitor.remove_process("web")),
        |monitor| drop(Service::stop(monitor, &monitor.0.reactor().unwrap())),
        |monitor| {
            // A later restart does not withdraw a stop.
            drop(monitor.remove_process("web"));
            monitor.restart_all();
        },
    ];
    for stop in stops {
        let (net, _monitor, _service) = simulated(
            web(),
            |child| child.exit(1),
            move |monitor| {
                stop(monitor);
                Duration::from_secs(10)
            },
        );
        net.advance(Duration::from_secs(60));
        assert_eq!((net.spawned().len(), net.get_delayed_calls().len(), net.source_count()), (1, 0, 0));
    }
}

#[test]
fn a_process_that_is_not_ready_in_time_has_failed() {
    // It ends with success after TERM. The time is the reason all the same.
    let program = |child: &SimulatedChild| child.on_signal(Signal::TERM, |child| child.exit(0));
    let late = || web().ready_line("ready").ready_timeout(Duration::from_secs(5));
    let (net, monitor, service) = simulated(late().restart(Restart::OnFailure), program, |_| Duration::from_secs(10));
    net.advance(Duration::from_secs(5));
    let report = monitor.processes().remove(0);
    assert_eq!((report.state, report.status), (ProcessState::Waiting, Some(ExitStatus::Exited(0))));
    assert!(report.error.unwrap().to_string().contains("not ready within 5 seconds"));
    net.advance(Duration::from_secs(10));
    assert_eq!(monitor.processes()[0].state, ProcessState::Starting);
    let stopped = service.stop(&net);
    net.settle();
    assert!(stopped.is_done() && net.get_delayed_calls().is_empty());

    let (net, monitor, _service) = simulated(late().restart(Restart::Never), program, |_| Duration::ZERO);
    net.advance(Duration::from_secs(6));
    let report = monitor.processes().remove(0);
    assert_eq!((report.state, report.has_succeeded()), (ProcessState::Finished, false));
}

#[test]
fn a_ready_process_has_no_time_limit() {
    let program = |child: &SimulatedChild| child.write(1, "ready\n");
    let process = web().ready_line("ready").ready_timeout(Duration::from_secs(5));
    let (net, monitor, _service) = simulated(process, program, |_| Duration::ZERO);
    net.settle();
    assert!(net.get_delayed_calls().is_empty());
    net.advance(Duration::from_secs(60));
    assert_eq!((monitor.processes()[0].state, net.spawned().len()), (ProcessState::Ready, 1));
}

#[test]
fn a_process_that_ignores_term_is_killed() {
    let bench = Bench::new();
    let stubborn = shell("trap '' TERM; echo ready; while :; do sleep 1; done").kill_time(SOON).ready_line("ready");
    bench.monitor.add_process("web", stubborn).unwrap();
    let ready = bench.start();
    bench.turn_until("ready", || ready.is_done());
    let pid = bench.report(0).pid.unwrap();
    bench.stop();
    assert_eq!(bench.report(0).status.unwrap().signal(), Some(9));
    assert!(!exists(pid));
}

#[test]
fn a_line_is_a_sign_of_readiness() {
    let bench = Bench::new();
    let first = shell("sleep 0.1; echo now ready; exec sleep 60").ready_line("ready");
    bench.monitor.add_process("first", first).unwrap();
    bench.monitor.add_process("second", shell("exec sleep 60")).unwrap();
    let ready = bench.start();
    let states = || bench.monitor.processes().iter().map(|process| process.state).collect::<Vec<_>>();
    assert_eq!(states(), [ProcessState::Starting, ProcessState::Stopped]);
    bench.turn_until("ready", || ready.is_done());
    assert_eq!(states(), [ProcessState::Ready; 2]);
    bench.stop();
}

#[test]
fn a_port_is_a_sign_of_readiness() {
    struct Silent;
    impl Protocol for Silent {
        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    }
    let bench = Bench::new();
    let port = bench.reactor.listen_tcp("127.0.0.1:0", || Silent).unwrap();
    let address = port.host().unwrap();
    port.stop_listening().add_both(drop);
    let endpoint = TcpClientEndpoint::new(&*address.to_string()).unwrap();
    bench.monitor.add_process("web", shell("exec sleep 60").ready_port(endpoint)).unwrap();
    let ready = bench.start();
    for _ in 0..5 {
        bench.reactor.iterate(Some(SOON)).unwrap();
    }
    assert!(!ready.is_done());
    let port = bench.reactor.listen_tcp(&*address.to_string(), || Silent).unwrap();
    bench.turn_until("ready", || ready.is_done());
    port.stop_listening().add_both(drop);
    bench.stop();
}

#[test]
fn a_stop_gives_up_waiting_for_readiness() {
    let bench = Bench::new();
    let endpoint = TcpClientEndpoint::new("127.0.0.1:1").unwrap();
    bench.monitor.add_process("first", shell("exec sleep 60").ready_port(endpoint)).unwrap();
    bench.monitor.add_process("second", shell("exec sleep 60")).unwrap();
    let ready = bench.start();
    bench.stop();
    assert!(ready.try_result().unwrap().unwrap_err().check::<Cancelled>());
    assert_eq!(bench.report(1).restarts, 0);
}

#[test]
fn processes_stop_in_reverse_order() {
    let script = "trap 'echo end; exit' TERM; echo up; while :; do sleep 0.01; done";
    let bench = Bench::with(&[("a", script), ("b", script), ("c", script)]);
    bench.start().add_both(drop);
    ["a 1 up", "b 1 up", "c 1 up"].iter().for_each(|line| bench.has_line(line));
    bench.lines.borrow_mut().clear();
    bench.stop();
    // A shell may report the end of its sleep on descriptor 2.
    bench.lines.borrow_mut().retain(|line| line.contains(" 1 "));
    assert_eq!(*bench.lines.borrow(), ["c 1 end", "b 1 end", "a 1 end"]);
}

#[test]
fn a_stop_cancels_the_delay() {
    let bench = Bench::new();
    bench.monitor.add_process("web", shell("exit 1").retry_policy(|_| Duration::from_secs(60))).unwrap();
    bench.start().add_both(drop);
    bench.turn_until("a delay", || bench.report(0).state == ProcessState::Waiting);
    assert!(bench.service.stop(&bench.reactor).is_done());
    bench.service.start(&bench.reactor).add_both(drop);
    bench.turn_until("another delay", || bench.report(0).state == ProcessState::Waiting);
    bench.stop();
}

#[test]
fn a_start_during_a_stop_takes_effect_after_it() {
    let bench = Bench::with(&[("a", "echo up; exec sleep 60"), ("b", "echo up; exec sleep 60")]);
    bench.start().add_both(drop);
    let stopped = bench.service.stop(&bench.reactor);
    let started = bench.start();
    bench.turn_until("both", || stopped.is_done() && started.is_done());
    let restarts = || bench.monitor.processes().iter().map(|process| process.restarts).collect::<Vec<_>>();
    bench.turn_until("the start", || restarts() == [0, 1]);
    assert!(bench.monitor.processes().iter().all(|process| process.state == ProcessState::Ready));
    bench.stop();
}

#[test]
fn restart_all_replaces_every_process() {
    let bench = Bench::with(&[("a", "echo up; exec sleep 60"), ("b", "echo up; exec sleep 60")]);
    bench.start().add_both(drop);
    let pids = || bench.monitor.processes().iter().filter_map(|process| process.pid).collect::<Vec<_>>();
    let before = pids();
    bench.monitor.restart_all();
    bench.turn_until("new processes", || bench.monitor.processes().iter().all(|process| process.restarts == 1));
    assert!(before.iter().all(|pid| !exists(*pid)) && pids().len() == 2);
    bench.stop();
}

#[test]
fn programs_left_behind_are_ended() {
    // The leader has left a program with its output, and ended.
    let bench = Bench::with(&[("web", "sleep 60 & echo $!; exit 1")]);
    bench.start().add_both(drop);
    bench.turn_until("restarts", || bench.report(0).restarts > 1);
    bench.stop();
    let lines = bench.lines.take();
    assert!(lines.len() > 1);
    assert!(lines.iter().all(|line| !exists(line.rsplit(' ').next().unwrap().parse().unwrap())), "{lines:?}");
}

#[test]
fn closed_output_does_not_count_as_the_end() {
    let bench = Bench::with(&[("web", "exec >/dev/null 2>&1; exec sleep 60")]);
    bench.start().add_both(drop);
    let pid = bench.report(0).pid.unwrap();
    for _ in 0..10 {
        bench.reactor.iterate(Some(SOON)).unwrap();
    }
    assert_eq!((bench.report(0).pid, bench.report(0).restarts), (Some(pid), 0));
    bench.stop();
}

#[test]
fn a_paused_monitor_holds_its_processes() {
    let bench = Bench::with(&[("web", "yes | head -n 100000; echo end; exec sleep 60")]);
    bench.monitor.pause_producing();
    bench.start().add_both(drop);
    for _ in 0..10 {
        bench.reactor.iterate(Some(SOON)).unwrap();
    }
    assert_eq!(bench.lines.borrow().len(), 0);
    bench.monitor.resume_producing();
    bench.has_line("web 1 end");
    assert_eq!(bench.lines.borrow().len(), 100_001);
    bench.stop();
}

#[test]
fn a_reactor_that_stops_first_kills_the_processes() {
    let bench = Bench::with(&[("web", "sleep 60 & echo $!; wait")]);
    bench.start().add_both(drop);
    let pid = bench.report(0).pid.unwrap();
    let reactor = bench.reactor.clone();
    let lines = bench.lines.clone();
    crate::task::LoopingCall::new(&reactor, move |looping| {
        if !lines.borrow().is_empty() {
            looping.reactor().stop().unwrap();
        }
    })
    .start(SOON)
    .add_both(drop);
    bench.reactor.run().unwrap();
    let left: u32 = bench.lines.borrow()[0].rsplit(' ').next().unwrap().parse().unwrap();
    let is_gone = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    let began = std::time::Instant::now();
    while !(is_gone(pid) && is_gone(left)) {
        assert!(began.elapsed() < PATIENCE, "a process is left");
        std::thread::sleep(SOON);
    }
}
