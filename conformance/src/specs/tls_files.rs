//! Certificates that follow their files while connections exist: `tls:` and `ssl:` descriptions.
//!
//! A reload happens once the files have been quiet for a second. Nothing here measures that second.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use ropewalk::endpoints::server_from_string;
use ropewalk::protocols::TlsClientFactory;
use ropewalk::tls::{ClientOptions, Identity, ServerOptions, TlsClient, TlsServer};
use ropewalk::{Factory, Port, Reactor, Transport};

use crate::certificates::{Authority, Issued};
use crate::links::Transports;
use crate::logged::logged;
use crate::script::{Log, Script};
use crate::tls_ends::{NAME, logs_end};
use crate::waiting::iterate_until;
use crate::{Subject, specifications};

const NOT_LOADED: &str = "the certificates were not loaded again";

/// A folder with the files `certificate.pem` and `key.pem`.
struct Files(PathBuf);

impl Files {
    fn new(subject: &Subject, issued: &Issued) -> Files {
        let files = Files(subject.unix_path().with_extension("tls"));
        fs::create_dir(&files.0).unwrap();
        files.write("certificate.pem", issued.certificate());
        files.write("key.pem", issued.key());
        files
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn description(&self) -> String {
        let folder = self.0.display();
        format!("ssl:0:interface=127.0.0.1:certKey={folder}/certificate.pem:privateKey={folder}/key.pem")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn listen(reactor: &Reactor, description: &str, factory: impl Factory + 'static) -> Port {
    let endpoint = server_from_string(reactor, description).unwrap();
    let Ok(Ok(port)) = endpoint.listen(reactor, Rc::new(factory)).try_result() else { panic!("the address is free") };
    port
}

/// Returns a client that trusts `authority` alone.
fn trusting(authority: &Authority) -> TlsClient {
    TlsClient::new(ClientOptions::new().authorities(authority.trusted())).unwrap()
}

/// Connects a client that closes when TLS is open. Returns the kind of its end.
fn visit(reactor: &Reactor, port: &Port, client: &TlsClient) -> String {
    let log = Log::new();
    let script = Script::new().on_opened(Transport::lose_connection).on_lost(logs_end(&log, "client"));
    let factory = TlsClientFactory::new(script.factory(), client, NAME);
    reactor.connect_tcp(port.host().unwrap().inet().unwrap(), factory).unwrap();
    let ended = log.clone();
    iterate_until(reactor, move || !ended.entries().is_empty());
    log.entries().remove(0)
}

/// Visits until the server has a certificate of another authority.
fn visit_until_open(reactor: &Reactor, port: &Port, client: &TlsClient) {
    let mut attempts = 0;
    while visit(reactor, port, client) != "client ConnectionDone" {
        attempts += 1;
        assert!(attempts < 200, "the new certificate is not in use");
    }
}

/// Visits until the server has logged that the files cannot be used. Every visit is served meanwhile. Returns the line.
fn visit_until_refused(reactor: &Reactor, port: &Port, client: &TlsClient) -> String {
    for _ in 0..200 {
        let visit = || assert_eq!(visit(reactor, port, client), "client ConnectionDone");
        if let Some(line) = logged(visit).into_iter().find(|line| line.contains(NOT_LOADED)) {
            return line;
        }
    }
    panic!("the files were not read again");
}

specifications! {
    tls_files;

    fn a_certificate_waits_for_its_key(subject: &Subject) {
        // A program replaces the certificate first and the key later, then writes half a file, then a whole pair.
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let (first, next) = (old.issue(&[NAME]), new.issue(&[NAME]));
        let (reactor, files) = (subject.reactor(), Files::new(subject, &first));
        let port = listen(&reactor, &files.description(), Script::echo().factory());
        let (early, kept) = (Script::new().on_made(|transport| transport.write(b"1")), Transports::new());
        let factory = TlsClientFactory::new(early.clone().listed_in(&kept).factory(), &trusting(&old), NAME);
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), factory).unwrap();
        let reader = early.clone();
        iterate_until(&reactor, move || reader.received() == b"1");

        files.write("certificate.pem", next.certificate());
        let refused = visit_until_refused(&reactor, &port, &trusting(&old));
        assert!(refused.contains("does not belong to the certificate"), "{refused}");
        files.write("key.pem", next.key());
        visit_until_open(&reactor, &port, &trusting(&new));
        assert_eq!(visit(&reactor, &port, &trusting(&old)), "client Certificate");

        files.write("certificate.pem", &first.certificate()[..first.certificate().len() / 2]);
        visit_until_refused(&reactor, &port, &trusting(&new));
        files.write("certificate.pem", first.certificate());
        files.write("key.pem", first.key());
        visit_until_open(&reactor, &port, &trusting(&old));

        // A connection keeps its certificate.
        kept.first().write(b"2");
        let reader = early.clone();
        iterate_until(&reactor, move || reader.received() == b"12");
    }

    fn the_event_reload_reports_each_error_once(subject: &Subject) {
        // Reactor::keep_tls_current. The error is the caller's as well if the caller reloads. The next event tries again.
        let authority = Authority::new("authority");
        let (reactor, files) = (subject.reactor(), Files::new(subject, &authority.issue(&[NAME])));
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| files.0.join(name));
        let load = move || Ok(ServerOptions::new().identity(Identity::read(&certificate, &key)?));
        let tls = TlsServer::new(load().unwrap()).unwrap();
        // No file is watched.
        let reload = reactor.keep_tls_current(&tls, &[] as &[PathBuf], load);
        files.write("key.pem", "nothing");
        let event = || {
            reactor.fire_system_event("reload");
            iterate_until(&reactor, || true);
        };
        let lines = logged(|| (0..3).for_each(|_| event()));
        assert_eq!(lines.iter().filter(|line| line.contains(NOT_LOADED)).count(), 1, "{lines:?}");
        assert!(reload.reload().is_err());
        let next = authority.issue(&[NAME]);
        files.write("certificate.pem", next.certificate());
        files.write("key.pem", next.key());
        assert_eq!(logged(event).len(), 1);
        drop(reload);
        assert_eq!(logged(event), Vec::<String>::new());
    }
}
