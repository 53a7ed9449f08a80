//! One connection: the handshake of TLS, if there is one, and then hyper on the reactor.
//!
//! ```text
//!   plain                            --> HTTP/1.1
//!   TLS   handshake --> ALPN h2      --> HTTP/2
//!                       anything else --> HTTP/1.1
//! ```
//!
//! After `serve` has closed a connection, the reactor lets it linger, so that the last response arrives.

use std::rc::Rc;
use std::time::Duration;

use hyper::header::HeaderValue;
use ropewalk::task::{AsyncStream, Scope, StreamFactory};
use ropewalk::{Address, Bytes, Error, Factory, Protocol, Reactor, Transport};

use super::connections::{Connections, TrackedConnection};
use super::idle_limited::IdleLimited;
use super::responder::{Contents, Responder};
use super::{http1, http2, secure};

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy)]
enum Negotiated {
    Http1,
    Http2,
}

/// The contents and the options of all connections of a port.
pub(super) struct Service {
    pub(super) contents: Contents,
    /// The field `Strict-Transport-Security` of responses over TLS.
    pub(super) transport_security: Option<HeaderValue>,
    pub(super) idle_limit: Option<Duration>,
    http1: hyper::server::conn::http1::Builder,
}

/// A factory that serves some contents, and adds each new connection to the open ones.
pub(super) struct Connecting {
    service: Rc<Service>,
    connections: Rc<Connections>,
    reactor: Reactor,
}

impl Connecting {
    pub(super) fn new(
        reactor: &Reactor,
        contents: Contents,
        transport_security: Option<HeaderValue>,
        idle_limit: Option<Duration>,
        connections: &Rc<Connections>,
    ) -> Connecting {
        let http1 = http1::options(reactor, idle_limit);
        let service = Rc::new(Service { contents, transport_security, idle_limit, http1 });
        Connecting { service, connections: connections.clone(), reactor: reactor.clone() }
    }
}

impl Factory for Connecting {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        let tracked = self.connections.add(&self.reactor);
        let service = self.service.clone();
        Some(Box::new(Opening { service, tracked: Some(tracked), handshake: None, opened: None }))
    }
}

/// A connection that is served once its handshake has completed.
struct Opening {
    service: Rc<Service>,
    /// `None` once the connection is served.
    tracked: Option<Rc<TrackedConnection>>,
    /// The task that runs during the handshake.
    handshake: Option<Scope>,
    opened: Option<Box<dyn Protocol>>,
}

impl Opening {
    /// Resets the connection if the site closes and the client does not continue its handshake.
    fn watch_handshake(&mut self, transport: &Transport) {
        let Some(tracked) = self.tracked.clone() else { return };
        let (scope, weak) = (Scope::new(&transport.reactor()), transport.downgrade());
        drop(scope.spawn(async move {
            tracked.until_unneeded().await;
            if let Some(transport) = weak.upgrade() {
                transport.abort_connection();
            }
        }));
        self.handshake = Some(scope);
    }

    fn begin(&mut self, transport: &Transport, negotiated: Negotiated) {
        let Some(tracked) = self.tracked.take() else { return };
        self.handshake = None;
        // The connection counts until it is lost: hyper may finish before the last bytes are sent.
        let sent = tracked.clone();
        transport.when_lost().add_callback(move |_| drop(sent));
        let service = self.service.clone();
        let serve = move |stream, reactor: &Reactor| {
            drop(reactor.spawn(serve(service.clone(), stream, negotiated, tracked.clone())));
        };
        self.opened = StreamFactory::new(serve).build_protocol(transport.peer());
        if let Some(opened) = &mut self.opened {
            opened.connection_made(transport);
        }
    }
}

impl Protocol for Opening {
    fn connection_made(&mut self, transport: &Transport) {
        match secure::is_secure(transport) {
            true => self.watch_handshake(transport),
            false => self.begin(transport, Negotiated::Http1),
        }
    }

    fn layer_opened(&mut self, transport: &Transport) {
        let negotiated = if secure::speaks_http2(transport) { Negotiated::Http2 } else { Negotiated::Http1 };
        self.begin(transport, negotiated);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if let Some(opened) = &mut self.opened {
            opened.data_received(transport, data);
        }
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        if let Some(opened) = &mut self.opened {
            opened.chunk_received(transport, chunk);
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        match &mut self.opened {
            Some(opened) => opened.read_connection_lost(transport),
            None => transport.lose_connection(),
        }
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        if let Some(opened) = &mut self.opened {
            opened.write_connection_lost(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        if let Some(opened) = &mut self.opened {
            opened.connection_lost(transport, reason);
        }
    }

    fn log_prefix(&self) -> &'static str {
        "serve"
    }
}

async fn serve(service: Rc<Service>, stream: AsyncStream, negotiated: Negotiated, tracked: Rc<TrackedConnection>) {
    let peer = stream.transport().peer().clone();
    let stream = IdleLimited::new(stream, service.idle_limit, tracked.clone());
    let responder = Responder::new(service.clone(), stream.transport(), tracked);
    let ended = match negotiated {
        Negotiated::Http1 => http1::serve(&service.http1, stream, responder).await,
        Negotiated::Http2 => http2::serve(stream, responder, service.idle_limit).await,
    };
    if let Err(error) = ended {
        tracing::info!(%peer, error = %error_chain(&error), "HTTP connection failed");
    }
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

#[cfg(all(test, feature = "tls"))]
mod tests {
    use ropewalk::protocols::TlsServerFactory;
    use ropewalk::testing::MemoryReactor;
    use ropewalk::tls::{Identity, ServerOptions, TlsServer};

    use super::*;

    #[test]
    fn a_silent_handshake_does_not_delay_the_shutdown() {
        let (net, minute) = (MemoryReactor::new(), Duration::from_secs(60));
        let connections = Connections::new(minute, || {});
        let factory = Connecting::new(&net, Contents::Redirects(Rc::default()), None, None, &connections);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let identity = Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
        let tls = TlsServer::new(ServerOptions::new().identity(identity.unwrap())).unwrap();
        net.listen_tcp("10.0.0.1:443", TlsServerFactory::new(factory, &tls)).unwrap();
        let clients = [(); 2].map(|()| net.connect_stream("10.0.0.1:443"));
        net.settle();
        clients[0].abort();
        let closed = connections.close(&net);
        net.settle();
        assert!(!closed.is_done() && !clients[1].is_reset());
        net.advance(Duration::from_secs(2));
        assert!(closed.is_done() && clients[1].is_reset());
    }
}
