//! One connection: hyper on the reactor, with an idle limit. After `serve` has closed a connection, the reactor lets it
//! linger, so that the last response arrives.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ropewalk::task::hyper::LoopTimer;
use ropewalk::task::{AsyncStream, StreamFactory};
use ropewalk::{Factory, Reactor, Transport};

use super::answer::{self, answer};
use super::body::ResponseBody;
use super::connections::{Connections, TrackedConnection};
use super::site::Site;
use crate::idle::IdleTimer;

/// The most bytes of a request head, and of a response that hyper buffers.
const BUFFER_MAX: usize = 32 * 1024;

/// Multiplies the idle limit while a response is sent: a slow peer gets more time than a silent one.
const STALL_FACTOR: u32 = 10;

/// Returns a factory that serves `site`. The factory adds each new connection to `connections`.
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
        let tracked = connections.add(reactor);
        // The connection counts until it is lost: hyper may finish before the last bytes are sent.
        let sent = tracked.clone();
        stream.transport().when_lost().add_callback(move |_| drop(sent));
        let stream = IdleLimited::new(stream, idle_limit.map(|limit| limit * STALL_FACTOR), tracked.clone());
        reactor.spawn(serve(http.clone(), stream, site.clone(), tracked));
    })
}

async fn serve(http: Rc<http1::Builder>, stream: IdleLimited, site: Arc<Site>, tracked: Rc<TrackedConnection>) {
    let transport = stream.stream.transport().clone();
    let peer = transport.peer().clone();
    let own = tracked.clone();
    let service = service_fn(move |request| respond(transport.clone(), site.clone(), own.clone(), request));
    let mut connection = http.serve_connection(stream, service);
    let mut unneeded = pin!(tracked.until_unneeded());
    let mut is_shutting_down = false;
    let ended = std::future::poll_fn(|context| {
        if !is_shutting_down && unneeded.as_mut().poll(context).is_ready() {
            is_shutting_down = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(context)
    });
    if let Err(error) = ended.await {
        tracing::info!(%peer, error = %error_chain(&error), "HTTP connection failed");
    }
}

async fn respond(
    transport: Transport,
    site: Arc<Site>,
    tracked: Rc<TrackedConnection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let pending = tracked.begin_request();
    let (head, _body) = request.into_parts();
    let request_line = tracing::enabled!(tracing::Level::INFO).then(|| format!("{} {}", head.method, head.uri));
    let reactor = transport.reactor();
    let handle = reactor.thread_handle();
    let answered = reactor.defer_to_thread(move || answer(&site, &head, &handle)).await;
    let mut response = answered.unwrap_or_else(|failure| answer::without_thread(&failure));
    if let Some(request_line) = request_line {
        let peer = transport.peer();
        tracing::info!(%peer, status = response.status().as_u16(), bytes = response.body().length(), "{request_line}");
    }
    if tracked.is_closing() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|content| ResponseBody::new(transport, content, pending)))
}

/// Joins an error's message with those of its causes, because hyper's messages do not include the causes.
fn error_chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The number of unsent bytes beyond which no more are accepted. With it, the outbox holds one piece of a file at most.
const UNSENT_MAX: usize = 4 * 1024;

/// A stream that is closed when it has been idle for too long, and that holds few unsent bytes.
struct IdleLimited {
    stream: AsyncStream,
    idle: IdleTimer,
    tracked: Rc<TrackedConnection>,
}

impl IdleLimited {
    fn new(stream: AsyncStream, idle_limit: Option<Duration>, tracked: Rc<TrackedConnection>) -> IdleLimited {
        let _ = stream.transport().set_tcp_no_delay(true);
        stream.transport().set_watermarks(UNSENT_MAX, 0);
        let idle = IdleTimer::closing(stream.transport(), idle_limit);
        IdleLimited { stream, idle, tracked }
    }

    /// Waits until few bytes are unsent.
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.stream.transport().buffered() > UNSENT_MAX {
            // Written in this turn and sent at its end. Then the stream knows whether the peer is slow.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn touch_if_ready<T>(&self, outcome: Poll<T>) -> Poll<T> {
        if outcome.is_ready() {
            self.idle.touch();
            self.tracked.touch();
        }
        outcome
    }
}

impl Read for IdleLimited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.touch_if_ready(outcome)
    }
}

impl Write for IdleLimited {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_writable(context))?;
        let outcome = Pin::new(&mut self.stream).poll_write(context, data);
        self.touch_if_ready(outcome)
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
        ready!(self.poll_writable(context))?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.touch_if_ready(outcome)
    }
}
