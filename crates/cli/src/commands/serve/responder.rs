//! Responds to the requests of one connection, whatever the version of HTTP.

use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::http::request::Parts;
use hyper::{Response, Version};
use ropewalk::proto::Permit;
use ropewalk::{Deferred, Reactor, Transport};

use super::answer::{self, Answer, answer};
use super::body::ResponseBody;
use super::connection::Service;
use super::connections::{PendingRequest, TrackedConnection};
use super::redirect::HttpsPort;
use super::secure::is_secure;
use super::site::Site;

/// The contents of a port.
pub(super) enum Contents {
    Files(Arc<Site>),
    /// A redirect to the same place over HTTPS.
    Redirects(Rc<HttpsPort>),
}

/// Responds to the requests of one connection.
pub(super) struct Responder {
    service: Rc<Service>,
    transport: Transport,
    reactor: Reactor,
    pub(super) tracked: Rc<TrackedConnection>,
    is_secure: bool,
}

impl Responder {
    pub(super) fn new(service: Rc<Service>, transport: &Transport, tracked: Rc<TrackedConnection>) -> Responder {
        let reactor = transport.reactor();
        Responder { service, transport: transport.clone(), reactor, tracked, is_secure: is_secure(transport) }
    }

    pub(super) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// Returns the response to a request, which is pending until the body of the response has been sent.
    pub(super) async fn respond(&self, head: Parts, pending: PendingRequest) -> Response<ResponseBody> {
        let is_http2 = head.version == Version::HTTP_2;
        let request_line = tracing::enabled!(tracing::Level::INFO).then(|| request_line(&head));
        let mut response = match &self.service.contents {
            Contents::Files(site) => self.file(site, head, pending.permit()).await,
            Contents::Redirects(port) => answer::redirected(&head, port),
        };
        if let Some(request_line) = request_line {
            let (peer, status) = (self.transport.peer(), response.status().as_u16());
            tracing::info!(%peer, status, bytes = response.body().length(), "{request_line}");
        }
        let fields = response.headers_mut();
        if is_http2 {
            // RFC 9113, section 8.2.2. GOAWAY closes a connection instead.
            fields.remove(CONNECTION);
        } else if self.tracked.is_closing() {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(policy) = self.service.transport_security.as_ref().filter(|_| self.is_secure) {
            fields.insert(STRICT_TRANSPORT_SECURITY, policy.clone());
        }
        response.map(|content| ResponseBody::new(self.transport.clone(), content, pending))
    }

    /// Makes the response in the thread pool.
    async fn file(&self, site: &Arc<Site>, head: Parts, permit: Option<Rc<Permit>>) -> Answer {
        let (site, handle) = (site.clone(), self.reactor.thread_handle());
        let answering = self.reactor.defer_to_thread(move || answer(&site, &head, &handle));
        let answered = match permit {
            Some(permit) => holding(answering, permit),
            None => answering,
        };
        answered.await.unwrap_or_else(|error| answer::without_thread(&error.into()))
    }
}

/// Returns a line for the log. With HTTP/2 the target is a whole URL, whose host is the own one.
fn request_line(head: &Parts) -> String {
    match head.uri.path_and_query() {
        Some(path) if head.version == Version::HTTP_2 => format!("{} {path}", head.method),
        _ => format!("{} {}", head.method, head.uri),
    }
}

/// Returns the result of `work`. Holds `permit` until the work is done, even if the result is dropped before.
fn holding<T: 'static>(work: Deferred<T>, permit: Rc<Permit>) -> Deferred<T> {
    let (deferred, resolver) = Deferred::new();
    work.add_both(move |outcome| {
        drop(permit);
        let _ = match outcome {
            Ok(result) => resolver.callback(result),
            Err(failure) => resolver.errback(failure),
        };
    });
    deferred
}

#[cfg(test)]
mod tests {
    use ropewalk::DeferredSemaphore;

    use super::*;

    #[test]
    fn a_dropped_result_holds_its_permit_until_the_work_is_done() {
        // The peer resets a stream whose request waits for a thread.
        let responses = DeferredSemaphore::new(1);
        let permit = Rc::new(responses.acquire().try_result().unwrap().unwrap());
        let (work, worker) = Deferred::new();
        drop(holding(work, permit));
        assert_eq!(responses.available(), 0);
        worker.callback("done").unwrap();
        assert_eq!(responses.available(), 1);
    }
}
