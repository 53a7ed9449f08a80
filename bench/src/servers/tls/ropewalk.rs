//! ropewalk on one of its event providers: the plain echo server with TLS around its factory.

use std::io;
use std::net::TcpListener;

use ropewalk::prelude::*;
use ropewalk::protocols::TlsServerFactory;
use ropewalk::tls::{Identity, ServerOptions, TlsServer, Version};

use super::Options;
use crate::servers::ropewalk::Echo;

pub(super) fn serve(provider: &str, listener: TcpListener, options: &Options) -> io::Result<()> {
    let identity = Identity::from_pem(&options.identity, &options.identity).map_err(io::Error::other)?;
    let tls = ServerOptions::new().identity(identity).oldest_version(Version::Tls13);
    let tls = TlsServer::new(tls.sessions_max(options.sessions_max)).map_err(io::Error::other)?;
    let reactor = Reactor::with(provider).map_err(io::Error::other)?;
    let factory = TlsServerFactory::new(paced(|| Echo), &tls);
    reactor.adopt_stream_port(listener, factory).map_err(io::Error::other)?;
    reactor.run().map_err(io::Error::other)
}
