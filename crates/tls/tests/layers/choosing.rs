//! Options that are chosen by the client's first message.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_proto::{Deferred, Resolver, succeed};
use ropewalk_tls::{ClientOptions, ServerOptions, TlsClient, TlsError, TlsServer};

use crate::certificates::Authority;
use crate::wire::{End, pair, shake_hands};

#[test]
fn a_client_gets_the_certificate_of_its_name() {
    let authority = Authority::new("test authority");
    let server = TlsServer::new(
        ServerOptions::new()
            .identity(authority.issue(&["a.example.org"]))
            .identity(authority.issue(&["*.b.example.org"])),
    )
    .unwrap();
    let client = TlsClient::new(ClientOptions::new().authorities(authority.trusted())).unwrap();
    for host in ["a.example.org", "www.b.example.org", "A.Example.org", "a.example.org."] {
        let (mut client, mut server) = (End::new(client.layer(host).unwrap()), End::new(server.layer()));
        shake_hands(&mut client, &mut server);
        assert!(client.is_open() && server.is_open(), "{host}: {:?}", client.failed);
    }
}

#[test]
fn a_choice_that_comes_later_continues_the_handshake() {
    let (chosen, client) = pair(ServerOptions::new(), ClientOptions::new());
    let asked: Rc<RefCell<Option<Resolver<TlsServer>>>> = Rc::default();
    let kept = asked.clone();
    let server = TlsServer::new(ServerOptions::new().choose(move |hello| {
        assert_eq!(hello.server_name.as_deref(), Some("localhost"));
        let (deferred, resolver) = Deferred::new();
        kept.replace(Some(resolver));
        deferred
    }))
    .unwrap();
    let woken = Rc::new(Cell::new(0));
    let wake = woken.clone();
    let layer = server.layer().on_choice(Rc::new(move || wake.set(wake.get() + 1)));
    let (mut client, mut server) = (End::new(client.layer("localhost").unwrap()), End::new(layer));
    shake_hands(&mut client, &mut server);
    assert!(!server.is_open() && woken.get() == 0);
    asked.take().unwrap().callback(chosen).unwrap();
    assert_eq!(woken.get(), 1);
    let mut to_client = server.receive(b"");
    while !to_client.is_empty() {
        let to_server = client.receive(&to_client);
        to_client = server.receive(&to_server);
    }
    assert!(client.is_open() && server.is_open(), "{:?} {:?}", client.failed, server.failed);
}

#[test]
fn a_failed_choice_refuses_the_connection() {
    let (_, client) = pair(ServerOptions::new(), ClientOptions::new());
    let choose = |_: &_| ropewalk_proto::fail(std::io::Error::other("the database is down"));
    let server = TlsServer::new(ServerOptions::new().choose(choose)).unwrap();
    let (mut client, mut server) = (End::new(client.layer("localhost").unwrap()), End::new(server.layer()));
    shake_hands(&mut client, &mut server);
    assert!(server.failed.unwrap().to_string().contains("the database is down"));
    assert!(matches!(client.error(), Some(TlsError::Alert(_))));
}

#[test]
fn servers_that_choose_each_other_end() {
    let (_, client) = pair(ServerOptions::new(), ClientOptions::new());
    let itself: Rc<RefCell<Option<TlsServer>>> = Rc::default();
    let again = itself.clone();
    let choose = move |_: &_| succeed(again.borrow().clone().unwrap());
    let server = TlsServer::new(ServerOptions::new().choose(choose)).unwrap();
    itself.replace(Some(server.clone()));
    let (mut client, mut end) = (End::new(client.layer("localhost").unwrap()), End::new(server.layer()));
    shake_hands(&mut client, &mut end);
    assert!(matches!(end.error(), Some(TlsError::NotChosen(_))), "{:?}", end.failed);
    itself.take();
}

#[test]
fn handshakes_in_progress_are_counted() {
    let (server, client) = pair(ServerOptions::new().handshakes_max(1), ClientOptions::new());
    let (mut first, mut end) = (End::new(client.layer("localhost").unwrap()), End::new(server.layer()));
    assert!(server.is_full());
    shake_hands(&mut first, &mut end);
    assert_eq!(server.handshakes(), 0);
    let silent = server.layer();
    assert!(server.is_full());
    drop(silent);
    assert!(!server.is_full());
}
