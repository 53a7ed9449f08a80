//! Endpoints over TLS: `tls:` and `ssl:`, and TLS around any other endpoint.
//!
//! ```text
//!   tls:PATH:port=443 --> the certificates below PATH --> TlsServer --+
//!                         tcp:443 -----------------------------------> listens
//!   tls:HOST:443 -------> TlsClient --> tcp:HOST:443 --> handshake --> the Deferred fires
//! ```
//!
//! Source: `wrapServerTLS`, `wrapClientTLS`, `SSL4ServerEndpoint` and `SSL4ClientEndpoint` of
//! `twisted.internet.endpoints`.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use ropewalk_proto::{Address, CancelHandle, Deferred, Failure, Resolver, fail};
use ropewalk_tls::{TlsClient, TlsError, TlsServer};

use super::tls_files::{ClientFiles, ServerFiles};
use super::{StreamClientEndpoint, StreamServerEndpoint};
use crate::error::Error;
use crate::interfaces::tls_reload::TlsReload;
use crate::kernel::Reactor;
use crate::protocols::forward::{forward_conversation, forward_factory};
use crate::protocols::{Factory, Protocol, TlsClientFactory, TlsServerFactory};
use crate::transports::{Port, Transport};

/// Listens by another endpoint, for connections that speak TLS.
///
/// Source: `wrapServerTLS`.
///
/// ```
/// use ropewalk::endpoints::{TlsServerEndpoint, UnixServerEndpoint};
/// use ropewalk::tls::TlsServer;
///
/// fn endpoint(tls: &TlsServer) -> TlsServerEndpoint {
///     TlsServerEndpoint::new(UnixServerEndpoint::new("/run/example/tls.sock"), tls)
/// }
/// # let _ = endpoint;
/// ```
#[derive(Clone)]
pub struct TlsServerEndpoint {
    inner: Rc<dyn StreamServerEndpoint>,
    tls: TlsServer,
}

impl TlsServerEndpoint {
    /// Creates an endpoint that listens by `inner`.
    pub fn new(inner: impl StreamServerEndpoint + 'static, tls: &TlsServer) -> TlsServerEndpoint {
        TlsServerEndpoint { inner: Rc::new(inner), tls: tls.clone() }
    }
}

impl StreamServerEndpoint for TlsServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        self.inner.listen(reactor, Rc::new(TlsServerFactory::new(factory, &self.tls)))
    }
}

/// Listens with the certificates of files, which are read when the endpoint listens.
pub(super) struct FileServerEndpoint {
    pub(super) inner: Rc<dyn StreamServerEndpoint>,
    pub(super) files: ServerFiles,
}

impl StreamServerEndpoint for FileServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        let files = self.files.clone();
        match files.options().and_then(TlsServer::new) {
            Ok(tls) => {
                let factory = TlsServerFactory::new(factory, &tls);
                let reload = reactor.keep_tls_current(&tls, &self.files.paths(), move || files.options());
                self.inner.listen(reactor, Rc::new(Reloading { factory, _reload: reload }))
            }
            Err(error) => fail(Error::from(error)),
        }
    }
}

/// A factory that keeps its certificates up to date as long as its port exists.
struct Reloading {
    factory: TlsServerFactory<Rc<dyn Factory>>,
    _reload: TlsReload,
}

impl Factory for Reloading {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }

    forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

/// Connects by another endpoint, and then speaks TLS.
///
/// The Deferred of [`connect`](StreamClientEndpoint::connect) fires when the handshake has completed. It fails with the
/// reason if the handshake fails, and the protocol's `connection_lost` is called as well. In Twisted it fires before
/// the handshake.
///
/// Source: `wrapClientTLS`.
///
/// ```
/// use ropewalk::endpoints::{TcpClientEndpoint, TlsClientEndpoint};
/// use ropewalk::tls::TlsClient;
///
/// fn endpoint(tls: &TlsClient) -> Result<TlsClientEndpoint, ropewalk::Error> {
///     Ok(TlsClientEndpoint::new(TcpClientEndpoint::new("192.0.2.1:443")?, tls, "example.org"))
/// }
/// # let _ = endpoint;
/// ```
#[derive(Clone)]
pub struct TlsClientEndpoint {
    inner: Rc<dyn StreamClientEndpoint>,
    tls: TlsClient,
    host: Rc<str>,
}

impl TlsClientEndpoint {
    /// Creates an endpoint that connects by `inner`. `host` is the name or the address that the server's certificate
    /// must have.
    pub fn new(inner: impl StreamClientEndpoint + 'static, tls: &TlsClient, host: &str) -> TlsClientEndpoint {
        TlsClientEndpoint { inner: Rc::new(inner), tls: tls.clone(), host: host.into() }
    }
}

impl StreamClientEndpoint for TlsClientEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        if let Err(error) = self.tls.layer(&self.host) {
            return fail(Error::from(error));
        }
        let (deferred, resolver) = Deferred::new();
        let waiting = Rc::new(Waiting { resolver: Cell::new(Some(resolver.clone())), transport: Cell::new(None) });
        let factory = Handshaking { factory, waiting: waiting.clone() };
        let factory = TlsClientFactory::new(factory, &self.tls, &self.host);
        let connecting = self.inner.connect(reactor, Rc::new(factory));
        cancel_with(&resolver, connecting.cancel_handle(), &waiting);
        connecting.add_both(move |connected| {
            // A connection is followed by its handshake.
            if let Err(failure) = connected {
                waiting.fail(failure);
            }
        });
        deferred
    }
}

/// Makes a cancelled Deferred stop the attempt, or the handshake that follows it.
fn cancel_with(resolver: &Resolver<Transport>, attempt: CancelHandle, waiting: &Rc<Waiting>) {
    let waiting = Rc::downgrade(waiting);
    resolver.set_canceller(move |resolver| {
        attempt.cancel();
        let transport = waiting.upgrade().and_then(|waiting| waiting.transport.take());
        if let Some(transport) = transport {
            let peer = transport.peer().to_string();
            let _ = resolver.errback(Error::ConnectingCancelled(peer.into()));
            transport.abort_connection();
        }
    });
}

/// The outcome of an attempt, until the handshake has completed.
struct Waiting {
    resolver: Cell<Option<Resolver<Transport>>>,
    /// The connection whose handshake is in progress.
    transport: Cell<Option<Transport>>,
}

impl Waiting {
    fn succeed(&self, transport: &Transport) {
        self.transport.take();
        if let Some(resolver) = self.resolver.take() {
            // Firing fails if the Deferred was cancelled.
            let _ = resolver.callback(transport.clone());
        }
    }

    fn fail(&self, failure: impl Into<Failure>) {
        self.transport.take();
        if let Some(resolver) = self.resolver.take() {
            let _ = resolver.errback(failure);
        }
    }
}

/// Builds protocols that report the end of the handshake.
struct Handshaking {
    factory: Rc<dyn Factory>,
    waiting: Rc<Waiting>,
}

impl Factory for Handshaking {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let inner = self.factory.build_protocol(peer)?;
        Some(Box::new(Shaking { inner, waiting: self.waiting.clone() }))
    }

    forward_factory!();

    fn identity(&self) -> *const () {
        self.factory.identity()
    }
}

struct Shaking {
    inner: Box<dyn Protocol>,
    waiting: Rc<Waiting>,
}

impl Protocol for Shaking {
    fn connection_made(&mut self, transport: &Transport) {
        self.waiting.transport.set(Some(transport.clone()));
        self.inner.connection_made(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.inner.connection_lost(transport, reason);
        self.waiting.fail(reason.clone());
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.inner.layer_opened(transport);
        self.waiting.succeed(transport);
    }

    forward_conversation!(but layer_opened);
}

/// Connects with the certificates of files, which are read by the first attempt.
pub(super) struct FileClientEndpoint {
    pub(super) inner: Rc<dyn StreamClientEndpoint>,
    pub(super) files: ClientFiles,
    pub(super) host: String,
    pub(super) tls: OnceCell<TlsClient>,
}

impl StreamClientEndpoint for FileClientEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        match self.tls() {
            Ok(tls) => TlsClientEndpoint::new(self.inner.clone(), &tls, &self.host).connect(reactor, factory),
            Err(error) => fail(Error::from(error)),
        }
    }
}

impl FileClientEndpoint {
    /// Returns the client with the certificates. After a failure the next attempt reads the files again.
    fn tls(&self) -> Result<TlsClient, TlsError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let tls = self.files.options().and_then(TlsClient::new)?;
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}
