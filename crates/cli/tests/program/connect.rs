//! The command connect, with threads of the test or the command echo as peers.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::running::{PATIENCE, Running, finish, outcome, program};
use crate::scratch::Scratch;
use crate::wire::{read_all, read_exactly};

/// Runs a peer in a thread, and returns its endpoint.
fn peer<R: Send + 'static>(serve: impl FnOnce(TcpStream) -> R + Send + 'static) -> (String, JoinHandle<R>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        serve(stream)
    });
    (place, thread)
}

/// Starts the command with pipes as its standard streams.
fn start(arguments: &[&str]) -> Child {
    let mut command = program(&[&["connect"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Runs the command with `input`.
fn connect(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = start(arguments);
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // The program may end without reading all of it.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_silent_conversation_is_over_when_its_program_exits() {
    // Standard input stays open and silent, as a terminal is.
    let (silent, input) = UnixStream::pair().unwrap();
    let mut command = program(&["connect", "process:echo:last"]);
    command.stdin(OwnedFd::from(input));
    let output = finish(command);
    assert_eq!((output.status.code(), &output.stdout[..], errors(&output).as_str()), (Some(0), &b"last\n"[..], ""));
    drop(silent);
}

#[test]
fn input_comes_back_from_an_echo() {
    let echo = Running::start(&["echo"]);
    let place = format!("tcp:localhost:{}", echo.address().port());
    let text = Vec::from_iter((0..50_000_u32).flat_map(u32::to_be_bytes));
    let output = connect(&[&place], &text);
    assert!(output.stdout == text);
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
}

#[test]
fn the_end_of_the_input_closes_the_sending_direction() {
    let (place, thread) = peer(|mut stream| {
        let request = read_all(&mut stream);
        stream.write_all(b"answer").unwrap();
        request
    });
    let output = connect(&[&place], b"request");
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"answer"[..], Some(0)));
    assert_eq!(thread.join().unwrap(), b"request");
}

#[test]
fn input_is_sent_after_the_peer_has_ended_its_side() {
    let (place, thread) = peer(|mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    let mut child = start(&[&place]);
    assert_eq!(read_all(child.stdout.as_mut().unwrap()), b"bye", "the output has ended, and the program runs");
    assert_eq!(child.try_wait().unwrap(), None);
    child.stdin.take().unwrap().write_all(b"late").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(thread.join().unwrap(), b"late");
}

#[test]
fn files_can_be_input_or_output() {
    let scratch = Scratch::new();
    let (place, thread) = peer(|mut stream| {
        let request = read_all(&mut stream);
        stream.write_all(&request).unwrap();
    });
    fs::write(scratch.join("in"), vec![b'x'; 3_000_000]).unwrap();
    let mut command = program(&["connect", &place]);
    command.stdin(File::open(scratch.join("in")).unwrap()).stdout(File::create(scratch.join("out")).unwrap());
    assert!(command.status().unwrap().success());
    thread.join().unwrap();
    assert!(fs::read(scratch.join("out")).unwrap() == vec![b'x'; 3_000_000]);
}

#[test]
fn unix_sockets_are_connected_to() {
    let scratch = Scratch::new();
    let place = format!("unix:{}", scratch.join("echo"));
    let _echo = Running::start(&["echo", "--listen", &place]);
    assert_eq!(connect(&[&place], b"hello").stdout, b"hello");
}

#[test]
fn a_refused_connection_names_the_remedy() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = outcome(&["connect", &format!("tcp:{unused}")]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("ropewalk: connection to {unused} was refused: check the port, and that the server runs\n");
    assert_eq!(errors(&output), expected);
    let output = outcome(&["connect", "unix:/no/such/socket"]);
    assert!(errors(&output).ends_with("check the path, and that the server runs\n"), "{}", errors(&output));
}

#[test]
fn a_reset_connection_is_a_failure() {
    let (place, thread) = peer(|mut stream| {
        stream.write_all(b"partial").unwrap();
        // Closing with unread bytes resets the connection.
        stream.set_nonblocking(true).unwrap();
        while stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {}
    });
    let mut child = start(&[&place]);
    let output = child.stdout.as_mut().unwrap();
    assert_eq!(read_exactly(output, 7), b"partial");
    child.stdin.as_mut().unwrap().write_all(b"unread").unwrap();
    thread.join().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).starts_with("ropewalk: connection was lost: "), "{}", errors(&output));
}

#[test]
fn a_wrong_endpoint_is_a_wrong_argument() {
    let output = outcome(&["connect", "example.com:80"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("did you mean tcp:example.com:80?"), "{}", errors(&output));
    assert_eq!(outcome(&["connect"]).status.code(), Some(2));
}

#[test]
fn a_daemon_cannot_connect_standard_streams() {
    let output = outcome(&["--daemon", "connect", "tcp:127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    assert!(errors(&output).contains("needs standard input and output"), "{}", errors(&output));
}

#[test]
fn an_idle_connection_is_closed_after_the_limit() {
    let (place, thread) = peer(|mut stream| read_all(&mut stream));
    let child = start(&["--idle-timeout", "0.2", &place]);
    // The input stays open.
    let output = finish_child(child);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors(&output), "ropewalk: no data for 0.2 seconds: the connection is closed\n");
    assert_eq!(thread.join().unwrap(), b"");
}

/// Waits for the exit without closing the input.
fn finish_child(mut child: Child) -> Output {
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

#[test]
fn a_peer_that_stays_open_is_left_after_the_limit() {
    let (place, thread) = peer(|mut stream| {
        stream.write_all(b"answer").unwrap();
        let request = read_all(&mut stream);
        thread::sleep(Duration::from_secs(2));
        request
    });
    let output = connect(&["--idle-timeout", "0.2", &place], b"request");
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"answer"[..], Some(0)), "{}", errors(&output));
    assert_eq!(thread.join().unwrap(), b"request");
}

#[test]
fn a_closed_output_is_no_failure() {
    let (place, thread) = peer(|mut stream| {
        // Until the program has ended.
        while stream.write_all(&[b'y'; 10_000]).is_ok() {}
    });
    let mut child = start(&[&place]);
    assert_eq!(read_exactly(child.stdout.as_mut().unwrap(), 3), b"yyy");
    drop(child.stdout.take());
    let output = finish_child(child);
    thread.join().unwrap();
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let (place, thread) = peer(|mut stream| drop(stream.write_all(&[b'y'; 100_000])));
    let mut command = program(&["connect", &place]);
    let child = command.stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = finish_child(child);
    thread.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("cannot write to standard output: No space left"), "{}", errors(&output));
}

#[test]
fn a_signal_stops_the_program_at_once() {
    let (place, _thread) = peer(|mut stream| read_all(&mut stream));
    let mut child = start(&[&place]);
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(finish_child(child).status.code(), Some(0));
}

/// A fast input, a peer that echoes, and an output that is read slowly at first.
#[test]
fn much_data_passes_in_little_memory() {
    const LOTS: usize = 100 << 20;
    const LITTLE: usize = 8 << 20;
    let (place, peer) = peer(|mut stream| {
        let mut received = vec![0; 256 * 1024];
        loop {
            match stream.read(&mut received).unwrap() {
                0 => return,
                count => stream.write_all(&received[..count]).unwrap(),
            }
        }
    });
    let mut child = start(&[&place]);
    let status = format!("/proc/{}/status", child.id());
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = thread::spawn(move || {
        let mut number = 0_u32;
        for _ in 0..LOTS / (1 << 20) {
            let piece = Vec::from_iter((0..1 << 18).flat_map(|index| (number + index).to_le_bytes()));
            number += 1 << 18;
            input.write_all(&piece).unwrap();
        }
    });
    static DONE: AtomicBool = AtomicBool::new(false);
    let watcher = thread::spawn(move || {
        let anonymous = || {
            let status = fs::read_to_string(&status).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
            line.trim().trim_end_matches(" kB").parse::<usize>().ok()
        };
        let mut most = 0;
        while !DONE.load(Ordering::Relaxed) {
            most = most.max(anonymous().unwrap_or(0) * 1024);
            thread::sleep(Duration::from_millis(5));
        }
        most
    });
    thread::sleep(Duration::from_millis(500));
    let mut expected = 0_u32;
    let mut word = [0; 4 << 10];
    while expected < (LOTS / 4) as u32 {
        output.read_exact(&mut word).unwrap();
        for bytes in word.chunks(4) {
            assert_eq!(bytes, expected.to_le_bytes());
            expected += 1;
        }
    }
    assert_eq!(output.read(&mut word).unwrap(), 0);
    DONE.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    peer.join().unwrap();
    assert!(child.wait().unwrap().success());
    let most = watcher.join().unwrap();
    assert!(most > 0 && most < LITTLE, "{most} bytes");
}

#[test]
fn a_serial_port_is_talked_to() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let place = format!("serial:{}:speed=115200", name.to_str().unwrap());
    let mut device = File::from(master);
    let mut child = start(&["--idle-timeout", "0.3", &place]);
    child.stdin.take().unwrap().write_all(b"AT\r").unwrap();
    assert_eq!(read_exactly(&mut device, 3), b"AT\r");
    device.write_all(b"OK\r\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"OK\r\n"[..], Some(0)), "{}", errors(&output));
    drop(device);
    let output = finish(program(&["connect", &place]));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("there is no device"), "{}", errors(&output));
}
