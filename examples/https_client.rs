//! An HTTPS client: connections that are kept for each host, over TLS, with limits for everything.
//!
//! Run `ropewalk serve . --listen self-signed:8443:save=/tmp/authority.pem`, then
//! `cargo run -p ropewalk-examples --bin https_client -- --trust /tmp/authority.pem https://localhost:8443/README.md`.
//!
//! hyper implements HTTP on streams of the reactor, and the feature `tls` puts TLS under it. This file decides when to
//! connect, to wait, to repeat and to give up:
//!
//! - A host has at most `connections_max` connections. Further requests wait for one.
//! - A request has a time limit, from connecting to the last byte of the body.
//! - A connection without a request is closed after `idle_timeout`. The server may close it earlier. A request on such a
//!   connection is repeated on a new one if nothing of it was sent, or if its method is idempotent, such as GET.
//! - An answer that ends without the end of TLS is an error, unless its length was known.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode, Uri};
use ropewalk::endpoints::{TcpClientEndpoint, TlsClientEndpoint};
use ropewalk::prelude::*;
use ropewalk::task::AsyncStream;
use ropewalk::tls::{Authorities, ClientOptions, TlsClient};
use ropewalk::{DeferredSemaphore, Destination, Moment};

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// The limits of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The maximum number of connections to one host.
    pub(crate) connections_max: usize,
    /// The time for one request, without the wait for a connection.
    pub(crate) timeout: Duration,
    /// The time after which an unused connection is closed.
    pub(crate) idle_timeout: Duration,
    pub(crate) body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 4,
            timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            body_bytes_max: 16 << 20,
        }
    }
}

/// A complete answer of a server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// The pools, by host and port.
type Hosts = HashMap<(String, u16), Rc<Host>>;

/// A client. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    reactor: Reactor,
    tls: TlsClient,
    limits: Limits,
    hosts: Rc<RefCell<Hosts>>,
}

/// The connections to one host.
struct Host {
    endpoint: TlsClientEndpoint,
    /// One permit for each request in progress, so that there are at most as many connections.
    permits: DeferredSemaphore,
    idle: RefCell<Vec<Idle>>,
}

/// A connection that waits for a request, since some moment.
struct Idle(SendRequest<String>, Moment);

impl Client {
    /// Creates a client that trusts `authorities`, or those of the system.
    pub(crate) fn new(reactor: &Reactor, authorities: Option<Authorities>, limits: Limits) -> Result<Client, Failed> {
        // The server must not choose HTTP/2, which this file does not speak.
        let mut options = ClientOptions::new().application_protocols(["http/1.1"]);
        if let Some(authorities) = authorities {
            options = options.authorities(authorities);
        }
        Ok(Client { reactor: reactor.clone(), tls: TlsClient::new(options)?, limits, hosts: Rc::default() })
    }

    /// Sends a request, and returns the complete answer.
    pub(crate) async fn request(&self, method: Method, uri: &Uri, body: &str) -> Result<Answer, Failed> {
        let host = self.host(uri)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::builder().method(method).uri(path).header(HOST, authority).body(body.to_owned())?;
        // The time in this queue does not count.
        let _permit = host.permits.acquire().await?;
        self.reactor.timeout(self.limits.timeout, self.exchange(&host, request)).await?
    }

    fn host(&self, uri: &Uri) -> Result<Rc<Host>, Failed> {
        let (Some("https"), Some(name)) = (uri.scheme_str(), uri.host()) else {
            return Err(format!("'{uri}' is not a URL for this client: expected https://HOST/PATH").into());
        };
        let (name, port) = (name.trim_matches(['[', ']']), uri.port_u16().unwrap_or(443));
        if let Some(host) = self.hosts.borrow().get(&(name.to_owned(), port)) {
            return Ok(host.clone());
        }
        let tcp = TcpClientEndpoint::new(Destination::new(name, port))?;
        let host = Rc::new(Host {
            endpoint: TlsClientEndpoint::new(tcp, &self.tls, name),
            permits: DeferredSemaphore::new(self.limits.connections_max),
            idle: RefCell::default(),
        });
        self.hosts.borrow_mut().insert((name.to_owned(), port), host.clone());
        Ok(host)
    }

    async fn exchange(&self, host: &Rc<Host>, request: Request<String>) -> Result<Answer, Failed> {
        while let Some(mut connection) = host.take_idle() {
            let mut failed = match connection.try_send_request(request.clone()).await {
                Ok(response) => return self.finish(host, connection, response).await,
                Err(failed) => failed,
            };
            // hyper returns a request of which it has sent nothing.
            if failed.take_message().is_none() && !request.method().is_idempotent() {
                let (method, error) = (request.method(), words(failed.error()));
                let begin = format!("the connection was closed after {method} was sent, which is not repeated");
                return Err(format!("{begin}: {error}").into());
            }
        }
        let stream = AsyncStream::connect(&self.reactor, &host.endpoint).await?;
        let (mut connection, driver) = handshake(stream).await?;
        self.reactor.spawn(driver);
        let response = connection.send_request(request).await?;
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
        let body = read(response.into_body(), self.limits.body_bytes_max).await?;
        if connection.ready().await.is_ok() {
            host.idle.borrow_mut().push(Idle(connection, self.reactor.now()));
            let (host, limit) = (Rc::downgrade(host), self.limits.idle_timeout);
            self.reactor.call_later(limit, move |reactor| {
                if let Some(host) = host.upgrade() {
                    host.close_idle(reactor.now(), limit);
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

    fn close_idle(&self, now: Moment, limit: Duration) {
        self.idle.borrow_mut().retain(|Idle(connection, since)| !connection.is_closed() && now - *since < limit);
    }
}

async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // Frames without data are trailers.
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(format!("the body is longer than {bytes_max} bytes").into());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Describes an error and its causes. A cause whose text is in the text before it is left away.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// An HTTPS client
#[derive(Parser)]
#[command(name = "https_client")]
struct CommandLine {
    /// A PEM file with the trusted authorities, instead of those of the system
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Send this text (POST), instead of reading (GET)
    #[arg(long, value_name = "TEXT")]
    post: Option<String>,
    /// The URLs
    #[arg(required = true)]
    urls: Vec<String>,
}

/// Asks for all URLs at once, and prints a line for each, in order. Returns whether all were answered with a success.
async fn print_all(reactor: Reactor, options: CommandLine) -> Result<ExitCode, Failed> {
    let authorities = options.trust.map(Authorities::read).transpose()?;
    let client = Client::new(&reactor, authorities, Limits::default())?;
    let method = if options.post.is_some() { Method::POST } else { Method::GET };
    let body: Rc<str> = options.post.unwrap_or_default().into();
    let begin = |url: String| {
        let (client, method, body) = (client.clone(), method.clone(), body.clone());
        reactor.spawn(async move {
            match client.request(method, &url.parse()?, &body).await {
                Ok(Answer { status, body }) => Ok((status, format!("{status}, {} bytes: {url}", body.len()))),
                Err(error) => Err(format!("{url}: {}", words(&*error)).into()),
            }
        })
    };
    let pending: Vec<Deferred<Result<_, Failed>>> = options.urls.into_iter().map(begin).collect();
    let mut code = ExitCode::SUCCESS;
    for answer in pending {
        match answer.await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok((status, line)) => {
                println!("{line}");
                code = if status.is_success() { code } else { ExitCode::FAILURE };
            }
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn main() -> ExitCode {
    let options = CommandLine::parse();
    ropewalk::react(|reactor| async move {
        print_all(reactor, options).await.unwrap_or_else(|error| {
            eprintln!("{}", words(&*error));
            ExitCode::FAILURE
        })
    })
}
