//! Tests the program `https_client`: in virtual time, then with openssl's server over real sockets.

mod certificates;
// `main` is not called here.
#[allow(dead_code)]
#[path = "../https_client.rs"]
mod https_client;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use ropewalk::task::StreamFactory;
use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor, TestStream};
use ropewalk::tls::{ServerOptions, TlsServer};
use ropewalk::{Deferred, Reactor, Transport};

use certificates::{Authority, Issued};
use https_client::{Answer, Client, Failed, Limits, words};

const SECOND: Duration = Duration::from_secs(1);
const SERVER: &str = "10.0.0.2:443";
const URL: &str = "https://origin.test/page";

const LIMITS: Limits = Limits {
    connections_max: 4,
    timeout: Duration::from_secs(8),
    idle_timeout: Duration::from_secs(30),
    body_bytes_max: 1000,
};

/// Decides about the request of a number, on a connection of the server.
type Serve = Rc<dyn Fn(usize, &Reactor, &Transport) -> Deferred<String>>;

/// A server on a simulated network, and a client.
struct World {
    net: MemoryReactor,
    client: Client,
    connections: Rc<Cell<usize>>,
    requests: Rc<Cell<usize>>,
}

impl World {
    /// The server answers the request of a number with `answer N`, after `delay`.
    fn new(delay: Duration) -> World {
        World::with(move |number, reactor, _| {
            let reactor = reactor.clone();
            reactor.clone().spawn(async move { reactor.sleep(delay).await }).add_callback(move |_| answer_of(number))
        })
    }

    fn with(serve: impl Fn(usize, &Reactor, &Transport) -> Deferred<String> + 'static) -> World {
        let authority = Authority::new();
        World::on(MemoryReactor::new(), &authority, &authority.issue("origin.test"), Rc::new(serve))
    }

    fn on(net: MemoryReactor, authority: &Authority, issued: &Issued, serve: Serve) -> World {
        let (connections, requests) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (accepted, asked) = (connections.clone(), requests.clone());
        let factory = StreamFactory::new(move |stream, reactor: &Reactor| {
            accepted.set(accepted.get() + 1);
            let (asked, serve, server, transport) =
                (asked.clone(), serve.clone(), reactor.clone(), stream.transport().clone());
            let service = service_fn(move |_: Request<Incoming>| {
                let number = asked.replace(asked.get() + 1);
                let answer = serve(number, &server, &transport);
                async move { Ok::<_, Infallible>(Response::new(answer.await.unwrap_or_default())) }
            });
            // A date in the answers would not follow from the seed.
            drop(reactor.spawn(http1::Builder::new().auto_date_header(false).serve_connection(stream, service)));
        });
        // A client that offers no protocol is refused, so each test shows that ours does.
        let options = ServerOptions::new().identity(issued.identity()).application_protocols(["http/1.1"]);
        let tls = TlsServer::new(options.require_application_protocol()).unwrap();
        net.listen_tls(SERVER, factory, &tls).unwrap();
        net.add_host("origin.test", &["10.0.0.2"]);
        let client = Client::new(&net, Some(authority.trusted()), LIMITS).unwrap();
        World { net, client, connections, requests }
    }

    fn request(&self, method: Method, url: &str) -> Pending {
        let (client, uri) = (self.client.clone(), url.parse().unwrap());
        self.net.spawn(async move { client.request(method, &uri, "body").await })
    }

    fn get(&self, url: &str) -> Pending {
        self.request(Method::GET, url)
    }

    fn counts(&self) -> (usize, usize) {
        (self.connections.get(), self.requests.get())
    }
}

type Pending = Deferred<Result<Answer, Failed>>;

fn answer_of(number: usize) -> String {
    format!("answer {number}")
}

/// Returns the body, or the error in words.
fn outcome(pending: Pending) -> Result<String, String> {
    let answer = pending.try_result().expect("the request is over").expect("no panic");
    answer.map(|answer| String::from_utf8(answer.body).unwrap()).map_err(|error| words(&*error))
}

#[test]
fn requests_share_a_connection() {
    let world = World::new(Duration::ZERO);
    for number in 0..3 {
        let pending = world.get(URL);
        world.net.settle();
        assert_eq!(outcome(pending), Ok(answer_of(number)));
    }
    assert_eq!(world.counts(), (1, 3));
}

#[test]
fn a_host_gets_a_limited_number_of_connections() {
    let world = World::new(SECOND);
    let pending: Vec<_> = (0..10).map(|_| world.get(URL)).collect();
    world.net.settle();
    assert_eq!(world.counts(), (4, 4));
    world.net.advance(3 * SECOND);
    assert!(pending.into_iter().all(|pending| outcome(pending).is_ok()));
    assert_eq!(world.counts(), (4, 10));
}

#[test]
fn an_unused_connection_is_closed() {
    let world = World::new(Duration::ZERO);
    drop(world.get(URL));
    world.net.settle();
    world.net.advance(29 * SECOND);
    assert!(world.net.open_sources() > 1);
    world.net.advance(SECOND);
    assert_eq!(world.net.open_sources(), 1, "the port is left");
    let pending = world.get(URL);
    world.net.settle();
    assert!(outcome(pending).is_ok());
    assert_eq!(world.counts(), (2, 2));
}

#[test]
fn a_request_has_a_time_limit() {
    let world = World::new(3600 * SECOND);
    let pending = world.get(URL);
    world.net.advance(7 * SECOND);
    assert!(!pending.is_done());
    world.net.advance(SECOND);
    assert_eq!(outcome(pending), Err("timed out after 8s".to_owned()));
    world.net.settle();
    assert_eq!(world.net.open_sources(), 1, "the connection is not used again");
}

#[test]
fn a_stalled_handshake_has_the_limit_of_its_request() {
    let net = MemoryReactor::new();
    let listener = net.listen_stream("10.0.0.2:443").unwrap();
    let client = Client::new(&net, Some(Authority::new().trusted()), LIMITS).unwrap();
    let pending =
        net.spawn(async move { client.request(Method::GET, &"https://10.0.0.2/".parse().unwrap(), "").await });
    net.advance(7 * SECOND);
    let silent = listener.accept().expect("a connection");
    assert!(!silent.received().is_empty() && !silent.is_eof());
    net.advance(SECOND);
    assert_eq!(outcome(pending), Err("timed out after 8s".to_owned()));
    net.settle();
    assert_eq!(net.open_sources(), 0);
    assert!(silent.is_eof() || silent.is_reset());
}

/// A server that resets the connection of the second request, as if the request had crossed its end.
fn closing_once() -> World {
    World::with(|number, _, transport| {
        if number == 1 {
            transport.abort_connection();
        }
        ropewalk::succeed(answer_of(number))
    })
}

#[test]
fn an_idempotent_request_on_a_closed_connection_is_repeated() {
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let world = closing_once();
        for expected in [0, 2] {
            let pending = world.request(method.clone(), URL);
            world.net.settle();
            assert_eq!(outcome(pending), Ok(answer_of(expected)));
        }
        assert_eq!(world.counts(), (2, 3));
    }
}

#[test]
fn a_post_on_a_closed_connection_is_not_repeated() {
    let world = closing_once();
    drop(world.get(URL));
    world.net.settle();
    let pending = world.request(Method::POST, URL);
    world.net.settle();
    let error = outcome(pending).unwrap_err();
    assert!(error.starts_with("the connection was closed after POST was sent, which is not repeated: "), "{error}");
    assert_eq!(world.counts(), (1, 2));
}

#[test]
fn a_post_uses_a_new_connection_when_the_old_one_has_ended() {
    let world = World::with(|number, reactor, transport| {
        let transport = transport.clone();
        reactor.call_later(SECOND, move |_| transport.abort_connection());
        ropewalk::succeed(answer_of(number))
    });
    for number in 0..2 {
        let pending = world.request(Method::POST, URL);
        world.net.settle();
        assert_eq!(outcome(pending), Ok(answer_of(number)));
        world.net.advance(2 * SECOND);
    }
    assert_eq!(world.counts(), (2, 2));
}

#[test]
fn a_failed_first_connection_is_not_repeated() {
    let net = MemoryReactor::new();
    let client = Client::new(&net, Some(Authority::new().trusted()), LIMITS).unwrap();
    let pending =
        net.spawn(async move { client.request(Method::GET, &"https://10.0.0.2/".parse().unwrap(), "").await });
    net.settle();
    let error = outcome(pending).unwrap_err();
    assert!(error.contains("10.0.0.2:443 was refused"), "{error}");
}

#[test]
fn an_answer_over_the_limit_is_refused() {
    let world = World::with(|_, _, _| ropewalk::succeed("x".repeat(1001)));
    let pending = world.get(URL);
    world.net.settle();
    assert_eq!(outcome(pending), Err("the body is longer than 1000 bytes".to_owned()));
}

#[test]
fn a_server_of_an_unknown_authority_is_refused_in_words() {
    let authority = Authority::new();
    let world = World::on(
        MemoryReactor::new(),
        &authority,
        &Authority::new().issue("origin.test"),
        Rc::new(|number, _, _| ropewalk::succeed(answer_of(number))),
    );
    let pending = world.get(URL);
    world.net.settle();
    let error = outcome(pending).unwrap_err();
    assert!(error.contains("the certificate of the peer is refused"), "{error}");
    assert_eq!(world.requests.get(), 0);
}

#[test]
fn a_certificate_for_another_name_is_refused_in_words() {
    let world = World::new(Duration::ZERO);
    let pending = world.get("https://10.0.0.2/");
    world.net.settle();
    let error = outcome(pending).unwrap_err();
    assert!(error.contains("it is for origin.test, expected 10.0.0.2"), "{error}");
}

#[test]
fn a_server_without_http_1_is_refused_in_words() {
    let (net, authority) = (MemoryReactor::new(), Authority::new());
    let options = ServerOptions::new().identity(authority.issue("10.0.0.2").identity()).application_protocols(["h2"]);
    net.listen_tls(SERVER, AccumulatingProtocol::new().factory(), &TlsServer::new(options).unwrap()).unwrap();
    let client = Client::new(&net, Some(authority.trusted()), LIMITS).unwrap();
    let pending =
        net.spawn(async move { client.request(Method::GET, &"https://10.0.0.2/".parse().unwrap(), "").await });
    net.settle();
    let error = outcome(pending).unwrap_err();
    assert!(error.contains("it supports none of our application protocols"), "{error}");
}

#[test]
fn a_url_of_another_scheme_is_refused_at_once() {
    let world = World::new(Duration::ZERO);
    for url in ["/page", "http://origin.test/"] {
        let pending = world.get(url);
        world.net.settle();
        assert!(outcome(pending).unwrap_err().contains("is not a URL for this client"));
    }
    assert_eq!(world.counts(), (0, 0));
}

/// Connects a client to the server of `world` through a wire that the test holds. Returns the bytes in both directions,
/// and the outcome. After `cut` bytes to the client, the wire ends.
fn over_a_wire(net: &MemoryReactor, client: &Client, cut: usize) -> (Vec<Vec<u8>>, Pending) {
    let listener = net.listen_stream("10.0.0.3:443").unwrap();
    net.add_host("origin.test", &["10.0.0.3"]);
    let (client, uri) = (client.clone(), URL.parse().unwrap());
    let pending = net.spawn(async move { client.request(Method::GET, &uri, "").await });
    net.settle();
    let near = listener.accept().expect("a connection");
    let far = net.connect_stream(SERVER);
    let carried = RefCell::new(Vec::new());
    let carry = |from: &TestStream, to: &TestStream, most: usize| {
        net.settle();
        let mut bytes = from.take_received();
        bytes.truncate(most);
        to.write(&bytes);
        carried.borrow_mut().push(bytes.clone());
        bytes.len()
    };
    let mut left = cut;
    for _ in 0..10 {
        carry(&near, &far, usize::MAX);
        left -= carry(&far, &near, left);
        if left == 0 || far.is_eof() {
            near.finish();
        }
    }
    net.settle();
    (carried.into_inner(), pending)
}

/// A server whose answer has no length, so that the end of the stream ends it.
fn without_a_length(authority: &Authority, issued: &Issued) -> (MemoryReactor, Client) {
    use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
    struct Old;
    impl LineProtocol for Old {
        fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
            if line.is_empty() {
                lines.send_line("HTTP/1.1 200 OK\r\n\r\nthe whole answer");
                lines.lose_connection();
            }
        }
    }
    let net = MemoryReactor::new();
    let options = ServerOptions::new().identity(issued.identity());
    net.listen_tls(SERVER, || LineReceiver::new(Old), &TlsServer::new(options).unwrap()).unwrap();
    let client = Client::new(&net, Some(authority.trusted()), LIMITS).unwrap();
    (net, client)
}

#[test]
fn an_answer_that_was_cut_on_its_way_is_an_error() {
    let authority = Authority::new();
    let issued = authority.issue("origin.test");
    let (net, client) = without_a_length(&authority, &issued);
    let (carried, pending) = over_a_wire(&net, &client, usize::MAX);
    assert_eq!(outcome(pending), Ok("the whole answer\r\n".to_owned()));
    let all: usize = carried.iter().skip(1).step_by(2).map(Vec::len).sum();
    // The last record is the alert close_notify: 5 bytes of header, and at least 2 of content.
    let (net, client) = without_a_length(&authority, &issued);
    let (_, pending) = over_a_wire(&net, &client, all - 7);
    let error = outcome(pending).unwrap_err();
    assert!(error.contains("the stream ended without close_notify, so bytes may be missing"), "{error}");
}

#[test]
fn a_seed_decides_every_byte_on_the_wire() {
    let authority = Authority::new();
    let issued = authority.issue("origin.test");
    let run = |seed: u64| {
        let serve: Serve = Rc::new(|number, _, _| ropewalk::succeed(answer_of(number)));
        let faults = Faults::none().short_reads();
        let world = World::on(MemoryReactor::seeded(seed).with_faults(faults), &authority, &issued, serve);
        let (carried, pending) = over_a_wire(&world.net, &world.client, usize::MAX);
        assert_eq!(outcome(pending), Ok(answer_of(0)));
        carried.concat()
    };
    let first = run(1);
    assert!(first.len() > 1000 && first == run(1));
    assert!(first != run(2));
}

#[test]
fn requests_survive_every_way_to_cut_the_stream() {
    let authority = Authority::new();
    let issued = authority.issue("origin.test");
    for seed in 0..30 {
        let serve: Serve = Rc::new(|number, _, _| ropewalk::succeed(answer_of(number)));
        let faults = Faults::none().short_reads().short_writes().latency(SECOND / 1000);
        let world = World::on(MemoryReactor::seeded(seed).with_faults(faults), &authority, &issued, serve);
        let pending: Vec<_> = (0..10).map(|_| world.get(URL)).collect();
        world.net.advance(60 * SECOND);
        assert!(pending.into_iter().all(|pending| outcome(pending).is_ok()), "seed {seed}");
    }
}

#[test]
fn statuses_are_returned() {
    let world = World::new(Duration::ZERO);
    let pending = world.get(URL);
    world.net.settle();
    let answer = pending.try_result().expect("it is over").unwrap().unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

#[cfg(unix)]
mod real {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use crate::certificates::Authority;

    #[test]
    fn files_of_a_server_of_openssl_are_read() {
        let folder = std::env::temp_dir().join(format!("ropewalk-https-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let authority = Authority::new();
        // OpenSSL 3.0 does not read the Ed25519 keys of ring.
        let issued = authority.issue_for("localhost", &rcgen::PKCS_ECDSA_P256_SHA256);
        fs::write(folder.join("authority.pem"), &authority.pem).unwrap();
        fs::write(folder.join("server.pem"), issued.certificate + &issued.key).unwrap();
        fs::write(folder.join("page"), "x".repeat(100_000)).unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            let mut command = Command::new("openssl");
            command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-WWW", "-alpn", "http/1.1"]);
            command.arg(version).current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::piped());
            let Ok(mut server) = command.spawn() else {
                return println!("skipped: openssl is not installed");
            };
            let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
            let port = lines.find_map(|line| Some(line.strip_prefix("ACCEPT 127.0.0.1:")?.to_owned())).expect("a port");
            let url = format!("https://localhost:{port}/page");
            let mut client = Command::new(env!("CARGO_BIN_EXE_https_client"));
            let output = client.arg("--trust").arg(folder.join("authority.pem")).arg(&url).output().unwrap();
            server.kill().unwrap();
            server.wait().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("200 OK, 100000 bytes: {url}\n"));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
