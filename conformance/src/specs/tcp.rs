//! IReactorTCP and ITCPTransport: behaviour of TCP only. `streams`, `closing` and similar modules specify all streams.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, TcpClientEndpoint, client_from_string, server_from_string};
use ropewalk::interfaces::resolver::HostnameResolver;
use ropewalk::sys::KeepAliveTimes;
use ropewalk::{Address, Binding, Deferred, Destination, Error, Failure, Port, Reactor, Transport, succeed};

use crate::links::{Countdown, NOWHERE, Transports, noise};
use crate::script::{Log, LoggingFactory, Script, reason_name, stop};
use crate::{Subject, run, specifications};

/// Connects a client to a server at `port` until both have greeted, and returns their transports, the client's first.
fn greet(subject: &Subject, binding: &str, target: impl Fn(&Port) -> String) -> (Transports, Vec<String>) {
    let (reactor, clients, servers) = (subject.reactor(), Transports::new(), Transports::new());
    let hosts = Log::new();
    let noted = |hosts: &Log| {
        let hosts = hosts.clone();
        move |transport: &Transport| hosts.add(format!("{} {}", transport.host().unwrap(), transport.peer()))
    };
    let server = Script::echo().on_made(noted(&hosts)).listed_in(&servers);
    let port = reactor.listen_tcp(binding, server.factory()).unwrap();
    let client = Script::new()
        .on_made(noted(&hosts))
        .listed_in(&clients)
        .on_made(|transport| transport.write(b"x"))
        .on_data(|transport, _| stop(&transport.reactor()));
    let text = target(&port);
    reactor.connect_tcp(text.as_str(), client.factory()).unwrap();
    run(&reactor);
    let all = Transports::new();
    clients.all().iter().chain(&servers.all()).for_each(|transport| all.add(transport));
    (all, hosts.entries())
}

fn number(port: &Port) -> u16 {
    port.host().unwrap().inet().unwrap().port()
}

/// Resolves every name to these addresses.
struct Everywhere(&'static [&'static str]);

impl HostnameResolver for Everywhere {
    fn resolve_host_name(&self, _reactor: &Reactor, _host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let address = |text: &&str| SocketAddr::new(text.parse::<IpAddr>().expect("an IP address"), port);
        succeed(self.0.iter().map(address).collect())
    }
}

/// Runs until `connected` has an outcome, and returns the peer's address or the error.
fn reached(reactor: &Reactor, connected: Deferred<Transport>) -> String {
    let (found, ends) = (Log::new(), reactor.clone());
    let its = found.clone();
    connected.add_both(move |outcome: Result<Transport, Failure>| {
        its.add(outcome.map_or_else(|failure| failure.to_string(), |transport| transport.peer().to_string()));
        ends.call_from_thread(stop);
    });
    run(reactor);
    found.entries().remove(0)
}

specifications! {
    tcp;

    fn both_ends_know_both_addresses(subject: &Subject) {
        // ITransport.getHost, getPeer. The peer's address is also known after the end of the connection.
        let (ends, hosts) = greet(subject, "127.0.0.1:0", |port| format!("127.0.0.1:{}", number(port)));
        let mut pairs: Vec<_> = hosts.iter().map(|pair| pair.split_once(' ').unwrap()).collect();
        pairs.sort_unstable();
        assert_eq!((pairs[0].0, pairs[0].1), (pairs[1].1, pairs[1].0));
        let [client, server] = &ends.all()[..] else { panic!("two ends") };
        assert!(matches!(client.host(), Err(Error::Closed)) && matches!(server.host(), Err(Error::Closed)));
        let known = [client.peer().to_string(), server.peer().to_string()];
        assert!(pairs.iter().all(|(_, peer)| known.contains(&(*peer).to_owned())));
    }

    fn ipv6_works_as_ipv4_does(subject: &Subject) {
        // IReactorTCP.listenTCP: "interface: an IPv6 literal".
        let (_, hosts) = greet(subject, "[::1]:0", |port| format!("[::1]:{}", number(port)));
        assert!(hosts.iter().all(|pair| pair.starts_with("[::1]:") && pair.contains(" [::1]:")), "{hosts:?}");
    }

    fn a_wildcard_address_accepts_both_families(subject: &Subject) {
        // Unlike in Twisted, the default is dual stack.
        for host in ["127.0.0.1", "[::1]"] {
            let (ends, _) = greet(subject, ":0", |port| format!("{host}:{}", number(port)));
            assert_eq!(ends.all().len(), 2, "{host}");
        }
    }

    fn a_wildcard_address_can_be_limited_to_ipv6(subject: &Subject) {
        // ipv6(7): IPV6_V6ONLY
        let (reactor, log) = (subject.reactor(), Log::new());
        let binding = Binding::try_from("[::]:0").unwrap().v6_only();
        let port = number(&reactor.listen_tcp(binding, Script::new().factory()).unwrap());
        let ends = Countdown::new(2);
        for host in ["127.0.0.1", "::1"] {
            let (made, failed, log) = (ends.clone(), ends.clone(), log.clone());
            let client = Script::new().on_made(move |transport| made.count(&transport.reactor()));
            let factory = LoggingFactory::new(&log, client).after(move |connector| {
                failed.count(&connector.try_reactor().unwrap());
            });
            reactor.connect_tcp((host, port), factory).unwrap();
        }
        run(&reactor);
        assert_eq!((log.count("failed ConnectionRefused"), log.count("build")), (1, 1), "{:?}", log.entries());
    }

    fn a_port_number_in_use_over_ipv6_is_an_error_for_all_addresses(subject: &Subject) {
        // Listening over IPv4 alone would go unnoticed. The endpoint `tcp:` follows the same rule as `:PORT`.
        let reactor = subject.reactor();
        let only_v6 = Binding::try_from("[::]:0").unwrap().v6_only();
        let used = number(&reactor.listen_tcp(only_v6, Script::new().factory()).unwrap());
        let error = reactor.listen_tcp(format!(":{used}").as_str(), Script::new().factory()).unwrap_err();
        assert!(matches!(error, Error::CannotListen(..)), "{error:?}");
        let endpoint = server_from_string(&reactor, &format!("tcp:{used}")).unwrap();
        let listening = endpoint.listen(&reactor, Rc::new(Script::new().factory()));
        assert_eq!(listening.try_result().expect("at once").unwrap_err().to_string(), error.to_string());
        assert_eq!(reactor.source_count(), 1);
    }

    fn a_wildcard_address_uses_ipv4_alone_where_ipv6_is_missing(subject: &Subject) {
        // ipv6(7): a kernel without IPv6 opens or binds no such socket. Every other error is reported.
        let listen_at = |text: &str, kind| {
            let reactor = subject.without_ipv6(kind);
            let port = reactor.listen_tcp(text, Script::new().factory())?;
            port.host().map(|host| host.inet().expect("a TCP address").ip().to_string())
        };
        for missing in [ErrorKind::Unsupported, ErrorKind::AddrNotAvailable] {
            assert_eq!(listen_at(":0", missing).unwrap(), "0.0.0.0");
            assert!(matches!(listen_at("[::]:0", missing), Err(Error::CannotListen(..))));
        }
        for other in [ErrorKind::AddrInUse, ErrorKind::PermissionDenied] {
            assert!(matches!(listen_at(":0", other), Err(Error::CannotListen(..))), "{other}");
        }
    }

    fn port_zero_gets_a_free_number_from_the_system(subject: &Subject) {
        // IReactorTCP.listenTCP: port 0.
        let reactor = subject.reactor();
        let numbers: Vec<_> =
            (0..3).map(|_| number(&reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap())).collect();
        assert!(numbers[0] != 0 && numbers[0] != numbers[1] && numbers[1] != numbers[2]);
    }

    fn two_addresses_can_share_a_port_number(subject: &Subject) {
        // IReactorTCP.listenTCP: interface
        let reactor = subject.reactor();
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let same = format!("127.0.0.2:{}", number(&port));
        reactor.listen_tcp(&same, Script::new().factory()).unwrap();
        let error = reactor.listen_tcp(&same, Script::new().factory()).unwrap_err();
        assert!(error.to_string().contains(&same), "{error}");
    }

    fn listening_on_a_name_is_an_error(subject: &Subject) {
        // IReactorTCP.listenTCP: ports are numbers, interfaces are literals. The error says what was expected.
        let reactor = subject.reactor();
        for text in ["localhost:80", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "::1:80", ""] {
            let error = reactor.listen_tcp(text, Script::new().factory()).unwrap_err();
            assert!(matches!(&error, Error::InvalidAddress(..)), "{text}: {error:?}");
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }

    fn an_invalid_destination_is_an_error_at_once(subject: &Subject) {
        // ServiceNameUnknownError is raised synchronously.
        let reactor = subject.reactor();
        for text in ["localhost:http", "localhost", "localhost:-1", "::1:80"] {
            let error = reactor.connect_tcp(text, Script::new().factory()).unwrap_err();
            assert!(matches!(error, Error::InvalidAddress(..)), "{text}: {error:?}");
        }
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn ports_with_reuse_port_share_an_address(subject: &Subject) {
        // socket(7): SO_REUSEPORT
        let (reactor, log) = (subject.reactor(), Log::new());
        let shared = |at: &str| Binding::try_from(at).unwrap().reuse_port();
        let served = Countdown::new(20);
        let server = |log: &Log| {
            let (log, served) = (log.clone(), served.clone());
            Script::new().on_made(move |transport| {
                log.add("served");
                served.count(&transport.reactor());
            })
        };
        let first = reactor.listen_tcp(shared("127.0.0.1:0"), server(&log).factory()).unwrap();
        let at = first.host().unwrap().to_string();
        reactor.listen_tcp(shared(&at), server(&log).factory()).unwrap();
        assert!(matches!(reactor.listen_tcp(at.as_str(), server(&log).factory()), Err(Error::CannotListen(..))));
        for _ in 0..20 {
            reactor.connect_tcp(at.as_str(), Script::new().factory()).unwrap();
        }
        run(&reactor);
        assert_eq!(log.count("served"), 20);
    }

    fn connections_beyond_the_backlog_wait(subject: &Subject) {
        // listen(2): backlog
        let reactor = subject.reactor();
        let binding = Binding::try_from("127.0.0.1:0").unwrap().backlog(8);
        let port = reactor.listen_tcp(binding, Script::echo().factory()).unwrap();
        let answered = Countdown::new(8);
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
            answered.count(&transport.reactor());
        });
        for _ in 0..8 {
            subject.connect(&reactor, &port, client.factory());
        }
        run(&reactor);
        assert_eq!(client.received().len(), 8);
    }

    #[cfg(target_os = "linux")]
    fn a_burst_of_connections_fits_into_the_default_queue(subject: &Subject) {
        // listen(2): a client that finds the queue full tries again after a second. This port accepts nothing, so such
        // a client would wait. Other systems may limit the queue to 128.
        let (reactor, made) = (subject.reactor(), Rc::new(Cell::new(0)));
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        port.pause_producing();
        let count = made.clone();
        let client = Script::new().on_made(move |_| count.set(count.get() + 1));
        for _ in 0..200 {
            subject.connect(&reactor, &port, client.factory());
        }
        let seen = made.clone();
        crate::waiting::run_until(&reactor, move || seen.get() == 200);
        assert_eq!(made.get(), 200);
    }

    fn a_connection_can_be_made_from_a_chosen_address(subject: &Subject) {
        // IReactorTCP.connectTCP: bindAddress
        let (reactor, peers) = (subject.reactor(), Log::new());
        let seen = peers.clone();
        let server = Script::new().on_made(move |transport| {
            seen.add(transport.peer().to_string());
            stop(&transport.reactor());
        });
        let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
        // A free port of an address that few programs use, so that the port is still free when it is bound.
        let local = std::net::TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
        let there = Destination::from(port.host().unwrap().inet().unwrap()).bind(local);
        let client = Script::new().on_made(move |transport| assert_eq!(transport.host().unwrap().inet(), Some(local)));
        reactor.connect_tcp(there, client.factory()).unwrap();
        run(&reactor);
        peers.expect(&[&local.to_string()]);
    }

    fn a_used_local_address_is_a_bind_error(subject: &Subject) {
        // ConnectBindError is reported in a later turn.
        let (reactor, log) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let taken = port.host().unwrap().inet().unwrap();
        let factory =
            LoggingFactory::new(&log, Script::new()).after(|connector| stop(&connector.try_reactor().unwrap()));
        reactor.connect_tcp(Destination::from(taken).bind(taken), factory).unwrap();
        log.expect(&["start factory", "started connecting"]);
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed ConnectBind", "stop factory"]);
    }

    fn every_failure_to_bind_is_a_bind_error(subject: &Subject) {
        // ConnectBindError, whatever error bind(2) returns. Here the family of the local address differs from the
        // destination's.
        let (reactor, log) = (subject.reactor(), Log::new());
        let factory =
            LoggingFactory::new(&log, Script::new()).after(|connector| stop(&connector.try_reactor().unwrap()));
        reactor.connect_tcp(Destination::from(NOWHERE).bind("[::1]:0".parse().unwrap()), factory).unwrap();
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed ConnectBind", "stop factory"]);
    }

    fn a_refusal_names_the_address(subject: &Subject) {
        // ConnectionRefusedError
        struct Heard(Rc<RefCell<Option<Error>>>);
        impl ropewalk::Factory for Heard {
            fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn ropewalk::Protocol>> {
                None
            }
        }
        impl ropewalk::ClientFactory for Heard {
            fn client_connection_failed(&self, connector: &ropewalk::Connector, reason: &Error) {
                *self.0.borrow_mut() = Some(reason.clone());
                stop(&connector.try_reactor().unwrap());
            }
        }
        let (reactor, heard) = (subject.reactor(), Rc::new(RefCell::new(None)));
        reactor.connect_tcp(NOWHERE, Heard(heard.clone())).unwrap();
        run(&reactor);
        let reason = heard.borrow().clone().unwrap();
        assert!(matches!(&reason, Error::ConnectionRefused(Address::Inet(address), _) if *address == NOWHERE));
        assert_eq!(reason.to_string(), "connection to 127.0.0.1:1 was refused");
    }

    fn an_empty_host_is_this_machine(subject: &Subject) {
        // IReactorCore.resolve: '' -> '0.0.0.0', the machine itself.
        let texts: [fn(u16) -> Destination; 4] = [
            |port| Destination::new("", port),
            |port| ("", port).into(),
            |port| Destination::try_from(format!(":{port}").as_str()).unwrap(),
            |port| Destination::new("", port).v6_only(),
        ];
        for (destination, host) in texts.into_iter().zip(["127.0.0.1", "127.0.0.1", "127.0.0.1", "[::1]"]) {
            let reactor = subject.reactor();
            let port = number(&reactor.listen_tcp(":0", Script::new().factory()).unwrap());
            let endpoint = TcpClientEndpoint::new(destination(port)).unwrap();
            let connected = endpoint.connect(&reactor, Rc::new(Script::new().factory()));
            assert_eq!(reached(&reactor, connected), format!("{host}:{port}"));
        }
    }

    fn a_connection_of_a_socket_to_itself_is_refused(subject: &Subject) {
        // RFC 9293, section 3.5: both ends may open at once. So a client may reach itself if the system chooses the
        // port that the client connects to. Here the client asks for that port.
        let (reactor, log) = (subject.reactor(), Log::new());
        // A free port of an address that few programs use, so that the port is still free when it is bound.
        let alone = std::net::TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
        let factory =
            LoggingFactory::new(&log, Script::new()).after(|connector| stop(&connector.try_reactor().unwrap()));
        reactor.connect_tcp(Destination::from(alone).bind(alone), factory).unwrap();
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed ConnectionRefused", "stop factory"]);
        // The address is free again at once.
        std::net::TcpListener::bind(alone).unwrap();
    }

    #[cfg(target_os = "linux")]
    fn a_zone_is_a_number_or_the_name_of_a_network_interface(subject: &Subject) {
        // RFC 4007, section 11. The zone of an address that is not link-local makes no difference.
        let index = ropewalk::sys::zone_number("lo").expect("the loopback interface").to_string();
        for zone in ["lo", &index] {
            let reactor = subject.reactor();
            let endpoint = server_from_string(&reactor, &format!(r"tcp:0:interface=\:\:1%{zone}")).unwrap();
            let listening = endpoint.listen(&reactor, Rc::new(Script::new().factory()));
            let port = number(&listening.try_result().expect("at once").unwrap());
            reactor.listen_tcp(format!("[::1%{zone}]:0").as_str(), Script::new().factory()).unwrap();
            let text = format!(r"tcp6:\:\:1%{zone}:{port}:bind_address=\:\:1%{zone}");
            let connected = client_from_string(&reactor, &text).unwrap().connect(&reactor, Rc::new(Script::new().factory()));
            let peer = reached(&reactor, connected);
            assert!(peer.starts_with("[::1%") || peer.starts_with("[::1]"), "{peer}");
        }
        let reactor = subject.reactor();
        let endpoint = server_from_string(&reactor, r"tcp:0:interface=fe80\:\:1%nosuch").unwrap();
        let listening = endpoint.listen(&reactor, Rc::new(Script::new().factory()));
        let error = listening.try_result().expect("at once").unwrap_err().to_string();
        assert!(error.contains("'fe80::1%nosuch'") && error.contains("network interface"), "{error}");
    }

    fn nagles_algorithm_can_be_switched(subject: &Subject) {
        // ITCPTransport.getTcpNoDelay, setTcpNoDelay
        subject.converse(&Script::new(), &Script::new().on_made(|transport| {
            for on in [true, false, true] {
                transport.set_tcp_no_delay(on).unwrap();
                assert_eq!(transport.tcp_no_delay().unwrap(), on);
            }
            transport.lose_connection();
        }));
    }

    fn keep_alive_can_be_switched(subject: &Subject) {
        // ITCPTransport.getTcpKeepAlive, setTcpKeepAlive
        subject.converse(&Script::new(), &Script::new().on_made(|transport| {
            assert!(!transport.tcp_keep_alive().unwrap());
            for on in [true, false, true] {
                transport.set_tcp_keep_alive(on).unwrap();
                assert_eq!(transport.tcp_keep_alive().unwrap(), on);
            }
            transport.lose_connection();
        }));
    }

    fn the_times_of_keep_alive_probes_can_be_set(subject: &Subject) {
        // tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
        subject.converse(&Script::new(), &Script::new().on_made(|transport| {
            let times = KeepAliveTimes { idle: Duration::from_secs(61), interval: Duration::from_secs(7), count: 3 };
            assert!(transport.tcp_keep_alive_times().unwrap() != times && !transport.tcp_keep_alive().unwrap());
            transport.set_tcp_keep_alive_times(times).unwrap();
            assert!(transport.tcp_keep_alive_times().unwrap() == times && transport.tcp_keep_alive().unwrap());
            transport.lose_connection();
        }));
    }

    fn an_abort_is_connection_lost_at_the_other_end(subject: &Subject) {
        // ITCPTransport.abortConnection, as observed: ConnectionAborted at this end.
        let (log, causes) = (Log::new(), Rc::new(RefCell::new(Vec::new())));
        let told = causes.clone();
        let server = Script::logged(&log, "server").on_lost(move |_, reason| told.borrow_mut().push(reason.clone()));
        let client = Script::logged(&log, "client").on_data(|transport, _| transport.abort_connection());
        subject.converse(&server.on_made(|transport| transport.write(b"x")), &client);
        assert!(log.contains("client lost ConnectionAborted") && log.contains("server lost ConnectionLost"));
        assert!(!log.contains("server read lost"));
        let causes = causes.borrow();
        let [Error::ConnectionLost(Some(cause))] = &causes[..] else { panic!("{causes:?}") };
        assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionReset);
    }

    fn an_abort_drops_data_in_flight(subject: &Subject) {
        // ITCPTransport.abortConnection: buffers are dropped.
        let server = Script::new();
        let client = Script::new().on_made(|transport| {
            transport.write(&noise(8_000_000, 1));
            let later = transport.clone();
            transport.reactor().call_later(Duration::ZERO, move |_| later.abort_connection());
        });
        let reactor = subject.reactor();
        let ends = Countdown::new(2);
        let reads_later = server.clone().on_made(|transport| {
            transport.pause_producing();
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(20), move |_| later.resume_producing());
        });
        let log = Log::new();
        let told = log.clone();
        let reads_later = reads_later.on_lost(move |_, reason| told.add(reason_name(reason)));
        subject.join(&reactor, &reads_later.counted_by(&ends), &client.counted_by(&ends));
        run(&reactor);
        assert!(server.received().len() < 8_000_000);
        log.expect(&["ConnectionLost"]);
    }

    fn connecting_to_localhost_resolves_the_name(subject: &Subject) {
        // IReactorPluggableNameResolver. getPeer returns the resolved address, getDestination the name.
        let (reactor, peers) = (subject.reactor(), Log::new());
        let port = reactor.listen_tcp(":0", Script::echo().factory()).unwrap();
        let seen = peers.clone();
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(move |transport, _| {
            seen.add(transport.peer().inet().unwrap().ip().is_loopback().to_string());
            stop(&transport.reactor());
        });
        let name = format!("localhost:{}", number(&port));
        let connector = reactor.connect_tcp(&name, client.factory()).unwrap();
        run(&reactor);
        assert_eq!(connector.destination(), name);
        peers.expect(&["true"]);
    }

    fn an_endpoint_of_one_family_ignores_other_addresses(subject: &Subject) {
        // TCP6ClientEndpoint. Unlike in Twisted, a name is resolved as well.
        type Choice = fn(&Reactor, u16) -> Rc<dyn StreamClientEndpoint>;
        let choices: [(Choice, &str); 3] = [
            (|reactor, port| client_from_string(reactor, &format!("tcp6:server.example:{port}")).unwrap(), "[::1]"),
            (|_, port| Rc::new(TcpClientEndpoint::new(Destination::new("server.example", port).v6_only()).unwrap()), "[::1]"),
            (|_, port| Rc::new(TcpClientEndpoint::new(Destination::new("server.example", port).v4_only()).unwrap()), "127.0.0.1"),
        ];
        for (endpoint, host) in choices {
            let reactor = subject.reactor();
            // The ignored family comes first.
            let order: &'static [&'static str] = if host == "[::1]" { &["127.0.0.1", "::1"] } else { &["::1", "127.0.0.1"] };
            reactor.install_name_resolver(Rc::new(Everywhere(order)));
            let port = number(&reactor.listen_tcp(":0", Script::new().factory()).unwrap());
            let connected = endpoint(&reactor, port).connect(&reactor, Rc::new(Script::new().factory()));
            assert_eq!(reached(&reactor, connected), format!("{host}:{port}"));
        }
    }

    fn a_name_without_addresses_of_the_family_is_a_lookup_error(subject: &Subject) {
        // DNSLookupError names the host.
        let reactor = subject.reactor();
        reactor.install_name_resolver(Rc::new(Everywhere(&["127.0.0.1"])));
        let endpoint = client_from_string(&reactor, "tcp6:server.example:80").unwrap();
        let connected = endpoint.connect(&reactor, Rc::new(Script::new().factory()));
        let expected = "cannot resolve the name server.example: it has no IPv6 address";
        assert_eq!(reached(&reactor, connected), expected);
    }

    fn an_address_of_the_wrong_family_is_an_error_at_once(subject: &Subject) {
        // IReactorTCP.connectTCP: the destination is parsed first, so no attempt starts.
        let reactor = subject.reactor();
        let destination = Destination::new("127.0.0.1", 80).v6_only();
        let wrong = reactor.connect_tcp(destination.clone(), Script::new().factory()).unwrap_err();
        assert_eq!(wrong.to_string(), "'127.0.0.1:80' is not an address: expected a name or an IPv6 address");
        let connected = TcpClientEndpoint::new(destination).unwrap().connect(&reactor, Rc::new(Script::new().factory()));
        let failure = connected.try_result().expect("it fires at once").unwrap_err();
        assert_eq!(failure.to_string(), wrong.to_string());
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_failure_of_several_addresses_lists_each_reason(subject: &Subject) {
        // A single one of several reasons would not explain the failure. The reasons are in the order of the attempts.
        let reactor = subject.reactor();
        reactor.install_name_resolver(Rc::new(Everywhere(&["::1", "127.0.0.1"])));
        let port = NOWHERE.port();
        let endpoint = client_from_string(&reactor, &format!("tcp:server.example:{port}")).unwrap();
        let connected = endpoint.connect(&reactor, Rc::new(Script::new().factory()));
        let expected = format!(
            "none of 2 addresses could be connected to: connection to [::1]:{port} was refused; \
             connection to 127.0.0.1:{port} was refused"
        );
        assert_eq!(reached(&reactor, connected), expected);
    }

    fn two_hundred_simultaneous_connections_are_served(subject: &Subject) {
        // Below FD_SETSIZE for every provider; `thousands` has more.
        let (reactor, finished) = (subject.reactor(), Countdown::new(200));
        let port = reactor.listen_tcp("127.0.0.1:0", Script::echo().factory()).unwrap();
        let open = Rc::new(Cell::new(0));
        let all = Transports::new();
        let (count, everybody) = (open.clone(), all.clone());
        let client = Script::new()
            .listed_in(&all)
            .on_made(move |_| {
                count.set(count.get() + 1);
                if count.get() == 200 {
                    everybody.all().iter().for_each(|transport| transport.write(b"x"));
                }
            })
            .on_data(move |transport, _| finished.count(&transport.reactor()));
        for _ in 0..200 {
            subject.connect(&reactor, &port, client.factory());
        }
        run(&reactor);
        assert_eq!(client.received().len(), 200);
        assert!(all.all().iter().all(|transport| !transport.is_connected()));
    }

    #[cfg(target_os = "linux")]
    fn an_end_that_precedes_a_reset_is_a_clean_end(subject: &Subject) {
        // tcp_recvmsg of Linux: the end of the input is read, although a reset has followed it.
        let (reactor, log) = (subject.reactor(), Log::new());
        let server = Script::new().on_made(|transport| transport.set_lingering(false));
        let client = Script::logged(&log, "client").stop_when_lost();
        subject.join_and(&reactor, &server, &client, |server, client| {
            server.lose_connection();
            client.write(b"x");
        });
        run(&reactor);
        log.expect(&["client made", "client read lost", "client lost ConnectionDone"]);
    }
}
