//! Signals end the program in order, soon, and with status 0.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::Client;
use crate::running::{ANYWHERE, Running, eventually, reactors};
use crate::scratch::Scratch;
use crate::wire::read_exactly;

const SOON: Duration = Duration::from_millis(500);

/// How often is tried whether something ends soon. A machine that stood still meanwhile does not tell.
const TRIES: usize = 10;

/// What is begun here, a server and its clients, ends in order, and soon.
#[track_caller]
fn ends_soon<T>(begin: impl Fn() -> (Running, T)) {
    ends_soon_with(0, || {
        let (mut server, clients) = begin();
        let outcome = server.terminate();
        drop(clients);
        outcome
    });
}

/// As [`ends_soon`], with this status.
#[track_caller]
fn ends_soon_with(expected_status: i32, end: impl Fn() -> (ExitStatus, Duration)) {
    let mut times = Vec::new();
    while times.len() < TRIES {
        let (status, took) = end();
        assert_eq!(status.code(), Some(expected_status));
        if took < SOON {
            return;
        }
        times.push(took);
    }
    panic!("{times:?}");
}

#[test]
fn sigterm_ends_every_command_on_every_reactor() {
    let scratch = Scratch::new();
    let directory = scratch.join("");
    let commands: [&[&str]; 6] = [
        &["echo"],
        &["discard"],
        &["chargen"],
        &["daytime"],
        &["portforward", "--to", "tcp:127.0.0.1:9"],
        &["serve", &directory],
    ];
    for reactor in reactors() {
        for command in commands {
            ends_soon(|| (Running::start(&[&["-r", reactor], command].concat()), ()));
        }
    }
}

#[test]
fn ctrl_c_ends_it() {
    ends_soon_with(0, || {
        // Whoever runs the tests in the background ignores SIGINT, and so would the program.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_ropewalk"), "echo", "--listen", ANYWHERE]);
        let mut server = Running::start_command(command);
        let began = Instant::now();
        server.signal(Signal::INT);
        (server.wait(), began.elapsed())
    });
}

#[test]
fn connections_in_the_middle_of_something_do_not_hold_it_up() {
    ends_soon(|| {
        let server = Running::start(&["chargen"]);
        let streams: Vec<_> = (0..100).map(|_| server.connect()).collect();
        streams.iter().for_each(|mut stream| drop(stream.read(&mut [0])));
        (server, streams)
    });
}

#[test]
fn a_file_on_its_way_does_not_hold_it_up() {
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    ends_soon(|| {
        let server = Running::start(&["serve", &scratch.join("")]);
        let mut client = Client::new(&server);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.reply_head().field("content-length"), (1 << 30).to_string());
        (server, client)
    });
}

#[test]
fn a_file_on_its_way_does_not_hold_up_who_insists() {
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    ends_soon_with(143, || {
        let mut server = Running::start(&["serve", &scratch.join(""), "--grace", "30"]);
        let mut client = Client::new(&server);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.reply_head().field("content-length"), (1 << 30).to_string());
        server.signal(Signal::TERM);
        eventually("it stops listening", || TcpStream::connect(server.address()).is_err());
        server.terminate()
    });
}

#[test]
fn a_connection_being_made_does_not_hold_it_up() {
    // A full queue: the target neither accepts nor refuses.
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", target.local_addr().unwrap());
    ends_soon(|| {
        let server = Running::start(&["portforward", "--to", &place]);
        let mut streams: Vec<_> = (0..300).map(|_| server.connect()).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
        let (mut accepted, _) = target.accept().unwrap();
        assert_eq!(read_exactly(&mut accepted, 1), b"x");
        (server, (streams, accepted))
    });
}
