//! Connecting by a name with several addresses: RFC 8305 (happy eyeballs), resolvers, timeouts. The tests run in
//! virtual time.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, TcpClientEndpoint, client_from_string};
use ropewalk::interfaces::resolver::HostnameResolver;
use ropewalk::testing::{Faults, MemoryReactor};
use ropewalk::{ConnectorState, Deferred, Destination, Error, PanicPolicy, Reactor, Transport, succeed};

use crate::script::{Log, LoggingFactory, Script};
use crate::specifications;

const MS: Duration = Duration::from_millis(1);

/// Returns a reactor in virtual time on whose network the addresses `holes` never answer.
fn network(holes: &[&str]) -> MemoryReactor {
    let faults = holes
        .iter()
        .fold(Faults::none(), |faults, hole| faults.black_hole(hole.parse::<IpAddr>().expect("an IP address")));
    let net = MemoryReactor::new().with_faults(faults);
    net.set_panic_policy(PanicPolicy::Stop);
    net
}

/// The addresses that were tried, in order.
fn tried(net: &MemoryReactor) -> Vec<String> {
    net.tcp_clients().iter().map(|spec| spec.address.inet().unwrap().ip().to_string()).collect()
}

/// Connects to `host`, and logs the outcome.
fn connect(net: &MemoryReactor, host: &str, log: &Log) -> ropewalk::Connector {
    let seen = log.clone();
    let client = Script::new().on_made(move |transport| seen.add(format!("made {}", transport.peer())));
    net.connect_tcp((host, 80), LoggingFactory::new(log, client)).unwrap()
}

/// Returns the log without its first entries, which are always the same.
fn outcome(log: &Log) -> Vec<String> {
    log.entries().into_iter().skip(2).filter(|entry| entry != "build").collect()
}

/// Logs each question and returns a prepared answer.
struct Answers {
    asked: Log,
    answer: RefCell<Option<Deferred<Vec<SocketAddr>>>>,
}

impl HostnameResolver for Answers {
    fn resolve_host_name(&self, _reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        self.asked.add(format!("{host} {port}"));
        self.answer.take().expect("it is asked once")
    }
}

fn resolver(net: &MemoryReactor, answer: Deferred<Vec<SocketAddr>>) -> Log {
    let asked = Log::new();
    net.install_name_resolver(Rc::new(Answers { asked: asked.clone(), answer: RefCell::new(Some(answer)) }));
    asked
}

/// Connects the endpoint of `description`, and logs the outcome.
fn connect_endpoint(net: &MemoryReactor, description: &str, log: &Log) -> Deferred<Transport> {
    let endpoint = client_from_string(net, description).expect("a description that is right");
    endpoint.connect(net, Rc::new(LoggingFactory::new(log, Script::new())))
}

/// The error of a failed attempt.
fn reason(connected: Deferred<Transport>) -> Error {
    connected.try_result().expect("it has fired").unwrap_err().trap().expect("an error of this crate")
}

specifications! {
    races;

    fn the_second_address_is_tried_after_250_ms_of_silence(_subject: &Subject) {
        // RFC 8305, section 5: Connection Attempt Delay.
        let (net, log) = (network(&["10.0.0.1"]), Log::new());
        net.add_host("host", &["10.0.0.1", "10.0.0.2"]);
        net.listen_tcp("10.0.0.2:80", Script::new().factory()).unwrap();
        connect(&net, "host", &log);
        net.advance(249 * MS);
        assert_eq!(tried(&net), ["10.0.0.1"]);
        net.advance(MS);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(outcome(&log), ["made 10.0.0.2:80"]);
    }

    fn each_further_address_is_tried_250_ms_later(_subject: &Subject) {
        // RFC 8305, section 5
        let (net, log) = (network(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), Log::new());
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        connect(&net, "host", &log);
        for count in 1..=3 {
            net.advance(if count == 1 { MS } else { 250 * MS });
            assert_eq!(tried(&net).len(), count);
        }
        net.advance(Duration::from_secs(5));
        assert_eq!(tried(&net).len(), 3);
        assert_eq!(outcome(&log), [""; 0]);
    }

    fn a_failed_attempt_starts_the_next_at_once(_subject: &Subject) {
        // RFC 8305, section 5. HostnameEndpoint waits for its delay instead.
        let (net, log) = (network(&[]), Log::new());
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        net.listen_tcp("10.0.0.3:80", Script::new().factory()).unwrap();
        connect(&net, "host", &log);
        net.advance(MS);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(outcome(&log), ["made 10.0.0.3:80"]);
    }

    fn a_late_failure_does_not_skip_the_next_delay(_subject: &Subject) {
        // RFC 8305, section 5: the delay restarts with each attempt.
        let (net, log) = (network(&["10.0.0.2", "10.0.0.3"]), Log::new());
        net.set_faults(Faults::none().latency(150 * MS).black_hole("10.0.0.2".parse::<IpAddr>().unwrap()));
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        net.listen_tcp("10.0.0.3:80", Script::new().factory()).unwrap();
        connect(&net, "host", &log);
        // The first attempt begins at 0 ms, and the second attempt after the delay, at 250 ms. At 300 ms the first
        // attempt is refused, so the third one begins.
        net.advance(299 * MS);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2"]);
        net.advance(MS);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        net.advance(300 * MS);
        assert_eq!(outcome(&log), ["made 10.0.0.3:80"]);
    }

    fn the_families_alternate_beginning_with_the_first_address(_subject: &Subject) {
        // RFC 8305, section 4
        let (net, log) = (network(&[]), Log::new());
        net.add_host("host", &["fe80::1", "fe80::2", "fe80::3", "10.0.0.1", "10.0.0.2"]);
        connect(&net, "host", &log);
        net.advance(MS);
        assert_eq!(tried(&net), ["fe80::1", "10.0.0.1", "fe80::2", "10.0.0.2", "fe80::3"]);
    }

    fn the_first_success_closes_the_other_attempts(_subject: &Subject) {
        // RFC 8305, section 5: "all other connection attempts that have not yet succeeded SHOULD be canceled".
        let (net, log) = (network(&["10.0.0.1", "10.0.0.2"]), Log::new());
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        let server = net.listen_stream("10.0.0.3:80").unwrap();
        connect(&net, "host", &log);
        net.advance(Duration::from_secs(5));
        assert!(server.accept().is_some());
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(outcome(&log), ["made 10.0.0.3:80"]);
        assert_eq!(net.source_count(), 1, "attempts are left over");
        assert!(net.get_delayed_calls().is_empty());
    }

    fn an_earlier_attempt_may_still_win(_subject: &Subject) {
        // RFC 8305, section 5: attempts run in parallel.
        let (net, log) = (network(&[]), Log::new());
        net.set_faults(Faults::none().latency(200 * MS));
        net.add_host("host", &["10.0.0.1", "10.0.0.2"]);
        for address in ["10.0.0.1:80", "10.0.0.2:80"] {
            net.listen_tcp(address, Script::new().factory()).unwrap();
        }
        connect(&net, "host", &log);
        net.advance(Duration::from_secs(5));
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(outcome(&log), ["made 10.0.0.1:80"]);
    }

    fn the_attempt_delay_can_be_set(_subject: &Subject) {
        // HostnameEndpoint: attemptDelay. RFC 8305, section 5, allows no less than 10 ms.
        for (delay, used) in [(Duration::from_secs(2), Duration::from_secs(2)), (Duration::ZERO, 10 * MS)] {
            let (net, log) = (network(&["10.0.0.1"]), Log::new());
            net.add_host("host", &["10.0.0.1", "10.0.0.2"]);
            net.listen_tcp("10.0.0.2:80", Script::new().factory()).unwrap();
            let factory = LoggingFactory::new(&log, Script::new());
            net.connect_tcp(Destination::new("host", 80).attempt_delay(delay), factory).unwrap();
            net.advance(used - MS);
            assert_eq!(tried(&net), ["10.0.0.1"]);
            net.advance(2 * MS);
            assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2"]);
            assert_eq!(outcome(&log), Vec::<String>::new());
            assert!(log.contains("build"));
        }
    }

    fn all_failures_are_reported_once_together(_subject: &Subject) {
        // ClientFactory.clientConnectionFailed
        let (net, log) = (network(&[]), Log::new());
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "fe80::1"]);
        let connector = connect(&net, "host", &log);
        net.advance(Duration::from_secs(1));
        assert_eq!(outcome(&log), ["failed NoneOfSeveral", "stop factory"]);
        assert_eq!(connector.state(), ConnectorState::Disconnected);
        assert!(net.get_delayed_calls().is_empty());
        assert_eq!(net.source_count(), 0);
    }

    fn reasons_are_listed_in_the_order_of_their_attempts(_subject: &Subject) {
        // RFC 8305, section 5: attempts overlap, so they may end in another order. Here the first one ends last.
        let net = network(&["10.0.0.1"]);
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "fe80::1"]);
        let endpoint = TcpClientEndpoint::new(Destination::new("host", 80).timeout(None)).unwrap();
        let connected = endpoint.connect(&net, Rc::new(Script::new().factory()));
        net.advance(Duration::from_secs(60));
        assert!(!connected.is_done());
        net.advance(Duration::from_secs(200));
        let error = reason(connected);
        let Error::NoneOfSeveral(attempts) = &error else { panic!("{error:?}") };
        let addresses: Vec<_> = attempts.iter().map(|(address, _)| address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.1:80", "[fe80::1]:80", "10.0.0.2:80"]);
        assert_eq!(
            error.to_string(),
            "none of 3 addresses could be connected to: 10.0.0.1:80: connecting took longer than its timeout; \
             connection to [fe80::1]:80 was refused; connection to 10.0.0.2:80 was refused"
        );
    }

    fn a_name_with_one_address_fails_with_its_plain_reason(_subject: &Subject) {
        // twisted.internet.error.ConnectionRefusedError and the like, not wrapped in a list.
        let net = network(&[]);
        net.add_host("host", &["10.0.0.1"]);
        let connected = connect_endpoint(&net, "tcp:host:80", &Log::new());
        net.advance(MS);
        assert!(matches!(reason(connected), Error::ConnectionRefused(..)));
    }

    fn an_endpoint_alternates_the_families_every_250_ms(_subject: &Subject) {
        // HostnameEndpoint; RFC 8305, sections 4 and 5.
        let net = network(&["fe80::1", "fe80::2", "10.0.0.1"]);
        net.add_host("host", &["fe80::1", "fe80::2", "10.0.0.1", "10.0.0.2"]);
        let server = net.listen_stream("10.0.0.2:80").unwrap();
        let connected = connect_endpoint(&net, "tcp:host:80", &Log::new());
        let order = ["fe80::1", "10.0.0.1", "fe80::2", "10.0.0.2"];
        for count in 1..order.len() {
            net.advance(if count == 1 { 249 * MS } else { 250 * MS });
            assert_eq!(tried(&net), order[..count]);
            assert!(!connected.is_done());
        }
        net.advance(MS);
        assert_eq!(tried(&net), order);
        assert_eq!(connected.try_result().unwrap().unwrap().peer().to_string(), "10.0.0.2:80");
        assert!(server.accept().is_some());
    }

    fn the_first_success_of_an_endpoint_closes_its_other_attempts(_subject: &Subject) {
        // HostnameEndpoint: "the first connection to succeed wins"; RFC 8305, section 5.
        let (net, log) = (network(&["10.0.0.1", "fe80::1"]), Log::new());
        net.add_host("host", &["10.0.0.1", "fe80::1", "10.0.0.2", "10.0.0.3"]);
        let server = net.listen_stream("10.0.0.2:80").unwrap();
        let connected = connect_endpoint(&net, "tcp:host:80", &log);
        net.advance(Duration::from_secs(60));
        assert_eq!(tried(&net), ["10.0.0.1", "fe80::1", "10.0.0.2"]);
        assert!(connected.try_result().unwrap().is_ok() && server.accept().is_some());
        assert_eq!((net.source_count(), net.get_delayed_calls().len()), (1, 0), "attempts are left over");
        log.expect(&["start factory", "build"]);
    }

    fn cancelling_an_endpoint_closes_all_its_attempts(_subject: &Subject) {
        // IStreamClientEndpoint.connect: the Deferred's canceller.
        let (net, log) = (network(&["10.0.0.1", "fe80::1"]), Log::new());
        net.add_host("host", &["10.0.0.1", "fe80::1", "10.0.0.2"]);
        let connected = connect_endpoint(&net, "tcp:host:80", &log);
        net.advance(300 * MS);
        connected.cancel();
        assert!(matches!(reason(connected), Error::ConnectingCancelled(_)));
        assert_eq!((net.source_count(), net.open_sources(), net.get_delayed_calls().len()), (0, 0, 0));
        net.advance(Duration::from_secs(60));
        assert_eq!(tried(&net).len(), 2);
        log.expect(&["start factory", "stop factory"]);
    }

    fn an_endpoint_of_one_family_tries_no_other(_subject: &Subject) {
        // TCP6ClientEndpoint
        let net = network(&[]);
        net.add_host("host", &["10.0.0.1", "fe80::1", "10.0.0.2", "fe80::2"]);
        let connected = connect_endpoint(&net, "tcp6:host:80", &Log::new());
        net.advance(Duration::from_secs(1));
        assert_eq!(tried(&net), ["fe80::1", "fe80::2"]);
        assert!(matches!(reason(connected), Error::NoneOfSeveral(attempts) if attempts.len() == 2));
    }

    fn a_single_address_needs_only_the_timeouts_timer(_subject: &Subject) {
        // The race leaves no timer that would wake the loop.
        let (net, log) = (network(&["10.0.0.1"]), Log::new());
        connect(&net, "10.0.0.1", &log);
        net.advance(MS);
        assert_eq!(net.get_delayed_calls().len(), 1);
    }

    fn an_attempt_times_out_after_30_seconds(_subject: &Subject) {
        // IReactorTCP.connectTCP: timeout=30
        let (net, log) = (network(&["10.0.0.1"]), Log::new());
        connect(&net, "10.0.0.1", &log);
        net.advance(30_000 * MS - MS);
        assert_eq!(outcome(&log), [""; 0]);
        net.advance(MS);
        assert_eq!(outcome(&log), ["failed ConnectTimedOut", "stop factory"]);
        assert_eq!(net.source_count(), 0);
    }

    fn the_timeout_can_be_set(_subject: &Subject) {
        // IReactorTCP.connectTCP: timeout
        let (net, log) = (network(&["10.0.0.1"]), Log::new());
        let destination = Destination::new("10.0.0.1", 80).timeout(Duration::from_secs(5));
        net.connect_tcp(destination, LoggingFactory::new(&log, Script::new())).unwrap();
        net.advance(Duration::from_secs(4));
        assert_eq!(outcome(&log), [""; 0]);
        net.advance(Duration::from_secs(1));
        assert_eq!(outcome(&log), ["failed ConnectTimedOut", "stop factory"]);
    }

    fn without_a_timeout_the_system_decides(_subject: &Subject) {
        // Destination::timeout(None). Linux gives up after 127 s: tcp(7).
        let (net, log) = (network(&["10.0.0.1"]), Log::new());
        let destination = Destination::new("10.0.0.1", 80).timeout(None);
        net.connect_tcp(destination, LoggingFactory::new(&log, Script::new())).unwrap();
        net.advance(Duration::from_secs(100));
        assert_eq!(outcome(&log), [""; 0]);
        net.advance(Duration::from_secs(100));
        assert_eq!(outcome(&log), ["failed ConnectTimedOut", "stop factory"]);
    }

    fn the_timeout_includes_resolution(_subject: &Subject) {
        // IReactorTCP.connectTCP: the timeout counts from connect(), and covers all attempts.
        let (net, log) = (network(&["10.0.0.1", "10.0.0.2"]), Log::new());
        let (answer, resolve) = Deferred::new();
        resolver(&net, answer);
        connect(&net, "host", &log);
        net.advance(Duration::from_secs(29));
        let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap());
        assert!(resolve.callback(addresses.to_vec()).is_ok());
        net.advance(999 * MS);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(outcome(&log), [""; 0]);
        net.advance(MS);
        assert_eq!(outcome(&log), ["failed ConnectTimedOut", "stop factory"]);
        assert_eq!(net.source_count(), 0);
    }

    fn the_timeout_cancels_a_silent_resolver(_subject: &Subject) {
        // IHostResolution.cancel
        let (net, log) = (network(&[]), Log::new());
        let cancelled = log.clone();
        let (answer, _resolve) = Deferred::with_canceller(move |_| cancelled.add("cancelled"));
        resolver(&net, answer);
        connect(&net, "host", &log);
        net.advance(Duration::from_secs(30));
        assert_eq!(outcome(&log), ["cancelled", "failed ConnectTimedOut", "stop factory"]);
    }

    fn stopping_an_attempt_cancels_its_resolution(_subject: &Subject) {
        // IConnector.stopConnecting
        let (net, log) = (network(&[]), Log::new());
        let cancelled = log.clone();
        let (answer, _resolve) = Deferred::with_canceller(move |_| cancelled.add("cancelled"));
        resolver(&net, answer);
        let connector = connect(&net, "host", &log);
        net.advance(MS);
        connector.stop_connecting().unwrap();
        assert_eq!(outcome(&log), ["cancelled", "failed UserAborted", "stop factory"]);
        assert!(net.get_delayed_calls().is_empty());
    }

    fn stopping_a_race_closes_all_its_attempts(_subject: &Subject) {
        // IConnector.stopConnecting
        let (net, log) = (network(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), Log::new());
        net.add_host("host", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let connector = connect(&net, "host", &log);
        net.advance(300 * MS);
        assert_eq!(net.source_count(), 2);
        connector.stop_connecting().unwrap();
        assert_eq!((net.source_count(), net.open_sources()), (0, 0));
        net.advance(Duration::from_secs(60));
        assert_eq!(tried(&net).len(), 2);
        assert_eq!(outcome(&log), ["failed UserAborted", "stop factory"]);
    }

    fn an_installed_resolver_is_asked_only_for_names(_subject: &Subject) {
        // IReactorPluggableNameResolver.installNameResolver: the resolver is never asked for literals.
        let (net, log) = (network(&[]), Log::new());
        let answer = vec!["10.0.0.9:80".parse().unwrap()];
        let asked = resolver(&net, succeed(answer));
        for literal in ["10.0.0.1", "::1", "fe80::1%2"] {
            connect(&net, literal, &Log::new());
        }
        net.advance(MS);
        asked.expect(&[]);
        net.listen_tcp("10.0.0.9:80", Script::new().factory()).unwrap();
        let connector = connect(&net, "example.org", &log);
        net.advance(MS);
        asked.expect(&["example.org 80"]);
        assert_eq!(outcome(&log), ["made 10.0.0.9:80"]);
        assert_eq!(connector.destination(), "example.org:80");
    }

    fn installing_a_resolver_returns_the_previous_one(_subject: &Subject) {
        // IReactorPluggableNameResolver.installNameResolver: "returns the previous one".
        let net = network(&[]);
        net.add_host("host", &["10.0.0.1"]);
        let asked = Log::new();
        let answers = Answers { asked: asked.clone(), answer: RefCell::new(Some(succeed(Vec::new()))) };
        let before = net.install_name_resolver(Rc::new(answers));
        net.install_name_resolver(before);
        connect(&net, "host", &Log::new());
        net.advance(MS);
        assert_eq!(tried(&net), ["10.0.0.1"]);
        asked.expect(&[]);
    }

    fn a_name_without_an_address_fails_in_a_later_turn(_subject: &Subject) {
        // DNSLookupError
        let (net, log) = (network(&[]), Log::new());
        connect(&net, "nowhere", &log);
        assert_eq!(outcome(&log), [""; 0]);
        net.advance(MS);
        assert_eq!(outcome(&log), ["failed DnsLookup", "stop factory"]);
        assert_eq!(tried(&net), [""; 0]);
    }

    fn a_failure_of_the_resolver_is_a_lookup_error(_subject: &Subject) {
        // DNSLookupError
        let (net, log) = (network(&[]), Log::new());
        resolver(&net, ropewalk::fail(std::io::Error::other("the name server is on fire")));
        connect(&net, "host", &log);
        net.advance(MS);
        assert_eq!(outcome(&log), ["failed DnsLookup", "stop factory"]);
    }

    fn connecting_again_resolves_again(_subject: &Subject) {
        // IConnector.connect in clientConnectionFailed
        let (net, log) = (network(&[]), Log::new());
        net.add_host("host", &["10.0.0.1"]);
        let left = Cell::new(2);
        let factory = LoggingFactory::new(&log, Script::new()).after(move |connector| {
            left.set(left.get() - 1);
            if left.get() > 0 {
                connector.connect().unwrap();
            }
        });
        net.connect_tcp("host:80", factory).unwrap();
        net.pump([MS; 1]);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.1"]);
        assert_eq!(log.count("failed ConnectionRefused"), 2);
    }

    fn two_connectors_race_independently(_subject: &Subject) {
        // A race belongs to its connector.
        let net = network(&["10.0.0.1"]);
        net.add_host("one", &["10.0.0.1", "10.0.0.2"]);
        net.add_host("two", &["10.0.0.1", "10.0.0.3"]);
        net.listen_tcp("10.0.0.2:80", Script::new().factory()).unwrap();
        let logs = [Log::new(), Log::new()];
        let connectors = [connect(&net, "one", &logs[0]), connect(&net, "two", &logs[1])];
        net.advance(100 * MS);
        connectors[1].stop_connecting().unwrap();
        net.advance(Duration::from_secs(1));
        assert_eq!(outcome(&logs[0]), ["made 10.0.0.2:80"]);
        assert_eq!(outcome(&logs[1]), ["failed UserAborted", "stop factory"]);
        assert_eq!(tried(&net), ["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
    }

    fn a_bind_address_applies_to_every_attempt(_subject: &Subject) {
        // IReactorTCP.connectTCP: bindAddress
        let net = network(&[]);
        net.add_host("host", &["10.0.0.1", "10.0.0.2"]);
        let local: SocketAddr = "10.0.0.7:0".parse().unwrap();
        net.connect_tcp(Destination::new("host", 80).bind(local), Script::new().factory()).unwrap();
        net.advance(MS);
        let binds: Vec<_> = net.tcp_clients().iter().map(|spec| spec.bind.clone().unwrap().inet().unwrap()).collect();
        assert_eq!(binds, [local, local]);
    }
}
