//! tokio-rustls on the current_thread runtime: a task and a buffer for each connection.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConfig, ServerSessionMemoryCache};
use tokio_rustls::rustls::version::TLS13;

use super::Options;

pub(super) fn serve(listener: TcpListener, options: &Options, buffer_bytes: usize) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config(options)?));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            tokio::spawn(echo(socket, acceptor.clone(), buffer_bytes));
        }
    })
}

fn config(options: &Options) -> io::Result<ServerConfig> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&options.identity).collect();
    let key = PrivateKeyDer::from_pem_slice(&options.identity).map_err(io::Error::other)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(io::Error::other)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain.map_err(io::Error::other)?, key).map_err(io::Error::other)?;
    match options.sessions_max {
        0 => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        sessions => config.session_storage = ServerSessionMemoryCache::new(sessions),
    }
    Ok(config)
}

async fn echo(socket: TcpStream, acceptor: TlsAcceptor, buffer_bytes: usize) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = acceptor.accept(socket).await?;
    let mut buffer = vec![0; buffer_bytes];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..received]).await?;
        stream.flush().await?;
    }
}
