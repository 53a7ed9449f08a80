//! An HTTP client: a pool of connections for each host, timeouts, and retries with back-off.
//!
//! Run `ropewalk serve . --listen tcp:8000`, then
//! `cargo run -p ropewalk-examples --bin http_client -- http://127.0.0.1:8000/README.md http://127.0.0.1:8000/nothing`.
//!
//! hyper implements HTTP on streams of the reactor, and this file decides when to connect, to wait and to give up.
//! Requests only read (GET), so each one may be repeated: after a failed connection, a timeout, or an answer such as
//! "503 Service Unavailable". Redirects are not followed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode, Uri};
use ropewalk::endpoints::TcpClientEndpoint;
use ropewalk::prelude::*;
use ropewalk::protocols::{BackOff, RetryPolicy};
use ropewalk::task::AsyncStream;
use ropewalk::{DeferredSemaphore, Destination, Moment};

/// The maximum number of connections to one host. Further requests wait for a connection.
const CONNECTIONS: usize = 4;
/// The time for one attempt, from connecting to the last byte of the body.
const TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 4;
/// The time after which an unused connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES: usize = 16 << 20;

type Failed = Box<dyn Error + Send + Sync>;

/// A complete answer of a server.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// Hosts by name and port.
type Hosts = HashMap<(String, u16), Rc<Host>>;

/// A client. Clones share their connections.
#[derive(Clone)]
struct Client {
    reactor: Reactor,
    hosts: Rc<RefCell<Hosts>>,
}

/// The connections to one host.
struct Host {
    endpoint: TcpClientEndpoint,
    /// One permit for each request in progress, so that there are at most as many connections.
    permits: DeferredSemaphore,
    idle: RefCell<Vec<Idle>>,
}

/// A connection that waits for a request, since some moment.
struct Idle(SendRequest<String>, Moment);

impl Client {
    fn new(reactor: &Reactor) -> Client {
        Client { reactor: reactor.clone(), hosts: Rc::default() }
    }

    /// Gets `uri`. Repeats attempts that failed for a reason that may pass, after growing delays.
    async fn get(&self, uri: &Uri) -> Result<Answer, Failed> {
        let host = self.host(uri)?;
        let mut delays = BackOff::new().initial_delay(Duration::from_millis(100)).factor(2.0).jitter(TIMEOUT / 100);
        for failures in 1.. {
            let outcome = self.attempt(&host, uri).await;
            if failures == ATTEMPTS || outcome.as_ref().is_ok_and(|answer| !is_temporary(answer.status)) {
                return outcome;
            }
            self.reactor.sleep(delays.delay(failures)).await;
        }
        unreachable!("the last attempt returns")
    }

    fn host(&self, uri: &Uri) -> Result<Rc<Host>, Failed> {
        let (Some("http"), Some(name)) = (uri.scheme_str(), uri.host()) else {
            return Err(format!("'{uri}' is not a URL for this client: expected http://HOST/PATH").into());
        };
        let (name, port) = (name.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80));
        if let Some(host) = self.hosts.borrow().get(&(name.to_owned(), port)) {
            return Ok(host.clone());
        }
        let endpoint = TcpClientEndpoint::new(Destination::new(name, port))?;
        let host = Rc::new(Host { endpoint, permits: DeferredSemaphore::new(CONNECTIONS), idle: RefCell::default() });
        self.hosts.borrow_mut().insert((name.to_owned(), port), host.clone());
        Ok(host)
    }

    async fn attempt(&self, host: &Rc<Host>, uri: &Uri) -> Result<Answer, Failed> {
        // The time in this queue does not count.
        let _permit = host.permits.acquire().await?;
        self.reactor.timeout(TIMEOUT, self.exchange(host, uri)).await?
    }

    async fn exchange(&self, host: &Rc<Host>, uri: &Uri) -> Result<Answer, Failed> {
        if let Some(mut connection) = host.take_idle() {
            // The server may have closed this connection in the meantime. Then the request is repeated on a new one.
            if let Ok(response) = connection.send_request(request(uri)?).await {
                return self.finish(host, connection, response).await;
            }
        }
        let stream = AsyncStream::connect(&self.reactor, &host.endpoint).await?;
        let (mut connection, driver) = handshake(stream).await?;
        self.reactor.spawn(driver);
        let response = connection.send_request(request(uri)?).await?;
        self.finish(host, connection, response).await
    }

    /// Reads the body. Then the connection is free for the next request.
    async fn finish(
        &self,
        host: &Rc<Host>,
        mut connection: SendRequest<String>,
        response: Response<Incoming>,
    ) -> Result<Answer, Failed> {
        let status = response.status();
        let body = read(response.into_body()).await?;
        if connection.ready().await.is_ok() {
            host.idle.borrow_mut().push(Idle(connection, self.reactor.now()));
            let host = Rc::downgrade(host);
            self.reactor.call_later(IDLE_TIMEOUT, move |reactor| {
                if let Some(host) = host.upgrade() {
                    host.close_idle(reactor.now());
                }
            });
        }
        Ok(Answer { status, body })
    }
}

impl Host {
    /// Returns the connection that was used last, because the server keeps it longest.
    fn take_idle(&self) -> Option<SendRequest<String>> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).map(|Idle(connection, _)| connection).find(|it| !it.is_closed())
    }

    fn close_idle(&self, now: Moment) {
        self.idle.borrow_mut().retain(|Idle(connection, since)| !connection.is_closed() && now - *since < IDLE_TIMEOUT);
    }
}

fn request(uri: &Uri) -> Result<Request<String>, Failed> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    Ok(Request::get(path).header(HOST, host).body(String::new())?)
}

/// Returns whether the same request may succeed later.
fn is_temporary(status: StatusCode) -> bool {
    use StatusCode as S;
    [S::TOO_MANY_REQUESTS, S::BAD_GATEWAY, S::SERVICE_UNAVAILABLE, S::GATEWAY_TIMEOUT].contains(&status)
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // Frames without data are trailers.
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES {
            return Err(format!("the body is longer than {BODY_BYTES} bytes").into());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Gets all `urls` at once, and prints a line for each, in order. Returns whether all were answered with a success.
async fn print_all(reactor: Reactor, urls: Vec<String>) -> bool {
    let client = Client::new(&reactor);
    let begin = |url: String| {
        let client = client.clone();
        reactor.spawn(async move {
            match client.get(&url.parse()?).await {
                Ok(Answer { status, body }) => Ok((status, format!("{status}, {} bytes: {url}", body.len()))),
                Err(error) => Err(format!("{url}: {error}").into()),
            }
        })
    };
    let pending: Vec<Deferred<Result<_, Failed>>> = urls.into_iter().map(begin).collect();
    let mut is_success = true;
    for answer in pending {
        match answer.await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok((status, line)) => {
                is_success &= status.is_success();
                println!("{line}");
            }
            Err(error) => {
                is_success = false;
                eprintln!("{error}");
            }
        }
    }
    is_success
}

fn main() -> ExitCode {
    let urls = Vec::from_iter(std::env::args().skip(1));
    ropewalk::react(|reactor| async move {
        if print_all(reactor, urls).await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use ropewalk::task::StreamFactory;
    use ropewalk::testing::{Faults, MemoryReactor};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A server at `10.0.0.2:80` on a simulated network, and a client.
    struct World {
        net: MemoryReactor,
        client: Client,
        connections: Rc<Cell<usize>>,
        requests: Rc<Cell<usize>>,
    }

    impl World {
        /// The server answers the request of this number with `answer`, after `delay`.
        fn new(delay: Duration, answer: fn(usize) -> StatusCode) -> World {
            let net = MemoryReactor::new();
            let (connections, requests) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (accepted, asked) = (connections.clone(), requests.clone());
            let serve = StreamFactory::new(move |stream, reactor: &Reactor| {
                accepted.set(accepted.get() + 1);
                let (asked, server) = (asked.clone(), reactor.clone());
                let service = service_fn(move |_: Request<Incoming>| {
                    let (number, server) = (asked.replace(asked.get() + 1), server.clone());
                    async move {
                        server.sleep(delay).await;
                        let response = Response::builder().status(answer(number)).body(format!("answer {number}"));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                drop(reactor.spawn(http1::Builder::new().serve_connection(stream, service)));
            });
            net.listen_tcp("10.0.0.2:80", serve).unwrap();
            net.add_host("origin.test", &["10.0.0.2"]);
            World { client: Client::new(&net), net, connections, requests }
        }

        fn get(&self, url: &str) -> Deferred<Result<Answer, Failed>> {
            let (client, uri) = (self.client.clone(), url.parse().unwrap());
            self.net.spawn(async move { client.get(&uri).await })
        }

        fn counts(&self) -> (usize, usize) {
            (self.connections.get(), self.requests.get())
        }
    }

    fn answer(pending: Deferred<Result<Answer, Failed>>) -> Result<Answer, Failed> {
        pending.try_result().expect("the request is over").expect("no panic")
    }

    #[test]
    fn requests_share_a_connection() {
        let world = World::new(Duration::ZERO, |_| StatusCode::OK);
        for number in 0..3 {
            let pending = world.get("http://origin.test/page");
            world.net.settle();
            assert_eq!(answer(pending).unwrap().body, format!("answer {number}").into_bytes());
        }
        assert_eq!(world.counts(), (1, 3));
    }

    #[test]
    fn a_host_gets_a_limited_number_of_connections() {
        let world = World::new(SECOND, |_| StatusCode::OK);
        let pending: Vec<_> = (0..10).map(|_| world.get("http://origin.test/")).collect();
        world.net.settle();
        assert_eq!(world.counts(), (CONNECTIONS, CONNECTIONS));
        world.net.advance(3 * SECOND);
        assert!(pending.into_iter().all(|pending| answer(pending).is_ok()));
        assert_eq!(world.counts(), (CONNECTIONS, 10));
    }

    #[test]
    fn an_unused_connection_is_closed() {
        let world = World::new(Duration::ZERO, |_| StatusCode::OK);
        drop(world.get("http://origin.test/"));
        world.net.settle();
        world.net.advance(IDLE_TIMEOUT);
        assert_eq!(world.net.open_sources(), 1, "the port is left");
        let pending = world.get("http://origin.test/");
        world.net.settle();
        assert!(answer(pending).is_ok());
        assert_eq!(world.counts(), (2, 2));
    }

    #[test]
    fn an_unavailable_service_is_asked_again_later() {
        let world =
            World::new(Duration::ZERO, |number| [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK][number.min(1)]);
        let pending = world.get("http://origin.test/");
        world.net.advance(Duration::from_millis(199));
        assert_eq!(world.counts(), (1, 1));
        world.net.advance(Duration::from_millis(101)); // the greatest jitter is a tenth of a second
        assert_eq!(answer(pending).unwrap().status, StatusCode::OK);
        assert_eq!(world.counts(), (1, 2));
    }

    #[test]
    fn the_last_answer_counts() {
        let world = World::new(Duration::ZERO, |_| StatusCode::SERVICE_UNAVAILABLE);
        let pending = world.get("http://origin.test/");
        world.net.advance(10 * SECOND);
        assert_eq!(answer(pending).unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(world.requests.get(), ATTEMPTS as usize);
    }

    #[test]
    fn a_missing_page_is_not_asked_for_again() {
        let world = World::new(Duration::ZERO, |_| StatusCode::NOT_FOUND);
        let pending = world.get("http://origin.test/");
        world.net.settle();
        assert_eq!(answer(pending).unwrap().status, StatusCode::NOT_FOUND);
        assert_eq!(world.counts(), (1, 1));
    }

    /// Gets a page of a server that says `text` to each request. Checks the time of each attempt, and returns the
    /// error.
    fn error_of_silence(text: &str) -> String {
        let net = MemoryReactor::new();
        let server = net.listen_stream("10.0.0.2:80").unwrap();
        let client = Client::new(&net);
        let pending = net.spawn(async move { client.get(&"http://10.0.0.2/".parse().unwrap()).await });
        for attempt in 1..=ATTEMPTS {
            // The delay before an attempt is random, and shorter than two seconds.
            let mut wait = (0..2000).map(|_| net.advance(MILLISECOND));
            let silent = wait.find_map(|()| server.accept()).expect("each attempt has a connection");
            silent.write(text.as_bytes());
            net.advance(TIMEOUT - 2 * MILLISECOND);
            assert!(!silent.is_eof() && !silent.is_reset(), "attempt {attempt} waits for an answer");
            net.advance(3 * MILLISECOND);
            assert!(silent.is_eof() || silent.is_reset(), "attempt {attempt} is over");
        }
        assert_eq!(net.open_sources(), 0);
        answer(pending).err().expect("no answer came").to_string()
    }

    #[test]
    fn each_attempt_with_a_silent_server_has_a_time_limit() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        for text in ["", head, &format!("{head}the begin")[..head.len() + 3]] {
            assert_eq!(error_of_silence(text), "timed out after 10s", "after {text:?}");
        }
    }

    #[test]
    fn a_host_that_never_answers_is_given_up() {
        // The connection attempt alone would take 30 seconds.
        let net = MemoryReactor::new().with_faults(Faults::none().black_hole([10, 0, 0, 2]));
        let client = Client::new(&net);
        let pending = net.spawn(async move { client.get(&"http://10.0.0.2/".parse().unwrap()).await });
        net.advance(TIMEOUT * ATTEMPTS);
        assert!(!pending.is_done() && net.tcp_clients().len() == ATTEMPTS as usize);
        net.advance(2 * SECOND);
        assert_eq!(answer(pending).err().expect("no answer came").to_string(), "timed out after 10s");
        assert_eq!(net.open_sources(), 0);
    }

    #[test]
    fn a_connection_with_a_request_in_progress_is_not_used_again() {
        let world = World::new(3600 * SECOND, |_| StatusCode::OK);
        let pending = world.get("http://origin.test/");
        world.net.advance((TIMEOUT + SECOND) * ATTEMPTS);
        assert!(answer(pending).is_err());
        assert_eq!(world.counts(), (ATTEMPTS as usize, ATTEMPTS as usize));
        assert!(world.client.hosts.borrow().values().all(|host| host.idle.borrow().is_empty()));
    }

    #[test]
    fn a_connection_that_the_server_has_closed_is_replaced() {
        let net = MemoryReactor::new();
        let server = net.listen_stream("10.0.0.2:80").unwrap();
        let client = Client::new(&net);
        for _ in 0..2 {
            let (client, uri) = (client.clone(), "http://10.0.0.2/".parse().unwrap());
            let pending = net.spawn(async move { client.get(&uri).await });
            net.settle();
            let accepted = server.accept().expect("a new connection");
            accepted.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            net.settle();
            assert_eq!(answer(pending).unwrap().body, b"ok");
            accepted.close();
        }
    }

    #[test]
    fn a_url_without_a_host_is_refused_at_once() {
        let world = World::new(Duration::ZERO, |_| StatusCode::OK);
        for url in ["/page", "https://origin.test/"] {
            let pending = world.get(url);
            world.net.settle();
            assert!(answer(pending).err().unwrap().to_string().contains("is not a URL for this client"));
        }
        assert_eq!(world.counts(), (0, 0));
    }
}
