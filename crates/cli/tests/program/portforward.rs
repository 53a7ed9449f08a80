//! The command portforward, with a thread of the test as target.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::running::{PATIENCE, Running, eventually, program};
use crate::scratch::Scratch;
use crate::wire::{converse, read_all, read_exactly, write_until_stuck};

const LOTS: usize = 400 << 20;
const LITTLE_MEMORY: usize = 8 << 20;

/// Starts a program that forwards to a target. A thread passes the only connection of the target to `serve`.
fn forwarding_to<R: Send + 'static>(serve: impl FnOnce(TcpStream) -> R + Send + 'static) -> (Running, JoinHandle<R>) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", target.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (stream, _) = target.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        serve(stream)
    });
    (Running::start(&["portforward", "--to", &place]), thread)
}

#[test]
fn each_direction_closes_on_its_own() {
    let (server, target) = forwarding_to(|mut stream| {
        stream.write_all(b"welcome").unwrap();
        let received = read_all(&mut stream);
        // The client has half-closed, and still reads.
        stream.write_all(format!("; {} bytes", received.len()).as_bytes()).unwrap();
        received
    });
    let question = vec![b'q'; 1_000_000];
    assert_eq!(converse(server.connect(), &question), b"welcome; 1000000 bytes");
    assert!(target.join().unwrap() == question);
}

#[test]
fn a_target_that_half_closes_still_receives() {
    let (server, target) = forwarding_to(|mut stream| {
        stream.write_all(b"over").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    let mut client = server.connect();
    assert_eq!(read_all(&mut client), b"over");
    client.write_all(b"and out").unwrap();
    drop(client);
    assert_eq!(target.join().unwrap(), b"and out");
}

#[test]
fn unix_sockets_are_forwarded() {
    let scratch = Scratch::new();
    let (inner, outer) = (scratch.join("inner"), scratch.join("outer"));
    let _echo = Running::start(&["echo", "--listen", &format!("unix:{inner}")]);
    let _forward =
        Running::start(&["portforward", "--listen", &format!("unix:{outer}"), "--to", &format!("unix:{inner}")]);
    let mut stream = UnixStream::connect(&outer).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), b"hello");
}

#[test]
fn the_host_name_of_the_target_is_resolved() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:localhost:{}", target.local_addr().unwrap().port());
    let server = Running::start(&["portforward", "--to", &place]);
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_exactly(&mut target.accept().unwrap().0, 1), b"x");
}

#[test]
fn a_target_that_does_not_read_pauses_the_client() {
    let (server, target) = forwarding_to(|mut stream| {
        let first = read_exactly(&mut stream, 1).len();
        thread::park_timeout(PATIENCE);
        first + read_all(&mut stream).len()
    });
    let mut client = server.connect();
    let written = write_until_stuck(&mut client, LOTS);
    assert!(written < LOTS, "the server accepted everything");
    assert!(server.memory() < LITTLE_MEMORY, "{}", server.memory());
    target.thread().unpark();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(target.join().unwrap(), written);
}

#[test]
fn a_client_that_does_not_read_pauses_the_target() {
    let (server, target) = forwarding_to(|mut stream| write_until_stuck(&mut stream, LOTS));
    let mut client = server.connect();
    read_exactly(&mut client, 1);
    let written = target.join().unwrap();
    assert!(written < LOTS, "the server accepted everything");
    assert!(server.memory() < LITTLE_MEMORY, "{}", server.memory());
    assert_eq!(read_all(&mut client).len(), written - 1);
}

#[test]
fn a_reset_client_resets_the_target() {
    let (server, target) = forwarding_to(|mut stream| {
        stream.write_all(&[b'x'; 100_000]).unwrap();
        // A clean end would make an incomplete stream look complete.
        stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind())
    });
    let client = server.connect();
    // Closing with unread data resets the connection.
    client.peek(&mut [0]).unwrap();
    drop(client);
    assert_eq!(target.join().unwrap(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_refused_connection_closes_the_client() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = Running::start(&["portforward", "--to", &format!("tcp:{unused}")]);
    let mut client = server.connect();
    assert_eq!(read_all(&mut client), b"");
    let address = client.local_addr().unwrap();
    let log = server.log();
    assert!(log.contains("cannot forward: no connection to the target"), "{log}");
    assert!(log.contains(&format!("client={address}")), "{log}");
    assert!(log.contains(&format!("connection to {unused} was refused")), "{log}");
}

#[test]
fn a_closed_client_cancels_its_connection_attempt() {
    // This target never accepts. Its queue fills up, so that connection attempts stay pending.
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Running::start(&["portforward", "--to", &format!("tcp:{}", target.local_addr().unwrap())]);
    let before = server.descriptors();
    let clients: Vec<_> = (0..300).map(|_| server.connect()).collect();
    eventually("all are accepted", || server.descriptors() >= before + 300);
    clients.iter().for_each(|client| client.shutdown(Shutdown::Both).unwrap());
    drop(clients);
    drop(target);
    eventually("all are closed", || server.descriptors() == before);
}

/// Returns the numbers of the timers of the established connections that use one of these ports: ss(8), proc(5).
#[cfg(target_os = "linux")]
fn timers(ports: &[u16]) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let timer = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let uses =
            |port: &u16| fields[1].ends_with(&format!(":{port:04X}")) || fields[2].ends_with(&format!(":{port:04X}"));
        // State 01 is ESTABLISHED.
        (ports.iter().any(uses) && fields[3] == "01").then(|| fields[5][..2].to_owned())
    };
    table.lines().skip(1).filter_map(timer).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn both_sides_are_probed() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = target.local_addr().unwrap();
    for (idle, expected) in [("300", 2), ("0", 0)] {
        let server = Running::start(&["portforward", "--keep-alive-idle", idle, "--to", &format!("tcp:{place}")]);
        let mut client = server.connect();
        let (mut accepted, _) = target.accept().unwrap();
        client.write_all(b"x").unwrap();
        assert_eq!(read_exactly(&mut accepted, 1), b"x");
        // Timer 01 retransmits, and hides the timer of probes until the peer has acknowledged everything.
        let ports = [server.address().port(), place.port()];
        eventually("everything is acknowledged", || timers(&ports).iter().all(|timer| timer != "01"));
        // Timer 02 is that of keep-alive probes.
        assert_eq!(timers(&ports).iter().filter(|timer| *timer == "02").count(), expected, "idle {idle}");
    }
}

/// Returns a TCP port that is free on every address.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_target_that_is_the_own_listener_is_refused() {
    let scratch = Scratch::new();
    std::os::unix::fs::symlink(scratch.path(), scratch.path().join("link")).unwrap();
    let port = free_port();
    let path = |name: &str| format!("unix:{}", scratch.join(name));
    let routes = [
        (format!("tcp:{port}:interface=127.0.0.1"), format!("tcp:127.0.0.1:{port}")),
        (format!("tcp:{port}:interface=0.0.0.0"), format!("tcp:localhost:{port}")),
        (format!("tcp:{port}"), format!("tcp:127.0.0.1:{port}")),
        (format!("tcp:{port}:interface=\\:\\:"), format!("tcp:localhost:{port}")),
        (format!("haproxy:tcp:{port}"), format!("tcp:127.0.0.2:{port}")),
        (path("socket"), path("socket")),
        (path("socket"), path("link/socket")),
    ];
    for (listen, to) in &routes {
        // With one connection at most, the forwarder's own connection is never accepted.
        for most in ["100", "1"] {
            refuses_itself(listen, to, most, port);
        }
    }
}

/// Checks that a forwarder from `listen` to `to` refuses its own connection. `port` is the port of a TCP listener.
fn refuses_itself(listen: &str, to: &str, most: &str, port: u16) {
    let options = ["portforward", "--max-connections", most, "--listen", listen, "--to", to];
    let mut server = Running::start_command(program(&options));
    let before = server.descriptors();
    let mut end = Vec::new();
    // The client is reset, or sees an end.
    let _ = match listen.strip_prefix("unix:") {
        Some(path) => read_to_end(UnixStream::connect(path).unwrap(), &mut end),
        None => {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            if listen.starts_with("haproxy:") {
                client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
            }
            read_to_end(client, &mut end)
        }
    };
    assert_eq!(end, b"");
    eventually("all are closed", || server.descriptors() <= before);
    server.terminate();
    let log = server.log();
    let line = "cannot forward: the target is this program's own listener";
    let suppressed = log.split_whitespace().filter_map(|word| word.strip_prefix("suppressed=")?.parse::<usize>().ok());
    // A refused connection does not cause another one.
    let lines = log.lines().count() + suppressed.sum::<usize>();
    assert!(log.contains(line) && lines < 8, "{listen} to {to}, {most} connections: {log}");
}

fn read_to_end(mut stream: impl Read, end: &mut Vec<u8>) -> std::io::Result<usize> {
    stream.read_to_end(end)
}

#[test]
fn the_same_port_of_the_other_family_is_a_valid_target() {
    for (listen, target) in [("tcp6:PORT", "127.0.0.1"), ("tcp:PORT:interface=0.0.0.0", "::1")] {
        let target = TcpListener::bind((target, 0)).unwrap();
        let address = target.local_addr().unwrap();
        let listen = listen.replace("PORT", &address.port().to_string());
        let to = format!("tcp:{}:{}", address.ip().to_string().replace(':', "\\:"), address.port());
        let options = ["portforward", "--max-connections", "1", "--listen", &listen, "--to", &to];
        let _server = Running::start_command(program(&options));
        let host = if address.is_ipv4() { "::1" } else { "127.0.0.1" };
        let mut client = TcpStream::connect((host, address.port())).unwrap();
        client.write_all(b"x").unwrap();
        assert_eq!(read_exactly(&mut target.accept().unwrap().0, 1), b"x", "{listen} to {to}");
    }
}

#[test]
fn another_forwarder_is_a_valid_target() {
    let echo = Running::start(&["echo"]);
    let inner = Running::start(&["portforward", "--to", &format!("tcp:{}", echo.address())]);
    let outer = Running::start(&["portforward", "--to", &format!("tcp:{}", inner.address())]);
    for _ in 0..200 {
        assert_eq!(converse(outer.connect(), b"hello"), b"hello");
    }
}

#[test]
fn an_idle_pair_is_closed_on_both_sides() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", target.local_addr().unwrap());
    let server = Running::start(&["portforward", "--idle-timeout", "0.3", "--to", &place]);
    let mut client = server.connect();
    let (mut accepted, _) = target.accept().unwrap();
    accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(read_all(&mut accepted), b"");
    assert_eq!(read_all(&mut client), b"");
}

#[test]
fn chained_programs_forward_a_long_text_unchanged() {
    let echo = Running::start(&["echo"]);
    let inner = Running::start(&["-r", "poll", "portforward", "--to", &format!("tcp:{}", echo.address())]);
    let outer = Running::start(&["-r", "select", "portforward", "--to", &format!("tcp:{}", inner.address())]);
    let text: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut writer = outer.connect();
    let mut reader = writer.try_clone().unwrap();
    let sent = text.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(&mut reader) == text);
    writing.join().unwrap();
}

#[test]
fn a_flood_of_clients_does_not_flood_the_log() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", target.local_addr().unwrap());
    drop(target);
    let mut server = Running::start(&["portforward", "--to", &place]);
    for _ in 0..200 {
        assert_eq!(read_all(&mut server.connect()), b"");
    }
    server.terminate();
    let log = server.log();
    let lines = log.matches("cannot forward: no connection to the target").count();
    let suppressed = log.split_whitespace().filter_map(|word| word.strip_prefix("suppressed=")?.parse::<usize>().ok());
    // A line at the end reports a number only, if lines were suppressed last.
    let summaries = log.matches("later lines were suppressed").count();
    assert_eq!(lines - summaries + suppressed.sum::<usize>(), 200, "{log}");
    assert!(lines < 20, "{log}");
}
