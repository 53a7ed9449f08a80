//! Data, closes and truncation.

use ropewalk_proto::Layer;
use ropewalk_tls::{ClientOptions, ServerOptions, TlsError, Version};

use crate::wire::{End, ends, open, pair, seeded, shake_hands};

#[test]
fn data_passes_in_both_directions() {
    let (mut client, mut server) = open();
    let data: Vec<u8> = (0..1_000_000_u32).map(|index| index as u8).collect();
    server.receive(&client.send(&data));
    assert!(server.plain == data);
    client.receive(&server.send(&data));
    assert!(client.plain == data);
}

#[test]
fn both_ends_know_what_they_agreed_on() {
    for (oldest, version) in [(Version::Tls12, Version::Tls13), (Version::Tls13, Version::Tls13)] {
        let (server, client) = pair(
            ServerOptions::new().application_protocols(["h2", "http/1.1"]),
            ClientOptions::new().application_protocols(["http/1.1"]).oldest_version(oldest),
        );
        let (mut client, mut server) = ends(&server, &client);
        shake_hands(&mut client, &mut server);
        assert_eq!(client.layer.version(), Some(version));
        assert_eq!(server.layer.negotiated_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(server.layer.server_name(), Some("localhost"));
        assert_eq!(client.layer.peer_certificates().len(), 1);
        assert!(client.layer.cipher_suite().is_some_and(|suite| suite.starts_with("TLS13_")));
    }
}

#[test]
fn a_truncation_is_not_a_close() {
    let (mut client, mut server) = open();
    let bytes = [client.send(b"bye"), client.close()].concat();
    server.receive(&bytes);
    assert_eq!((server.plain.as_slice(), server.has_peer_ended()), (&b"bye"[..], true));
    assert!(server.layer.incoming_ended(0).is_ok());

    let (mut client, mut server) = open();
    server.receive(&client.send(b"bye"));
    let error = server.layer.incoming_ended(0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn truncation_can_be_accepted() {
    let (server, client) = pair(ServerOptions::new().accept_truncation(), ClientOptions::new());
    let (mut client, mut server) = ends(&server, &client);
    assert!(server.layer.incoming_ended(0).is_err(), "not during the handshake");
    shake_hands(&mut client, &mut server);
    assert!(server.layer.incoming_ended(0).is_ok());
}

#[test]
fn bytes_behind_a_close_are_ignored() {
    let (mut client, mut server) = open();
    let close = client.close();
    server.receive(&[close, b"garbage".to_vec()].concat());
    server.receive(b"more garbage");
    assert!(server.has_peer_ended() && server.failed.is_none() && server.plain.is_empty());
}

#[test]
fn damaged_bytes_fail_with_an_alert_for_the_peer() {
    let (mut client, mut server) = open();
    let mut bytes = client.send(b"hello");
    *bytes.last_mut().unwrap() ^= 1;
    let alert = server.receive(&bytes);
    assert!(matches!(server.error(), Some(TlsError::Protocol(_))), "{:?}", server.failed);
    client.receive(&alert);
    assert!(matches!(client.error(), Some(TlsError::Alert(_))), "{:?}", client.failed);
    assert!(server.send(b"more").is_empty() && server.plain.is_empty());
}

#[test]
fn small_chunks_share_a_record() {
    let (mut client, _server) = open();
    let (mut plain, mut queue) = (ropewalk_proto::Outbox::new(), ropewalk_proto::Outbox::new());
    plain.write(&[1; 100]);
    (0..4).for_each(|_| plain.write_bytes(vec![2; 2000].into()));
    client.layer.outgoing(&mut [], &mut plain, &mut queue, 65536).unwrap();
    assert_eq!(queue.len(), 8100 + 22, "one record of TLS 1.3 adds 22 bytes");
}

#[test]
fn a_seed_determines_all_bytes_of_a_connection() {
    let (server, client) = pair(ServerOptions::new(), ClientOptions::new().sessions_max(0));
    let run = |seed| {
        let mut client = End::new(client.layer("localhost").unwrap().within(seeded(seed)));
        let mut server = End::new(server.layer().within(seeded(seed + 1)));
        let mut seen = shake_hands(&mut client, &mut server);
        assert!(client.is_open() && server.is_open(), "{:?} {:?}", client.failed, server.failed);
        seen.extend(client.send(b"hello"));
        seen
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}
