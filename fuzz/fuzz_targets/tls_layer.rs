//! A layer and a rustls connection exchange bytes, cut in any way. Without damage, all data and both ends arrive. With
//! damage, the data is a beginning of the sent data, and nothing panics.

#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::panic;
use std::sync::{Arc, Once, OnceLock};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use ropewalk_proto::{Layer, LayerState, Outbox, succeed};
use ropewalk_tls::rustls::pki_types::pem::PemObject;
use ropewalk_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ropewalk_tls::rustls::version::{TLS12, TLS13};
use ropewalk_tls::rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion, crypto,
};
use ropewalk_tls::{Authorities, ClientOptions, Identity, ServerOptions, TlsClient, TlsLayer, TlsServer};

/// The number of transformed bytes that may wait.
const MOST: usize = 64 * 1024;

#[derive(Arbitrary, Debug)]
struct Case {
    is_server: bool,
    is_tls12: bool,
    /// Whether the server chooses its options by the first message.
    chooses: bool,
    fragment: Fragment,
    steps: Vec<Step>,
}

/// The size of the peer's records.
#[derive(Arbitrary, Debug)]
enum Fragment {
    Usual,
    Small(u8),
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Passes bytes that are under way to the layer.
    ToLayer(u8),
    /// Passes bytes that are under way to the peer.
    ToPeer(u8),
    /// Passes all bytes that are under way.
    Exchange,
    LayerSends(u16),
    PeerSends(u16),
    PeerUpdatesKeys,
    LayerCloses,
    PeerCloses,
    /// Changes a byte that is under way to the layer.
    Damage {
        place: u8,
        by: u8,
    },
    /// Adds bytes to those under way to the layer.
    Insert(Vec<u8>),
    /// Closes the stream to the layer without close_notify.
    Cut,
}

struct Certificate {
    pem: String,
    key: String,
}

fn certificate() -> &'static Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        Certificate { pem: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    })
}

/// The layer, the bytes that it has not taken, and its data.
struct End {
    layer: TlsLayer,
    held: Vec<u8>,
    /// Bytes under way from the layer.
    wire: Outbox,
    received: Vec<u8>,
    plain: Outbox,
    sent: Vec<u8>,
    has_closed: bool,
    has_failed: bool,
    has_socket_ended: bool,
}

/// The peer by rustls.
struct Peer {
    connection: Connection,
    wire: Vec<u8>,
    received: Vec<u8>,
    sent: Vec<u8>,
    has_closed: bool,
    has_failed: bool,
    has_ended: bool,
}

impl End {
    fn is_open(&self) -> bool {
        self.layer.state().contains(LayerState::OPEN)
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.has_failed {
            return;
        }
        self.held.extend_from_slice(bytes);
        let mut plain = Outbox::new();
        match self.layer.incoming(&mut self.held, &mut plain, &mut self.wire) {
            Ok(taken) => {
                assert!(taken <= self.held.len(), "more bytes were taken than were given");
                self.held.drain(..taken);
            }
            Err(_) => self.has_failed = true,
        }
        while let Some(chunk) = plain.take_chunk() {
            self.received.extend_from_slice(&chunk);
        }
    }

    /// Transforms what waits, as the connection does when a callback has returned.
    fn settle(&mut self) {
        let mut none = Outbox::new();
        let is_open = self.is_open();
        while !self.has_failed {
            let plain = if is_open { &mut self.plain } else { &mut none };
            let most = MOST + self.wire.len();
            match self.layer.outgoing(&mut self.held, plain, &mut self.wire, most) {
                Ok(()) if plain.is_empty() => break,
                Ok(()) => {}
                Err(_) => self.has_failed = true,
            }
        }
        if is_open {
            self.receive(&[]);
        }
    }

    fn send(&mut self, data: &[u8]) {
        if !self.has_closed && !self.has_failed {
            self.plain.write(data);
            self.sent.extend_from_slice(data);
        }
    }

    fn close(&mut self) {
        if self.is_open() && !self.has_failed && !std::mem::replace(&mut self.has_closed, true) {
            self.layer.close(&mut self.held, &mut self.wire);
        }
    }

    fn end_of_socket(&mut self) {
        if !self.has_failed && !std::mem::replace(&mut self.has_socket_ended, true) {
            self.has_failed |= self.layer.incoming_ended(self.held.len()).is_err();
        }
    }
}

impl Peer {
    fn receive(&mut self, mut bytes: &[u8]) {
        // For rustls a read of no bytes is the end of the stream.
        while !bytes.is_empty() && !self.has_failed && matches!(self.connection.read_tls(&mut bytes), Ok(1..)) {
            self.has_failed |= self.connection.process_new_packets().is_err();
            let mut plain = Vec::new();
            match self.connection.reader().read_to_end(&mut plain) {
                Ok(_) => self.has_ended = true,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            self.received.extend(plain);
        }
    }

    fn settle(&mut self) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.wire).expect("a vector takes all bytes");
        }
    }

    fn may_send(&self) -> bool {
        !self.has_closed && !self.has_failed && !self.connection.is_handshaking()
    }

    fn send(&mut self, data: &[u8]) {
        if self.may_send() {
            self.connection.set_buffer_limit(None);
            self.connection.writer().write_all(data).expect("the buffer has no limit");
            self.sent.extend_from_slice(data);
        }
    }
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate().pem.as_bytes()).unwrap()).unwrap();
    roots
}

fn layer(case: &Case) -> TlsLayer {
    let Certificate { pem, key } = certificate();
    if !case.is_server {
        let options = ClientOptions::new().authorities(Authorities::from_pem(pem.as_bytes()).unwrap());
        return TlsClient::new(options).unwrap().layer("localhost").unwrap();
    }
    let identity = Identity::from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
    let server = TlsServer::new(ServerOptions::new().identity(identity)).unwrap();
    if !case.chooses {
        return server.layer();
    }
    TlsServer::new(ServerOptions::new().choose(move |_| succeed(server.clone()))).unwrap().layer()
}

fn peer(case: &Case) -> Connection {
    let Certificate { pem, key } = certificate();
    let crypto = Arc::new(crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = if case.is_tls12 { &[&TLS12] } else { &[&TLS13] };
    let fragment = match case.fragment {
        Fragment::Usual => None,
        Fragment::Small(size) => Some(32 + usize::from(size)),
    };
    if case.is_server {
        let builder = ClientConfig::builder_with_provider(crypto).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots()).with_no_client_auth();
        config.max_fragment_size = fragment;
        return ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap().into();
    }
    let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(crypto).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.max_fragment_size = fragment;
    ServerConnection::new(Arc::new(config)).unwrap().into()
}

fn data(count: u16, from: usize) -> Vec<u8> {
    (from..from + usize::from(count)).map(|place| (place % 251) as u8).collect()
}

fn take(wire: &mut Outbox, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < most && !wire.is_empty() {
        let count = wire.front().len().min(most - bytes.len());
        bytes.extend_from_slice(&wire.front()[..count]);
        wire.advance(count);
    }
    bytes
}

/// Passes bytes on until nothing is under way.
fn exchange(end: &mut End, peer: &mut Peer) {
    loop {
        end.settle();
        peer.settle();
        let (to_peer, to_layer) = (take(&mut end.wire, usize::MAX), std::mem::take(&mut peer.wire));
        if to_peer.is_empty() && to_layer.is_empty() {
            return;
        }
        peer.receive(&to_peer);
        if !end.has_socket_ended {
            end.receive(&to_layer);
        }
    }
}

/// Lets the layer catch a panic of rustls: trap 4 of its module `machine`. The hook of libFuzzer would abort before. A
/// panic that is not caught still stops the run.
fn let_panics_of_rustls_pass() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|place| place.file().contains("/rustls-")) {
                report(panic);
            }
        }));
    });
}

fuzz_target!(|case: Case| {
    let_panics_of_rustls_pass();
    let mut end = End {
        layer: layer(&case),
        held: Vec::new(),
        wire: Outbox::new(),
        received: Vec::new(),
        plain: Outbox::new(),
        sent: Vec::new(),
        has_closed: false,
        has_failed: false,
        has_socket_ended: false,
    };
    let mut peer = Peer {
        connection: peer(&case),
        wire: Vec::new(),
        received: Vec::new(),
        sent: Vec::new(),
        has_closed: false,
        has_failed: false,
        has_ended: false,
    };
    let mut is_sound = true;
    let mut updates = 0;
    for step in &case.steps {
        end.settle();
        peer.settle();
        match step {
            Step::ToLayer(count) if !end.has_socket_ended => {
                let count = usize::from(*count).min(peer.wire.len());
                let bytes: Vec<u8> = peer.wire.drain(..count).collect();
                end.receive(&bytes);
            }
            Step::ToPeer(count) => peer.receive(&take(&mut end.wire, usize::from(*count))),
            Step::Exchange => exchange(&mut end, &mut peer),
            Step::LayerSends(count) => end.send(&data(*count, end.sent.len())),
            Step::PeerSends(count) => peer.send(&data(*count, peer.sent.len())),
            // More than 32 without data end the connection.
            Step::PeerUpdatesKeys if peer.may_send() && !case.is_tls12 && updates < 30 => {
                updates += 1;
                peer.connection.refresh_traffic_keys().expect("TLS 1.3");
            }
            Step::LayerCloses => end.close(),
            Step::PeerCloses if peer.may_send() => {
                peer.has_closed = true;
                peer.connection.send_close_notify();
            }
            Step::Damage { place, by } if *by != 0 && !peer.wire.is_empty() => {
                let place = usize::from(*place) % peer.wire.len();
                peer.wire[place] ^= by;
                is_sound = false;
            }
            Step::Insert(bytes) if !bytes.is_empty() => {
                peer.wire.extend_from_slice(bytes);
                is_sound = false;
            }
            Step::Cut => {
                end.end_of_socket();
                is_sound = false;
            }
            _ => {}
        }
    }
    exchange(&mut end, &mut peer);
    assert!(peer.sent.starts_with(&end.received), "the layer returned bytes that the peer has not sent");
    assert!(end.sent.starts_with(&peer.received), "the peer received bytes that were not sent");
    if is_sound {
        assert!(!end.has_failed && !peer.has_failed, "a connection without damage failed");
        assert!(end.is_open() && !peer.connection.is_handshaking(), "the handshake is not complete");
        assert_eq!((end.received.len(), peer.received.len()), (peer.sent.len(), end.sent.len()));
        assert_eq!(
            (end.has_closed, peer.has_closed),
            (peer.has_ended, end.layer.state().contains(LayerState::PEER_ENDED))
        );
    }
});
