//! Connecting by a name whose families are looked up in parallel: RFC 8305, section 3. The tests run in virtual time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::interfaces::resolver::{HostnameResolver, IpFamily};
use ropewalk::testing::{Faults, MemoryReactor};
use ropewalk::{Connector, Deferred, Destination, Error, PanicPolicy, Reactor};

use crate::script::{Log, LoggingFactory, Script};
use crate::specifications;

const MS: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(3600);

/// The time and the outcome of one family's answer.
#[derive(Clone)]
struct Answer(Duration, Result<Vec<IpAddr>, &'static str>);

fn after(delay: Duration, addresses: &[&str]) -> Answer {
    Answer(delay, Ok(addresses.iter().map(|text| text.parse().expect("an IP address")).collect()))
}

fn failing_after(delay: Duration, why: &'static str) -> Answer {
    Answer(delay, Err(why))
}

/// A resolver that answers for each family at its time, and logs a lookup that is cancelled.
struct Apart {
    v6: Answer,
    v4: Answer,
    log: Log,
}

impl HostnameResolver for Apart {
    fn resolve_host_name(&self, _: &Reactor, host: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
        panic!("'{host}' must be looked up by family");
    }

    fn resolve_family(
        &self,
        reactor: &Reactor,
        _host: &str,
        port: u16,
        family: IpFamily,
    ) -> Option<Deferred<Vec<SocketAddr>>> {
        self.log.add(format!("asked for {family}"));
        let Answer(delay, outcome) = if family == IpFamily::V6 { &self.v6 } else { &self.v4 };
        let log = self.log.clone();
        let (deferred, resolver) = Deferred::with_canceller(move |_| log.add(format!("gave {family} up")));
        let outcome = outcome.clone().map(|ips| ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
        let answer = move || {
            // The lookup may have been cancelled.
            let _ = resolver.fire(outcome.map_err(|why| io::Error::other(why).into()));
        };
        match *delay {
            Duration::ZERO => answer(),
            delay => drop(reactor.call_later(delay, move |_| answer())),
        }
        Some(deferred)
    }
}

/// Returns a network on which these addresses never answer and all others refuse.
fn network(holes: &[&str], v6: Answer, v4: Answer) -> (MemoryReactor, Log) {
    let hole = |faults: Faults, hole: &&str| faults.black_hole(hole.parse::<IpAddr>().expect("an IP address"));
    let net = MemoryReactor::new().with_faults(holes.iter().fold(Faults::none(), hole));
    net.set_panic_policy(PanicPolicy::Stop);
    let log = Log::new();
    net.install_name_resolver(Rc::new(Apart { v6, v4, log: log.clone() }));
    (net, log)
}

fn listen(net: &MemoryReactor, place: &str) {
    net.listen_tcp(place, Script::new().factory()).unwrap();
}

/// The outcome of connecting, as its factory logs it.
struct Outcome(Log);

impl Outcome {
    fn is(&self, entries: &[&str]) {
        let log = self.0.entries().into_iter().skip(2).filter(|entry| entry != "build");
        assert_eq!(log.collect::<Vec<_>>(), entries);
    }
}

fn connect(net: &MemoryReactor, destination: Destination) -> (Connector, Outcome) {
    let log = Log::new();
    let seen = log.clone();
    let client = Script::new().on_made(move |transport| seen.add(format!("made {}", transport.peer())));
    (net.connect_tcp(destination, LoggingFactory::new(&log, client)).unwrap(), Outcome(log))
}

fn host() -> Destination {
    Destination::new("host", 80)
}

/// The addresses that were tried, in order.
fn tried(net: &MemoryReactor) -> Vec<String> {
    net.tcp_clients().iter().map(|spec| spec.address.inet().unwrap().ip().to_string()).collect()
}

specifications! {
    lookups;

    fn both_families_are_looked_up_in_parallel_ipv6_first(_subject: &Subject) {
        // RFC 8305, section 3: the AAAA query is sent first, and the A query does not wait for its answer.
        let (net, log) = network(&[], after(NEVER, &[]), after(NEVER, &[]));
        let _attempt = connect(&net, host());
        net.advance(Duration::ZERO);
        log.expect(&["asked for IPv6", "asked for IPv4"]);
    }

    fn ipv6_addresses_within_50_ms_are_tried_first(_subject: &Subject) {
        // RFC 8305, section 3: Resolution Delay.
        let (net, _) = network(&[], after(60 * MS, &["fe80::1"]), after(10 * MS, &["10.0.0.1"]));
        listen(&net, "[fe80::1]:80");
        let (_connector, outcome) = connect(&net, host());
        net.advance(59 * MS);
        assert_eq!(tried(&net), [""; 0]);
        net.advance(MS);
        assert_eq!(tried(&net), ["fe80::1"]);
        net.advance(MS);
        outcome.is(&["made [fe80::1]:80"]);
        assert!(net.get_delayed_calls().is_empty());
    }

    fn ipv4_addresses_are_tried_alone_after_50_ms(_subject: &Subject) {
        // RFC 8305, section 3: Resolution Delay.
        let (net, log) = network(&[], after(NEVER, &["fe80::1"]), after(10 * MS, &["10.0.0.1"]));
        listen(&net, "10.0.0.1:80");
        let (_connector, outcome) = connect(&net, host());
        net.advance(59 * MS);
        assert_eq!(tried(&net), [""; 0]);
        net.advance(2 * MS);
        assert_eq!(tried(&net), ["10.0.0.1"]);
        outcome.is(&["made 10.0.0.1:80"]);
        log.expect(&["asked for IPv6", "asked for IPv4", "gave IPv6 up"]);
    }

    fn ipv6_addresses_that_arrive_first_are_tried_at_once(_subject: &Subject) {
        // RFC 8305, section 3: no delay for AAAA.
        let (net, log) = network(&[], after(10 * MS, &["fe80::1"]), after(NEVER, &["10.0.0.1"]));
        listen(&net, "[fe80::1]:80");
        let (_connector, outcome) = connect(&net, host());
        net.advance(9 * MS);
        assert_eq!(tried(&net), [""; 0]);
        net.advance(2 * MS);
        outcome.is(&["made [fe80::1]:80"]);
        log.expect(&["asked for IPv6", "asked for IPv4", "gave IPv4 up"]);
    }

    fn immediate_answers_alternate_beginning_with_ipv6(_subject: &Subject) {
        // RFC 8305, section 4
        let v6 = after(Duration::ZERO, &["fe80::1", "fe80::2"]);
        let (net, _) = network(&[], v6, after(Duration::ZERO, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
        let (_connector, outcome) = connect(&net, host());
        net.advance(MS);
        assert_eq!(tried(&net), ["fe80::1", "10.0.0.1", "fe80::2", "10.0.0.2", "10.0.0.3"]);
        outcome.is(&["failed NoneOfSeveral", "stop factory"]);
    }

    fn a_negative_ipv6_answer_skips_the_resolution_delay(_subject: &Subject) {
        // RFC 8305, section 3: "if a negative AAAA response is received", there is nothing to wait for.
        for v6 in [after(20 * MS, &[]), failing_after(20 * MS, "no such name"), failing_after(Duration::ZERO, "no")] {
            let (net, _) = network(&[], v6, after(10 * MS, &["10.0.0.1"]));
            listen(&net, "10.0.0.1:80");
            let (_connector, outcome) = connect(&net, host());
            net.advance(21 * MS);
            outcome.is(&["made 10.0.0.1:80"]);
            assert!(net.get_delayed_calls().is_empty());
        }
    }

    fn a_failed_lookup_leaves_the_other_family(_subject: &Subject) {
        // RFC 8305, section 3
        let (net, _) = network(&[], after(20 * MS, &["fe80::1"]), failing_after(10 * MS, "the server is on fire"));
        listen(&net, "[fe80::1]:80");
        let (_connector, outcome) = connect(&net, host());
        net.advance(21 * MS);
        outcome.is(&["made [fe80::1]:80"]);
    }

    fn two_failed_lookups_are_one_error(_subject: &Subject) {
        // DNSLookupError, delivered to clientConnectionFailed.
        let no_name = "no such name";
        let apart = "cannot resolve the name host: the server is on fire (IPv6), no such name (IPv4)";
        for (v6, v4, expected) in [
            (failing_after(MS, "the server\nis on fire"), failing_after(2 * MS, no_name), apart),
            (failing_after(MS, no_name), failing_after(MS, no_name), "cannot resolve the name host: no such name (IPv6 and IPv4)"),
            (
                after(Duration::ZERO, &[]),
                failing_after(MS, no_name),
                "cannot resolve the name host: it has no IPv6 address, no such name (IPv4)",
            ),
        ] {
            let (net, _) = network(&[], v6, v4);
            let endpoint = client_from_string(&net, "tcp:host:80").unwrap();
            let connected = endpoint.connect(&net, Rc::new(Script::new));
            net.advance(2 * MS);
            let error: Error = connected.try_result().expect("it has fired").unwrap_err().trap().unwrap();
            assert_eq!((error.to_string().as_str(), matches!(error, Error::DnsLookup(..))), (expected, true));
            assert!(net.get_delayed_calls().is_empty());
        }
    }

    fn late_addresses_are_interleaved_with_pending_ones(_subject: &Subject) {
        // RFC 8305, section 3: late addresses are added to the list, "interleaved".
        let holes = ["10.0.0.1", "10.0.0.2", "fe80::1", "fe80::2"];
        let v6 = after(100 * MS, &["fe80::1", "fe80::2"]);
        let (net, _) = network(&holes, v6, after(Duration::ZERO, &["10.0.0.1", "10.0.0.2"]));
        let (_connector, outcome) = connect(&net, host());
        net.advance(50 * MS);
        assert_eq!(tried(&net), ["10.0.0.1"]);
        net.advance(249 * MS);
        assert_eq!(tried(&net), ["10.0.0.1"], "each attempt has 250 ms for itself, whatever comes meanwhile");
        net.advance(MS);
        assert_eq!(tried(&net), ["10.0.0.1", "fe80::1"]);
        net.advance(500 * MS);
        assert_eq!(tried(&net), ["10.0.0.1", "fe80::1", "10.0.0.2", "fe80::2"]);
        outcome.is(&[]);
    }

    fn late_addresses_are_tried_at_once_when_no_other_is_left(_subject: &Subject) {
        // RFC 8305, section 5: a failed attempt starts the next one.
        for (holes, late) in [(&[][..], 100 * MS), (&["10.0.0.1"][..], 500 * MS)] {
            let (net, _) = network(holes, after(late, &["fe80::1"]), after(Duration::ZERO, &["10.0.0.1"]));
            listen(&net, "[fe80::1]:80");
            let (_connector, outcome) = connect(&net, host());
            net.advance(late - MS);
            assert_eq!(tried(&net), ["10.0.0.1"]);
            outcome.is(&[]);
            net.advance(2 * MS);
            outcome.is(&["made [fe80::1]:80"]);
        }
    }

    fn the_attempt_fails_only_after_the_last_lookup(_subject: &Subject) {
        // All addresses have failed, but the pending lookup may find another address.
        for v6 in [after(100 * MS, &[]), failing_after(100 * MS, "no such name")] {
            let (net, _) = network(&[], v6, after(Duration::ZERO, &["10.0.0.1"]));
            let (_connector, outcome) = connect(&net, host());
            net.advance(99 * MS);
            outcome.is(&[]);
            net.advance(MS);
            outcome.is(&["failed ConnectionRefused", "stop factory"]);
            assert!(net.get_delayed_calls().is_empty());
        }
    }

    fn an_attempt_for_one_family_looks_up_no_other(_subject: &Subject) {
        // TCP4ClientEndpoint, TCP6ClientEndpoint
        let answers = || (after(MS, &["fe80::1"]), after(MS, &["10.0.0.1"]));
        for (destination, asked, address) in
            [(host().v4_only(), "asked for IPv4", "10.0.0.1"), (host().v6_only(), "asked for IPv6", "fe80::1")]
        {
            let (v6, v4) = answers();
            let (net, log) = network(&[], v6, v4);
            let _attempt = connect(&net, destination);
            net.advance(MS);
            log.expect(&[asked]);
            assert_eq!(tried(&net), [address]);
        }
    }

    fn stopping_an_attempt_cancels_both_lookups(_subject: &Subject) {
        // IConnector.stopConnecting. Connecting again looks both families up again.
        let (net, log) = network(&[], after(10 * MS, &["fe80::1"]), after(10 * MS, &["10.0.0.1"]));
        listen(&net, "[fe80::1]:80");
        let (connector, outcome) = connect(&net, host());
        net.advance(5 * MS);
        connector.stop_connecting().unwrap();
        log.expect(&["asked for IPv6", "asked for IPv4", "gave IPv6 up", "gave IPv4 up"]);
        outcome.is(&["failed UserAborted", "stop factory"]);
        connector.connect().unwrap();
        net.advance(20 * MS);
        assert_eq!(tried(&net), ["fe80::1"]);
        assert_eq!(outcome.0.count("made [fe80::1]:80"), 1);
    }

    fn the_connect_timeout_includes_both_lookups(_subject: &Subject) {
        // IReactorTCP.connectTCP: the timeout counts from connect(), the Resolution Delay included.
        let (net, log) = network(&[], after(NEVER, &[]), after(10 * MS, &["10.0.0.1"]));
        let (_connector, outcome) = connect(&net, host().timeout(40 * MS));
        net.advance(40 * MS);
        outcome.is(&["failed ConnectTimedOut", "stop factory"]);
        log.expect(&["asked for IPv6", "asked for IPv4", "gave IPv6 up"]);
        net.advance(Duration::from_secs(1));
        assert_eq!(tried(&net), [""; 0]);
    }
}
