//! One connection: hyper on the loop, watched for idleness. It lingers after its end, so that the last response arrives.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use ropewalk::task::hyper::LoopTimer;
use ropewalk::task::{AsyncStream, StreamFactory};
use ropewalk::{Address, Factory, Reactor};

use super::answer::answer;
use super::body::{Content, ResponseBody};
use super::connections::{Connections, Open};
use super::site::Site;
use crate::idle::IdleTimer;

/// The bound of a request's head, and of what hyper holds back of a response.
const BUFFER_MAX: usize = 32 * 1024;

/// A reader who takes this many times the idle limit for the next bit of a response has gone away.
const STALL_FACTOR: u32 = 10;

/// Serves `site` on each connection, which is one of `connections`.
pub(super) fn factory(
    reactor: &Reactor,
    site: Arc<Site>,
    idle_limit: Option<Duration>,
    connections: &Rc<Connections>,
) -> impl Factory + use<> {
    let mut http = http1::Builder::new();
    http.timer(LoopTimer::new(reactor)).header_read_timeout(idle_limit).max_buf_size(BUFFER_MAX).half_close(true);
    let (http, connections) = (Rc::new(http), connections.clone());
    StreamFactory::new(move |stream, reactor| {
        let open = connections.open(reactor);
        // What hyper is done with has yet to be sent.
        let sent = open.clone();
        stream.transport().when_lost().add_callback(move |_| drop(sent));
        let stream = Watched::new(stream, idle_limit.map(|limit| limit * STALL_FACTOR), open.clone());
        reactor.spawn(serve(http.clone(), stream, reactor.clone(), site.clone(), open));
    })
}

async fn serve(http: Rc<http1::Builder>, stream: Watched, reactor: Reactor, site: Arc<Site>, open: Rc<Open>) {
    let peer = Rc::new(stream.stream.transport().peer().clone());
    let own = (reactor.clone(), peer.clone(), open.clone());
    let service =
        service_fn(move |request| respond(own.0.clone(), site.clone(), own.1.clone(), own.2.clone(), request));
    let mut connection = http.serve_connection(stream, service);
    let mut unneeded = pin!(open.unneeded());
    let mut is_told = false;
    let ended = std::future::poll_fn(|context| {
        if !is_told && unneeded.as_mut().poll(context).is_ready() {
            is_told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(context)
    });
    if let Err(error) = ended.await {
        tracing::info!(%peer, error = %explained(&error), "connection ended");
    }
}

async fn respond(
    reactor: Reactor,
    site: Arc<Site>,
    peer: Rc<Address>,
    open: Rc<Open>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let answering = open.answering();
    let (head, _body) = request.into_parts();
    let request_line = tracing::enabled!(tracing::Level::INFO).then(|| format!("{} {}", head.method, head.uri));
    let answered = reactor.defer_to_thread(move || answer(&site, &head)).await;
    let mut response = answered.unwrap_or_else(|_panicked| {
        let mut response = Response::new(Content::EMPTY);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    if let Some(request_line) = request_line {
        tracing::info!(%peer, status = response.status().as_u16(), bytes = response.body().length(), "{request_line}");
    }
    if open.is_closing() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|content| ResponseBody::new(reactor, content, answering)))
}

/// hyper's errors keep their causes to themselves.
fn explained(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A stream that is ended when nothing moves on it.
struct Watched {
    stream: AsyncStream,
    idle: IdleTimer,
    open: Rc<Open>,
}

impl Watched {
    fn new(stream: AsyncStream, idle_limit: Option<Duration>, open: Rc<Open>) -> Watched {
        let _ = stream.transport().set_tcp_no_delay(true);
        let idle = IdleTimer::of(stream.transport(), idle_limit);
        Watched { stream, idle, open }
    }

    fn moved<T>(&self, outcome: Poll<T>) -> Poll<T> {
        if outcome.is_ready() {
            self.idle.touch();
            self.open.touch();
        }
        outcome
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.moved(outcome)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, data);
        self.moved(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.moved(outcome)
    }
}
