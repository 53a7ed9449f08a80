//! Connections whose ends speak TLS by the layer, over the subject's kind of socket.

use std::io;
use std::time::Duration;

use ropewalk::protocols::{TlsClientFactory, TlsServerFactory};
use ropewalk::tls::{TlsClient, TlsError, TlsServer};
use ropewalk::{Connector, Error, Port, Reactor, Transport};

use crate::certificates::Pair;
use crate::foreign_tls::Foreign;
use crate::links::Countdown;
use crate::script::{Log, Script, reason_name};
use crate::{Subject, run};

/// The name of the server in certificates.
pub const NAME: &str = "localhost";

impl Subject {
    /// Listens on an unused address for connections that speak TLS.
    pub fn listen_tls(&self, reactor: &Reactor, tls: &TlsServer, server: &Script) -> Port {
        self.listen(reactor, TlsServerFactory::new(server.factory(), tls))
    }

    /// Connects to `port`, and speaks TLS.
    pub fn connect_tls(&self, reactor: &Reactor, port: &Port, tls: &TlsClient, client: &Script) -> Connector {
        self.connect(reactor, port, TlsClientFactory::new(client.factory(), tls, NAME))
    }

    /// Connects a client to a server. Both speak TLS.
    pub fn join_tls(&self, reactor: &Reactor, pair: &Pair, server: &Script, client: &Script) -> Port {
        let port = self.listen_tls(reactor, &pair.server, server);
        self.connect_tls(reactor, &port, &pair.client, client);
        port
    }

    /// Connects a client to a server, and runs until both connections are lost. Both speak TLS.
    pub fn converse_tls(&self, pair: &Pair, server: &Script, client: &Script) {
        let (reactor, both) = (self.reactor(), Countdown::new(2));
        self.join_tls(&reactor, pair, &server.clone().counted_by(&both), &client.clone().counted_by(&both));
        run(&reactor);
    }

    /// Connects `client`, which has no layer, to a server that speaks TLS. Runs until both connections are lost.
    pub fn serve_tls(&self, tls: &TlsServer, server: &Script, client: &Script) {
        let (reactor, both) = (self.reactor(), Countdown::new(2));
        let port = self.listen_tls(&reactor, tls, &server.clone().counted_by(&both));
        self.connect(&reactor, &port, client.clone().counted_by(&both).factory());
        run(&reactor);
    }

    /// Connects a client that speaks TLS to `server`, which has no layer. Runs until both connections are lost.
    pub fn visit_tls(&self, tls: &TlsClient, server: &Script, client: &Script) {
        let (reactor, both) = (self.reactor(), Countdown::new(2));
        let port = self.listen(&reactor, server.clone().counted_by(&both).factory());
        self.connect_tls(&reactor, &port, tls, &client.clone().counted_by(&both));
        run(&reactor);
    }
}

/// Returns the error of TLS among the sources of `reason`.
pub fn tls_error(reason: &Error) -> Option<&TlsError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(reason);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Returns the kind of the end of a connection, without details.
pub fn end_in_words(reason: &Error) -> String {
    match (tls_error(reason), reason) {
        (Some(TlsError::Alert(alert)), _) => format!("alert {alert:?}"),
        (Some(TlsError::Protocol(error)), _) => format!("protocol {error:?}"),
        (Some(error), _) => {
            let debug = format!("{error:?}");
            debug.split('(').next().unwrap_or_default().to_owned()
        }
        (None, Error::ConnectionLost(Some(error))) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "UnexpectedEof".to_owned()
        }
        (None, other) => reason_name(other),
    }
}

/// Adds the end of a connection to `log`.
pub fn logs_end(log: &Log, name: &'static str) -> impl Fn(&Transport, &Error) + use<> {
    let log = log.clone();
    move |_, reason| log.add(format!("{name} {}", end_in_words(reason)))
}

impl Script {
    /// Returns a script that adds its events to `log` under `name`: `NAME opened`, `NAME data TEXT`, `NAME read lost`,
    /// and the kind of the end. Closes at the end of the input, as the default does.
    pub fn tls_logged(log: &Log, name: &'static str) -> Script {
        let [opened, data, read] = std::array::from_fn(|_| log.clone());
        Script::new()
            .on_opened(move |_| opened.add(format!("{name} opened")))
            .on_data(move |_, bytes| data.add(format!("{name} data {}", bytes.escape_ascii())))
            .on_read_lost(move |transport| {
                read.add(format!("{name} read lost"));
                transport.lose_connection();
            })
            .on_lost(logs_end(log, name))
    }
}

/// Encrypts and sends `data` and close_notify.
pub fn send_last(foreign: &Foreign, transport: &Transport, data: &[u8]) {
    foreign.write(data);
    foreign.close();
    foreign.flush(transport);
}

/// Sends `bytes` one at a time, each in a turn of its own.
pub fn send_one_by_one(transport: &Transport, bytes: Vec<u8>) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    transport.write(&[first]);
    let (later, rest) = (transport.clone(), rest.to_vec());
    transport.reactor().call_later(Duration::ZERO, move |_| send_one_by_one(&later, rest));
}
