//! The scenarios that the child process plays. A specification expects their lines.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use ropewalk::proto::Deferred;
use ropewalk::sys::signals::SignalGuard;
use ropewalk::sys::{Wake, Waker};
use ropewalk::{Phase, Reactor, RunOptions};
use rustix::net::sockopt;
use rustix::process::{Signal, getpid, kill_process};

use super::dialogue::{hear, say, saying};
#[cfg(target_os = "linux")]
use super::groups;
use super::{children, crowds, passing};
use crate::Subject;
use crate::datagram_script::DatagramScript;
use crate::lock_step::LockStep;
use crate::script::{Script, stop};

type Scenario = fn(&Subject);

const SCENARIOS: &[(&str, Scenario)] = &[
    ("child status", children::status),
    ("children before a fork", children::before_a_fork),
    ("a guest before a fork", children::guest_before_a_fork),
    ("a child before a death", children::before_a_death),
    ("children beside a thief", children::beside_a_thief),
    ("crowded", crowds::crowded),
    ("exhausted", crowds::exhausted),
    ("beyond select", crowds::beyond_select),
    ("thousand", crowds::thousand),
    ("few free descriptors", passing::few_free_descriptors),
    ("no free descriptors", passing::no_free_descriptors),
    ("passed descriptors", passing::passed_descriptors),
    ("serve", serve),
    ("made", made),
    ("reacting", reacting),
    ("starting", starting),
    ("raised at the start", raised_at_the_start),
    ("blocked thread", blocked_thread),
    ("busy callback", busy_callback),
    ("stubborn shutdown", stubborn_shutdown),
    ("signals in one turn", signals_in_one_turn),
    ("raised after shutdown", raised_after_shutdown),
    ("restored", restored),
    ("crashed", crashed),
    ("opted out", opted_out),
    ("several", several),
    ("twice", twice),
    ("pieces", pieces),
    ("detached", detached),
    ("interrupted", interrupted),
    ("watching", watching),
    ("threads", threads),
    ("chosen", chosen),
    ("echo", echo),
    ("large answers", large_answers),
    ("pipe echo", pipe_echo),
    ("datagram echo", datagram_echo),
];

/// The scenarios that are played in a network namespace.
#[cfg(target_os = "linux")]
const IN_A_NETWORK: &[(&str, Scenario)] = &[
    ("membership", groups::membership),
    ("details of a group", groups::details_of_a_group),
    ("foreign groups", groups::foreign_groups),
    ("failed memberships", groups::failed_memberships),
    ("interface of a group", groups::interface_of_a_group),
    ("reach of a group", groups::reach_of_a_group),
    ("broadcast", groups::broadcast),
    ("trains beyond the packet size", groups::trains_beyond_the_packet_size),
    ("probes", groups::probes),
];

#[cfg(not(target_os = "linux"))]
const IN_A_NETWORK: &[(&str, Scenario)] = &[];

/// Plays the scenario that the program's arguments name.
///
/// # Panics
/// If the arguments name no scenario.
pub fn play() {
    let arguments = Vec::from_iter(std::env::args().skip(1));
    let [name, provider] = &arguments[..] else { panic!("usage: scenario NAME PROVIDER") };
    let provider = ropewalk::reactors().iter().find(|reactor| reactor.name == provider).expect("a provider").name;
    let (_, scenario) = SCENARIOS.iter().chain(IN_A_NETWORK).find(|(known, _)| known == name).expect("a scenario");
    scenario(&Subject::named(provider));
}

fn raise(signal: Signal) {
    kill_process(getpid(), signal).expect("a signal to oneself");
}

/// Runs, and reports the outcome.
fn run(reactor: &Reactor) {
    let outcome = reactor.run();
    say(&format!("ended {outcome:?}, signal {:?}", reactor.exit_signal()));
}

/// Runs a main future that never completes. Reports its drop and the exit status.
fn reacting(subject: &Subject) {
    struct Witness;

    impl Drop for Witness {
        fn drop(&mut self) {
            say("main dropped");
        }
    }

    let reactor = subject.plain_reactor();
    announce_shutdown(&reactor);
    let status = ropewalk::react_on(&reactor, RunOptions::default(), |_| async {
        let _witness = Witness;
        say("ready");
        std::future::pending::<()>().await;
    });
    say(&format!("{:?}", status == std::process::ExitCode::from(130)));
}

fn announce_shutdown(reactor: &Reactor) {
    for (phase, line) in [(Phase::Before, "before"), (Phase::During, "during"), (Phase::After, "after")] {
        reactor.add_system_event_trigger(phase, "shutdown", saying(line));
    }
}

/// Sends SIGTERM to its own process, which dies unless a handler is installed.
fn expect_to_die() -> ! {
    raise(Signal::TERM);
    say("survived");
    std::process::exit(0);
}

fn serve(subject: &Subject) {
    let reactor = subject.reactor();
    announce_shutdown(&reactor);
    // The line is printed from the loop, because the handlers are installed once the loop runs.
    reactor.call_later(Duration::ZERO, saying("ready"));
    run(&reactor);
}

/// Reports each SIGUSR1. Without watches the signal kills the process.
fn watching(subject: &Subject) {
    let reactor = subject.reactor();
    let impossible = [Signal::KILL, Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL];
    let refused = impossible.iter().all(|signal| reactor.on_signal(signal.as_raw(), |_| ()).is_err());
    say(&format!("refused {refused}"));
    let watches = ["first", "second"]
        .map(|name| reactor.on_signal(Signal::USR1.as_raw(), move |_| say(name)).expect("a signal that can be caught"));
    reactor.call_later(Duration::ZERO, saying("ready"));
    run(&reactor);
    drop(watches);
    raise(Signal::USR1);
    say("survived");
}

fn made(subject: &Subject) {
    let _reactor = subject.reactor();
    expect_to_die();
}

fn starting(subject: &Subject) {
    let reactor = subject.reactor();
    let (deferred, _resolver) = Deferred::<()>::new();
    reactor.add_system_event_trigger(Phase::Before, "startup", move |_: &Reactor| deferred);
    reactor.call_when_running(saying("started"));
    reactor.call_later(Duration::ZERO, saying("ready"));
    run(&reactor);
}

fn raised_at_the_start(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.add_system_event_trigger(Phase::Before, "startup", |_: &Reactor| raise(Signal::INT));
    reactor.call_when_running(saying("started"));
    announce_shutdown(&reactor);
    run(&reactor);
}

fn blocked_thread(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.call_in_thread(|| {
        say("ready");
        hear();
        say("the thread continued");
    });
    run(&reactor);
}

fn busy_callback(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.call_when_running(|_| {
        say("ready");
        hear();
        say("callback over");
    });
    run(&reactor);
}

fn stubborn_shutdown(subject: &Subject) {
    let reactor = subject.reactor();
    let (deferred, _resolver) = Deferred::<()>::new();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor: &Reactor| {
        reactor.call_later(Duration::ZERO, saying("shutting down"));
        deferred
    });
    reactor.add_system_event_trigger(Phase::During, "shutdown", saying("during"));
    reactor.call_later(Duration::ZERO, saying("ready"));
    run(&reactor);
}

fn signals_in_one_turn(subject: &Subject) {
    let reactor = subject.reactor();
    announce_shutdown(&reactor);
    reactor.call_when_running(|_| [Signal::INT, Signal::TERM, Signal::INT].into_iter().for_each(raise));
    reactor.add_system_event_trigger(Phase::Before, "shutdown", |reactor: &Reactor| {
        let (deferred, resolver) = Deferred::new();
        reactor.call_later(Duration::from_millis(1), move |_| resolver.callback(()).expect("it waits"));
        deferred
    });
    let outcome = reactor.run();
    say(&format!("ended {outcome:?}"));
}

fn raised_after_shutdown(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.add_system_event_trigger(Phase::During, "shutdown", |_: &Reactor| raise(Signal::TERM));
    reactor.add_system_event_trigger(Phase::After, "shutdown", |_: &Reactor| raise(Signal::INT));
    reactor.add_system_event_trigger(Phase::After, "shutdown", saying("after"));
    reactor.call_when_running(stop);
    run(&reactor);
    expect_to_die();
}

fn restored(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.call_later(Duration::ZERO, stop);
    run(&reactor);
    expect_to_die();
}

fn crashed(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.call_later(Duration::ZERO, Reactor::crash);
    run(&reactor);
    expect_to_die();
}

fn opted_out(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.call_later(Duration::ZERO, |_| expect_to_die());
    let _ = reactor.run_with(RunOptions::default().without_signal_handlers());
}

fn several(subject: &Subject) {
    let running = Arc::new(Barrier::new(4));
    let threads = Vec::from_iter((0..3).map(|_| {
        let (subject, running) = (*subject, running.clone());
        thread::spawn(move || {
            let reactor = subject.reactor();
            reactor.call_when_running(move |_| {
                running.wait();
            });
            reactor.run().map(|()| reactor.exit_signal())
        })
    }));
    running.wait();
    say("ready");
    for thread in threads {
        say(&format!("ended {:?}", thread.join().expect("no panic")));
    }
    expect_to_die();
}

fn twice(subject: &Subject) {
    let reactor = subject.reactor();
    for _ in 0..2 {
        reactor.call_later(Duration::ZERO, saying("ready"));
        run(&reactor);
    }
    reactor.call_when_running(stop);
    run(&reactor);
}

fn pieces(subject: &Subject) {
    let reactor = subject.reactor();
    announce_shutdown(&reactor);
    reactor.start_running(RunOptions::default()).expect("it starts");
    say("ready");
    while reactor.is_started() {
        let limit = reactor.prepare().expect("no other wait is in progress");
        if reactor.is_started() {
            reactor.wait(limit).expect("it can wait");
            reactor.dispatch();
        }
    }
    expect_to_die();
}

fn detached(subject: &Subject) {
    let reactor = subject.reactor();
    reactor.start_running(RunOptions::default()).expect("it starts");
    let limit = reactor.prepare().expect("no other wait is in progress");
    let mut wait = reactor.detach_wait().expect("no other wait is in progress");
    let waiting = thread::spawn(move || {
        say("ready");
        wait.wait(limit).map(|events| events.len())
    });
    say(&format!("waited {:?}", waiting.join().expect("no panic")));
    reactor.prepare().expect("the wait is over");
    say(&format!("started {}, signal {:?}", reactor.is_started(), reactor.exit_signal()));
}

/// Installs a signal handler whose only effect is the interruption.
fn interrupted(subject: &Subject) {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(&self) {}
    }
    let guard = SignalGuard::install(&[Signal::USR1.as_raw()], Waker::new(Arc::new(Nothing))).expect("a signal");
    // The guard is kept until the process exits, because a late signal must not kill it.
    std::mem::forget(guard);
    let (reactor, counts) = subject.counted();
    let hour = reactor.call_later(Duration::from_secs(3600), saying("an hour passed"));
    let handle = reactor.thread_handle();
    thread::spawn(move || {
        // The specification sends signals until this loop ends.
        while counts.now().empty_waits < 3 {
            thread::yield_now();
        }
        handle.call_from_thread(stop);
    });
    reactor.call_later(Duration::ZERO, saying("ready"));
    run(&reactor);
    say(&format!("hour still waits: {}", hour.active()));
}

/// Reports the number of threads before the run.
fn threads(subject: &Subject) {
    let reactor = subject.reactor();
    let worked = Arc::new(AtomicUsize::new(0));
    let count = worked.clone();
    let done = reactor.defer_to_thread(move || count.fetch_add(1, Ordering::SeqCst));
    let _name = reactor.resolve_host_name("127.1", 80);
    let before = thread_count();
    let handle = reactor.thread_handle();
    done.add_callback(move |_| handle.call_from_thread(stop));
    run(&reactor);
    say(&format!("{before} before, {} worked", worked.load(Ordering::SeqCst)));
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").expect("proc(5)").count()
}

/// Reports the reactor that the environment chooses.
fn chosen(_subject: &Subject) {
    match Reactor::new() {
        Ok(reactor) => say(reactor.name()),
        Err(error) => say(&error.to_string()),
    }
}

/// Plays rounds of messages. The first two lines of the input are the number of rounds and the number of connections.
fn echo(subject: &Subject) {
    let [rounds, connections] = [hear(), hear()].map(|number| number.parse().expect("a number"));
    let reactor = subject.reactor();
    let mut clients = LockStep::new(&reactor, connections);
    (0..rounds).for_each(|_| clients.round());
}

/// Sends messages through a connection of two pipes, one at a time. The first line of the input is their number.
fn pipe_echo(subject: &Subject) {
    let messages: usize = hear().parse().expect("a number");
    let reactor = subject.reactor();
    let [(input, to_input), (from_output, output)] = [rustix::pipe::pipe(), rustix::pipe::pipe()].map(Result::unwrap);
    let _transport = reactor.adopt_pipes(input, output, &Script::echo().factory()).expect("a connection");
    reactor.iterate(Some(Duration::ZERO)).expect("a turn");
    let mut received = [0; 64];
    for _ in 0..messages {
        rustix::io::write(&to_input, &[b'x'; 64]).expect("room in the pipe");
        reactor.iterate(Some(Duration::ZERO)).expect("a turn");
        assert_eq!(rustix::io::read(&from_output, &mut received).expect("an answer"), 64);
    }
}

/// Echoes rounds of datagrams. The lines of the input are the numbers of rounds, of peers, and of datagrams that each
/// peer sends in a round.
fn datagram_echo(subject: &Subject) {
    let [rounds, peers, each]: [usize; 3] = [hear(), hear(), hear()].map(|number| number.parse().expect("a number"));
    let (reactor, script) = (subject.reactor(), DatagramScript::echo());
    let port = reactor.listen_udp("127.0.0.1:0", script.clone()).expect("a port");
    let connected = |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(port.host().inet().expect("a UDP port")).expect("a socket");
        socket
    };
    let sockets: Vec<_> = (0..peers).map(connected).collect();
    for round in 1..=rounds {
        let all = || sockets.iter().flat_map(|socket| (0..each).map(move |_| socket));
        all().for_each(|socket| assert_eq!(socket.send(&[b'x'; 64]).expect("room"), 64));
        let has_all = script.has(round * peers * each);
        while !has_all() {
            reactor.iterate(Some(Duration::ZERO)).expect("a turn");
        }
        all().for_each(|socket| assert_eq!(socket.recv(&mut [0; 65]).expect("an echo"), 64));
    }
}

/// Asks for answers that are larger than the buffers of a connection. The first line of the input is the number of
/// answers.
fn large_answers(subject: &Subject) {
    const ANSWER_BYTES: usize = 16 * 1024 * 1024;
    let answers: usize = hear().parse().expect("a number");
    let (reactor, answer) = (subject.reactor(), vec![b'x'; ANSWER_BYTES]);
    let server = Script::new().on_data(move |transport, _| transport.write(&answer));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // Accepted connections inherit the size. A buffer that takes more than a turn's share would cost calls of its own.
    sockopt::set_socket_send_buffer_size(&listener, 64 * 1024).expect("a socket");
    let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("the port listens");
    client.set_nonblocking(true).expect("a socket");
    let _port = reactor.adopt_stream_port(listener, server.factory()).expect("a port");
    let mut buffer = vec![0; 256 * 1024];
    for _ in 0..answers {
        client.write_all(b"?").expect("room for a byte");
        let mut left = ANSWER_BYTES;
        while left > 0 {
            reactor.iterate(Some(Duration::ZERO)).expect("a turn");
            match client.read(&mut buffer) {
                Ok(count) => left -= count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}
