//! Tests the program `terminal`: in virtual time with programs that are closures, then with real ones.

// `main` is not called here.
#[allow(dead_code)]
#[path = "../terminal.rs"]
mod terminal;

use std::time::Duration;

use ropewalk::processes::{Command, ExitStatus, Signal, WindowSize};
use ropewalk::testing::{MemoryReactor, SimulatedChild, TestStream};

use terminal::{Limits, Terminals};

const SECOND: Duration = Duration::from_secs(1);

const LIMITS: Limits =
    Limits { sessions: 2, greeting: Duration::from_secs(10), idle: Duration::from_secs(600), grace: SECOND };

const ADDRESS: &str = "127.0.0.1:8023";

/// Returns a server whose shell is `program`.
fn server(program: impl Fn(&SimulatedChild) + 'static) -> (MemoryReactor, Terminals) {
    let net = MemoryReactor::new();
    net.install_program("shell", program);
    let terminals = Terminals::new(&net, Command::new("shell"), LIMITS);
    net.listen_tcp(ADDRESS, terminals.factory()).unwrap();
    (net, terminals)
}

/// Connects a client, whose first line is a size.
fn connect(net: &MemoryReactor) -> TestStream {
    let client = net.connect_stream(ADDRESS);
    client.write(b"132x50\r\n");
    net.settle();
    client
}

fn text(client: &TestStream) -> String {
    String::from_utf8(client.received()).unwrap()
}

fn status(net: &MemoryReactor) -> Option<ExitStatus> {
    net.spawned().last().expect("a program").status()
}

fn killed(signal: Signal) -> Option<ExitStatus> {
    Some(ExitStatus::Killed { signal: signal.number(), core_dumped: false })
}

/// A program that waits for signals.
fn idle(_child: &SimulatedChild) {}

/// A program that ignores HUP and TERM.
fn stubborn(child: &SimulatedChild) {
    child.on_signal(Signal::HUP, |_| ());
    child.on_signal(Signal::TERM, |_| ());
}

#[test]
fn a_terminal_has_the_size_of_the_first_line() {
    let (net, _terminals) = server(idle);
    let _client = connect(&net);
    assert_eq!(net.spawned()[0].window_size(), Some(WindowSize::new(50, 132)));
}

#[test]
fn keys_and_output_are_carried_until_the_exit() {
    let (net, _terminals) = server(|child: &SimulatedChild| {
        child.write(1, "$ ");
        child.on_data(0, |child, keys| {
            child.write(1, keys.to_ascii_uppercase());
            child.exit(3);
        });
    });
    // The keys follow in the same segment as the size.
    let client = net.connect_stream(ADDRESS);
    client.write(b"80x24\nexit 3\r");
    net.settle();
    assert_eq!(text(&client), "$ EXIT 3\r\r\n* shell: exited with status 3\r\n");
    assert!(client.is_eof());
}

#[test]
fn a_client_that_is_no_terminal_gets_no_program() {
    for (line, answer) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "expected the size of the window, such as 80x24"),
        ("80x\n", "expected the size of the window, such as 80x24"),
        ("80x24", "timed out after 10s"),
    ] {
        let (net, _terminals) = server(idle);
        let client = net.connect_stream(ADDRESS);
        client.write(line);
        net.advance(LIMITS.greeting);
        net.settle();
        assert!(text(&client).contains(answer) && client.is_eof(), "{line}: {}", text(&client));
        assert!(net.spawned().is_empty());
    }
}

#[test]
fn a_program_that_cannot_start_is_reported() {
    let net = MemoryReactor::new();
    let terminals = Terminals::new(&net, Command::new("shell"), LIMITS);
    net.listen_tcp(ADDRESS, terminals.factory()).unwrap();
    let client = connect(&net);
    assert!(text(&client).contains("no folder in PATH has a program of this name"), "{}", text(&client));
    assert!(client.is_eof());
}

#[test]
fn a_client_that_does_not_read_holds_the_program_back() {
    let (net, _terminals) = server(|child: &SimulatedChild| {
        child.write(1, vec![b'#'; 10_000_000]);
        child.exit(0); // when everything has been taken
    });
    let client = net.connect_stream(ADDRESS);
    client.pause_reading();
    client.write(b"80x24\n");
    net.settle();
    assert_eq!(status(&net), None);
    client.resume_reading();
    net.settle();
    assert_eq!(status(&net), Some(ExitStatus::Exited(0)));
    assert!(text(&client).ends_with("#\r\n* shell: exited with status 0\r\n"));
    assert_eq!(client.received().iter().filter(|byte| **byte == b'#').count(), 10_000_000);
}

#[test]
fn a_program_that_does_not_read_holds_the_client_back() {
    let (net, _terminals) = server(|child: &SimulatedChild| {
        child.call_later(60 * SECOND, |child| child.on_data(0, |child, keys| child.write(1, keys)));
    });
    let client = connect(&net);
    client.write(&[b'k'; 1_000_000]);
    net.settle();
    assert!(client.unread() > 500_000, "{} bytes are held back", client.unread());
    net.advance(60 * SECOND);
    net.settle();
    assert_eq!(client.received(), vec![b'k'; 1_000_000]);
}

#[test]
fn a_lost_client_hangs_the_terminal_up() {
    let (net, _terminals) = server(idle);
    let client = connect(&net);
    client.abort();
    net.settle();
    assert_eq!(status(&net), killed(Signal::HUP));
}

#[test]
fn a_lost_client_whose_keys_wait_is_idle() {
    // Nothing reads from the client, and nothing is written to it, so nothing notices the loss.
    let (net, _terminals) = server(idle);
    let client = connect(&net);
    client.write(&[b'k'; 1_000_000]);
    net.settle();
    client.abort();
    net.advance(2 * LIMITS.idle);
    assert_eq!(status(&net), killed(Signal::HUP));
}

#[test]
fn a_stubborn_program_is_killed_after_the_grace() {
    let (net, _terminals) = server(stubborn);
    let client = connect(&net);
    client.close();
    net.advance(LIMITS.grace / 2);
    assert_eq!(status(&net), None);
    net.advance(LIMITS.grace);
    assert_eq!(status(&net), killed(Signal::KILL));
}

#[test]
fn a_client_that_stops_sending_gets_the_last_words() {
    let (net, _terminals) = server(|child: &SimulatedChild| {
        child.on_signal(Signal::TERM, |_| ());
        child.on_signal(Signal::HUP, |child| {
            child.call_later(SECOND / 2, |child| {
                child.write(1, "saved");
                child.exit(1);
            });
        });
    });
    let client = connect(&net);
    client.finish();
    net.advance(SECOND);
    assert_eq!(text(&client), "saved\r\n* shell: exited with status 1\r\n");
    assert!(client.is_eof());
}

#[test]
fn sessions_are_bounded_until_their_programs_have_ended() {
    let (net, _terminals) = server(stubborn);
    let [first, _silent] = [connect(&net), net.connect_stream(ADDRESS)];
    net.settle();
    let third = connect(&net);
    assert!(text(&third).contains("too many sessions") && third.is_eof());
    // The place is free when the program has ended, not when its client has.
    first.abort();
    net.settle();
    assert!(connect(&net).is_eof());
    net.advance(2 * LIMITS.grace);
    assert!(!connect(&net).is_eof());
}

#[test]
fn an_idle_session_ends() {
    let (net, _terminals) = server(idle);
    let client = connect(&net);
    net.advance(LIMITS.idle / 2);
    client.write(b"k");
    net.advance(LIMITS.idle / 2);
    assert_eq!(status(&net), None);
    net.advance(LIMITS.idle);
    assert_eq!(status(&net), killed(Signal::HUP));
    assert!(client.is_eof());
}

#[test]
fn a_stop_reports_the_end_to_each_client() {
    let (net, terminals) = server(stubborn);
    let [client, silent] = [connect(&net), net.connect_stream(ADDRESS)];
    net.settle();
    let stopped = terminals.stop();
    net.advance(2 * LIMITS.grace);
    assert!(stopped.is_done() && silent.is_eof());
    assert_eq!(text(&client), "\r\n* shell: killed by signal 9\r\n");
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_does_not_read() {
    let (net, terminals) = server(|child: &SimulatedChild| child.write(1, vec![b'#'; 10_000_000]));
    let client = net.connect_stream(ADDRESS);
    client.pause_reading();
    client.write(b"80x24\n");
    net.settle();
    let stopped = terminals.stop();
    net.advance(3 * LIMITS.grace);
    assert!(stopped.is_done());
    assert_eq!(status(&net), killed(Signal::HUP));
}

#[cfg(target_os = "linux")]
mod real {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use ropewalk::Reactor;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

    use super::terminal::{Limits, Terminals};

    /// The program, which is killed when a test fails.
    struct Server {
        program: Child,
        address: String,
    }

    impl Server {
        fn start(provider: &str, script: &str) -> Server {
            let mut program = Command::new(env!("CARGO_BIN_EXE_terminal"));
            program.args(["--listen", "127.0.0.1:0", "sh", "-c", script]).env("ROPEWALK_REACTOR", provider);
            let mut program = program.stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(program.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            let address = line.strip_prefix("terminals at ").and_then(|rest| rest.split(',').next());
            Server { address: address.expect("an address").to_owned(), program }
        }

        fn connect(&self) -> BufReader<TcpStream> {
            let client = TcpStream::connect(&self.address).unwrap();
            (&client).write_all(b"100x30\n").unwrap();
            BufReader::new(client)
        }

        /// Sends TERM, and waits for a clean exit.
        fn stop(mut self) {
            kill_process(Pid::from_child(&self.program), Signal::TERM).unwrap();
            assert!(self.program.wait().unwrap().success());
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.program.kill();
            let _ = self.program.wait();
        }
    }

    fn providers() -> impl Iterator<Item = &'static str> {
        ropewalk::reactors().into_iter().filter(|info| info.unavailable.is_none()).map(|info| info.name)
    }

    /// Reads a line of the terminal.
    fn line(client: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn rest(client: &mut BufReader<TcpStream>) -> String {
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        rest
    }

    #[test]
    fn a_real_program_has_a_terminal_until_its_exit() {
        for provider in providers() {
            let server = Server::start(provider, "stty -echo; stty size; read status; exit $status");
            let mut client = server.connect();
            assert_eq!(line(&mut client), "30 100", "on {provider}");
            client.get_ref().write_all(b"3\r").unwrap();
            assert_eq!(rest(&mut client), "\r\n* sh: exited with status 3\r\n", "on {provider}");
            server.stop();
        }
    }

    #[test]
    fn a_real_program_ends_with_its_connection() {
        for provider in providers() {
            let server = Server::start(provider, "echo $$; read never");
            let mut client = server.connect();
            let pid = Pid::from_raw(line(&mut client).parse().unwrap()).unwrap();
            let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            drop(client);
            // Until the process has ended.
            poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
            server.stop();
        }
    }

    #[test]
    fn a_real_stop_reports_the_end_of_each_session() {
        for provider in providers() {
            let server = Server::start(provider, "echo ready; read never");
            let mut client = server.connect();
            assert_eq!(line(&mut client), "ready");
            server.stop();
            assert!(rest(&mut client).ends_with("\r\n* sh: killed by signal 1\r\n"), "on {provider}");
        }
    }

    #[test]
    fn a_program_that_leaves_its_terminal_is_stopped() {
        let reactor = Reactor::new().unwrap();
        let command = ropewalk::processes::Command::new("sh");
        let command = command.args(["-c", "exec </dev/null >/dev/null 2>&1; sleep 1000; exit 0"]);
        let limits = Limits { grace: Duration::from_millis(10), ..Limits::default() };
        let terminals = Terminals::new(&reactor, command, limits);
        let address = reactor.listen_tcp("127.0.0.1:0", terminals.factory()).unwrap().host().unwrap().to_string();
        let handle = reactor.thread_handle();
        let client = thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"80x24\n").unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            handle.call_from_thread(|reactor| reactor.stop().unwrap());
            text
        });
        reactor.run().unwrap();
        assert_eq!(client.join().unwrap(), "\r\n* sh: killed by signal 1\r\n");
    }

    #[test]
    fn an_address_of_the_network_is_refused() {
        let mut program = Command::new(env!("CARGO_BIN_EXE_terminal"));
        let output = program.args(["--listen", "0.0.0.0:0"]).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("is not a loopback address"));
    }
}
