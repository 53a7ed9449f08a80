//! Echo over TLS 1.3, handshakes, and the memory of idle connections that speak TLS.

use std::io;

use ropewalk::tls::rustls::HandshakeKind;

use super::echo::{launch, over_window};
use super::idle::{TOKIO_BUFFER_BYTES, each, memory};
use super::traced::{FEW, MANY, callgrind};
use super::{Metric, Plan, Unit, metric, size};
use crate::accounting::per_message;
use crate::candidate::Candidate;
use crate::client::Load;
use crate::process::{Launch, Secured, Server, Service, counted_program};
use crate::secure::{Certificate, SecureClient};
use crate::servers::BUFFER_BYTES;

/// The part of TLS that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Lock-step echo.
    Echo(Load),
    /// Handshake, one echo, close.
    Handshakes { resumed: bool },
    /// The memory of idle connections.
    Idle,
    /// User-space instructions per message.
    Instructions(Load),
}

const SMALL: Load = Load { message_bytes: 1024, connections: 1, depth: 1 };
const LARGE: Load = Load { message_bytes: 16 * 1024, ..SMALL };

/// Short connections with full handshakes, or with resumed ones. A client keeps eight sessions of a server.
const LIVES: Load = Load { message_bytes: 64, connections: 8, depth: 1 };

const IDLE: Load = Load { message_bytes: 64, connections: 300, depth: 1 };
/// Connections that come before the measured ones, so that memory that a server allocates only once is not counted.
const FIRST: Load = Load { connections: 50, ..IDLE };

/// All parts, in the order of the tables.
pub(super) const PARTS: [Tls; 8] = [
    Tls::Echo(SMALL),
    Tls::Echo(Load { connections: 50, ..SMALL }),
    Tls::Echo(LARGE),
    Tls::Echo(Load { connections: 50, ..LARGE }),
    Tls::Handshakes { resumed: false },
    Tls::Handshakes { resumed: true },
    Tls::Idle,
    Tls::Instructions(Load { connections: 4, ..SMALL }),
];

pub(super) fn metrics(part: Tls) -> Vec<Metric> {
    match part {
        Tls::Echo(load) => {
            let Load { message_bytes, connections, .. } = load;
            let title = format!("TLS echo {} x {connections}", size(message_bytes));
            vec![metric(format!("tls/{message_bytes}/{connections}"), title, Unit::NanosPerMessage)]
        }
        Tls::Handshakes { resumed: false } => {
            vec![metric("tls/handshakes/full", "TLS handshake, echo, close", Unit::NanosPerMessage)]
        }
        Tls::Handshakes { resumed: true } => {
            vec![metric("tls/handshakes/resumed", "the same, resumed", Unit::NanosPerMessage)]
        }
        Tls::Idle => vec![
            metric("tls/idle/allocated", "idle TLS, allocated", Unit::BytesPerConnection),
            metric("tls/idle/private", "idle TLS, private pages", Unit::BytesPerConnection),
        ],
        Tls::Instructions(load) => {
            let Load { message_bytes, connections, .. } = load;
            let title = format!("instructions, TLS {} x {connections}", size(message_bytes));
            vec![metric(format!("tls/instructions/{message_bytes}"), title, Unit::InstructionsPerMessage)]
        }
    }
}

pub(super) fn sample(part: Tls, candidate: Candidate, plan: &Plan) -> io::Result<Vec<f64>> {
    match part {
        Tls::Echo(load) => Ok(vec![echo_sample(candidate, load, plan)?]),
        Tls::Handshakes { resumed } => Ok(vec![handshake_sample(candidate, resumed, plan)?]),
        Tls::Idle => idle_sample(candidate, plan),
        Tls::Instructions(load) => Ok(vec![instructions(candidate, load, plan)?]),
    }
}

/// Returns the server's nanoseconds for a message.
fn echo_sample(candidate: Candidate, load: Load, plan: &Plan) -> io::Result<f64> {
    let (server, certificate) = start(launch(candidate, plan), false)?;
    let mut client = SecureClient::new(server.port(), load, &certificate, false)?;
    client.connect()?;
    over_window(&server, plan, || client.round())
}

/// Returns the server's nanoseconds for a connection with one message.
fn handshake_sample(candidate: Candidate, resumed: bool, plan: &Plan) -> io::Result<f64> {
    let (server, certificate) = start(launch(candidate, plan), resumed)?;
    let mut client = SecureClient::new(server.port(), LIVES, &certificate, resumed)?;
    client.collect_sessions()?;
    let kind = if resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
    over_window(&server, plan, || client.churn(kind))
}

/// Returns the bytes per connection: allocated, and private dirty.
fn idle_sample(candidate: Candidate, plan: &Plan) -> io::Result<Vec<f64>> {
    let program = counted_program()?;
    let buffer_bytes = if candidate == Candidate::Tokio { TOKIO_BUFFER_BYTES } else { BUFFER_BYTES };
    let (mut server, certificate) =
        start(Launch { program: &program, buffer_bytes, ..launch(candidate, plan) }, false)?;
    let mut first = SecureClient::new(server.port(), FIRST, &certificate, false)?;
    first.connect()?;
    let before = memory(&mut server)?;
    let mut idle = SecureClient::new(server.port(), IDLE, &certificate, false)?;
    idle.connect()?;
    Ok(each(before, memory(&mut server)?, IDLE.connections))
}

/// Returns the user-space instructions per message.
fn instructions(candidate: Candidate, load: Load, plan: &Plan) -> io::Result<f64> {
    let count = |rounds| {
        callgrind(candidate, |tracer| {
            let (server, certificate) = start(Launch { tracer, ..launch(candidate, plan) }, false)?;
            let mut client = SecureClient::new(server.port(), load, &certificate, false)?;
            client.connect()?;
            let mut messages = 0;
            for _ in 0..rounds {
                messages += client.round()?;
            }
            server.finish()?;
            Ok(messages)
        })
    };
    Ok(per_message(count(FEW)?, count(MANY)?))
}

/// Starts a server, and returns its certificate. The file of the certificate is removed with it.
fn start(launch: Launch<'_>, resumes: bool) -> io::Result<(Server, Certificate)> {
    let certificate = Certificate::create()?;
    let service = Service::Tls(Secured { identity: certificate.file(), resumes });
    let server = Launch { service, ..launch }.start()?;
    Ok((server, certificate))
}
