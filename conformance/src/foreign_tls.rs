//! A peer that speaks TLS by the buffered connections of rustls, on a connection without a layer.
//!
//! The program sees the bytes of the records. So a specification can cut, join, damage and hold back the records of a
//! peer, on every provider.

use std::cell::{Cell, Ref, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use ropewalk::Transport;
use ropewalk::tls::rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

use crate::script::Script;

/// One end of a connection. Clones are the same end.
#[derive(Clone)]
pub struct Foreign(Rc<State>);

struct State {
    connection: RefCell<Connection>,
    received: RefCell<Vec<u8>>,
    has_ended: Cell<bool>,
    failed: RefCell<Option<Error>>,
    was_open: Cell<bool>,
}

impl Foreign {
    /// Creates a client of the server `localhost`.
    pub fn client(config: ClientConfig) -> Foreign {
        Foreign::client_of(Arc::new(config), "localhost")
    }

    /// Creates a client of the server `name`.
    pub fn client_of(config: Arc<ClientConfig>, name: &'static str) -> Foreign {
        Foreign::new(ClientConnection::new(config, name.try_into().unwrap()).unwrap().into())
    }

    /// Creates a server.
    pub fn server(config: ServerConfig) -> Foreign {
        Foreign::new(ServerConnection::new(Arc::new(config)).unwrap().into())
    }

    fn new(connection: Connection) -> Foreign {
        Foreign(Rc::new(State {
            connection: RefCell::new(connection),
            received: RefCell::default(),
            has_ended: Cell::default(),
            failed: RefCell::default(),
            was_open: Cell::default(),
        }))
    }

    /// Returns a protocol that does what this end has to do. `opened` is called once, when the handshake is complete.
    pub fn script(&self, opened: impl Fn(&Foreign, &Transport) + 'static) -> Script {
        let (made, data) = (self.clone(), self.clone());
        Script::new().on_made(move |transport| made.flush(transport)).on_data(move |transport, bytes| {
            data.feed(bytes);
            data.flush(transport);
            if data.is_open() && !data.0.was_open.replace(true) {
                opened(&data, transport);
            }
        })
    }

    /// Takes records of the peer.
    pub fn feed(&self, mut records: &[u8]) {
        let mut connection = self.0.connection.borrow_mut();
        // For rustls a read of no bytes is the end of the stream.
        while !records.is_empty() && self.failed().is_none() && matches!(connection.read_tls(&mut records), Ok(1..)) {
            if let Err(error) = connection.process_new_packets() {
                self.0.failed.replace(Some(error));
            }
            let mut plain = Vec::new();
            match connection.reader().read_to_end(&mut plain) {
                Ok(_) => self.0.has_ended.set(true),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            self.0.received.borrow_mut().extend_from_slice(&plain);
        }
    }

    /// Removes and returns the records for the peer.
    pub fn take_records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut connection = self.0.connection.borrow_mut();
        while connection.wants_write() {
            connection.write_tls(&mut records).expect("a vector takes all bytes");
        }
        records
    }

    /// Sends the records for the peer.
    pub fn flush(&self, transport: &Transport) {
        transport.write(&self.take_records());
    }

    /// Encrypts `data`.
    pub fn write(&self, data: &[u8]) {
        let mut connection = self.0.connection.borrow_mut();
        connection.set_buffer_limit(None);
        connection.writer().write_all(data).expect("the buffer has no limit");
    }

    /// Encrypts and sends `data`.
    pub fn send(&self, transport: &Transport, data: &[u8]) {
        self.write(data);
        self.flush(transport);
    }

    /// Adds close_notify to the records for the peer.
    pub fn close(&self) {
        self.0.connection.borrow_mut().send_close_notify();
    }

    /// Adds an update of the keys, which asks the peer to update its keys as well, to the records for the peer.
    pub fn update_keys(&self) {
        self.0.connection.borrow_mut().refresh_traffic_keys().expect("TLS 1.3");
    }

    /// Returns the connection, which has the negotiated details.
    pub fn connection(&self) -> Ref<'_, Connection> {
        self.0.connection.borrow()
    }

    /// Returns whether the handshake is complete.
    pub fn is_open(&self) -> bool {
        !self.connection().is_handshaking() && self.failed().is_none()
    }

    /// Returns the data of the peer.
    pub fn received(&self) -> Vec<u8> {
        self.0.received.borrow().clone()
    }

    /// Returns whether the peer has sent close_notify.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.get()
    }

    /// Returns the error that ended this end.
    pub fn failed(&self) -> Option<Error> {
        self.0.failed.borrow().clone()
    }
}
