//! More connections than file descriptors.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::http::Client;
use crate::running::{ANYWHERE, Running, eventually, program, reactors};
use crate::scratch::Scratch;
use crate::wire::read_exactly;

const DESCRIPTORS: usize = 64;

/// Starts the program with a limit of [`DESCRIPTORS`] open descriptors.
fn start_limited(arguments: &[&str]) -> Running {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_ropewalk")]).args(arguments).args(["--listen", ANYWHERE]);
    Running::start_command(command)
}

/// Sends one byte and expects its echo.
#[track_caller]
fn is_served(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    assert_eq!(read_exactly(stream, 1), b"x");
}

/// Checks that old connections are served during a flood, without busy waiting, and new ones after it.
fn withstands_a_flood(server: Running) -> Running {
    let mut old: Vec<_> = (0..10).map(|_| server.connect()).collect();
    old.iter_mut().for_each(is_served);
    // The system has accepted these connections into its queue.
    let flood: Vec<_> = (0..2 * DESCRIPTORS).map(|_| server.connect()).collect();
    eventually("the descriptors are used up", || server.descriptors() > DESCRIPTORS - 22);
    old.iter_mut().for_each(is_served);

    let before = server.processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = server.processor_time() - before;
    assert!(spent < Duration::from_millis(100), "busy waiting: {spent:?}");
    old.iter_mut().for_each(is_served);

    drop(flood);
    is_served(&mut server.connect());
    old.iter_mut().for_each(is_served);
    server
}

#[test]
fn the_default_limit_keeps_descriptors_free() {
    let mut server = withstands_a_flood(start_limited(&["echo"]));
    let log = server.log();
    assert!(log.contains("connection limit reached: new connections wait until one closes"), "{log}");
    assert!(!log.contains("cannot accept"), "{log}");
}

#[test]
fn a_service_without_free_descriptors_recovers() {
    for reactor in reactors() {
        let mut server = withstands_a_flood(start_limited(&["-r", reactor, "echo", "--max-connections", "1000"]));
        let log = server.log();
        let messages = log.matches("cannot accept").count();
        // The message is logged once in ten seconds.
        assert!((1..4).contains(&messages), "{reactor}: {log}");
    }
}

#[test]
fn a_connection_without_its_header_counts() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.77 192.0.2.1 54321 7\r\n";
    let place = format!("haproxy:{ANYWHERE}");
    let server = Running::start_command(program(&["echo", "--max-connections", "8", "--listen", &place]));
    let idle = server.descriptors();
    let mut silent: Vec<_> = (0..40).map(|_| server.connect()).collect();
    eventually("the limit is reached", || server.descriptors() == idle + 8);
    // The first connection of the queue stays open.
    silent[0].write_all(HEADER).unwrap();
    for _ in 0..10 {
        is_served(&mut silent[0]);
        assert_eq!(server.descriptors(), idle + 8);
    }
    drop(silent);
    let mut late = server.connect();
    late.write_all(HEADER).unwrap();
    is_served(&mut late);
}

#[test]
fn files_are_served_during_a_flood() {
    let scratch = Scratch::new();
    scratch.write("a.txt", "here");
    let server = start_limited(&["serve", &scratch.join("")]);
    let mut client = Client::new(&server);
    assert_eq!(client.get("/a.txt", &[]).text(), "here");
    let flood: Vec<_> = (0..2 * DESCRIPTORS).map(|_| server.connect()).collect();
    for _ in 0..50 {
        assert_eq!(client.get("/a.txt", &[]).text(), "here");
    }
    drop(flood);
    assert_eq!(Client::new(&server).get("/a.txt", &[]).text(), "here");
}

#[test]
fn select_accepts_only_descriptors_that_it_can_watch() {
    let server = Running::start(&["-r", "select", "echo", "--max-connections", "5000"]);
    let mut old = server.connect();
    is_served(&mut old);
    let flood: Vec<_> = (0..1100).map(|_| server.connect()).collect();
    eventually("the descriptors are used up", || server.descriptors() > 1000);
    is_served(&mut old);
    drop(flood);
    is_served(&mut old);
    is_served(&mut server.connect());
}
