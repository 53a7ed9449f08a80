//! Connects standard input and output to an endpoint.
//!
//! ```text
//!   input  --> local --+      +--> remote --> peer
//!                      | each is the other's producer
//!   output <-- local --+      +--- remote <-- peer
//! ```
//!
//! Input is read only once the connection is made. The end of a direction is passed on when all bytes before it have
//! been sent. The program ends when both directions have ended.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::application::Service;
use ropewalk::endpoints::client_from_string;
use ropewalk::proto::CancelHandle;
use ropewalk::sys::take_standard_streams;
use ropewalk::{Address, Bytes, Deferred, Error, Factory, Failure, Protocol, Reactor, Transport, succeed};
use ropewalk_runner::fail;

use super::relay::{self, Side};
use crate::arguments::Connect;
use crate::idle::IdleTimer;
use crate::listen::output_error;

/// The reason why the command cannot run in the background.
pub(crate) const NEEDS_FOREGROUND: &str = "'connect' needs standard input and output, which a daemon does not have";

/// The command as a service.
pub(crate) struct ConnectService {
    endpoint: String,
    conversation: Rc<Conversation>,
    attempt: RefCell<Option<CancelHandle>>,
}

impl ConnectService {
    pub(crate) fn new(options: Connect) -> ConnectService {
        let conversation = Conversation { idle_limit: options.idle_timeout.0, ..Conversation::default() };
        ConnectService { endpoint: options.endpoint, conversation: Rc::new(conversation), attempt: RefCell::default() }
    }
}

impl Service for ConnectService {
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let endpoint = match client_from_string(reactor, &self.endpoint) {
            Ok(endpoint) => endpoint,
            Err(error) => return Err(Failure::new(error)).into(),
        };
        let connected = endpoint.connect(reactor, Rc::new(RemoteFactory(self.conversation.clone())));
        self.attempt.replace(Some(connected.cancel_handle()));
        let weak = reactor.downgrade();
        connected.add_callbacks(drop, move |failure| {
            if let Some(reactor) = weak.upgrade() {
                fail(&reactor, explained(&failure.into()));
            }
        });
        succeed(())
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        self.conversation.is_stopping.set(true);
        if let Some(attempt) = self.attempt.take() {
            attempt.cancel();
        }
        succeed(())
    }
}

/// Returns the error of an attempt to connect, with the usual remedy.
fn explained(error: &Error) -> String {
    let remedy = match error {
        Error::ConnectionRefused(..) => "check the port, and that the server runs",
        Error::ConnectTimedOut(..) => "check the address, or wait longer with :timeout=SECONDS",
        Error::NoRoute(..) => "check the address and the network of this machine",
        Error::DnsLookup(..) => "check the spelling of the name, or use an IP address",
        Error::Connect(Address::Unix(_), cause) if cause.kind() == ErrorKind::NotFound => {
            "check the path, and that the server runs"
        }
        Error::Connect(Address::Unix(_), cause) if cause.kind() == ErrorKind::PermissionDenied => {
            "run as a user that may write to the socket"
        }
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

/// The two connections of the command.
#[derive(Default)]
struct Conversation {
    idle_limit: Option<Duration>,
    idle: RefCell<IdleTimer>,
    /// Standard input and output.
    local: Side,
    remote: Side,
    has_input_ended: Cell<bool>,
    /// Whether the program stops, which closes the connections.
    is_stopping: Cell<bool>,
}

impl Conversation {
    /// Begins to read standard input, because the connection is made.
    fn begin(self: &Rc<Conversation>, remote: &Transport) {
        let reactor = remote.reactor();
        self.remote.replace(Some(remote.clone()));
        if let Err(error) = self.open_local(&reactor) {
            return fail(&reactor, format!("cannot use standard input and output: {error}"));
        }
        if let Some(local) = &*self.local.borrow() {
            let _ = local.register_producer(remote.clone());
            let _ = remote.register_producer(local.clone());
        }
        let conversation = Rc::downgrade(self);
        let timer = IdleTimer::start(&reactor, self.idle_limit, move |reactor| {
            if let Some(conversation) = conversation.upgrade() {
                conversation.idled(reactor);
            }
        });
        self.idle.replace(timer);
    }

    fn open_local(self: &Rc<Conversation>, reactor: &Reactor) -> ropewalk::Result<()> {
        let [input, output] = take_standard_streams()?;
        let conversation = self.clone();
        reactor.adopt_pipes(input, output, &move || Local(conversation.clone())).map(drop)
    }

    fn idled(&self, reactor: &Reactor) {
        let limit = self.idle_limit.unwrap_or_default().as_secs_f64();
        if self.has_input_ended.get() {
            // A peer that does not close its side has nothing more to say.
            return drop(reactor.stop());
        }
        fail(reactor, format!("no data for {limit} seconds: the connection is closed"));
    }

    /// Closes the other side when one side has ended in order. The program ends with the last one.
    fn close(&self, reactor: &Reactor, other: &Side) {
        match &*other.borrow() {
            Some(other) => {
                other.unregister_producer();
                other.lose_connection();
            }
            None => drop(reactor.stop()),
        }
    }
}

/// Builds the protocol of the connection to the endpoint.
struct RemoteFactory(Rc<Conversation>);

impl Factory for RemoteFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Remote(self.0.clone())))
    }
}

/// The protocol of the connection to the endpoint.
struct Remote(Rc<Conversation>);

impl Protocol for Remote {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.set_tcp_no_delay(true);
        tracing::info!(peer = %transport.peer(), "connected");
        self.0.begin(transport);
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        relay::forward(&self.0.local, &self.0.idle, |local| local.write(data));
    }

    fn chunk_received(&mut self, _transport: &Transport, chunk: Bytes) {
        relay::forward(&self.0.local, &self.0.idle, |local| local.write_bytes(chunk));
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        tracing::info!(peer = %transport.peer(), "the peer has ended its side");
        relay::finish(&self.0.local);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.0.remote.take();
        let reactor = transport.reactor();
        if !reason.is_done() && !self.0.is_stopping.get() {
            // The first failure counts. Received bytes are still written.
            fail(&reactor, reason);
        }
        self.0.close(&reactor, &self.0.local);
    }

    fn log_prefix(&self) -> &'static str {
        "connect"
    }
}

/// The protocol of standard input and output.
struct Local(Rc<Conversation>);

impl Protocol for Local {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.local.replace(Some(transport.clone()));
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        relay::forward(&self.0.remote, &self.0.idle, |remote| remote.write(data));
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        self.0.has_input_ended.set(true);
        relay::finish(&self.0.remote);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.0.local.take();
        let reactor = transport.reactor();
        match output_error(reason) {
            Some(error) => fail(&reactor, format!("cannot write to standard output: {error}")),
            // The reader of the output is gone, as in `ropewalk connect ... | head`.
            None if !reason.is_done() => drop(reactor.stop()),
            None => self.0.close(&reactor, &self.0.remote),
        }
    }

    fn log_prefix(&self) -> &'static str {
        "connect"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_error_of_an_attempt_names_the_remedy() {
        let cause = |kind: ErrorKind| Arc::new(kind.into());
        let inet = Address::Inet("127.0.0.1:1".parse().unwrap());
        let refused = Error::ConnectionRefused(inet, cause(ErrorKind::ConnectionRefused));
        assert!(explained(&refused).ends_with("was refused: check the port, and that the server runs"));
        let unix = Address::Unix(std::path::Path::new("/run/x").into());
        let missing = Error::Connect(unix, cause(ErrorKind::NotFound));
        assert!(explained(&missing).contains("check the path"));
        assert_eq!(explained(&Error::NoProtocol), Error::NoProtocol.to_string());
    }
}
