//! Sessions.

use ropewalk_tls::{ClientOptions, ServerOptions, TlsClient, TlsServer};

use crate::certificates::Authority;
use crate::wire::{ends, pair, shake_hands};

/// Returns whether a handshake of the two resumes a session.
fn resumes(server: &TlsServer, client: &TlsClient) -> bool {
    let (mut client, mut server) = ends(server, client);
    shake_hands(&mut client, &mut server);
    assert!(client.is_open() && server.is_open(), "{:?} {:?}", client.failed, server.failed);
    assert_eq!(client.layer.is_resumed(), server.layer.is_resumed());
    client.layer.is_resumed()
}

#[test]
fn a_second_handshake_resumes_the_session() {
    let (server, client) = pair(ServerOptions::new(), ClientOptions::new());
    assert!(!resumes(&server, &client));
    assert!(resumes(&server, &client));
}

#[test]
fn sessions_can_be_turned_off() {
    for (sessions, kept) in [(0, 256), (256, 0)] {
        let (server, client) =
            pair(ServerOptions::new().sessions_max(sessions), ClientOptions::new().sessions_max(kept));
        assert!(!resumes(&server, &client));
        assert!(!resumes(&server, &client));
    }
}

#[test]
fn a_session_ends_with_the_options_that_issued_it() {
    // Otherwise a client that an old authority has admitted would be admitted by the new one.
    let authority = Authority::new("test authority");
    let (old, new) = (Authority::new("old clients"), Authority::new("new clients"));
    let identity = authority.issue(&["localhost"]);
    let options = |clients: &Authority| {
        ServerOptions::new().identity(identity.clone()).require_client_certificates(clients.trusted())
    };
    let server = TlsServer::new(options(&old)).unwrap();
    let client = ClientOptions::new().authorities(authority.trusted()).identity(old.issue(&["a client"]));
    let client = TlsClient::new(client).unwrap();
    assert!(!resumes(&server, &client));
    assert!(resumes(&server, &client));
    server.replace(options(&new)).unwrap();
    let (mut client, mut server) = ends(&server, &client);
    shake_hands(&mut client, &mut server);
    assert!(server.failed.is_some() && !server.is_open());
}

#[test]
fn a_replacement_that_fails_keeps_the_present_options() {
    let (server, client) = pair(ServerOptions::new(), ClientOptions::new());
    assert!(server.replace(ServerOptions::new()).is_err());
    assert!(!resumes(&server, &client));
}
