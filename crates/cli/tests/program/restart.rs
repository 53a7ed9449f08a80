//! Replaces a server under load without losing a request.
//!
//! ```text
//!   old  listens ------------------- SIGTERM, answers pending requests, exits
//!   new            listens at the same address ------------------------------>
//!   load ----- sends requests without a pause, and counts the failed ones --->
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::endpoints::activated;
use crate::http::Client;
use crate::running::{PATIENCE, Running, eventually, program, reactors};
use crate::scratch::Scratch;

/// The time that a closing server waits for the next request on a connection.
const SILENCE: Duration = Duration::from_secs(1);

/// The number of concurrent clients.
const CLIENTS: usize = 8;

/// Clients that send one request after the other.
struct Load {
    running: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Starts the clients. They keep a connection until a response closes it. If `reconnecting` is set, each request
    /// uses a new connection.
    fn on(address: SocketAddr, reconnecting: bool) -> Load {
        let (running, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (running, answered) = (running.clone(), answered.clone());
            std::thread::spawn(move || {
                let (mut failures, mut connection) = (Vec::new(), None);
                while running.load(Ordering::Relaxed) && failures.len() < 10 {
                    match ask(&mut connection, address, reconnecting) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            connection = None;
                            failures.push(error);
                        }
                    }
                }
                failures
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load { running, answered, clients }
    }

    /// Waits for `answers` more answers.
    #[track_caller]
    fn wait_for(&self, answers: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + answers;
        eventually("requests are answered", || {
            let has_failed = self.clients.iter().any(JoinHandle::is_finished);
            has_failed || self.answered.load(Ordering::Relaxed) >= goal
        });
    }

    /// Stops the clients and returns their errors.
    fn end(self) -> Vec<String> {
        self.running.store(false, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("the client ends")).collect()
    }
}

/// A kept-alive connection.
struct Kept {
    stream: TcpStream,
    /// The start of the last request, or else of the connection.
    last_asked: Instant,
}

/// Sends one request on the kept connection, or on a new one. A request that was sent in time is not repeated.
fn ask(connection: &mut Option<Kept>, address: SocketAddr, reconnecting: bool) -> Result<(), String> {
    let Kept { mut stream, last_asked } = match connection.take() {
        Some(kept) => kept,
        None => Kept {
            last_asked: Instant::now(),
            stream: TcpStream::connect(address).map_err(|error| format!("connecting: {error}"))?,
        },
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let option = if reconnecting { "close" } else { "keep-alive" };
    // The request is a single write, because Nagle's algorithm would delay a second one.
    let request = format!("GET /file HTTP/1.1\r\nHost: test\r\nConnection: {option}\r\n\r\n");
    let asking = Instant::now();
    let sent = stream.write_all(request.as_bytes()).map_err(|error| format!("asking: {error}"));
    let silence = last_asked.elapsed();
    let text = match sent.and_then(|()| response(&mut stream)) {
        // The machine was suspended, and the server has closed the connection as an idle one.
        Err(_) if silence > SILENCE / 2 => return ask(connection, address, reconnecting),
        outcome => outcome?,
    };
    if !text.to_ascii_lowercase().contains("connection: close") {
        *connection = Some(Kept { stream, last_asked: asking });
    }
    Ok(())
}

/// Reads a response up to the end of its body, which is `content`.
fn response(stream: &mut TcpStream) -> Result<String, String> {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"content") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => text.extend_from_slice(&buffer[..count]),
            // EINTR: SIGSTOP and SIGCONT interrupt a read with a timeout, signal(7).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return Err(format!("reading: {outcome:?} after {:?}", String::from_utf8_lossy(&text))),
        }
    }
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    if text.starts_with("HTTP/1.1 200 OK\r\n") { Ok(text) } else { Err(text) }
}

fn site() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("file", "content");
    scratch
}

/// Restarts the server three times under load. `start` starts a new one at the same address.
#[track_caller]
fn no_request_is_lost(reconnecting: bool, address: SocketAddr, mut old: Running, mut start: impl FnMut() -> Running) {
    let load = Load::on(address, reconnecting);
    for _ in 0..3 {
        load.wait_for(200);
        let new = start();
        old.signal(Signal::TERM);
        assert_eq!(old.wait().code(), Some(0));
        load.wait_for(200);
        old = new;
    }
    let failures = load.end();
    assert!(failures.is_empty(), "{} requests were lost: {:?}", failures.len(), &failures[..failures.len().min(3)]);
}

#[test]
fn a_restart_on_a_passed_socket_loses_no_request() {
    // sd_listen_fds(3): the accept queue belongs to the socket, which outlives the servers.
    let site = site();
    for reactor in reactors() {
        for reconnecting in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let start = || {
                let arguments = format!("-r {reactor} serve {} --listen systemd:", site.join(""));
                Running::start_command(activated(&listener, "LISTEN_PID=$$ LISTEN_FDS=1", &arguments))
            };
            no_request_is_lost(reconnecting, listener.local_addr().unwrap(), start(), start);
        }
    }
}

#[test]
fn a_restart_on_a_shared_port_loses_no_request() {
    // SO_REUSEPORT of socket(7). A connection made while a server closes its port may be lost, so no client connects
    // then.
    let site = site();
    for reactor in reactors() {
        let start = |port: u16| {
            let endpoint = format!("tcp:{port}:interface=127.0.0.1:reuse_port=1");
            Running::start_command(program(&[
                "-r",
                reactor,
                "serve",
                &site.join(""),
                "--grace",
                "30",
                "--listen",
                &endpoint,
            ]))
        };
        let first = start(0);
        let address = first.address();
        no_request_is_lost(false, address, first, || start(address.port()));
    }
}

#[test]
fn a_response_in_progress_is_completed() {
    let site = Scratch::new();
    site.write_sparse("large", 64 << 20, []);
    for reactor in reactors() {
        let mut server = Running::start(&["-r", reactor, "serve", &site.join(""), "--grace", "30"]);
        let mut client = Client::new(&server);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.reply_head();
        server.signal(Signal::TERM);
        eventually("the port is closed", || TcpStream::connect(server.address()).is_err());
        let mut body = vec![0; head.field("content-length").parse().unwrap()];
        client.0.read_exact(&mut body).expect("a complete body");
        assert!(client.is_closed(), "{reactor}");
        drop(client);
        assert_eq!(server.wait().code(), Some(0), "{reactor}");
    }
}

#[test]
fn the_last_response_closes_a_kept_connection() {
    // RFC 9112, section 9.6
    let site = site();
    for _attempt in 0..10 {
        let mut server = Running::start(&["serve", &site.join(""), "--grace", "30"]);
        let mut client = Client::new(&server);
        let began = Instant::now();
        assert!(!client.get("/file", &[]).has_field("connection"));
        server.signal(Signal::TERM);
        eventually("the port is closed", || TcpStream::connect(server.address()).is_err());
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
        if began.elapsed() > SILENCE / 2 {
            // The machine was suspended, and the server may have closed the idle connection.
            continue;
        }
        let last = client.reply(false);
        assert_eq!((last.status, last.field("connection"), last.text()), (200, "close", "content"));
        assert!(client.is_closed());
        drop(client);
        return assert_eq!(server.wait().code(), Some(0));
    }
    panic!("the machine is too busy for this test");
}

#[test]
fn a_connection_without_requests_is_closed() {
    let site = site();
    let mut server = Running::start(&["serve", &site.join(""), "--grace", "30"]);
    let (mut kept, mut fresh) = (Client::new(&server), Client::new(&server));
    kept.get("/file", &[]);
    server.signal(Signal::TERM);
    assert!(kept.is_closed() && fresh.is_closed());
    drop((kept, fresh));
    assert_eq!(server.wait().code(), Some(0));
}
