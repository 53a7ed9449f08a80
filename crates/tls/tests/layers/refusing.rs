//! Refusals, in words for the one and an alert for the other.

use ropewalk_tls::{ClientOptions, ServerOptions, TlsClient, TlsError, TlsServer, Version};

use crate::certificates::Authority;
use crate::wire::{End, pair, shake_hands};

/// Lets a client and a server meet, and returns their errors.
fn meet(server: &TlsServer, client: &TlsClient, host: &str) -> (Option<TlsError>, Option<TlsError>) {
    let (mut client, mut server) = (End::new(client.layer(host).unwrap()), End::new(server.layer()));
    shake_hands(&mut client, &mut server);
    (client.error().cloned(), server.error().cloned())
}

fn server(options: ServerOptions) -> TlsServer {
    TlsServer::new(options).unwrap()
}

fn client(options: ClientOptions) -> TlsClient {
    TlsClient::new(options).unwrap()
}

#[track_caller]
fn assert_says(error: Option<TlsError>, parts: &[&str]) {
    let text = error.expect("an error").to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn a_wrong_name_is_described_to_both_sides() {
    let authority = Authority::new("test authority");
    let server = server(ServerOptions::new().identity(authority.issue(&["a.example.org", "b.example.org"])));
    let client = client(ClientOptions::new().authorities(authority.trusted()));
    let (here, there) = meet(&server, &client, "c.example.org");
    assert_says(
        here,
        &["it is for a.example.org, b.example.org, expected c.example.org", "issued by CN=test authority"],
    );
    assert!(matches!(there, Some(TlsError::Alert(_))), "{there:?}");
}

#[test]
fn an_unknown_issuer_is_named() {
    let (authority, other) = (Authority::new("test authority"), Authority::new("another authority"));
    let server = server(ServerOptions::new().identity(authority.issue(&["localhost"])));
    let client = client(ClientOptions::new().authorities(other.trusted()));
    let (here, there) = meet(&server, &client, "localhost");
    assert_says(here, &["its issuer (CN=test authority", "is not a trusted authority"]);
    assert_says(there, &["does not trust the issuer of our certificate"]);
}

#[test]
fn an_expired_certificate_is_refused_with_its_date() {
    let authority = Authority::new("test authority");
    let server = server(ServerOptions::new().identity(authority.issue_expired(&["localhost"])));
    let client = client(ClientOptions::new().authorities(authority.trusted()));
    let (here, there) = meet(&server, &client, "localhost");
    assert_says(here, &["it has expired on 2002-02-03", "and today is 20"]);
    assert_says(there, &["expired"]);
}

#[test]
fn an_address_is_checked_as_an_address() {
    let authority = Authority::new("test authority");
    let server = server(ServerOptions::new().identity(authority.issue(&["127.0.0.1"])));
    let client = client(ClientOptions::new().authorities(authority.trusted()));
    assert!(matches!(meet(&server, &client, "127.0.0.1"), (None, None)));
    assert!(meet(&server, &client, "127.0.0.2").0.is_some());
}

#[test]
fn a_missing_client_certificate_is_an_error_of_both_sides() {
    let (server, client) = {
        let authority = Authority::new("test authority");
        let options = ServerOptions::new().identity(authority.issue(&["localhost"]));
        let server = server(options.require_client_certificates(Authority::new("clients").trusted()));
        (server, client(ClientOptions::new().authorities(authority.trusted())))
    };
    let (here, there) = meet(&server, &client, "localhost");
    assert_says(here, &["requires a certificate of ours"]);
    assert_says(there, &["sent no certificate"]);
}

#[test]
fn a_client_certificate_of_another_authority_is_refused() {
    let (authority, clients) = (Authority::new("test authority"), Authority::new("clients"));
    let options = ServerOptions::new().identity(authority.issue(&["localhost"]));
    let server = server(options.require_client_certificates(clients.trusted()));
    let trusting = || ClientOptions::new().authorities(authority.trusted());
    let right = client(trusting().identity(clients.issue(&["a client"])));
    assert!(matches!(meet(&server, &right, "localhost"), (None, None)));
    let wrong = client(trusting().identity(Authority::new("others").issue(&["a client"])));
    let (_, there) = meet(&server, &wrong, "localhost");
    assert_says(there, &["its issuer (CN=others"]);
}

#[test]
fn application_protocols_must_match() {
    let (server, client) = pair(
        ServerOptions::new().application_protocols(["h2"]).require_application_protocol(),
        ClientOptions::new().application_protocols(["foo"]),
    );
    let (here, there) = meet(&server, &client, "localhost");
    assert_says(here, &["supports none of our application protocols"]);
    assert_says(there, &["the peer offers foo, expected one of h2"]);
}

#[test]
fn a_client_without_a_protocol_is_refused_only_if_one_is_needed() {
    let options = || ServerOptions::new().application_protocols(["h2"]);
    let (lenient, client) = pair(options(), ClientOptions::new());
    assert!(matches!(meet(&lenient, &client, "localhost"), (None, None)));
    let (strict, client) = pair(options().require_application_protocol(), ClientOptions::new());
    assert_says(meet(&strict, &client, "localhost").1, &["the peer offers none"]);
}

#[test]
fn an_unknown_name_is_refused_on_request() {
    let authority = Authority::new("test authority");
    let options = ServerOptions::new().identity(authority.issue(&["localhost"]));
    let server = server(options.refuse_unknown_names());
    let client = client(ClientOptions::new().authorities(authority.trusted()));
    let (here, there) = meet(&server, &client, "other.example.org");
    assert!(matches!(here, Some(TlsError::Alert(_))), "{here:?}");
    assert_says(there, &["no certificate for the name \"other.example.org\""]);
}

#[test]
fn plain_http_gets_an_answer_in_words() {
    let (server, _) = pair(ServerOptions::new(), ClientOptions::new());
    let mut server = End::new(server.layer());
    let answer = server.receive(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    assert!(matches!(server.error(), Some(TlsError::NotTls(_))));
}

#[test]
fn old_versions_are_refused_with_an_alert() {
    let (server, _) = pair(ServerOptions::new().oldest_version(Version::Tls13), ClientOptions::new());
    let mut server = End::new(server.layer());
    // A hello of TLS 1.1 with one cipher suite.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let answer = server.receive(&hello);
    assert_eq!((answer[0], answer[5]), (21, 2), "a fatal alert: {answer:?}");
    assert!(server.failed.is_some());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new("test authority");
    let _ = authority.issue(&["localhost"]);
    let one = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let two = rcgen::generate_simple_self_signed(["b".to_owned()]).unwrap();
    let mixed = ropewalk_tls::Identity::from_pem(one.cert.pem().as_bytes(), two.signing_key.serialize_pem().as_bytes());
    assert_eq!(mixed.unwrap_err().to_string(), "the private key does not belong to the certificate");
}
