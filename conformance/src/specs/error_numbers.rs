//! Error::raw_os_error: an error has the number of the system's error, on the simulated network as well.

use std::path::PathBuf;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, Destination, Error, Factory, Protocol, Reactor, UnixDestination};
use rustix::io::Errno;

use crate::links::NOWHERE;
use crate::script::{Log, Script, stop};
use crate::{run, specifications};

/// Notes the name and the number of `reason`.
fn note(log: &Log, reason: &Error) {
    let number = reason.raw_os_error().map(Errno::from_raw_os_error);
    log.add(format!("{} {number:?}", reason.name()));
}

/// Fails unless the only entry is an error called `name` with the number `errno`.
#[track_caller]
fn expect(log: &Log, name: &str, errno: impl Into<Option<Errno>>) {
    log.expect(&[&format!("{name} {:?}", errno.into())]);
}

/// Notes a failed attempt, and stops the reactor.
struct Fails(Log);

impl Factory for Fails {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        panic!("the attempt must fail")
    }
}

impl ClientFactory for Fails {
    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        note(&self.0, reason);
        stop(&connector.try_reactor().expect("it runs"));
    }
}

/// Fails unless connecting to `path` reports an error called `Connect` with the number `errno`.
fn expect_of_path(reactor: &Reactor, path: PathBuf, errno: Errno) {
    let log = Log::new();
    reactor.connect_unix(UnixDestination::new(path), Fails(log.clone())).unwrap();
    run(reactor);
    expect(&log, "Connect", errno);
}

specifications! {
    error_numbers;

    fn a_refused_connection_has_its_number(subject: &Subject) {
        // connect(2): ECONNREFUSED
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.connect_tcp(NOWHERE, Fails(log.clone())).unwrap();
        run(&reactor);
        expect(&log, "ConnectionRefused", Errno::CONNREFUSED);
    }

    fn a_missing_socket_file_has_its_number(subject: &Subject) {
        // unix(7), connect(2): ENOENT
        expect_of_path(&subject.reactor(), subject.unix_path(), Errno::NOENT);
    }

    fn a_listening_address_in_use_has_its_number(subject: &Subject) {
        // bind(2): EADDRINUSE
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let again = reactor.listen_tcp(port.host().unwrap().inet().unwrap(), Script::new().factory());
        note(&log, &again.unwrap_err());
        expect(&log, "CannotListen", Errno::ADDRINUSE);
    }

    fn a_local_address_in_use_has_its_number(subject: &Subject) {
        // bind(2): EADDRINUSE, for IReactorTCP.connectTCP's bindAddress.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let destination = Destination::from(NOWHERE).bind(port.host().unwrap().inet().unwrap());
        reactor.connect_tcp(destination, Fails(log.clone())).unwrap();
        run(&reactor);
        expect(&log, "ConnectBind", Errno::ADDRINUSE);
    }

    fn a_reset_has_its_number(subject: &Subject) {
        // recv(2): ECONNRESET
        let (reactor, log) = (subject.reactor(), Log::new());
        let lost = log.clone();
        let server = Script::new().on_lost(move |_, reason| note(&lost, reason)).stop_when_lost();
        subject.join_and(&reactor, &server, &Script::new(), |_, client| client.abort_connection());
        run(&reactor);
        expect(&log, "ConnectionLost", Errno::CONNRESET);
    }

    fn errors_of_this_side_have_no_number(subject: &Subject) {
        // Error::raw_os_error: the system reports none of these.
        let (reactor, log) = (subject.reactor(), Log::new());
        let connector = reactor.connect_tcp(NOWHERE, Fails(log.clone())).unwrap();
        connector.stop_connecting().unwrap();
        expect(&log, "UserAborted", None);
        let (reactor, log) = (subject.reactor(), Log::new());
        let lost = log.clone();
        let server = Script::new().on_made(ropewalk::Transport::abort_connection);
        let server = server.on_lost(move |_, reason| note(&lost, reason)).stop_when_lost();
        subject.join(&reactor, &server, &Script::new());
        run(&reactor);
        expect(&log, "ConnectionAborted", None);
        let (reactor, log) = (subject.reactor(), Log::new());
        let no_time = Destination::from(NOWHERE).timeout(Duration::ZERO);
        reactor.connect_tcp(no_time, Fails(log.clone())).unwrap();
        run(&reactor);
        expect(&log, "ConnectTimedOut", None);
    }
}
