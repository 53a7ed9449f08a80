//! The two ends of a connection in memory.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Layer, LayerState, Outbox};
use ropewalk_tls::{ClientOptions, ServerOptions, Surroundings, TlsClient, TlsError, TlsLayer, TlsServer};

use crate::certificates::Authority;

const MOST: usize = 64 * 1024;

/// One end: a layer, the bytes that it has not taken, and the plain bytes that it has returned.
pub(crate) struct End {
    pub(crate) layer: TlsLayer,
    held: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    pub(crate) failed: Option<std::io::Error>,
}

impl End {
    pub(crate) fn new(layer: TlsLayer) -> End {
        End { layer, held: Vec::new(), plain: Vec::new(), failed: None }
    }

    /// Passes `received` to the layer, and returns the bytes for the peer.
    pub(crate) fn receive(&mut self, received: &[u8]) -> Vec<u8> {
        let (mut plain, mut queue) = (Outbox::new(), Outbox::new());
        self.held.extend_from_slice(received);
        match self.layer.incoming(&mut self.held, &mut plain, &mut queue) {
            Ok(taken) => drop(self.held.drain(..taken)),
            Err(error) => self.failed = Some(error),
        }
        self.plain.extend(drain(&mut plain));
        drain(&mut queue)
    }

    /// Sends `data`, and returns the bytes for the peer.
    pub(crate) fn send(&mut self, data: &[u8]) -> Vec<u8> {
        let (mut plain, mut queue) = (Outbox::new(), Outbox::new());
        plain.write(data);
        while self.failed.is_none() {
            let most = MOST + queue.len();
            match self.layer.outgoing(&mut self.held, &mut plain, &mut queue, most) {
                Ok(()) if plain.is_empty() => break,
                Ok(()) => {}
                Err(error) => self.failed = Some(error),
            }
        }
        drain(&mut queue)
    }

    pub(crate) fn close(&mut self) -> Vec<u8> {
        let mut queue = Outbox::new();
        self.layer.close(&mut self.held, &mut queue);
        drain(&mut queue)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.layer.state().contains(LayerState::OPEN)
    }

    pub(crate) fn has_peer_ended(&self) -> bool {
        self.layer.state().contains(LayerState::PEER_ENDED)
    }

    /// Returns the error of the layer.
    pub(crate) fn error(&self) -> Option<&TlsError> {
        self.failed.as_ref()?.get_ref()?.downcast_ref()
    }
}

fn drain(outbox: &mut Outbox) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = outbox.take_chunk() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// Exchanges bytes until both ends are silent. Returns all bytes that were exchanged.
pub(crate) fn shake_hands(client: &mut End, server: &mut End) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut to_server = client.send(b"");
    while !to_server.is_empty() {
        seen.extend_from_slice(&to_server);
        let to_client = server.receive(&to_server);
        seen.extend_from_slice(&to_client);
        to_server = if to_client.is_empty() { Vec::new() } else { client.receive(&to_client) };
    }
    seen
}

/// A client and a server that trust each other.
pub(crate) fn pair(options: ServerOptions, client: ClientOptions) -> (TlsServer, TlsClient) {
    let authority = Authority::new("test authority");
    let server = TlsServer::new(options.identity(authority.issue(&["localhost"]))).unwrap();
    (server, TlsClient::new(client.authorities(authority.trusted())).unwrap())
}

/// Two ends whose handshake has not begun.
pub(crate) fn ends(server: &TlsServer, client: &TlsClient) -> (End, End) {
    (End::new(client.layer("localhost").unwrap()), End::new(server.layer()))
}

/// Two ends whose handshake has completed.
pub(crate) fn open() -> (End, End) {
    let (server, client) = pair(ServerOptions::new(), ClientOptions::new());
    let (mut client, mut server) = ends(&server, &client);
    shake_hands(&mut client, &mut server);
    assert!(client.is_open() && server.is_open(), "{:?} {:?}", client.failed, server.failed);
    (client, server)
}

/// Surroundings that follow from `seed`.
pub(crate) fn seeded(seed: u64) -> Surroundings {
    Surroundings::seeded(seed, Rc::new(|| Duration::from_secs(1_800_000_000)))
}
