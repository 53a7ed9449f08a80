//! A server makes room for its successor under load, and no request is lost.
//!
//! ```text
//!   old  listens ------------------------- SIGTERM, answers what was asked, ends
//!   new            listens at the same place ----------------------------------->
//!   load ----- asks without a pause, and counts what is not answered whole ----->
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::Client;
use crate::places::activated;
use crate::running::{PATIENCE, Running, eventually, program, reactors};
use crate::scratch::Scratch;

/// How long a server that ends waits for the next request on a connection.
const SILENCE: Duration = Duration::from_secs(1);

/// How many clients ask at once.
const CLIENTS: usize = 8;

/// Ask one request after the other until they are dropped.
struct Load {
    goes_on: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Clients that keep their connection until a response says that it ends, or with `each_anew` take a new one for each
    /// request.
    fn on(address: SocketAddr, each_anew: bool) -> Load {
        let (goes_on, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (goes_on, answered) = (goes_on.clone(), answered.clone());
            std::thread::spawn(move || {
                let (mut failures, mut connection) = (Vec::new(), None);
                while goes_on.load(Ordering::Relaxed) && failures.len() < 10 {
                    match ask(&mut connection, address, each_anew) {
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
        Load { goes_on, answered, clients }
    }

    /// Waits for so many more answers.
    #[track_caller]
    fn goes_on_for(&self, answers: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + answers;
        eventually("requests are answered", || {
            let has_failed = self.clients.iter().any(JoinHandle::is_finished);
            has_failed || self.answered.load(Ordering::Relaxed) >= goal
        });
    }

    /// What went wrong.
    fn end(self) -> Vec<String> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("it counts failures")).collect()
    }
}

/// A connection for further requests.
struct Kept {
    stream: TcpStream,
    /// When the last request began to leave, or when it was made.
    last_asked: Instant,
}

/// One request on the connection that there is, or on a new one. Nothing that was asked in time is tried twice.
fn ask(connection: &mut Option<Kept>, address: SocketAddr, each_anew: bool) -> Result<(), String> {
    let Kept { mut stream, last_asked } = match connection.take() {
        Some(kept) => kept,
        None => Kept {
            last_asked: Instant::now(),
            stream: TcpStream::connect(address).map_err(|error| format!("connecting: {error}"))?,
        },
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let wish = if each_anew { "close" } else { "keep-alive" };
    // In one piece: Nagle's algorithm would hold back the second one.
    let request = format!("GET /file HTTP/1.1\r\nHost: test\r\nConnection: {wish}\r\n\r\n");
    let asking = Instant::now();
    let sent = stream.write_all(request.as_bytes()).map_err(|error| format!("asking: {error}"));
    let silence = last_asked.elapsed();
    let text = match sent.and_then(|()| response(&mut stream)) {
        // This machine stood still, and the connection was ended as one on which nobody asks.
        Err(_) if silence > SILENCE / 2 => return ask(connection, address, each_anew),
        outcome => outcome?,
    };
    if !text.to_ascii_lowercase().contains("connection: close") {
        *connection = Some(Kept { stream, last_asked: asking });
    }
    Ok(())
}

/// A whole response to the end of its body, which is `content`.
fn response(stream: &mut TcpStream) -> Result<String, String> {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"content") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => text.extend_from_slice(&buffer[..count]),
            // A process that was stopped and goes on: signal(7), of reads with a time limit.
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

/// Restarts three times under load: each `start` is a new server at the same place.
#[track_caller]
fn loses_nothing(each_anew: bool, address: SocketAddr, mut old: Running, mut start: impl FnMut() -> Running) {
    let load = Load::on(address, each_anew);
    for _ in 0..3 {
        load.goes_on_for(200);
        let new = start();
        old.signal(Signal::TERM);
        assert_eq!(old.wait().code(), Some(0));
        load.goes_on_for(200);
        old = new;
    }
    let failures = load.end();
    assert!(failures.is_empty(), "{} requests were lost: {:?}", failures.len(), &failures[..failures.len().min(3)]);
}

#[test]
fn servers_that_are_passed_one_socket_replace_each_other_without_losing_a_request() {
    // sd_listen_fds(3): the queue belongs to the socket, which outlives each of them.
    let site = site();
    for reactor in reactors() {
        for each_anew in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let start = || {
                let arguments = format!("-r {reactor} serve {} --listen systemd:", site.join(""));
                Running::start_command(activated(&listener, "LISTEN_PID=$$ LISTEN_FDS=1", &arguments))
            };
            loses_nothing(each_anew, listener.local_addr().unwrap(), start(), start);
        }
    }
}

#[test]
fn servers_that_share_a_port_replace_each_other_without_losing_a_request_on_a_connection_that_is_there() {
    // SO_REUSEPORT of socket(7). A connection that is made in the moment of the close may be lost, so none is made then.
    let site = site();
    for reactor in reactors() {
        let start = |port: u16| {
            let place = format!("tcp:{port}:interface=127.0.0.1:reuse_port=1");
            Running::start_command(program(&[
                "-r",
                reactor,
                "serve",
                &site.join(""),
                "--grace",
                "30",
                "--listen",
                &place,
            ]))
        };
        let first = start(0);
        let address = first.address();
        loses_nothing(false, address, first, || start(address.port()));
    }
}

#[test]
fn a_request_that_is_under_way_is_answered_whole_and_its_connection_ends() {
    let site = Scratch::new();
    site.write_sparse("large", 64 << 20, []);
    for reactor in reactors() {
        let mut server = Running::start(&["-r", reactor, "serve", &site.join(""), "--grace", "30"]);
        let mut client = Client::new(&server);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.reply_head();
        server.signal(Signal::TERM);
        eventually("it stops listening", || TcpStream::connect(server.address()).is_err());
        let mut body = vec![0; head.field("content-length").parse().unwrap()];
        client.0.read_exact(&mut body).expect("the whole body");
        assert!(client.is_closed(), "{reactor}");
        drop(client);
        assert_eq!(server.wait().code(), Some(0), "{reactor}");
    }
}

#[test]
fn a_kept_connection_gets_one_more_answer_which_says_that_it_is_the_last() {
    // RFC 9112, section 9.6
    let site = site();
    for _attempt in 0..10 {
        let mut server = Running::start(&["serve", &site.join(""), "--grace", "30"]);
        let mut client = Client::new(&server);
        let began = Instant::now();
        assert!(!client.get("/file", &[]).has_field("connection"));
        server.signal(Signal::TERM);
        eventually("it stops listening", || TcpStream::connect(server.address()).is_err());
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
        if began.elapsed() > SILENCE / 2 {
            // This machine stood still: it may be over with a connection on which nobody asked.
            continue;
        }
        let last = client.reply(false);
        assert_eq!((last.status, last.field("connection"), last.text()), (200, "close", "content"));
        assert!(client.is_closed());
        drop(client);
        return assert_eq!(server.wait().code(), Some(0));
    }
    panic!("this machine is too busy to tell");
}

#[test]
fn a_connection_on_which_nobody_asks_is_closed() {
    let site = site();
    let mut server = Running::start(&["serve", &site.join(""), "--grace", "30"]);
    let (mut kept, mut fresh) = (Client::new(&server), Client::new(&server));
    kept.get("/file", &[]);
    server.signal(Signal::TERM);
    assert!(kept.is_closed() && fresh.is_closed());
    drop((kept, fresh));
    assert_eq!(server.wait().code(), Some(0));
}
