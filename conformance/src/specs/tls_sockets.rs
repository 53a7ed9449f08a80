//! TLS with foreign peers: rustls' blocking streams on plain sockets in threads.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ropewalk::tls::rustls::version::{TLS12, TLS13};
use ropewalk::tls::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error as RustlsError, ServerConfig, ServerConnection,
    StreamOwned, SupportedProtocolVersion,
};
use ropewalk::tls::{ServerOptions, TlsServer, Version};
use ropewalk::{Port, Reactor};

use crate::certificates::{Authority, Pair};
use crate::links::{assert_same_bytes, noise};
use crate::script::{Log, Script};
use crate::tls_ends::{NAME, logs_end};
use crate::{Subject, run, specifications};

const MEGABYTE: usize = 1024 * 1024;
const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

fn serve(subject: &Subject, tls: &TlsServer, script: &Script) -> (Reactor, Port, SocketAddr) {
    let reactor = subject.reactor();
    let port = reactor.listen_tls("127.0.0.1:0", script.factory(), tls).unwrap();
    let host = port.host().unwrap().inet().unwrap();
    (reactor, port, host)
}

fn connect(host: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let connection = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
    StreamOwned::new(connection, TcpStream::connect(host).unwrap())
}

fn accept(listener: &TcpListener, config: ServerConfig) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), listener.accept().unwrap().0)
}

/// Sends close_notify.
fn close<C, D>(stream: &mut StreamOwned<C, TcpStream>)
where
    C: std::ops::DerefMut<Target = ropewalk::tls::rustls::ConnectionCommon<D>>,
    D: ropewalk::tls::rustls::SideData,
{
    stream.conn.send_close_notify();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock).unwrap();
    }
}

/// Completes the handshake, and waits until the tickets of the server have arrived. They stay unread.
fn open_and_await_tickets(stream: &mut StreamOwned<ClientConnection, TcpStream>) {
    while stream.conn.is_handshaking() || stream.conn.wants_write() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream.sock.peek(&mut [0]).unwrap();
}

specifications! {
    tls_sockets;

    fn a_foreign_client_ends_cleanly_behind_its_echo(subject: &Subject) {
        // Both versions. read_to_end fails if close_notify is missing.
        for versions in VERSIONS {
            let (pair, log, sent) = (Pair::new(), Log::new(), noise(3 * MEGABYTE, 60));
            let server = Script::echo().on_lost(logs_end(&log, "server")).stop_when_lost();
            let (reactor, _port, host) = serve(subject, &pair.server, &server);
            let (config, bytes) = (pair.authority.foreign_client(versions), sent.clone());
            let peer = thread::spawn(move || {
                let mut stream = connect(host, config);
                let mut received = vec![0; bytes.len()];
                for (piece, echo) in bytes.chunks(50_000).zip(received.chunks_mut(50_000)) {
                    stream.write_all(piece).unwrap();
                    stream.read_exact(echo).unwrap();
                }
                close(&mut stream);
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).unwrap();
                assert!(rest.is_empty());
                received
            });
            run(&reactor);
            assert_same_bytes(&peer.join().unwrap(), &sent);
            log.expect(&["server ConnectionDone"]);
        }
    }

    fn a_foreign_server_gets_data_with_a_clean_end(subject: &Subject) {
        for versions in VERSIONS {
            let (pair, log, sent) = (Pair::new(), Log::new(), noise(MEGABYTE, 61));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (host, config) = (listener.local_addr().unwrap(), pair.issued.foreign_server(versions));
            let peer = thread::spawn(move || {
                let mut stream = accept(&listener, config);
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                received
            });
            let (reactor, bytes) = (subject.reactor(), sent.clone());
            let client = Script::sends(bytes).on_lost(logs_end(&log, "client"));
            let options = ropewalk::tls::ClientOptions::new().authorities(pair.authority.trusted());
            let tls = ropewalk::tls::TlsClient::new(options.server_name(NAME)).unwrap();
            reactor.connect_tls(host, client.factory(), &tls).unwrap();
            // The run closes a connection that lingers, so it ends when the peer has everything.
            let done = reactor.clone();
            let client_log = log.clone();
            crate::waiting::when(
                &reactor,
                move || client_log.contains("client ConnectionDone") && done.lingering_count() == 0,
                crate::script::stop,
            );
            run(&reactor);
            assert_same_bytes(&peer.join().unwrap(), &sent);
        }
    }

    fn a_foreign_client_reads_why_it_is_refused(subject: &Subject) {
        // RFC 8446, section 4.4.2.4. The client writes at once, and reads the alert instead of a reset.
        let (pair, log) = (Pair::new(), Log::new());
        let options = ServerOptions::new().identity(pair.issued.identity()).oldest_version(Version::Tls13);
        let options = options.require_client_certificates(Authority::new("clients").trusted());
        let server = TlsServer::new(options).unwrap();
        let script = Script::new().on_lost(logs_end(&log, "server")).stop_when_lost();
        let (reactor, _port, host) = serve(subject, &server, &script);
        let config = pair.authority.foreign_client(&[&TLS13]);
        let peer = thread::spawn(move || {
            let mut stream = connect(host, config);
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).unwrap();
            }
            // The server discards what it does not read.
            let _ = stream.write_all(&noise(100_000, 62));
            loop {
                assert!(stream.conn.read_tls(&mut stream.sock).unwrap() > 0, "the alert is missing");
                if let Err(error) = stream.conn.process_new_packets() {
                    return error;
                }
            }
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), RustlsError::AlertReceived(AlertDescription::CertificateRequired));
        log.expect(&["server Certificate"]);
    }

    fn an_abort_is_a_reset_for_a_foreign_client(subject: &Subject) {
        // ITCPTransport.abortConnection: no alert, and no end that looks orderly.
        let pair = Pair::new();
        let server = Script::new().on_data(|transport, _| transport.abort_connection()).stop_when_lost();
        let (reactor, _port, host) = serve(subject, &pair.server, &server);
        let config = pair.authority.foreign_client(&[&TLS13]);
        let peer = thread::spawn(move || {
            let mut stream = connect(host, config);
            stream.write_all(b"x").unwrap();
            stream.read(&mut [0]).unwrap_err().kind()
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), ErrorKind::ConnectionReset);
    }

    fn a_reactor_that_stops_says_goodbye(subject: &Subject) {
        // RFC 8446, section 6.1: without close_notify the peer takes the end for a truncation.
        let pair = Pair::new();
        let server = Script::new().on_data(|transport, _| {
            transport.write(b"bye");
            crate::script::stop(&transport.reactor());
        });
        let (reactor, _port, host) = serve(subject, &pair.server, &server);
        let config = pair.authority.foreign_client(&[&TLS13]);
        let peer = thread::spawn(move || {
            let mut stream = connect(host, config);
            stream.write_all(b"x").unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        run(&reactor);
        assert_eq!(peer.join().unwrap(), b"bye");
    }

    fn a_slow_foreign_reader_gets_everything(subject: &Subject) {
        // The socket takes a part of the records at a time.
        let (pair, sent) = (Pair::new(), noise(6 * MEGABYTE, 63));
        let server = Script::sends(sent.clone());
        let (reactor, _port, host) = serve(subject, &pair.server, &server.stop_when_lost());
        let config = pair.authority.foreign_client(&[&TLS13]);
        let lingering = reactor.clone();
        let peer = thread::spawn(move || {
            let mut stream = connect(host, config);
            let (mut received, mut buffer) = (Vec::new(), vec![0; 100_000]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                received.extend_from_slice(&buffer[..count]);
                thread::sleep(Duration::from_micros(200));
            }
            received
        });
        run(&lingering);
        assert_same_bytes(&peer.join().unwrap(), &sent);
    }

    fn a_foreign_client_may_leave_with_unread_tickets(subject: &Subject) {
        // Linux resets a connection that is closed with unread bytes. Everything that arrived before the reset counts,
        // also if the tickets or close_notify of the server cannot be delivered.
        for waits_for_tickets in [false, true] {
            let (pair, log) = (Pair::new(), Log::new());
            let server = Script::tls_logged(&log, "server").stop_when_lost();
            let (reactor, _port, host) = serve(subject, &pair.server, &server);
            let config = pair.authority.foreign_client(&[&TLS13]);
            let peer = thread::spawn(move || {
                let mut stream = connect(host, config);
                // Otherwise close_notify may wait in the client's system for an acknowledgement of the data, and the
                // reset destroys it there.
                stream.sock.set_nodelay(true).unwrap();
                if waits_for_tickets {
                    open_and_await_tickets(&mut stream);
                }
                stream.write_all(b"x").unwrap();
                close(&mut stream);
            });
            run(&reactor);
            peer.join().unwrap();
            log.expect(&["server opened", "server data x", "server read lost", "server ConnectionDone"]);
        }
    }

    fn a_foreign_client_that_never_says_goodbye_is_lost(subject: &Subject) {
        // As above, but the reset has taken the place of close_notify: the data arrives, and the end is an error.
        let (pair, log) = (Pair::new(), Log::new());
        let server = Script::tls_logged(&log, "server").stop_when_lost();
        let (reactor, _port, host) = serve(subject, &pair.server, &server);
        let config = pair.authority.foreign_client(&[&TLS13]);
        let peer = thread::spawn(move || {
            let mut stream = connect(host, config);
            open_and_await_tickets(&mut stream);
            stream.write_all(b"x").unwrap();
        });
        run(&reactor);
        peer.join().unwrap();
        log.expect(&["server opened", "server data x", "server ConnectionLost"]);
    }
}
