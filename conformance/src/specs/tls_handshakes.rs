//! Handshakes of TLS on streams: the switch from clear bytes, certificates, names, application protocols, choices.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ropewalk::endpoints::{HaproxyServerEndpoint, StreamServerEndpoint, TcpServerEndpoint};
use ropewalk::proto::Resolver;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::{TlsClientFactory, TlsServerFactory};
use ropewalk::tls::rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use ropewalk::tls::rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use ropewalk::tls::rustls::pki_types::ServerName;
use ropewalk::tls::rustls::version::{TLS12, TLS13};
use ropewalk::tls::rustls::{AlertDescription, ClientConfig, Error as RustlsError, HandshakeKind, NamedGroup};
use ropewalk::tls::{Authorities, ClientOptions, ServerOptions, TlsClient, TlsLayer, TlsServer, Version};
use ropewalk::{Deferred, Error, Transport, fail, succeed};

use crate::certificates::{Authority, Pair};
use crate::foreign_tls::Foreign;
use crate::links::{Countdown, Transports, noise};
use crate::script::{Log, Script, stop};
use crate::tls_ends::{NAME, end_in_words, logs_end, send_last, send_one_by_one, tls_error};
use crate::waiting::{after_some_turns, when};
use crate::{Subject, run, specifications};

/// A header of the PROXY protocol, without the end of its line.
const PROXY: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.80 5000 80";

/// A protocol of lines that starts TLS at one of them.
struct Switching {
    log: Log,
    /// The line at which TLS starts, and the reply in clear.
    trigger: &'static [u8],
    reply: Option<&'static [u8]>,
    layer: Rc<dyn Fn() -> TlsLayer>,
    ends: Countdown,
}

impl LineProtocol for Switching {
    fn layer_opened(&mut self, lines: &LineTransport) {
        self.log.add("opened");
        lines.send_line("hidden");
    }

    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        self.log.add(format!("line {}", line.escape_ascii()));
        if line == self.trigger {
            self.reply.inspect(|reply| lines.send_line(reply));
            lines.start_tls((self.layer)()).unwrap();
        }
        if line == b"QUIT" {
            lines.lose_connection();
        }
    }

    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        self.log.add(end_in_words(reason));
        self.ends.count(&lines.reactor());
    }
}

/// Runs a server of lines that starts TLS at `STARTTLS`, with `client`. Returns the server's events.
fn switch_server(subject: &Subject, tls: &TlsServer, client: &Script) -> Log {
    let (reactor, log, ends) = (subject.reactor(), Log::new(), Countdown::new(2));
    let (tls, events, counted) = (tls.clone(), log.clone(), ends.clone());
    let layer: Rc<dyn Fn() -> TlsLayer> = Rc::new(move || tls.layer());
    let port = subject.listen(&reactor, move || {
        LineReceiver::new(Switching {
            log: events.clone(),
            trigger: b"STARTTLS",
            reply: Some(b"220 go ahead"),
            layer: layer.clone(),
            ends: counted.clone(),
        })
    });
    subject.connect(&reactor, &port, client.clone().counted_by(&ends).factory());
    run(&reactor);
    log
}

/// Runs a client of lines that starts TLS at `220 go ahead`, with `server`. Returns the client's events.
fn switch_client(subject: &Subject, tls: &TlsClient, server: &Script) -> Log {
    let (reactor, log, ends) = (subject.reactor(), Log::new(), Countdown::new(2));
    let (tls, events, counted) = (tls.clone(), log.clone(), ends.clone());
    let layer: Rc<dyn Fn() -> TlsLayer> = Rc::new(move || tls.layer(NAME).unwrap());
    let port = subject.listen(&reactor, server.clone().counted_by(&ends).factory());
    subject.connect(&reactor, &port, move || {
        LineReceiver::new(Switching {
            log: events.clone(),
            trigger: b"220 go ahead",
            reply: None,
            layer: layer.clone(),
            ends: counted.clone(),
        })
    });
    run(&reactor);
    log
}

/// Lets a server and a client meet that close when TLS is open. Returns their errors in words, the server's first.
fn meet(subject: &Subject, server: &TlsServer, client: &TlsClient) -> (String, String) {
    let pair = [(); 2].map(|()| Rc::new(RefCell::new(String::new())));
    let [here, there] = pair.clone();
    let text = |reason: &Error| tls_error(reason).map_or_else(|| end_in_words(reason), ToString::to_string);
    let serving = Script::new().on_lost(move |_, reason| drop(here.replace(text(reason))));
    let visiting =
        Script::new().on_opened(Transport::lose_connection).on_lost(move |_, reason| drop(there.replace(text(reason))));
    let (reactor, both) = (subject.reactor(), Countdown::new(2));
    let port = subject.listen_tls(&reactor, server, &serving.counted_by(&both));
    subject.connect_tls(&reactor, &port, client, &visiting.counted_by(&both));
    run(&reactor);
    let [server, client] = pair;
    (server.take(), client.take())
}

const CLEAN: &str = "ConnectionDone";

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn trusting(authorities: Authorities) -> TlsClient {
    TlsClient::new(ClientOptions::new().authorities(authorities)).unwrap()
}

/// A client by hand that stays until the server has closed.
fn patient(config: ClientConfig) -> (Foreign, Script) {
    let foreign = Foreign::client(config);
    let script = foreign.script(|_, _| {});
    (foreign, script)
}

/// Sessions that are offered to every server, as by an attacker.
#[derive(Debug)]
struct OfferedToAll(ClientSessionMemoryCache);

fn one_name() -> ServerName<'static> {
    NAME.try_into().unwrap()
}

impl ClientSessionStore for OfferedToAll {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one_name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one_name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one_name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one_name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one_name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one_name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one_name())
    }
}

/// Connects a client by hand to a server, and returns the kind of the handshake.
fn kind_of_handshake(
    subject: &Subject,
    server: &TlsServer,
    config: &Arc<ClientConfig>,
    name: &'static str,
) -> Option<HandshakeKind> {
    let foreign = Foreign::client_of(config.clone(), name);
    let reader = foreign.clone();
    let client = foreign.script(|_, _| {}).on_data(move |transport, _| {
        // The tickets precede the greeting.
        if reader.received() == b"greeting" {
            send_last(&reader, transport, b"");
        }
    });
    let serving = Script::new().on_made(|transport| transport.write(b"greeting"));
    subject.serve_tls(server, &serving, &client);
    assert_eq!(foreign.failed(), None);
    foreign.connection().handshake_kind()
}

specifications! {
    tls_handshakes;

    fn injected_commands_are_not_protected_commands(subject: &Subject) {
        // CVE-2011-0411: bytes behind STARTTLS in the same segment belong to the handshake, which fails.
        for injected in [&b"STARTTLS\r\nEVIL\r\n"[..], b"STARTTLS\r\nEV", b"NOOP\r\nSTARTTLS\r\nEVIL\r\nEVIL\r\n"] {
            let pair = Pair::new();
            let client = Script::new().on_made(move |transport| transport.write(injected));
            let log = switch_server(subject, &pair.server, &client);
            let events = log.entries();
            let of_server = events.iter().filter(|event| *event != "line NOOP");
            assert_eq!(Vec::from_iter(of_server), ["line STARTTLS", "NotTls"]);
            assert!(client.received().starts_with(b"220 go ahead\r\n\x15"), "{}", client.received().escape_ascii());
        }
    }

    fn injected_replies_are_not_protected_replies(subject: &Subject) {
        // CVE-2021-38371: the same from the server to the client.
        for injected in [&b"220 go ahead\r\n250 EVIL\r\n"[..], b"220 go ahead\r\n25"] {
            let pair = Pair::new();
            let server = Script::new().on_made(move |transport| transport.write(injected));
            let log = switch_client(subject, &pair.client, &server);
            log.expect(&["line 220 go ahead", "NotTls"]);
        }
    }

    fn a_line_cut_in_half_is_not_joined_to_a_protected_line(subject: &Subject) {
        // The half line comes before the switch, and the handshake follows in order.
        let pair = Pair::new();
        let foreign = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
        let shaking = foreign.clone();
        let left = Cell::new(b"220 go ahead\r\n".len());
        let client = Script::new().on_made(|transport| transport.write(b"STARTTLS\r\nQU"));
        let client = client.on_data(move |transport, data| {
            if left.get() == b"220 go ahead\r\n".len() {
                shaking.flush(transport);
            }
            let clear = left.get().min(data.len());
            left.set(left.get() - clear);
            shaking.feed(&data[clear..]);
            if shaking.is_open() {
                shaking.write(b"IT\r\n");
            }
            shaking.flush(transport);
        });
        let log = switch_server(subject, &pair.server, &client);
        log.expect(&["line STARTTLS", "NotTls"]);
        assert!(!foreign.is_open());
    }

    fn a_hello_may_follow_its_command_at_once(subject: &Subject) {
        // start_tls takes bytes that were already read.
        let pair = Pair::new();
        let foreign = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
        let (first, then, clear, is_sent) = (foreign.clone(), foreign.clone(), Cell::new(14), Cell::new(false));
        let client = Script::new().on_made(move |transport| {
            transport.write(&[&b"STARTTLS\r\n"[..], &first.take_records()].concat());
        });
        let client = client.on_data(move |transport, data| {
            let reply = clear.get().min(data.len());
            clear.set(clear.get() - reply);
            then.feed(&data[reply..]);
            then.flush(transport);
            if then.is_open() && !is_sent.replace(true) {
                then.send(transport, b"QUIT\r\n");
            }
        });
        let log = switch_server(subject, &pair.server, &client);
        assert_eq!(foreign.received(), b"hidden\r\n");
        log.expect(&["line STARTTLS", "opened", "line QUIT", "ConnectionDone"]);
    }

    fn a_proxy_header_may_come_with_the_hello(subject: &Subject) {
        // The header names the client, and the bytes behind it belong to the handshake.
        let (pair, reactor, log, ends) = (Pair::new(), subject.reactor(), Log::new(), Countdown::new(2));
        let peer = log.clone();
        let server = Script::tls_logged(&log, "server").counted_by(&ends);
        let server = server.on_made(move |transport| peer.add(transport.peer().to_string()));
        let endpoint = HaproxyServerEndpoint::new(TcpServerEndpoint::new("127.0.0.1:0").unwrap());
        let listening = endpoint.listen(&reactor, Rc::new(TlsServerFactory::new(server.factory(), &pair.server)));
        let Ok(Ok(port)) = listening.try_result() else { panic!("the address is free") };
        let foreign = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
        let start = [&b"PROXY TCP4 192.0.2.7 192.0.2.80 5000 80\r\n"[..], &foreign.take_records()].concat();
        let client = foreign.script(|foreign, transport| send_last(foreign, transport, b"hello"));
        let client = client.on_made(move |transport| transport.write(&start));
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.counted_by(&ends).factory()).unwrap();
        run(&reactor);
        let events = ["192.0.2.7:5000", "server opened", "server data hello", "server read lost", "server ConnectionDone"];
        log.expect(&events);
    }

    fn a_protocol_starts_tls_behind_a_proxy_header(subject: &Subject) {
        // The header and the hello come in one segment, or each byte in a turn of its own. The protocol reads the header
        // as a line, and start_tls takes the bytes behind it.
        for is_slow in [false, true] {
            let (pair, log, ends) = (Pair::new(), Log::new(), Countdown::new(2));
            let reactor = subject.reactor();
            let (tls, events, counted) = (pair.server.clone(), log.clone(), ends.clone());
            let layer: Rc<dyn Fn() -> TlsLayer> = Rc::new(move || tls.layer());
            let port = subject.listen(&reactor, move || {
                LineReceiver::new(Switching {
                    log: events.clone(),
                    trigger: PROXY,
                    reply: None,
                    layer: layer.clone(),
                    ends: counted.clone(),
                })
            });
            let foreign = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
            let start = [PROXY, b"\r\n", &foreign.take_records()].concat();
            let client = foreign.script(|foreign, transport| foreign.send(transport, b"QUIT\r\n"));
            let client = client.on_made(move |transport| match is_slow {
                true => send_one_by_one(transport, start.clone()),
                false => transport.write(&start),
            });
            subject.connect(&reactor, &port, client.counted_by(&ends).factory());
            run(&reactor);
            assert_eq!(foreign.received(), b"hidden\r\n");
            log.expect(&["line PROXY TCP4 192.0.2.7 192.0.2.80 5000 80", "opened", "line QUIT", "ConnectionDone"]);
        }
    }

    fn a_proxy_header_may_precede_a_later_start_of_tls(subject: &Subject) {
        // The header, the command in clear and the hello in one segment: each part takes the bytes behind the last.
        let (pair, reactor, log, ends) = (Pair::new(), subject.reactor(), Log::new(), Countdown::new(2));
        let (tls, events, counted) = (pair.server.clone(), log.clone(), ends.clone());
        let layer: Rc<dyn Fn() -> TlsLayer> = Rc::new(move || tls.layer());
        let factory = move || {
            LineReceiver::new(Switching {
                log: events.clone(),
                trigger: b"STARTTLS",
                reply: None,
                layer: layer.clone(),
                ends: counted.clone(),
            })
        };
        let endpoint = HaproxyServerEndpoint::new(TcpServerEndpoint::new("127.0.0.1:0").unwrap());
        let listening = endpoint.listen(&reactor, Rc::new(factory));
        let Ok(Ok(port)) = listening.try_result() else { panic!("the address is free") };
        let foreign = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
        let start = [PROXY, b"\r\nSTARTTLS\r\n", &foreign.take_records()].concat();
        let client = foreign.script(|foreign, transport| foreign.send(transport, b"QUIT\r\n"));
        let client = client.on_made(move |transport| transport.write(&start));
        reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.counted_by(&ends).factory()).unwrap();
        run(&reactor);
        assert_eq!(foreign.received(), b"hidden\r\n");
        log.expect(&["line STARTTLS", "opened", "line QUIT", "ConnectionDone"]);
    }

    fn a_missing_client_certificate_is_named_by_the_server(subject: &Subject) {
        // TLS 1.3: the client's handshake is complete before the server refuses it. The client's reason is the alert,
        // also if its data could not be delivered.
        let (pair, clients, others) = (Pair::new(), Authority::new("clients"), Authority::new("others"));
        let options = ServerOptions::new().identity(pair.issued.identity()).oldest_version(Version::Tls13);
        let server = TlsServer::new(options.require_client_certificates(clients.trusted())).unwrap();
        let identity = others.issue(&["client"]).identity();
        let trusting = || ClientOptions::new().authorities(pair.authority.trusted());
        let stranger = TlsClient::new(trusting().identity(identity)).unwrap();
        for (client, alert) in [(&pair.client, "CertificateRequired"), (&stranger, "UnknownCA")] {
            for size in [1, 1_000_000] {
                let (log, reactor, both) = (Log::new(), subject.reactor(), Countdown::new(2));
                let serving = Script::new().on_data(|_, _| panic!("data of a refused client"));
                let serving = serving.on_lost(logs_end(&log, "server")).counted_by(&both);
                let visiting = Script::new().on_made(move |transport| transport.write(&noise(size, 50)));
                let visiting = visiting.on_lost(logs_end(&log, "client")).counted_by(&both);
                let port = subject.listen_tls(&reactor, &server, &serving);
                subject.connect_tls(&reactor, &port, client, &visiting);
                run(&reactor);
                assert!(log.contains("server Certificate"), "{:?}", log.entries());
                assert!(log.contains(&format!("client alert {alert}")), "{:?}", log.entries());
            }
        }
        let identity = clients.issue(&["client"]).identity();
        let friend = TlsClient::new(trusting().identity(identity)).unwrap();
        assert_eq!(meet(subject, &server, &friend), (CLEAN.to_owned(), CLEAN.to_owned()));
    }

    fn a_refused_certificate_is_named_on_both_sides(subject: &Subject) {
        // The peer gets an alert before the end. The error here says what was expected, and what came.
        let (authority, others) = (Authority::new("authority"), Authority::new("others"));
        let server = |issued: &crate::certificates::Issued| {
            TlsServer::new(ServerOptions::new().identity(issued.identity())).unwrap()
        };
        let wrong_name = server(&authority.issue(&["a.example.org"]));
        let (there, here) = meet(subject, &wrong_name, &trusting(authority.trusted()));
        assert_says(&here, &["it is for a.example.org, expected localhost", "issued by CN=authority"]);
        assert_says(&there, &["the peer has refused the connection", "our certificate"]);
        let expired = server(&authority.issue_expired(&[NAME]));
        let (there, here) = meet(subject, &expired, &trusting(authority.trusted()));
        assert_says(&here, &["it has expired on 2002-02-03", "and today is 20"]);
        assert_says(&there, &["our certificate has expired"]);
        let unknown = server(&others.issue(&[NAME]));
        let (there, here) = meet(subject, &unknown, &trusting(authority.trusted()));
        assert_says(&here, &["its issuer (CN=others", "is not a trusted authority"]);
        assert_says(&there, &["does not trust the issuer of our certificate"]);
    }

    fn an_unknown_name_gets_an_alert(subject: &Subject) {
        let pair = Pair::new();
        let identity = pair.authority.issue(&["a.example.org"]).identity();
        let server = TlsServer::new(ServerOptions::new().identity(identity).refuse_unknown_names()).unwrap();
        let (here, there) = meet(subject, &server, &pair.client);
        assert_says(&here, &["no certificate for the name \"localhost\""]);
        assert_says(&there, &["the peer has refused the connection"]);
    }

    fn a_version_mismatch_gets_an_alert(subject: &Subject) {
        // RFC 8446, section 6.2: protocol_version.
        let log = Log::new();
        let (server, client) = (ServerOptions::new(), ClientOptions::new());
        let pair = Pair::of(server.oldest_version(Version::Tls13), client.oldest_version(Version::Tls13));
        let (foreign, client) = patient(pair.authority.foreign_client(&[&TLS12]));
        subject.serve_tls(&pair.server, &Script::new().on_lost(logs_end(&log, "server")), &client);
        assert_eq!(foreign.failed(), Some(RustlsError::AlertReceived(AlertDescription::ProtocolVersion)));
        let foreign = Foreign::server(pair.issued.foreign_server(&[&TLS12]));
        let client = Script::new().on_lost(logs_end(&log, "client"));
        subject.visit_tls(&pair.client, &foreign.script(|_, _| {}), &client);
        assert!(foreign.failed().is_some());
        log.expect(&["server protocol PeerIncompatible(Tls12NotOfferedOrEnabled)", "client alert ProtocolVersion"]);
    }

    fn plain_http_gets_an_answer_in_words(subject: &Subject) {
        let (pair, log) = (Pair::new(), Log::new());
        let client = Script::new().on_made(|transport| {
            transport.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            transport.write(&noise(300_000, 51));
        });
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
        let answer = String::from_utf8(client.received()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("Use an address that begins with https.\n"), "{answer}");
        log.expect(&["server NotTls"]);
    }

    fn garbage_gets_an_alert(subject: &Subject) {
        // Also garbage that looks like a record.
        let pair = Pair::new();
        for start in [&b"SSH-2.0-OpenSSH\r\n"[..], &[0; 5], &[22, 3, 1, 255, 255]] {
            let log = Log::new();
            let garbage = [start, &noise(100_000, 52)].concat();
            let client = Script::new().on_made(move |transport| transport.write(&garbage));
            subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
            let answer = client.received();
            assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, _]), "{start:?}: {answer:?}");
            let events = log.entries();
            assert_eq!(events.len(), 1);
            assert!(events[0] == "server NotTls" || events[0].starts_with("server protocol"), "{events:?}");
        }
        let log = Log::new();
        let server = Script::new().on_made(|transport| transport.write(b"220 mail.example.org ESMTP\r\n"));
        subject.visit_tls(&pair.client, &server, &Script::tls_logged(&log, "client"));
        log.expect(&["client NotTls"]);
        assert_eq!(pair.server.handshakes(), 0);
    }

    fn both_sides_agree_on_an_application_protocol(subject: &Subject) {
        // RFC 7301. Known from layer_opened on.
        let server = ServerOptions::new().application_protocols(["h2", "http/1.1"]);
        let pair = Pair::of(server, ClientOptions::new().application_protocols(["spdy", "http/1.1"]));
        let log = Log::new();
        let note = |log: &Log, when: &'static str| {
            let log = log.clone();
            move |transport: &Transport| {
                let name = transport.negotiated_protocol().map(|name| name.escape_ascii().to_string());
                log.add(format!("{when} {name:?} {}", transport.peer_certificate().is_some()));
            }
        };
        let opened = note(&log, "opened");
        let client = Script::new().on_made(note(&log, "made")).on_opened(move |transport| {
            opened(transport);
            assert_eq!(transport.with_tls(ropewalk::tls::TlsLayer::version), Some(Some(Version::Tls13)));
            transport.lose_connection();
        });
        let lost = note(&log, "lost");
        let client = client.on_lost(move |transport, _| lost(transport));
        let server = Script::new().on_opened(|transport| {
            assert_eq!(transport.negotiated_protocol().as_deref(), Some(&b"http/1.1"[..]));
            assert_eq!(transport.with_tls(|tls| tls.server_name().map(str::to_owned)), Some(Some(NAME.to_owned())));
        });
        subject.converse_tls(&pair, &server, &client);
        log.expect(&["made None false", "opened Some(\"http/1.1\") true", "lost None false"]);
    }

    fn foreign_application_protocols_are_refused(subject: &Subject) {
        let options = || ServerOptions::new().application_protocols(["h2"]);
        let pair = Pair::of(options(), ClientOptions::new().application_protocols(["foo"]));
        let (here, there) = meet(subject, &pair.server, &pair.client);
        assert_says(&here, &["peer doesn't support any known protocol"]);
        assert_says(&there, &["it supports none of our application protocols"]);
        let pair = Pair::of(options(), ClientOptions::new());
        assert_eq!(meet(subject, &pair.server, &pair.client), (CLEAN.to_owned(), CLEAN.to_owned()));
        let pair = Pair::of(options().require_application_protocol(), ClientOptions::new());
        let (here, there) = meet(subject, &pair.server, &pair.client);
        assert_says(&here, &["the peer offers none, expected one of h2"]);
        assert_says(&there, &["it supports none of our application protocols"]);
    }

    fn a_protocol_that_was_not_offered_is_refused_by_the_client(subject: &Subject) {
        // RFC 7301, section 3.1: a server selects one of the offered protocols. The first message of a TLS 1.2 server is
        // clear, so the selection can be replaced under way.
        let pair = Pair::of(ServerOptions::new(), ClientOptions::new().application_protocols(["foo"]));
        let mut config = pair.issued.foreign_server(&[&TLS12]);
        config.alpn_protocols = vec![b"foo".to_vec()];
        let (foreign, log) = (Foreign::server(config), Log::new());
        let selecting = foreign.clone();
        let server = Script::new().on_data(move |transport, records| {
            selecting.feed(records);
            let mut answer = selecting.take_records();
            if let Some(place) = answer.windows(4).position(|bytes| bytes == b"\x03foo") {
                answer[place..place + 4].copy_from_slice(b"\x03bar");
            }
            transport.write(&answer);
        });
        subject.visit_tls(&pair.client, &server, &Script::tls_logged(&log, "client"));
        log.expect(&["client protocol PeerMisbehaved(SelectedUnofferedApplicationProtocol)"]);
        assert_eq!(foreign.failed(), Some(RustlsError::AlertReceived(AlertDescription::IllegalParameter)));
    }

    fn names_are_checked_as_they_are_meant(subject: &Subject) {
        // RFC 6066, section 3: no final dot, and no addresses, in the name that the server gets.
        let pair = Pair::new();
        let names = ["localhost", "127.0.0.1", "::1", "a_b.localhost"];
        let options = ServerOptions::new().identity(pair.authority.issue(&names).identity());
        let server = TlsServer::new(options).unwrap();
        let asked = [
            ("localhost.", "Some(\"localhost\")"),
            ("127.0.0.1", "None"),
            ("[::1]", "None"),
            ("a_b.localhost", "Some(\"a_b.localhost\")"),
        ];
        for (host, name) in asked {
            let (reactor, log, ends) = (subject.reactor(), Log::new(), Countdown::new(2));
            let seen = log.clone();
            let serving = Script::new().on_opened(move |transport| {
                seen.add(format!("{:?}", transport.with_tls(|tls| tls.server_name().map(str::to_owned)).unwrap()));
                transport.lose_connection();
            });
            let port = subject.listen_tls(&reactor, &server, &serving.counted_by(&ends));
            let visiting = Script::new().on_lost(logs_end(&log, "client")).counted_by(&ends);
            subject.connect(&reactor, &port, TlsClientFactory::new(visiting.factory(), &pair.client, host));
            run(&reactor);
            log.expect(&[name, "client ConnectionDone"]);
        }
    }

    fn connecting_by_address_expects_the_address(subject: &Subject) {
        // IReactorSSL.connectSSL and listenSSL
        let (pair, reactor, log, ends) = (Pair::new(), subject.reactor(), Log::new(), Countdown::new(2));
        let options = ServerOptions::new().identity(pair.authority.issue(&["127.0.0.1"]).identity());
        let server = TlsServer::new(options).unwrap();
        let serving = Script::sends(b"greeting".to_vec()).counted_by(&ends);
        let port = reactor.listen_tls("127.0.0.1:0", serving.factory(), &server).unwrap();
        let client = Script::new().on_lost(logs_end(&log, "client")).counted_by(&ends);
        reactor.connect_tls(port.host().unwrap().inet().unwrap(), client.factory(), &pair.client).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"greeting");
        log.expect(&["client ConnectionDone"]);
    }

    fn sessions_are_resumed_only_by_their_server(subject: &Subject) {
        // CVE-2025-23419: a session must not carry a client from one configuration to another.
        let pair = Pair::new();
        let inner = pair.authority.issue(&["inner.localhost"]).identity();
        let inner = TlsServer::new(ServerOptions::new().identity(inner)).unwrap();
        let (public, chosen) = (pair.server.clone(), inner.clone());
        let server = TlsServer::new(ServerOptions::new().choose(move |hello| {
            let is_inner = hello.server_name.as_deref() == Some("inner.localhost");
            succeed(if is_inner { chosen.clone() } else { public.clone() })
        }));
        let server = server.unwrap();
        let mut config = pair.authority.foreign_client(&[&TLS13]);
        config.resumption = Resumption::store(Arc::new(OfferedToAll(ClientSessionMemoryCache::new(8))));
        let config = Arc::new(config);
        let kind = |name| kind_of_handshake(subject, &server, &config, name);
        assert_eq!(kind(NAME), Some(HandshakeKind::Full));
        assert_eq!(kind(NAME), Some(HandshakeKind::Resumed));
        assert_eq!(kind("inner.localhost"), Some(HandshakeKind::Full));
        assert_eq!(kind("inner.localhost"), Some(HandshakeKind::Resumed));
        pair.server.replace(ServerOptions::new().identity(pair.issued.identity())).unwrap();
        assert_eq!(kind(NAME), Some(HandshakeKind::Full));
    }

    fn a_session_does_not_admit_a_client_elsewhere(subject: &Subject) {
        // CVE-2025-23419: two names with different authorities of clients. A client of the first offers its session to
        // the second, and to the first after a change of the authority. Its certificate is checked again.
        let (pair, friends, others) = (Pair::new(), Authority::new("friends"), Authority::new("others"));
        let options = |name, clients: &Authority| {
            let options = ServerOptions::new().identity(pair.authority.issue(&[name]).identity());
            options.require_client_certificates(clients.trusted())
        };
        let first = TlsServer::new(options(NAME, &friends)).unwrap();
        let second = TlsServer::new(options("inner.localhost", &others)).unwrap();
        let (outer, inner) = (first.clone(), second.clone());
        let server = TlsServer::new(ServerOptions::new().choose(move |hello| {
            let is_inner = hello.server_name.as_deref() == Some("inner.localhost");
            succeed(if is_inner { inner.clone() } else { outer.clone() })
        }));
        let server = server.unwrap();
        let (chain, key) = friends.issue(&["client"]).chain();
        let mut config = pair.authority.foreign_client_with(&[&TLS13], chain, key);
        config.resumption = Resumption::store(Arc::new(OfferedToAll(ClientSessionMemoryCache::new(8))));
        let config = Arc::new(config);
        assert_eq!(kind_of_handshake(subject, &server, &config, NAME), Some(HandshakeKind::Full));
        assert_eq!(kind_of_handshake(subject, &server, &config, NAME), Some(HandshakeKind::Resumed));
        let refuses = |name| {
            let (foreign, log) = (Foreign::client_of(config.clone(), name), Log::new());
            let serving = Script::new().on_opened(|_| panic!("a stranger is admitted"));
            subject.serve_tls(&server, &serving.on_lost(logs_end(&log, "server")), &foreign.script(|_, _| {}));
            log.expect(&["server Certificate"]);
            assert_eq!(foreign.failed(), Some(RustlsError::AlertReceived(AlertDescription::UnknownCA)));
        };
        refuses("inner.localhost");
        assert_eq!(kind_of_handshake(subject, &server, &config, NAME), Some(HandshakeKind::Resumed));
        first.replace(options(NAME, &others)).unwrap();
        refuses(NAME);
    }

    fn replaced_options_apply_to_new_connections(subject: &Subject) {
        // A connection that exists keeps its certificate, and options that cannot be used change nothing.
        let (pair, other) = (Pair::new(), Authority::new("other"));
        assert!(pair.server.replace(ServerOptions::new()).is_err());
        let stranger = trusting(other.trusted());
        let (tls, options) = (pair.server.clone(), ServerOptions::new().identity(other.issue(&[NAME]).identity()));
        let server = Script::echo().on_opened(move |_| tls.replace(options.clone()).unwrap());
        let client = Script::new().on_opened(|transport| transport.write(b"x"));
        let client = client.on_data(|transport, _| transport.lose_connection());
        subject.converse_tls(&pair, &server, &client);
        assert_eq!(client.received(), b"x");
        assert_says(&meet(subject, &pair.server, &pair.client).1, &["its issuer (CN=other"]);
        assert_eq!(meet(subject, &pair.server, &stranger), (CLEAN.to_owned(), CLEAN.to_owned()));
    }

    fn options_may_be_chosen_later(subject: &Subject) {
        // ServerOptions::choose: the handshake waits for the Deferred, with all bytes of the client.
        let (pair, reactor, ends) = (Pair::new(), subject.reactor(), Countdown::new(2));
        let waiting: Rc<RefCell<Option<Resolver<TlsServer>>>> = Rc::default();
        let asked = waiting.clone();
        let choosing = TlsServer::new(ServerOptions::new().choose(move |hello| {
            assert_eq!(hello.server_name.as_deref(), Some(NAME));
            let (deferred, resolver) = Deferred::new();
            asked.replace(Some(resolver));
            deferred
        }));
        let choosing = choosing.unwrap();
        let server = Script::echo().counted_by(&ends);
        let port = subject.listen_tls(&reactor, &choosing, &server);
        let client = Script::new().on_made(|transport| transport.write(b"early")).counted_by(&ends);
        let client = client.on_data(|transport, _| transport.lose_connection());
        subject.connect_tls(&reactor, &port, &pair.client, &client);
        let (chosen, left) = (pair.server.clone(), waiting.clone());
        when(&reactor, move || waiting.borrow().is_some(), move |_| {
            let resolver = left.take().unwrap();
            resolver.callback(chosen).unwrap();
        });
        run(&reactor);
        assert_eq!((server.received(), client.received()), (b"early".to_vec(), b"early".to_vec()));
        assert_eq!(choosing.handshakes(), 0);
    }

    fn a_failed_choice_is_a_refusal(subject: &Subject) {
        // At once, or later.
        for is_late in [false, true] {
            let (pair, reactor, log, ends) = (Pair::new(), subject.reactor(), Log::new(), Countdown::new(2));
            let later = reactor.clone();
            let choosing = TlsServer::new(ServerOptions::new().choose(move |_| {
                if !is_late {
                    return fail(Error::Failed("no such customer".into()));
                }
                let (deferred, resolver) = Deferred::new();
                after_some_turns(&later, move |_| {
                    resolver.errback(Error::Failed("no such customer".into())).unwrap();
                });
                deferred
            }));
            let server = Script::new().on_lost(|_, reason| assert_says(&reason.to_string(), &["no such customer"]));
            let server = server.on_lost(logs_end(&log, "server")).counted_by(&ends);
            let port = subject.listen_tls(&reactor, &choosing.unwrap(), &server);
            let client = Script::new().on_lost(logs_end(&log, "client")).counted_by(&ends);
            subject.connect_tls(&reactor, &port, &pair.client, &client);
            run(&reactor);
            assert!(log.contains("server NotChosen") && log.contains("client alert AccessDenied"), "{:?}", log.entries());
        }
    }

    fn a_choice_for_a_client_that_has_left_does_no_harm(subject: &Subject) {
        // The Deferred fires when the connection is gone.
        let (pair, reactor, log) = (Pair::new(), subject.reactor(), Log::new());
        let waiting: Rc<RefCell<Option<Resolver<TlsServer>>>> = Rc::default();
        let asked = waiting.clone();
        let choosing = TlsServer::new(ServerOptions::new().choose(move |_| {
            let (deferred, resolver) = Deferred::new();
            asked.replace(Some(resolver));
            deferred
        }));
        let choosing = choosing.unwrap();
        let server = Script::new().on_lost(logs_end(&log, "server"));
        let port = subject.listen_tls(&reactor, &choosing, &server);
        let hello = Foreign::client(pair.authority.foreign_client(&[&TLS13]));
        let client = Script::new().on_made(move |transport| {
            hello.flush(transport);
            transport.lose_connection();
        });
        subject.connect(&reactor, &port, client.factory());
        let (ended, chosen) = (log.clone(), pair.server.clone());
        when(&reactor, move || !ended.entries().is_empty(), move |reactor| {
            let _ = waiting.take().unwrap().callback(chosen);
            after_some_turns(reactor, stop);
        });
        run(&reactor);
        log.expect(&["server ClosedInHandshake"]);
        assert_eq!(choosing.handshakes(), 0);
    }

    fn handshakes_beyond_the_limit_are_closed(subject: &Subject) {
        // handshakes_max: others are served when a place is free again.
        let (pair, reactor, log) = (Pair::of(ServerOptions::new().handshakes_max(3), ClientOptions::new()), subject.reactor(), Log::new());
        let server = Script::new().on_made(|transport| transport.write(b"served"));
        let port = subject.listen_tls(&reactor, &pair.server, &server);
        let pending = Transports::new();
        let silent = Script::new().on_lost(logs_end(&log, "silent")).listed_in(&pending);
        (0..5).for_each(|_| drop(subject.connect(&reactor, &port, silent.factory())));
        let (refused, tls, subject) = (log.clone(), pair.client.clone(), *subject);
        let client = Script::new().on_data(|transport, _| transport.lose_connection()).stop_when_lost();
        let late = client.clone();
        let waits = pair.server.clone();
        when(&reactor, move || refused.entries().len() == 2, move |reactor| {
            assert!(waits.is_full());
            pending.all().iter().for_each(Transport::abort_connection);
            let (port, late, tls) = (port.clone(), late.clone(), tls.clone());
            after_some_turns(reactor, move |reactor| drop(subject.connect_tls(reactor, &port, &tls, &late)));
        });
        run(&reactor);
        assert_eq!(client.received(), b"served");
    }
}
