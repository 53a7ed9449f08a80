//! Costs of the reactor, counted and not timed.
#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use ropewalk::{Reactor, RunOptions};
use ropewalk_conformance::lock_step::LockStep;
use ropewalk_conformance::scenario::Performance;
use ropewalk_conformance::script::{Script, stop};
use ropewalk_conformance::waiting::when;
use ropewalk_conformance::{Subject, run};

const KERNEL: [&str; 3] = ["epoll", "poll", "select"];
const CONNECTIONS: usize = 64;

/// The measured number of system calls per echoed message.
const CALLS_A_MESSAGE: f64 = 2.25;

#[test]
fn an_echoed_message_costs_one_receive_plus_one_send() {
    // A wait is shared by all messages of its turn.
    const ROUNDS: usize = 100;
    for provider in KERNEL {
        let (reactor, counts) = Subject::named(provider).counted();
        let mut clients = LockStep::new(&reactor, CONNECTIONS);
        clients.round();
        let before = counts.now();
        (0..ROUNDS).for_each(|_| clients.round());
        let cost = counts.since(before);
        let calls = cost.waits + cost.receives + cost.sends + cost.accepts + cost.changes;
        let share = calls as f64 / (ROUNDS * CONNECTIONS) as f64;
        assert!(share <= CALLS_A_MESSAGE, "{provider}: {share} requests a message, {cost:?}");
    }
}

/// `.ci/run` installs strace and runs this test.
#[test]
#[ignore = "needs strace and permission to trace"]
fn an_echoed_message_costs_at_most_2_25_system_calls() {
    // As above, including the calls below the seam: changes of interest, wake-ups, clocks, memory.
    const FEW: usize = 20;
    const MANY: usize = 220;
    for provider in KERNEL {
        let messages = (MANY - FEW) * CONNECTIONS;
        let [few, many] = [FEW, MANY].map(|rounds| traced_calls("echo", provider, "all", &[rounds, CONNECTIONS]));
        let calls = many - few;
        // The clients in that process send and receive as well.
        let share = calls as f64 / messages as f64 - 2.0;
        assert!(share > 1.9, "{provider}: {share} system calls a message is too good to be true");
        assert!(share <= CALLS_A_MESSAGE, "{provider}: {share} system calls a message");
    }
}

/// `.ci/run` installs strace and runs this test.
#[test]
#[ignore = "needs strace and permission to trace"]
fn a_large_answer_costs_no_change_of_interest() {
    // The first large answer arms WRITE. Armed as an edge, WRITE wakes the loop only after a full buffer, so it stays
    // armed.
    const FEW: usize = 2;
    const MANY: usize = 12;
    let [few, many] = [FEW, MANY].map(|answers| traced_calls("large answers", "epoll", "epoll_ctl", &[answers]));
    assert_eq!(many - few, 0, "calls of epoll_ctl for {} answers", MANY - FEW);
}

/// `.ci/run` installs strace and runs this test.
#[test]
#[ignore = "needs strace and permission to trace"]
fn a_message_through_shared_pipes_costs_three_system_calls() {
    // A wait, a read and a write.
    const FEW: usize = 20;
    const MANY: usize = 1020;
    for provider in ["epoll", "poll", "uring"] {
        let [few, many] = [FEW, MANY].map(|messages| traced_calls("pipe echo", provider, "all", &[messages]));
        // The scenario writes and reads as well.
        let share = (many - few) as f64 / (MANY - FEW) as f64 - 2.0;
        assert!((2.9..=3.05).contains(&share), "{provider}: {share} system calls a message");
    }
}

/// `.ci/run` installs strace and runs this test.
#[test]
#[ignore = "needs strace and permission to trace"]
fn many_datagrams_share_their_system_calls() {
    // Ten datagrams: a wait, one receive and one send. 160 datagrams: as many trains as peers.
    const FEW: usize = 20;
    const MANY: usize = 220;
    const PEERS: usize = 10;
    // A kernel thread that delivers late cuts a train in two, so the best of these counts.
    const ATTEMPTS: usize = 4;
    for (each, most) in [(1, 0.31), (16, 0.155)] {
        for provider in KERNEL {
            let shares = (0..ATTEMPTS).map(|_| {
                let [few, many] =
                    [FEW, MANY].map(|rounds| traced_calls("datagram echo", provider, "all", &[rounds, PEERS, each]));
                // The peers in that process send and receive as well.
                (many as f64 - few as f64) / ((MANY - FEW) * PEERS * each) as f64 - 2.0
            });
            let mut measured = Vec::new();
            let reached = shares.inspect(|share| measured.push(*share)).any(|share| share <= most);
            let suspicious = measured.iter().any(|share| *share < 0.01);
            assert!(reached && !suspicious, "{provider}: {measured:?} system calls a datagram, {each} for each peer");
        }
    }
}

/// Counts the system calls of a scenario that gets these numbers. `calls` is a set of calls as strace(1) names it.
fn traced_calls(scenario: &str, provider: &str, calls: &str, numbers: &[usize]) -> u64 {
    // Tests of one process run side by side, so each trace has a number of its own.
    static TRACES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("ropewalk-strace-{}-{}", std::process::id(), TRACES.fetch_add(1, Ordering::Relaxed));
    let report = std::env::temp_dir().join(name);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-e", calls, "-o"]).arg(&report);
    strace.args([env!("CARGO_BIN_EXE_scenario"), scenario, provider]);
    let mut play = Performance::of(&mut strace);
    numbers.iter().for_each(|number| play.tell(&number.to_string()));
    play.ends();
    let table = fs::read_to_string(&report).expect("strace wrote its table");
    let _ = fs::remove_file(&report);
    let total = table.lines().find(|line| line.ends_with("total")).expect("a sum");
    total.split_whitespace().nth(3).and_then(|calls| calls.parse().ok()).expect("the column of calls")
}

#[test]
fn a_steady_echo_allocates_nothing() {
    // An event on the steady path must not allocate.
    for provider in KERNEL {
        let reactor = Subject::named(provider).reactor();
        let mut clients = LockStep::new(&reactor, CONNECTIONS);
        // Buffers grow to their size in the first rounds.
        (0..10).for_each(|_| clients.round());
        let cost = measure(|| (0..100).for_each(|_| clients.round()));
        assert_eq!(cost.count_total, 0, "{provider}: {cost:?}");
    }
}

#[test]
fn an_idle_connection_holds_at_most_half_a_kilobyte() {
    // The benchmark's bar for many idle connections: at most 512 bytes each, the kernel's memory excluded.
    const IDLE: usize = 400;
    for provider in KERNEL {
        let reactor = Subject::named(provider).reactor();
        let mut clients = None;
        let cost = measure(|| {
            let mut connected = LockStep::new(&reactor, IDLE);
            connected.round();
            clients = Some(connected);
        });
        let each = cost.bytes_current / IDLE as i64;
        assert!(each <= 512, "{provider}: {each} bytes a connection");
    }
}

#[test]
fn a_choice_about_lingering_allocates_nothing() {
    // Port::set_lingering, Transport::set_lingering
    let reactor = Subject::named("epoll").reactor();
    let kept = Rc::new(RefCell::new(None));
    let (made, ends) = (kept.clone(), kept.clone());
    let server = Script::new().on_made(move |transport| *made.borrow_mut() = Some(transport.clone()));
    let subject = Subject::named("epoll");
    subject.join(&reactor, &server, &Script::new()).set_lingering(false);
    when(&reactor, move || ends.borrow().is_some(), stop);
    run(&reactor);
    let transport = kept.take().expect("it is connected");
    let cost = measure(|| [true, false].iter().for_each(|on| transport.set_lingering(*on)));
    assert_eq!(cost.count_total, 0);
}

#[test]
fn cancelled_calls_leave_no_memory_behind() {
    // Cancelled timers must not accumulate, however many there were.
    let reactor = Subject::named("epoll").reactor();
    let kept = Vec::from_iter((0..100).map(|_| reactor.call_later(Duration::from_secs(3600), |_| {})));
    let cost = measure(|| {
        for round in 0..100_000 {
            let call = reactor.call_later(Duration::from_secs(60 + round % 1000), |_| {});
            kept[round as usize % kept.len()].reset(Duration::from_secs(7200)).unwrap();
            call.cancel().unwrap();
        }
    });
    assert!(cost.bytes_max < 64 * 1024, "{cost:?}");
    assert!(cost.bytes_current < 16 * 1024, "{cost:?}");
}

#[test]
fn a_burst_of_calls_returns_its_memory() {
    // Schedules a hundred thousand calls at once, and cancels all.
    let reactor = Subject::named("epoll").reactor();
    let cost = measure(|| {
        let calls = Vec::from_iter((0..100_000).map(|_| reactor.call_later(Duration::from_secs(3600), |_| {})));
        calls.iter().for_each(|call| call.cancel().unwrap());
    });
    assert!(cost.bytes_current < 64 * 1024, "{cost:?}");
}

#[test]
fn a_reset_to_a_later_time_allocates_nothing() {
    // DelayedCall.reset is one store: an idle timeout is reset with each message.
    let reactor = Subject::named("epoll").reactor();
    let call = reactor.call_later(Duration::from_secs(60), |_| {});
    let cost: AllocationInfo = measure(|| (0..1000).for_each(|_| call.reset(Duration::from_secs(60)).unwrap()));
    assert_eq!(cost.count_total, 0);
}

#[test]
fn an_idle_loop_wakes_zero_times_in_ten_seconds() {
    // An idle application must not wake the processor. This is the only test here that sleeps.
    let running = Arc::new(Barrier::new(KERNEL.len() + 1));
    let (sender, handles) = std::sync::mpsc::channel();
    let loops = KERNEL.map(|provider| {
        let (running, sender) = (running.clone(), sender.clone());
        thread::spawn(move || {
            let (reactor, counts) = Subject::named(provider).counted();
            let _idle = furnish(&reactor);
            let (look, before) = (counts.clone(), Rc::new(RefCell::new(None)));
            let start = before.clone();
            let furnished = reactor.clone();
            when(
                &reactor,
                move || furnished.source_count() == 2,
                move |reactor| {
                    sender.send(reactor.thread_handle()).unwrap();
                    running.wait();
                    *start.borrow_mut() = Some((look.now(), context_switches()));
                },
            );
            run(&reactor);
            let (before, switches) = before.take().expect("it ran");
            (provider, counts.since(before).waits, context_switches() - switches)
        })
    });
    running.wait();
    thread::sleep(Duration::from_secs(10));
    let pool = pool_switches();
    for handle in handles.iter().take(KERNEL.len()) {
        handle.call_from_thread(stop);
    }
    for idle in loops {
        let (provider, waits, switches) = idle.join().unwrap();
        // There is only one wait, which the stop interrupted.
        assert_eq!(waits, 1, "{provider}");
        assert!(switches <= 3, "{provider}: the thread slept {switches} times");
    }
    assert!(pool.iter().all(|switches| *switches <= 20), "threads of the pool slept {pool:?} times");
}

/// Gives the reactor a port, a connection, a distant call, a thread in the pool and a task, as an idle program has.
fn furnish(reactor: &Reactor) -> (TcpStream, ropewalk::Port) {
    let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
    let client = TcpStream::connect(port.host().unwrap().inet().unwrap()).unwrap();
    reactor.call_later(Duration::from_secs(3600), |_| {});
    reactor.call_later(Duration::from_millis(1), |_| {}).reset(Duration::from_secs(60)).unwrap();
    reactor.call_in_thread(|| {});
    drop(reactor.spawn(std::future::pending::<()>()));
    (client, port)
}

/// Returns the number of times that this thread has gone to sleep.
fn context_switches() -> u64 {
    switches_in("/proc/thread-self/status")
}

fn switches_in(status: &str) -> u64 {
    let status = fs::read_to_string(status).expect("proc(5)");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// Returns, for each thread of the pools, the number of times that it has gone to sleep.
fn pool_switches() -> Vec<u64> {
    let threads = fs::read_dir("/proc/self/task").expect("proc(5)").map(|entry| entry.expect("a thread").path());
    let is_pool = |path: &std::path::PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ropewalk-pool")
    };
    threads.filter(is_pool).map(|path| switches_in(&path.join("status").to_string_lossy())).collect()
}

#[test]
fn a_reactor_that_runs_again_keeps_no_memory_of_its_runs() {
    // A program may stop and run a reactor any number of times.
    let reactor = Subject::named("epoll").reactor();
    let once = || {
        reactor.call_when_running(stop);
        reactor.run_with(RunOptions::default().without_signal_handlers()).unwrap();
    };
    (0..10).for_each(|_| once());
    let cost = measure(|| (0..1000).for_each(|_| once()));
    assert!(cost.bytes_current <= 0, "{cost:?}");
}
