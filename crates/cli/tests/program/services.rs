//! The commands echo, discard, chargen and daytime.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::running::{Running, eventually, reactors};
use crate::scratch::Scratch;
use crate::wire::{converse, read_all, read_exactly, write_until_stuck};

/// Far more bytes than the kernel buffers for a connection.
const LOTS: usize = 400 << 20;

/// The most memory of a program that holds little data.
const LITTLE_MEMORY: usize = 8 << 20;

#[test]
fn every_small_service_works_on_every_reactor() {
    for reactor in reactors() {
        let service = |name| Running::start(&["-r", reactor, name]);
        assert_eq!(converse(service("echo").connect(), b"hello"), b"hello", "{reactor}");
        assert_eq!(converse(service("discard").connect(), b"hello"), b"", "{reactor}");
        assert!(converse(service("daytime").connect(), b"hello").ends_with(b" GMT\r\n"), "{reactor}");
        let beginning = read_exactly(&mut service("chargen").connect(), 8);
        assert_eq!(beginning, b" !\"#$%&'", "{reactor}");
    }
}

#[test]
fn echo_returns_a_long_text_unchanged() {
    let server = Running::start(&["echo"]);
    let text: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut writer = server.connect();
    let mut reader = writer.try_clone().unwrap();
    let sent = text.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(&mut reader) == text);
    writing.join().unwrap();
}

#[test]
fn echo_stops_reading_from_a_peer_that_does_not_read() {
    let server = Running::start(&["echo"]);
    let mut stream = server.connect();
    let written = write_until_stuck(&mut stream, LOTS);
    assert!(written < LOTS, "the server accepted everything");
    assert!(server.memory() < LITTLE_MEMORY, "{}", server.memory());
    // Data in flight is not lost.
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || read_all(&mut reader).len());
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reading.join().unwrap(), written);
}

#[test]
fn echo_answers_after_a_stop_longer_than_its_idle_timeout() {
    // The stopped process cannot see that its peers are not idle. Ten peers, because the reports of all must come first.
    for reactor in reactors() {
        let server = Running::start(&["-r", reactor, "echo", "--idle-timeout", "1"]);
        let mut peers: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for peer in &mut peers {
            peer.write_all(b"before").unwrap();
            assert_eq!(read_exactly(peer, 6), b"before", "{reactor}");
        }
        server.signal(Signal::STOP);
        for peer in &mut peers {
            peer.write_all(b"during").unwrap();
        }
        std::thread::sleep(Duration::from_millis(1200));
        server.signal(Signal::CONT);
        for peer in &mut peers {
            assert_eq!(read_exactly(peer, 6), b"during", "{reactor}");
        }
    }
}

#[test]
fn echo_removes_its_unix_socket_at_the_end() {
    let scratch = Scratch::new();
    let path = scratch.join("echo.sock");
    let mut server = Running::start(&["echo", "--listen", &format!("unix:{path}")]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut stream, 5), b"hello");
    assert!(server.terminate().0.success());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn discard_reads_everything_without_an_answer() {
    let server = Running::start(&["discard"]);
    let mut stream = server.connect();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        stream.write_all(&piece).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), b"");
    assert!(server.memory() < LITTLE_MEMORY, "{}", server.memory());
}

#[test]
fn chargen_sends_the_pattern_repeatedly() {
    let server = Running::start(&["chargen"]);
    let mut stream = server.connect();
    let text = read_exactly(&mut stream, 74 * 95 * 50);
    for (number, line) in text.chunks(74).enumerate() {
        let expected: Vec<u8> = (0..72).map(|place| b' ' + ((number + place) % 95) as u8).collect();
        assert_eq!(line, [&expected[..], b"\r\n"].concat(), "line {number}");
    }
}

#[test]
fn chargen_to_slow_readers_costs_little_memory() {
    let server = Running::start(&["chargen"]);
    let mut streams: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.shutdown(Shutdown::Write).unwrap();
        read_exactly(stream, 1000);
    }
    let mut before = 0;
    eventually("all connections are blocked", || {
        let now = server.processor_time().as_millis();
        let rests = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        rests
    });
    assert!(server.memory() < LITTLE_MEMORY, "{}", server.memory());
    // All share one pattern. Each may hold one copy of a piece that the kernel did not accept.
    read_exactly(&mut streams[49], 10_000_000);
}

#[test]
fn daytime_sends_the_current_date() {
    let server = Running::start(&["daytime"]);
    let mut silent = server.connect();
    let line = String::from_utf8(read_all(&mut silent)).unwrap();
    let date = httpdate::parse_http_date(line.strip_suffix("\r\n").expect("a line")).expect("a date");
    let now = SystemTime::now();
    let difference = now.duration_since(date).or_else(|_| date.duration_since(now)).unwrap();
    assert!(difference < Duration::from_secs(10), "{line}");
    // A peer that sends first gets its line, too. Its unread data does not reset the connection.
    let mut talking = server.connect();
    talking.write_all(&[b'x'; 100_000]).unwrap();
    assert!(read_all(&mut talking).ends_with(b" GMT\r\n"));
}

#[test]
fn only_an_idle_connection_is_closed() {
    // On a loaded machine, the busy connection may pause for more than a second.
    let server = Running::start(&["echo", "--idle-timeout", "1.5"]);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    for _ in 0..25 {
        busy.write_all(b"x").unwrap();
        read_exactly(&mut busy, 1);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(idle.read(&mut [0]).expect("the connection is closed"), 0);
    assert_eq!(converse(busy, b"y"), b"y");
}

#[test]
fn connections_beyond_the_limit_wait_until_one_closes() {
    let mut server = Running::start(&["echo", "--max-connections", "2"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    for stream in [&mut first, &mut second] {
        stream.write_all(b"x").unwrap();
        read_exactly(stream, 1);
    }
    let mut third = server.connect();
    third.write_all(b"y").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    third.read(&mut [0]).expect_err("the connection is not accepted yet");
    drop(first);
    third.set_read_timeout(Some(crate::running::PATIENCE)).unwrap();
    assert_eq!(read_exactly(&mut third, 1), b"y");
    assert!(server.log().contains("connection limit reached: new connections wait until one closes limit=2"));
}
