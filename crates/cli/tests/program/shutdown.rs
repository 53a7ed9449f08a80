//! A signal stops the program quickly and in order, with status 0.

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

/// The number of attempts. An attempt during which the machine was suspended proves nothing.
const TRIES: usize = 10;

/// Checks that the server which `begin` starts stops quickly, with status 0.
#[track_caller]
fn stops_quickly<T>(begin: impl Fn() -> (Running, T)) {
    stops_quickly_with(0, || {
        let (mut server, clients) = begin();
        let outcome = server.terminate();
        drop(clients);
        outcome
    });
}

/// Checks that `end` takes little time, and returns this status.
#[track_caller]
fn stops_quickly_with(expected_status: i32, end: impl Fn() -> (ExitStatus, Duration)) {
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
fn sigterm_stops_every_command_on_every_reactor() {
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
            stops_quickly(|| (Running::start(&[&["-r", reactor], command].concat()), ()));
        }
    }
}

#[test]
fn ctrl_c_stops_the_program() {
    stops_quickly_with(0, || {
        // If the tests run in the background, SIGINT is ignored, and the program would inherit that.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_ropewalk"), "echo", "--listen", ANYWHERE]);
        let mut server = Running::start_command(command);
        let began = Instant::now();
        server.signal(Signal::INT);
        (server.wait(), began.elapsed())
    });
}

#[test]
fn busy_connections_do_not_delay_the_exit() {
    stops_quickly(|| {
        let server = Running::start(&["chargen"]);
        let streams: Vec<_> = (0..100).map(|_| server.connect()).collect();
        streams.iter().for_each(|mut stream| drop(stream.read(&mut [0])));
        (server, streams)
    });
}

#[test]
fn a_response_in_progress_does_not_delay_the_exit() {
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    stops_quickly(|| {
        let server = Running::start(&["serve", &scratch.join("")]);
        let mut client = Client::new(&server);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.reply_head().field("content-length"), (1 << 30).to_string());
        (server, client)
    });
}

#[test]
fn a_second_signal_cuts_responses_in_progress() {
    let scratch = Scratch::new();
    scratch.write_sparse("large", 1 << 30, []);
    stops_quickly_with(143, || {
        let mut server = Running::start(&["serve", &scratch.join(""), "--grace", "30"]);
        let mut client = Client::new(&server);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.reply_head().field("content-length"), (1 << 30).to_string());
        server.signal(Signal::TERM);
        eventually("the port is closed", || TcpStream::connect(server.address()).is_err());
        server.terminate()
    });
}

#[test]
fn a_connection_attempt_does_not_delay_the_exit() {
    // The queue of the target is full, so it neither accepts nor refuses.
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", target.local_addr().unwrap());
    stops_quickly(|| {
        let server = Running::start(&["portforward", "--to", &place]);
        let mut streams: Vec<_> = (0..300).map(|_| server.connect()).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
        let (mut accepted, _) = target.accept().unwrap();
        assert_eq!(read_exactly(&mut accepted, 1), b"x");
        (server, (streams, accepted))
    });
}
