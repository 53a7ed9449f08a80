//! Streams that arrive in any pieces.

use proptest::prelude::*;

use crate::wire::{End, ends, open, pair};
use ropewalk_tls::{ClientOptions, ServerOptions, Version};

/// Passes `bytes` in pieces, and returns the answers.
fn in_pieces(end: &mut End, bytes: &[u8], piece: usize) -> Vec<u8> {
    bytes.chunks(piece).flat_map(|chunk| end.receive(chunk)).collect()
}

fn handshake_in_pieces(version: Version, piece: usize) -> (End, End) {
    let options = ServerOptions::new().oldest_version(version);
    let (server, client) = pair(options, ClientOptions::new());
    let (mut client, mut server) = ends(&server, &client);
    let mut to_server = client.send(b"");
    while !to_server.is_empty() {
        let to_client = in_pieces(&mut server, &to_server, piece);
        to_server = in_pieces(&mut client, &to_client, piece);
    }
    (client, server)
}

#[test]
fn a_handshake_completes_byte_by_byte() {
    for piece in [1, 2, 3, 7, 100] {
        let (mut client, mut server) = handshake_in_pieces(Version::Tls13, piece);
        assert!(client.is_open() && server.is_open(), "{piece}: {:?} {:?}", client.failed, server.failed);
        let bytes = [client.send(b"hello"), client.close()].concat();
        in_pieces(&mut server, &bytes, piece);
        assert!(server.plain == b"hello" && server.has_peer_ended());
    }
}

#[test]
fn bytes_are_sent_while_half_of_a_message_has_arrived() {
    // rustls panics here if it is not given the half message again. A peer decides when it sends the other half.
    let (server, client) = pair(ServerOptions::new(), ClientOptions::new());
    let (mut client, mut server) = ends(&server, &client);
    let to_client = server.receive(&client.send(b""));
    let to_server = client.receive(&to_client);
    let tickets = server.receive(&to_server);
    assert!(client.is_open() && !tickets.is_empty());
    for byte in &tickets {
        client.receive(&[*byte]);
        server.receive(&client.send(b"x"));
    }
    assert!(client.failed.is_none() && server.failed.is_none());
    assert_eq!(server.plain.len(), tickets.len());
}

#[test]
fn a_fragmented_ticket_does_not_panic_a_client_that_sends() {
    use ropewalk_tls::rustls::{ServerConfig, ServerConnection};
    // A server of rustls that cuts its handshake messages into records of 32 bytes.
    let authority = crate::certificates::Authority::new("test authority");
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let _ = authority;
    let certificate = key.cert.der().clone();
    let private = key.signing_key.serialize_der().try_into().unwrap();
    let mut config = ServerConfig::builder_with_provider(ropewalk_tls::rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .unwrap();
    config.max_fragment_size = Some(32);
    let trusted = ropewalk_tls::Authorities::from_pem(key.cert.pem().as_bytes()).unwrap();
    let client = ropewalk_tls::TlsClient::new(ClientOptions::new().authorities(trusted)).unwrap();
    let mut client = End::new(client.layer("localhost").unwrap());
    let mut server = ServerConnection::new(config.into()).unwrap();
    let mut to_server = client.send(b"");
    for _ in 0..10 {
        server.read_tls(&mut &to_server[..]).unwrap();
        server.process_new_packets().unwrap();
        let mut to_client = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut to_client).unwrap();
        }
        to_server = Vec::new();
        for byte in to_client {
            to_server.extend(client.receive(&[byte]));
            if client.is_open() {
                to_server.extend(client.send(b"x"));
            }
        }
    }
    assert!(client.is_open() && client.failed.is_none(), "{:?}", client.failed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_carry_the_same_data(data in prop::collection::vec(any::<u8>(), 0..40_000), piece in 1_usize..20_000) {
        let (mut client, mut server) = open();
        let bytes = [client.send(&data), client.close()].concat();
        in_pieces(&mut server, &bytes, piece);
        prop_assert!(server.plain == data && server.has_peer_ended());
    }

    #[test]
    fn any_change_of_any_byte_fails_without_a_panic(position in any::<prop::sample::Index>(), change in 1_u8.., piece in 1_usize..200) {
        let (server, client) = pair(ServerOptions::new(), ClientOptions::new());
        let (mut client, mut server) = ends(&server, &client);
        let mut hello = client.send(b"");
        let at = position.index(hello.len());
        hello[at] ^= change;
        in_pieces(&mut server, &hello, piece);
        server.send(b"");
        server.close();
    }
}
