//! A mail server and its client: SMTP with STARTTLS.
//!
//! Run `cargo run -p ropewalk-examples --bin smtp -- serve --certificate server.pem --require-tls`, and in another
//! terminal `smtp send localhost:2525 --trust authority.pem --from ada@example.org --to bob@example.org < mail.txt`. The
//! server prints the mail. The book's chapter about TLS says how to make the certificates.
//!
//! The connection begins in clear. STARTTLS puts TLS on it, and both sides then start again. An attacker on the way
//! could add commands or replies behind STARTTLS, in the same packet. `start_tls` passes them to the handshake, which
//! fails. They never count as protected.

pub(crate) mod client;
pub(crate) mod mail;
pub(crate) mod server;

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ropewalk::endpoints::TcpClientEndpoint;
use ropewalk::prelude::*;
use ropewalk::protocols::policies::LimitTotalConnectionsFactory;
use ropewalk::tls::{Authorities, ClientOptions, Identity, ServerOptions, TlsClient, TlsServer, Version};

use mail::Mail;

const CONNECTIONS_MAX: usize = 100;
const MESSAGE_BYTES_MAX: usize = 10 << 20;
const RECIPIENTS_MAX: usize = 100;

/// A mail server and its client: SMTP with STARTTLS
#[derive(Parser)]
#[command(name = "smtp")]
enum CommandLine {
    /// Receive mail, and print it
    Serve {
        /// The address and port to listen on
        #[arg(long, default_value = "127.0.0.1:2525")]
        listen: String,
        /// A PEM file with the certificate and the private key
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Refuse mail before STARTTLS
        #[arg(long)]
        require_tls: bool,
    },
    /// Send the mail on standard input
    Send {
        /// The host and port of the server
        server: String,
        /// The sender's address
        #[arg(long, value_name = "ADDRESS")]
        from: String,
        /// The address of a recipient
        #[arg(long, value_name = "ADDRESS", required = true)]
        to: Vec<String>,
        /// A PEM file with the trusted authorities, instead of those of the system
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
    },
}

fn print(mail: &Mail, version: Option<Version>) {
    let Mail { sender, recipients, text } = mail;
    let protection = version.map_or("in clear".to_owned(), |version| format!("over {version:?}"));
    println!("from <{sender}> to <{}>, {protection}:", recipients.join(">, <"));
    for line in String::from_utf8_lossy(text).lines() {
        println!("| {}", line.escape_debug());
    }
}

fn serve(listen: &str, certificate: &Path, requires_tls: bool) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let identity = Identity::read(certificate, certificate)?;
    let options = server::Options {
        name: "localhost".to_owned(),
        tls: TlsServer::new(ServerOptions::new().identity(identity))?,
        requires_tls,
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: RECIPIENTS_MAX,
        deliver: Box::new(|mail, version| print(&mail, version)),
    };
    let reactor = Reactor::new()?;
    let factory = LimitTotalConnectionsFactory::new(server::sessions(options), CONNECTIONS_MAX);
    let port = reactor.listen_tcp(listen, factory)?;
    println!("receiving mail on {}", port.host()?);
    reactor.run()?;
    Ok(ExitCode::SUCCESS)
}

fn send(server: &str, mail: Mail, trust: Option<PathBuf>) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let options = match trust {
        Some(file) => ClientOptions::new().authorities(Authorities::read(file)?),
        None => ClientOptions::new(),
    };
    let tls = TlsClient::new(options)?;
    let endpoint = TcpClientEndpoint::new(server)?;
    // The endpoint has checked the form.
    let host = server.rsplit_once(':').map_or(server, |(host, _port)| host).trim_matches(['[', ']']).to_owned();
    Ok(ropewalk::react(|reactor| async move {
        client::send(&reactor, &endpoint, &host, &tls, mail).await?;
        println!("sent");
        Ok::<_, ropewalk::Failure>(())
    }))
}

fn run(options: CommandLine) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    match options {
        CommandLine::Serve { listen, certificate, require_tls } => serve(&listen, &certificate, require_tls),
        CommandLine::Send { server, from, to, trust } => {
            let mut text = Vec::new();
            std::io::stdin().take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut text)?;
            send(&server, Mail::new(&from, &to, &text)?, trust)
        }
    }
}

fn main() -> ExitCode {
    run(CommandLine::parse()).unwrap_or_else(|error| {
        eprintln!("smtp: {error}");
        ExitCode::FAILURE
    })
}
