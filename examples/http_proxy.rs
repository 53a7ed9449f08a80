//! An HTTP proxy.
//!
//! Run `cargo run -p ropewalk-examples --bin http_proxy`, then `curl --proxy http://127.0.0.1:8008 http://example.org/`,
//! and the same with https.
//!
//! hyper implements HTTP on streams of the reactor, and this file implements the proxy. A request for `http://...` is
//! forwarded, and its response is streamed back. After `CONNECT host:port`, bytes are forwarded unchanged in both
//! directions. In both cases, each side is read only as fast as the other side accepts the data.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, VIA};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, Version, client, server};
use ropewalk::endpoints::TcpClientEndpoint;
use ropewalk::prelude::*;
use ropewalk::protocols::policies::{LimitTotalConnectionsFactory, TimeoutFactory};
use ropewalk::task::hyper::LoopTimer;
use ropewalk::task::{AsyncStream, StreamFactory, copy_bidirectional};
use ropewalk::{Bytes, Destination};

const CLIENTS: usize = 500;
const HEADER_BYTES: usize = 32 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time without data after which a connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The name of this proxy in the `Via` field.
const PSEUDONYM: HeaderValue = HeaderValue::from_static("1.1 ropewalk-example");
/// Fields for one connection only, which a proxy removes: RFC 9110, section 7.6.1. `Connection` may name more of them.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// An error response of the proxy itself.
struct Refusal(StatusCode, String);

/// The body of a response: streamed from the server, or a line of the proxy itself.
enum Reply {
    Streamed(Incoming),
    Own(String),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Reply::Streamed(body) => Pin::new(body).poll_frame(context),
            Reply::Own(text) => Pin::new(text).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Streamed(body) => body.is_end_stream(),
            Reply::Own(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Streamed(body) => body.size_hint(),
            Reply::Own(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl From<Refusal> for Response<Reply> {
    fn from(Refusal(status, why): Refusal) -> Response<Reply> {
        let mut response = Response::new(Reply::Own(why + "\n"));
        *response.status_mut() = status;
        response
    }
}

/// The stream to the target of a `CONNECT`. The stream is used once the response has been sent.
type Tunnel = Rc<Cell<Option<AsyncStream>>>;

async fn serve(stream: AsyncStream, reactor: Reactor) {
    let tunnel = Tunnel::default();
    let service = service_fn(|request| {
        let (reactor, tunnel) = (reactor.clone(), tunnel.clone());
        async move {
            let response = match request.method() {
                &Method::CONNECT => connect(&reactor, &tunnel, request.uri()).await,
                _ => forward(&reactor, request).await,
            };
            Ok::<_, Infallible>(response.unwrap_or_else(Response::from))
        }
    });
    let mut http = server::conn::http1::Builder::new();
    http.timer(LoopTimer::new(&reactor)).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_BYTES);
    let Ok(client) = http.serve_connection(stream, service).without_shutdown().await else { return };
    if let Some(mut target) = tunnel.take() {
        // The client may have sent data before it received the response.
        if target.write_all(&client.read_buf).await.is_ok() {
            tunnel_both_ways(client.io, target).await;
        }
    }
}

/// Connects to the host and port of `uri`.
async fn open(reactor: &Reactor, uri: &Uri, default_port: Option<u16>) -> Result<AsyncStream, Refusal> {
    let (Some(host), Some(port)) = (uri.host(), uri.port_u16().or(default_port)) else {
        return Err(Refusal(StatusCode::BAD_REQUEST, format!("no host and port in '{uri}'")));
    };
    let destination = Destination::new(host.trim_matches(['[', ']']), port).timeout(CONNECT_TIMEOUT);
    let connecting = async { Ok(AsyncStream::connect(reactor, &TcpClientEndpoint::new(destination)?).await?) };
    connecting.await.map_err(|error: ropewalk::Error| Refusal(StatusCode::BAD_GATEWAY, error.to_string()))
}

async fn connect(reactor: &Reactor, tunnel: &Tunnel, uri: &Uri) -> Result<Response<Reply>, Refusal> {
    tunnel.set(Some(open(reactor, uri, None).await?));
    Ok(Response::new(Reply::Own(String::new())))
}

async fn forward(reactor: &Reactor, mut request: Request<Incoming>) -> Result<Response<Reply>, Refusal> {
    if request.uri().scheme_str() != Some("http") {
        let why = format!("'{}' is not a URL for a proxy: expected http://HOST/PATH", request.uri());
        return Err(Refusal(StatusCode::BAD_REQUEST, why));
    }
    if request.headers().get_all(VIA).iter().any(|via| via == PSEUDONYM) {
        return Err(Refusal(StatusCode::LOOP_DETECTED, "proxy loop: this request has passed this proxy before".into()));
    }
    let stream = open(reactor, request.uri(), Some(80)).await?;
    rewrite_for_origin(&mut request);
    let bad_gateway =
        |error: hyper::Error| Refusal(StatusCode::BAD_GATEWAY, format!("the server does not answer: {error}"));
    let (mut sender, connection) = client::conn::http1::handshake(stream).await.map_err(bad_gateway)?;
    reactor.spawn(connection);
    let mut response = sender.send_request(request).await.map_err(bad_gateway)?;
    remove_hop_by_hop(response.headers_mut());
    response.headers_mut().append(VIA, PSEUDONYM);
    Ok(response.map(Reply::Streamed))
}

/// Turns a request to a proxy into a request to the server itself.
fn rewrite_for_origin(request: &mut Request<Incoming>) {
    remove_hop_by_hop(request.headers_mut());
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().append(VIA, PSEUDONYM);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().expect("the path of a URI is a valid URI");
    *request.version_mut() = Version::HTTP_11;
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let values: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    let named = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|names| names.split(','));
    for name in named.filter_map(|name| name.trim().parse::<HeaderName>().ok()) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Forwards bytes in both directions, until both are closed.
async fn tunnel_both_ways(mut client: AsyncStream, mut target: AsyncStream) {
    if copy_bidirectional(&mut client, &mut target).await.is_err() {
        // A reset on one side must not look like a clean close on the other side.
        client.transport().abort_connection();
        target.transport().abort_connection();
    }
}

fn proxies() -> impl Factory {
    let proxy = StreamFactory::new(|stream, reactor: &Reactor| {
        reactor.spawn(serve(stream, reactor.clone()));
    });
    TimeoutFactory::new(LimitTotalConnectionsFactory::new(proxy, CLIENTS), IDLE_TIMEOUT)
}

fn main() -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp("127.0.0.1:8008", proxies())?; // only for this machine, because the proxy connects to any target
    println!("forwarding on {}", port.host()?);
    reactor.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk::testing::{Faults, MemoryReactor, TestListener, TestStream};

    /// The proxy, a client of it, and a server named `origin.test`.
    struct World {
        net: MemoryReactor,
        origin: TestListener,
        client: TestStream,
    }

    impl World {
        fn new() -> World {
            let net = MemoryReactor::seeded(5).with_faults(Faults::none().short_reads().short_writes());
            net.listen_tcp("10.0.0.1:3128", proxies()).unwrap();
            net.add_host("origin.test", &["10.0.0.2"]);
            let origin = net.listen_stream("10.0.0.2:80").unwrap();
            let client = net.connect_stream("10.0.0.1:3128");
            World { net, origin, client }
        }

        /// Sends `request`. Returns the connection that the server accepts, if there is one.
        fn ask(&self, request: &str) -> Option<TestStream> {
            self.client.write(request.as_bytes());
            self.net.settle();
            self.origin.accept()
        }

        fn answer(&self) -> String {
            self.net.settle();
            String::from_utf8(self.client.take_received()).unwrap()
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn hop_by_hop_fields_are_removed_from_requests() {
        let world = World::new();
        let server = world
            .ask(
                "GET http://origin.test/page?x=1 HTTP/1.1\r\nHost: elsewhere\r\nAccept: */*\r\nX-Hop: 1\r\n\
                 Connection: close, x-hop\r\nProxy-Authorization: secret\r\n\r\n",
            )
            .unwrap();
        let request = text(&server.received());
        let (first, headers) = request.split_once("\r\n").unwrap();
        assert_eq!(first, "GET /page?x=1 HTTP/1.1");
        let mut headers: Vec<_> = headers.trim_end().split("\r\n").collect();
        headers.sort_unstable();
        assert_eq!(headers, ["accept: */*", "host: origin.test", "via: 1.1 ropewalk-example"]);
    }

    #[test]
    fn a_response_is_streamed_to_the_client() {
        let world = World::new();
        let server = world.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap();
        server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nKeep-Alive: 5\r\n\r\nhello");
        let first = world.answer();
        assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && first.ends_with("\r\n\r\nhello"), "{first}");
        assert!(first.contains("via: 1.1 ropewalk-example\r\n") && !first.contains("keep-alive: 5"), "{first}");
        server.write(b"world");
        assert_eq!(world.answer(), "world");
    }

    #[test]
    fn one_connection_carries_several_requests() {
        let world = World::new();
        for word in ["one", "two"] {
            let question =
                format!("POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 3\r\n\r\n{word}");
            let server = world.ask(&question).unwrap();
            assert!(text(&server.received()).ends_with(&format!("\r\n\r\n{word}")));
            server.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n");
            assert!(world.answer().ends_with("\r\n3\r\nyes\r\n0\r\n\r\n"));
        }
    }

    #[test]
    fn failed_requests_are_explained() {
        let cases = [
            (
                "GET /page HTTP/1.1\r\nHost: a\r\n\r\n",
                "400",
                "'/page' is not a URL for a proxy: expected http://HOST/PATH",
            ),
            ("GET http://nowhere.test/ HTTP/1.1\r\nHost: a\r\n\r\n", "502", "cannot resolve the name nowhere.test"),
            ("GET http://origin.test:81/ HTTP/1.1\r\nHost: a\r\n\r\n", "502", "connection to 10.0.0.2:81 was refused"),
            ("CONNECT origin.test:81 HTTP/1.1\r\nHost: a\r\n\r\n", "502", "connection to 10.0.0.2:81 was refused"),
            ("CONNECT origin.test HTTP/1.1\r\nHost: a\r\n\r\n", "400", "no host and port in 'origin.test'"),
            (
                "GET http://origin.test/ HTTP/1.1\r\nHost: a\r\nVia: 1.1 ropewalk-example\r\n\r\n",
                "508",
                "proxy loop: this request has passed this proxy before",
            ),
        ];
        for (request, status, why) in cases {
            let world = World::new();
            assert!(world.ask(request).is_none());
            let answer = world.answer();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(why), "{answer}");
        }
    }

    #[test]
    fn a_server_that_closes_early_is_a_bad_gateway() {
        let world = World::new();
        world.ask("GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n").unwrap().close();
        let answer = world.answer();
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("the server does not answer"), "{answer}");
    }

    /// Opens a tunnel. The client sends `early` before it has the response.
    fn tunnel(early: &str) -> (World, TestStream) {
        let world = World::new();
        let server = world.ask(&format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n{early}"));
        assert!(world.answer().starts_with("HTTP/1.1 200 OK\r\n"));
        (world, server.unwrap())
    }

    #[test]
    fn a_tunnel_forwards_both_directions() {
        let (world, server) = tunnel("early ");
        let long: Vec<u8> = (0..300_000).map(|place| (place % 251) as u8).collect();
        world.client.write(b"bird");
        server.write(&long);
        world.net.settle();
        assert_eq!(text(&server.take_received()), "early bird");
        assert!(world.client.take_received() == long);
        world.client.finish();
        world.net.settle();
        assert!(server.is_eof() && !world.client.is_eof(), "one direction is closed, the other one is open");
        server.write(b"the end");
        server.close();
        assert_eq!(world.answer(), "the end");
        assert!(world.client.is_eof());
        assert_eq!(world.net.open_sources(), 1, "only the port of the proxy is left");
    }

    #[test]
    fn a_tunnel_forwards_a_reset() {
        let (world, server) = tunnel("");
        server.abort();
        world.net.settle();
        assert!(world.client.is_reset());
    }

    #[test]
    fn an_idle_tunnel_is_closed() {
        let (world, server) = tunnel("");
        world.net.advance(IDLE_TIMEOUT / 2);
        server.write(b"still here");
        world.net.advance(IDLE_TIMEOUT - Duration::from_secs(1));
        assert!(world.client.is_connected() && server.is_connected());
        world.net.advance(Duration::from_secs(1));
        assert!(world.client.is_eof() && server.is_reset());
        assert_eq!(world.net.open_sources(), 1);
    }

    #[test]
    fn a_client_that_does_not_read_pauses_the_server() {
        let (world, server) = tunnel("");
        world.client.pause_reading();
        server.write(&vec![1; 10_000_000]);
        world.net.settle();
        // The network buffers 64 KiB in each direction, and the proxy a little more on each side.
        server.abort();
        world.client.resume_reading();
        world.net.settle();
        let forwarded = world.client.received().len();
        assert!(forwarded < 500_000, "{forwarded} bytes were read from the server");
    }
}
