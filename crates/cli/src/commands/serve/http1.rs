//! A connection that speaks HTTP/1.1.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ropewalk::Reactor;
use ropewalk::task::hyper::LoopTimer;

use super::body::ResponseBody;
use super::idle_limited::IdleLimited;
use super::responder::Responder;

/// The most bytes of a request head, and of a response that hyper buffers.
const BUFFER_MAX: usize = 32 * 1024;

/// Returns the options of all connections.
pub(super) fn options(reactor: &Reactor, idle_limit: Option<Duration>) -> Builder {
    let mut options = Builder::new();
    options.timer(LoopTimer::new(reactor)).header_read_timeout(idle_limit).max_buf_size(BUFFER_MAX).half_close(true);
    options
}

/// Serves `stream` until it ends.
///
/// # Errors
/// If the connection is lost, or the peer violates the protocol.
pub(super) async fn serve(options: &Builder, stream: IdleLimited, responder: Responder) -> hyper::Result<()> {
    let tracked = responder.tracked.clone();
    let responder = Rc::new(responder);
    let service = service_fn(move |request| respond(responder.clone(), request));
    let mut connection = options.serve_connection(stream, service);
    let mut unneeded = pin!(tracked.until_unneeded());
    let mut is_shutting_down = false;
    std::future::poll_fn(|context| {
        if !is_shutting_down && unneeded.as_mut().poll(context).is_ready() {
            is_shutting_down = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(context)
    })
    .await
}

async fn respond(responder: Rc<Responder>, request: Request<Incoming>) -> Result<Response<ResponseBody>, Infallible> {
    let pending = responder.tracked.begin_request();
    let (head, _body) = request.into_parts();
    Ok(responder.respond(head, pending).await)
}
