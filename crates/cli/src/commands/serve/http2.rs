//! A connection that speaks HTTP/2, and the limits of what a peer can make it hold.
//!
//! ```text
//!   100 streams --> 8 responses at once --> thread pool, pieces of files
//!                   the others wait
//! ```
//!
//! | limit of HTTP/1.1 | limit of HTTP/2 |
//! |---|---|
//! | size of a head | [`HEAD_MAX`], counted without compression; h2 also limits the CONTINUATION frames |
//! | one request at a time | [`STREAMS_MAX`], [`RESPONSES_MAX`] |
//! | no complete request within the idle limit | no request in progress for as long: GOAWAY, then [`LEAVE_TIME`] |
//! | no response data accepted for ten times as long | the same for the connection, and RST_STREAM for each stream |
//! | `Connection: close` on shutdown | GOAWAY on shutdown; responses in progress are completed |
//!
//! **Floods.** A stream that the peer has reset counts as a response until its work in the thread pool is done
//! (CVE-2023-44487). After [`RESETS_MAX`] streams that are reset before they are accepted, h2 closes the connection with
//! ENHANCE_YOUR_CALM, and after [`FAULTS_MAX`] that h2 itself has reset (CVE-2025-8671). h2 reads no further frame until it
//! has written the answer to the last SETTINGS or PING, so their answers do not pile up. It closes a connection with too
//! many small DATA frames as well. Frames that are no request do not count as activity.
//!
//! There are no PINGs to the peer: behind a large response to a slow reader, the answer would come too late.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ropewalk::task::Sleep;
use ropewalk::{DeferredSemaphore, Reactor};

use super::before::before;
use super::body::ResponseBody;
use super::idle_limited::{IdleLimited, STALL_FACTOR};
use super::responder::Responder;
use super::upload;
use crate::idle;

/// The most bytes of the fields of a request. The settings name this limit, and a larger request is answered with status 431.
const HEAD_MAX: u32 = 16 * 1024;

/// The number of streams that a peer may open at once: the least that RFC 9113, section 6.5.2 recommends.
const STREAMS_MAX: u32 = 100;

/// The number of responses that are made or sent at once. Each may hold three pieces of a file if it is not read.
const RESPONSES_MAX: usize = 8;

/// The number of bytes of a stream that are handed to h2 before the peer has room for them.
const UNSENT_MAX: usize = 16 * 1024;

/// The number of bytes of request bodies that a peer may send before they are discarded.
const WINDOW: u32 = 65_535;

/// The number of streams that a peer may reset before they are accepted.
const RESETS_MAX: usize = 20;

/// The number of streams that h2 may reset because of the peer's faults.
const FAULTS_MAX: usize = 1024;

/// The time that a peer has to acknowledge the end of a connection without a request.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// Serves `stream` until it ends.
///
/// # Errors
/// If the connection is lost, or the peer violates the protocol.
pub(super) async fn serve(
    stream: IdleLimited,
    responder: Responder,
    idle_limit: Option<Duration>,
) -> hyper::Result<()> {
    let (transport, tracked) = (stream.transport().clone(), responder.tracked.clone());
    let reactor = transport.reactor();
    let responses = DeferredSemaphore::new(RESPONSES_MAX);
    let responder = Rc::new(responder);
    let service = service_fn(move |request| respond(responder.clone(), responses.clone(), request));
    let mut connection = pin!(options(&reactor, idle_limit).serve_connection(stream, service));
    if let Some(ended) = before(connection.as_mut(), tracked.until_closing_or_idle(idle_limit)).await {
        // Many clients close a connection that they do not need any more without a word, also one of TLS.
        return ended.or_else(|error| if tracked.has_request() || !is_loss(&error) { Err(error) } else { Ok(()) });
    }
    connection.as_mut().graceful_shutdown();
    tracked.note_request();
    if let Some(ended) = before(connection.as_mut(), tracked.until_idle(LEAVE_TIME)).await {
        return ended;
    }
    idle::close(&transport);
    Ok(())
}

/// Returns whether the connection was lost, without a fault of HTTP/2.
fn is_loss(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn options(reactor: &Reactor, idle_limit: Option<Duration>) -> Builder<Streams> {
    let stall_limit = idle_limit.map(|limit| limit * STALL_FACTOR);
    let mut options = Builder::new(Streams { reactor: reactor.clone(), stall_limit });
    options
        .max_header_list_size(HEAD_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(UNSENT_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(FAULTS_MAX);
    options
}

async fn respond(
    responder: Rc<Responder>,
    responses: DeferredSemaphore,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut pending = responder.tracked.begin_request();
    let (head, body) = request.into_parts();
    upload::discard(responder.reactor(), body);
    // Acquiring fails only if the Deferred is cancelled, which is dropped with this future.
    if let Ok(permit) = responses.acquire().await {
        pending.hold(permit);
    }
    Ok(responder.respond(head, pending).await)
}

/// Runs the streams of a connection as tasks. A stream without progress is reset.
#[derive(Clone)]
struct Streams {
    reactor: Reactor,
    stall_limit: Option<Duration>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let stall = self.stall_limit.map(|limit| (self.reactor.sleep(limit), limit));
        drop(self.reactor.spawn(Stream { stream: Box::pin(stream), stall }));
    }
}

/// A stream that ends once it was not polled for the limit. Dropping the inner future resets the stream.
struct Stream<F> {
    stream: Pin<Box<F>>,
    stall: Option<(Sleep, Duration)>,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some((sleep, limit)) = &mut this.stall {
            if Pin::new(&mut *sleep).poll(context).is_ready() {
                return Poll::Ready(());
            }
            // A wake-up for another reason is progress: room in the window, or a piece of the file.
            sleep.reset(*limit);
        }
        this.stream.as_mut().poll(context)
    }
}
