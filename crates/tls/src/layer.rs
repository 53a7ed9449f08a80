//! TLS as a layer between the bytes of a connection and its protocol.
//!
//! ```text
//!   server:  accepting --+---------------------------------------+--> running
//!                        |                                       |
//!                        +-- reading the hello --> choosing -----+    if the options depend on the hello
//!   client:  dialing -----------------------------------------------> running
//!
//!   running:  handshake --> open --> the peer's close_notify --> peer ended
//! ```

use std::any::Any;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Layer, LayerState, Outbox};
use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::{AlertDescription, HandshakeKind};

use crate::client::Connected;
use crate::error::TlsError;
use crate::first_bytes::{self, fatal_alert};
use crate::hello::{Hello, HelloReader};
use crate::machine::{Machine, Wish};
use crate::notes::{self, Notes};
use crate::server::{Handshake, Options, Served, TlsServer, unusable, words};
use crate::surroundings::{Surroundings, within};
use crate::versions::Version;

/// The number of servers that may choose another server one after the other.
const CHOICES_MOST: usize = 8;

/// The TLS of one connection.
///
/// [`TlsServer::layer`] and [`TlsClient::layer`](crate::TlsClient::layer) create it. It belongs to one connection,
/// and does no I/O of its own.
///
/// ```
/// use ropewalk_proto::{Layer, Outbox};
/// use ropewalk_tls::TlsClient;
///
/// /// Returns the first message of a client.
/// fn hello(client: &TlsClient) -> std::io::Result<Vec<u8>> {
///     let mut layer = client.layer("example.org")?;
///     let mut queue = Outbox::new();
///     layer.outgoing(&mut [], &mut Outbox::new(), &mut queue, 65536)?;
///     Ok(queue.front().to_vec())
/// }
/// # let _ = hello;
/// ```
pub struct TlsLayer {
    stage: Stage,
    state: LayerState,
    /// Present until the handshake has completed.
    handshake: Option<Handshake>,
    handshake_timeout: Duration,
    accepts_truncation: bool,
    surroundings: Option<Surroundings>,
    wake: Option<Rc<dyn Fn()>>,
    /// Whether the peer's first bytes are those of TLS.
    has_greeted: bool,
    /// Whether close_notify was sent.
    has_closed: bool,
    /// The records that were taken while bytes were sent. The next receive delivers them.
    early: Option<Box<Early>>,
    server_name: Option<String>,
    ocsp_response: Vec<u8>,
}

/// Records that were taken out of turn.
#[derive(Default)]
struct Early {
    plain: Outbox,
    /// The number of bytes that the records have on the wire.
    taken: usize,
}

enum Stage {
    /// A client that has not sent its first message. rustls makes that message at once, with random bytes of the
    /// surroundings, so the machine is created late.
    Dialing {
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    },
    /// A server that has received nothing.
    Accepting(Rc<Served>),
    /// A server whose options depend on the client's first message.
    Reading {
        served: Rc<Served>,
        reader: Box<HelloReader>,
    },
    /// A server that waits for the choice of its options.
    Choosing {
        hello: Rc<Hello>,
        chosen: Option<Deferred<TlsServer>>,
        choices: usize,
    },
    Running(Machine),
    /// The layer has failed.
    Over,
}

impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer")
            .field("state", &self.state)
            .field("version", &self.version())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl TlsLayer {
    pub(crate) fn client(connected: &Connected, name: ServerName<'static>) -> TlsLayer {
        let server_name = match &name {
            ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
            _ => None,
        };
        let stage = Stage::Dialing { config: connected.config.clone(), name };
        let layer = TlsLayer::new(stage, connected.handshake_timeout, connected.accepts_truncation);
        TlsLayer { server_name, ..layer }
    }

    pub(crate) fn server(served: Rc<Served>, handshake: Handshake) -> TlsLayer {
        let (timeout, accepts_truncation) = (served.handshake_timeout, served.accepts_truncation);
        let layer = TlsLayer::new(Stage::Accepting(served), timeout, accepts_truncation);
        TlsLayer { handshake: Some(handshake), ..layer }
    }

    fn new(stage: Stage, handshake_timeout: Duration, accepts_truncation: bool) -> TlsLayer {
        TlsLayer {
            stage,
            state: LayerState::empty(),
            handshake: None,
            handshake_timeout,
            accepts_truncation,
            surroundings: None,
            wake: None,
            has_greeted: false,
            has_closed: false,
            early: None,
            server_name: None,
            ocsp_response: Vec::new(),
        }
    }

    /// Takes randomness and time from `surroundings` instead of the system.
    #[must_use]
    pub fn within(mut self, surroundings: Surroundings) -> TlsLayer {
        self.surroundings = Some(surroundings);
        self
    }

    /// Sets a function that makes the connection call [`incoming`](Layer::incoming) again with the bytes that it holds.
    ///
    /// The layer calls it when the options for the connection have been chosen later.
    #[must_use]
    pub fn on_choice(mut self, wake: Rc<dyn Fn()>) -> TlsLayer {
        self.wake = Some(wake);
        self
    }

    /// Returns the time limit for the handshake.
    pub fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    /// Returns the certificates of the peer, its own first. Empty before the handshake has completed, and if the peer
    /// has none.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.machine().and_then(|machine| machine.common().peer_certificates()).unwrap_or_default()
    }

    /// Returns the application protocol that both sides have agreed on.
    pub fn negotiated_protocol(&self) -> Option<&[u8]> {
        self.machine()?.common().alpn_protocol()
    }

    /// Returns the version of the connection, once both sides have agreed on it.
    pub fn version(&self) -> Option<Version> {
        match self.machine()?.common().protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some(Version::Tls12),
            rustls::ProtocolVersion::TLSv1_3 => Some(Version::Tls13),
            _ => None,
        }
    }

    /// Returns the standard name of the cipher suite, once both sides have agreed on it.
    pub fn cipher_suite(&self) -> Option<&'static str> {
        self.machine()?.common().negotiated_cipher_suite()?.suite().as_str()
    }

    /// Returns the name that the client asks for.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns whether the handshake has resumed a session.
    pub fn is_resumed(&self) -> bool {
        self.machine().and_then(|machine| machine.common().handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// Returns the response of the authority (OCSP) that the server has sent with its certificate. Empty if there is
    /// none. rustls does not check it.
    pub fn ocsp_response(&self) -> &[u8] {
        &self.ocsp_response
    }

    fn machine(&self) -> Option<&Machine> {
        match &self.stage {
            Stage::Running(machine) => Some(machine),
            _ => None,
        }
    }

    fn is_open(&self) -> bool {
        self.state.contains(LayerState::OPEN)
    }

    /// Takes records from `received`, and returns the number of bytes taken.
    fn receive(&mut self, received: &mut [u8], plain: &mut Outbox, queue: &mut Outbox) -> Result<usize, TlsError> {
        let early = self.early.take().map_or(0, |mut early| early.deliver(plain));
        let rest = &mut received[early..];
        if !self.has_greeted && !self.greet(rest, queue)? {
            return Ok(early);
        }
        self.choose(rest, queue)?;
        Ok(early + self.drive(rest, plain, queue, Wish::Answer)?)
    }

    /// Checks the peer's first bytes. Returns whether there are enough of them.
    fn greet(&mut self, received: &[u8], queue: &mut Outbox) -> Result<bool, TlsError> {
        self.has_greeted = match &self.stage {
            Stage::Dialing { .. } | Stage::Running(Machine::Client(_)) => first_bytes::of_server(received)?,
            _ => first_bytes::of_client(received, queue)?,
        };
        Ok(self.has_greeted)
    }

    /// Goes from the client's first message to a running machine, as far as possible now.
    fn choose(&mut self, received: &[u8], queue: &mut Outbox) -> Result<(), TlsError> {
        if let Stage::Accepting(served) = &self.stage {
            let served = served.clone();
            match &served.options {
                Options::Own { config, needed_protocols } if needed_protocols.is_empty() => {
                    return self.run_server(&served, config);
                }
                _ => self.stage = Stage::Reading { served, reader: Box::new(HelloReader::new()) },
            }
        }
        if let Stage::Reading { served, reader } = &mut self.stage {
            let served = served.clone();
            let Some(hello) = reader.read(received, queue)? else { return Ok(()) };
            self.offer(Rc::new(hello), &served, 0, queue)?;
        }
        while let Stage::Choosing { hello, chosen, choices } = &mut self.stage {
            let (hello, choices) = (hello.clone(), *choices);
            let Some(waiting) = chosen.take() else { return Ok(()) };
            match waiting.try_result() {
                Ok(Ok(server)) => self.offer(hello, &server.served(), choices + 1, queue)?,
                Ok(Err(failure)) => {
                    queue.write(&fatal_alert(AlertDescription::AccessDenied));
                    return Err(TlsError::NotChosen(format!("no options were chosen for the connection: {failure}")));
                }
                Err(waiting) => {
                    *chosen = Some(waiting);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Continues with `served` for a client that has sent `hello`.
    fn offer(
        &mut self,
        hello: Rc<Hello>,
        served: &Rc<Served>,
        choices: usize,
        queue: &mut Outbox,
    ) -> Result<(), TlsError> {
        match &served.options {
            Options::Chosen(_) if choices == CHOICES_MOST => {
                queue.write(&fatal_alert(AlertDescription::InternalError));
                Err(TlsError::NotChosen(format!("{CHOICES_MOST} servers have each chosen another server")))
            }
            Options::Chosen(choose) => {
                let chosen = Some(self.waking(choose(&hello)));
                self.stage = Stage::Choosing { hello, chosen, choices };
                Ok(())
            }
            Options::Own { needed_protocols, .. } if !offers_one_of(&hello, needed_protocols) => {
                queue.write(&fatal_alert(AlertDescription::NoApplicationProtocol));
                let offered = words(&hello.application_protocols);
                Err(TlsError::NoApplicationProtocol(offered, words(needed_protocols)))
            }
            Options::Own { config, .. } => self.run_server(served, config),
        }
    }

    /// Makes the layer continue when `chosen` fires later.
    fn waking(&self, chosen: Deferred<TlsServer>) -> Deferred<TlsServer> {
        let Some(wake) = self.wake.clone().filter(|_| !chosen.is_done()) else { return chosen };
        let (waiting, resolver) = Deferred::new();
        chosen.add_both(move |result| {
            // The connection may have ended, and its layer with it.
            let _ = resolver.fire(result);
            wake();
        });
        waiting
    }

    fn run_server(&mut self, served: &Served, config: &Arc<ServerConfig>) -> Result<(), TlsError> {
        self.accepts_truncation = served.accepts_truncation;
        let server = within(self.surroundings.as_ref(), || UnbufferedServerConnection::new(config.clone()));
        self.stage = Stage::Running(Machine::Server(Box::new(server.map_err(unusable)?)));
        Ok(())
    }

    fn dial(&mut self) -> Result<(), TlsError> {
        if let Stage::Dialing { config, name } = &self.stage {
            let (config, name) = (config.clone(), name.clone());
            let client = within(self.surroundings.as_ref(), || UnbufferedClientConnection::new(config, name));
            self.stage = Stage::Running(Machine::Client(Box::new(client.map_err(unusable)?)));
        }
        Ok(())
    }

    /// Drives the machine, if it runs, and follows its progress.
    fn drive(
        &mut self,
        received: &mut [u8],
        plain: &mut Outbox,
        queue: &mut Outbox,
        wish: Wish<'_>,
    ) -> Result<usize, TlsError> {
        let Stage::Running(machine) = &mut self.stage else { return Ok(0) };
        let has_closed = self.has_closed;
        let driven = within(self.surroundings.as_ref(), || match has_closed {
            true => machine.drive_closed(received, plain, queue),
            false => machine.drive(received, plain, queue, wish),
        });
        let is_handshaking = machine.common().is_handshaking();
        if driven.has_peer_closed {
            self.state |= LayerState::PEER_ENDED;
        }
        let notes = (!self.is_open()).then(|| self.follow_handshake(is_handshaking));
        match driven.failed {
            Some(error) => Err(TlsError::of(error, &notes.unwrap_or_default())),
            None => Ok(driven.taken),
        }
    }

    /// Opens the layer if the handshake has completed, and returns the notes of the last call of rustls.
    #[cold]
    fn follow_handshake(&mut self, is_handshaking: bool) -> Notes {
        let mut notes = notes::take();
        // Records behind the end of the handshake may fail in the same call. Data between the two is delivered.
        if !is_handshaking {
            self.state |= LayerState::OPEN;
            self.handshake = None;
            self.wake = None;
        }
        self.server_name = notes.server_name.take().or(self.server_name.take());
        if !notes.ocsp_response.is_empty() {
            self.ocsp_response = std::mem::take(&mut notes.ocsp_response);
        }
        notes
    }

    /// Sends while earlier received bytes may wait. Records that are taken here are delivered by the next
    /// [`incoming`](Layer::incoming).
    fn send(&mut self, held: &mut [u8], queue: &mut Outbox, wish: Wish<'_>) -> io::Result<()> {
        if held.is_empty() {
            let sent = self.drive(&mut [], &mut Outbox::new(), queue, wish);
            return self.end_on_error(sent).map(drop);
        }
        let mut early = self.early.take().unwrap_or_default();
        // Bytes that may not be TLS at all are checked before rustls gets them.
        let rest = if self.has_greeted { &mut held[early.taken..] } else { &mut [] };
        let sent = self.drive(rest, &mut early.plain, queue, wish);
        early.taken += *sent.as_ref().unwrap_or(&0);
        self.early = Some(early);
        self.end_on_error(sent).map(drop)
    }

    /// Keeps a failed layer from calling rustls again.
    fn end_on_error<T>(&mut self, outcome: Result<T, TlsError>) -> io::Result<T> {
        outcome.map_err(|error| {
            self.stage = Stage::Over;
            self.handshake = None;
            error.into_io()
        })
    }
}

impl Early {
    /// Moves the plain bytes to `plain`. Returns the number of bytes taken from the wire.
    fn deliver(&mut self, plain: &mut Outbox) -> usize {
        while let Some(chunk) = self.plain.take_chunk() {
            plain.write_bytes(chunk);
        }
        self.taken
    }
}

/// Returns whether a client offers one of `protocols`, or need not offer any.
fn offers_one_of(hello: &Hello, protocols: &[Vec<u8>]) -> bool {
    protocols.is_empty() || protocols.iter().any(|name| hello.application_protocols.contains(name))
}

impl Layer for TlsLayer {
    fn incoming(&mut self, received: &mut [u8], plain: &mut Outbox, queue: &mut Outbox) -> io::Result<usize> {
        if !self.state.contains(LayerState::PEER_ENDED) {
            let taken = self.receive(received, plain, queue);
            let taken = self.end_on_error(taken)?;
            if !self.state.contains(LayerState::PEER_ENDED) {
                return Ok(taken);
            }
        }
        // Bytes behind the peer's close_notify have no meaning.
        Ok(received.len())
    }

    fn incoming_ended(&mut self, _held: usize) -> io::Result<()> {
        let has_ended = self.state.contains(LayerState::PEER_ENDED);
        if has_ended || self.is_open() && self.accepts_truncation {
            self.state |= LayerState::PEER_ENDED;
            return Ok(());
        }
        Err(if self.is_open() { TlsError::Truncated.into_io() } else { TlsError::ClosedInHandshake.into_io() })
    }

    fn outgoing(&mut self, held: &mut [u8], plain: &mut Outbox, queue: &mut Outbox, most: usize) -> io::Result<()> {
        let is_dialing = matches!(self.stage, Stage::Dialing { .. });
        if is_dialing {
            let dialed = self.dial();
            self.end_on_error(dialed)?;
        }
        // rustls has said all that it has to say when it received bytes.
        if plain.is_empty() && !is_dialing {
            return Ok(());
        }
        self.send(held, queue, Wish::Send { plain, most })
    }

    fn close(&mut self, held: &mut [u8], queue: &mut Outbox) {
        if self.is_open() {
            // A close is best effort. The connection ends anyway.
            let _ = self.send(held, queue, Wish::Close);
            self.has_closed = true;
        }
    }

    fn state(&self) -> LayerState {
        self.state
    }

    fn name(&self) -> &'static str {
        "tls"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
