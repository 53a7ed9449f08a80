//! The code of a program that uses a connection.

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{Connection, Event, ServerConfig};

/// The behaviour of one connection.
pub trait Application {
    /// Called for each event of the connection, in order. `ConnectionLost` is the last one.
    ///
    /// The application may call any method of `connection`. What it writes leaves when it returns. `now` is the time
    /// that `Connection::close` needs. A call of a [`Quic`](crate::Quic) that drives connections panics here, because
    /// this connection is being driven.
    fn event(&mut self, connection: &mut Connection, now: Instant, event: Event);
}

/// A server: its configuration, and an application for each connection that it accepts.
pub struct Service {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) build: Box<dyn FnMut() -> Box<dyn Application>>,
}

impl Service {
    /// Creates a server. `build` is called for each connection.
    pub fn new<A: Application + 'static>(config: ServerConfig, mut build: impl FnMut() -> A + 'static) -> Service {
        Service { config: Arc::new(config), build: Box::new(move || Box::new(build())) }
    }
}
