//! Certificates are replaced while a load of requests runs, and no request is lost.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::task::AsyncStream;
use ropewalk::{Failure, Reactor};
use rustix::process::Signal;

use crate::frames::Frames;
use crate::running::{Running, eventually};
use crate::tls::{Authority, LOADED, at, files, serve, to};

const RELOADS: usize = 20;
/// The number of clients of each kind in one thread.
const CLIENTS: usize = 4;
const PAGE: &[u8] = &[b'x'; 20_000];

/// The requests of one kind of client so far, and the signal to stop.
#[derive(Default)]
struct Load {
    kept: AtomicU64,
    new: AtomicU64,
    http2: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    fn counts(&self) -> [u64; 3] {
        [&self.kept, &self.new, &self.http2].map(|count| count.load(Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Stops the clients when it is dropped, also by a panic.
struct StopsLoad<'a>(&'a Load);

impl Drop for StopsLoad<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Sends a request, and checks the response.
async fn get(stream: &mut AsyncStream) -> io::Result<()> {
    stream.write_all(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut length = None;
    loop {
        let line = stream.next_line(1000).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let line = String::from_utf8(line).map_err(io::Error::other)?;
        match line.strip_prefix("content-length: ") {
            Some(number) => length = number.parse().ok(),
            None if line.is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut body).await?;
    if body == PAGE { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Sends all requests over one connection.
async fn keep(reactor: Reactor, endpoint: Arc<str>, load: Arc<Load>) -> Result<(), Failure> {
    let endpoint = client_from_string(&reactor, &endpoint)?;
    let mut stream = connect(&reactor, &*endpoint).await?;
    while !load.is_over() {
        get(&mut stream).await?;
        load.kept.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends each request over a connection of its own.
async fn renew(reactor: Reactor, endpoint: Arc<str>, load: Arc<Load>) -> Result<(), Failure> {
    let endpoint = client_from_string(&reactor, &endpoint)?;
    while !load.is_over() {
        get(&mut connect(&reactor, &*endpoint).await?).await?;
        load.new.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn connect(reactor: &Reactor, endpoint: &dyn StreamClientEndpoint) -> Result<AsyncStream, Failure> {
    Ok(AsyncStream::connect(reactor, endpoint).await?)
}

/// Runs clients of HTTP/1.1 until the load is over. Panics if a request fails.
fn http1(endpoint: &Arc<str>, load: &Arc<Load>) {
    let (endpoint, load) = (endpoint.clone(), load.clone());
    let code = ropewalk::react(move |reactor| async move {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(reactor.spawn(keep(reactor.clone(), endpoint.clone(), load.clone())));
            clients.push(reactor.spawn(renew(reactor.clone(), endpoint.clone(), load.clone())));
        }
        for client in clients {
            client.await??;
        }
        Ok::<_, Failure>(())
    });
    assert_eq!(code, std::process::ExitCode::SUCCESS, "a request has failed");
}

/// Sends requests over one connection of HTTP/2 until the load is over.
fn http2(port: u16, load: &Load) {
    let mut client = Frames::connect(port, &[]);
    let mut stream = 1;
    while !load.is_over() {
        client.get(stream, "/page");
        assert!(client.body(stream) == PAGE);
        client.widen(0, u32::try_from(PAGE.len()).unwrap());
        load.http2.fetch_add(1, Ordering::Relaxed);
        stream += 2;
    }
}

/// Replaces the certificate, and waits until the program has loaded it and answered requests of each kind since.
fn reload(server: &Running, authority: &Authority, path: &str, log: &str, round: usize, load: &Load) {
    fs::write(format!("{path}.new"), authority.issue("localhost").concat()).unwrap();
    fs::rename(format!("{path}.new"), path).unwrap();
    server.signal(Signal::HUP);
    eventually("the certificate is loaded", || fs::read_to_string(log).unwrap().matches(LOADED).count() > round);
    let before = load.counts();
    eventually("more requests", || load.counts().iter().zip(before).all(|(now, before)| *now > before));
}

#[test]
fn no_request_is_lost_while_certificates_are_replaced() {
    let scratch = files();
    scratch.write("site/page", PAGE);
    let authority = Authority::new(&scratch, "authority");
    scratch.write("server.pem", authority.issue("localhost").concat());
    let (log, path) = (scratch.join("log"), scratch.join("server.pem"));
    let server = serve(&["-v", "--logfile", &log, "serve", &scratch.join("site")], &at(&scratch, "server.pem"));
    let port = server.address().port();
    let endpoint: Arc<str> = to(port, &[("trustRoots", scratch.join("authority"))]).into();
    let load = Arc::<Load>::default();
    thread::scope(|scope| {
        let clients = [
            scope.spawn(|| http1(&endpoint, &load)),
            scope.spawn(|| http1(&endpoint, &load)),
            scope.spawn(|| http2(port, &load)),
        ];
        let running = StopsLoad(&load);
        (0..RELOADS).for_each(|round| reload(&server, &authority, &path, &log, round, &load));
        drop(running);
        for client in clients {
            client.join().expect("no request is lost");
        }
    });
}
