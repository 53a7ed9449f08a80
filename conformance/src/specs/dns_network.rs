//! Name servers on a simulated network: losses, silence and lifetimes in virtual time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::interfaces::resolver::{HostnameResolver, IpFamily};
use ropewalk::names::hickory_proto::rr::RecordType;
use ropewalk::names::{DnsConfig, DnsError, DnsResolver, ServerFault};
use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor};
use ropewalk::{Destination, PanicPolicy};

use crate::name_server::NameServer;
use crate::specifications;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const ZONE: &[&str] = &["host.example. 300 A 10.0.0.1", "host.example. 300 AAAA fd00::1"];

fn network(seed: u64) -> MemoryReactor {
    let net = MemoryReactor::seeded(seed);
    net.set_panic_policy(PanicPolicy::Stop);
    net
}

fn config(servers: &[&NameServer]) -> DnsConfig {
    DnsConfig::new(servers.iter().map(|server| server.address))
}

/// Looks up the IPv4 addresses of `host`, within `patience` of virtual time.
fn look_up(
    net: &MemoryReactor,
    resolver: &DnsResolver,
    host: &str,
    patience: Duration,
) -> Result<Vec<String>, DnsError> {
    let asking = resolver.resolve_family(net, host, 80, IpFamily::V4).expect("a family");
    net.advance(patience);
    match asking.try_result().expect("in time") {
        Ok(found) => Ok(found.iter().map(|address| address.ip().to_string()).collect()),
        Err(failure) => Err(failure.trap().expect("an error of the resolver")),
    }
}

specifications! { dns_network;
    fn lost_questions_are_repeated(_subject: &Subject) {
        // RFC 1035, section 4.2.1: datagrams are lost.
        let mut repeated = 0;
        for seed in 0..50 {
            let net = network(seed).with_faults(Faults::none().lost(0.5));
            let server = NameServer::with_zone(&net, "10.0.0.53", ZONE);
            let resolver = DnsResolver::new(config(&[&server]).timeout(SECOND).attempts(30));
            assert_eq!(look_up(&net, &resolver, "host.example", 30 * SECOND).unwrap(), ["10.0.0.1"], "seed {seed}");
            repeated += server.asked().len() - 1;
            assert_eq!(net.open_sources(), 2, "the server's");
        }
        assert!(repeated > 10);
    }

    fn answers_that_overtake_or_double_do_no_harm(_subject: &Subject) {
        // RFC 768: datagrams arrive twice, late and in another order.
        for seed in 0..50 {
            let faults = Faults::none().doubled(0.5).overtaken(0.5).jitter(800 * MS).lost(0.2);
            let net = network(seed).with_faults(faults);
            let server = NameServer::with_zone(&net, "10.0.0.53", ZONE);
            let resolver = DnsResolver::new(config(&[&server]).timeout(SECOND).attempts(60).cache_entries(0));
            for _ in 0..3 {
                assert_eq!(look_up(&net, &resolver, "host.example", 60 * SECOND).unwrap(), ["10.0.0.1"], "seed {seed}");
            }
        }
    }

    fn the_same_seed_gives_the_same_secrets(_subject: &Subject) {
        // A run can be replayed: ports, identifiers and times are the same.
        let secrets = |seed| {
            let net = network(seed).with_faults(Faults::none().lost(0.3));
            let (seen, clock) = (Rc::new(RefCell::new(Vec::new())), net.network().clone());
            let log = seen.clone();
            let server = NameServer::start(&net, "10.0.0.53", move |question| {
                log.borrow_mut().push((question.client.port(), question.id(), clock.now()));
                question.answer(ZONE)
            });
            let resolver = DnsResolver::new(config(&[&server]).attempts(5).cache_entries(0));
            for _ in 0..5 {
                let _ = look_up(&net, &resolver, "host.example", 60 * SECOND);
            }
            seen.take()
        };
        assert_eq!(secrets(7), secrets(7));
        assert_ne!(secrets(7), secrets(8));
    }

    fn servers_are_asked_in_turn_for_some_rounds(_subject: &Subject) {
        // resolv.conf(5): "the algorithm used is to try a name server, and if the query times out, try the next".
        let net = network(1);
        let [first, second] = ["10.0.0.53", "10.0.0.54"].map(|host| NameServer::silent(&net, host));
        let resolver = DnsResolver::new(config(&[&first, &second]).timeout(5 * SECOND).attempts(2));
        let asking = resolver.resolve_family(&net, "host.example", 80, IpFamily::V4).unwrap();
        let counts = || [first.asked().len(), second.asked().len()];
        for expected in [[1, 0], [1, 1], [2, 1], [2, 2]] {
            net.advance(SECOND);
            assert_eq!(counts(), expected);
            assert!(!asking.is_done());
            net.advance(4 * SECOND);
        }
        let error: DnsError = asking.try_result().expect("after 20 s").unwrap_err().trap().unwrap();
        let late = ServerFault::TimedOut(5 * SECOND);
        assert_eq!(error, DnsError::NoAnswer(vec![(first.address, late.clone()), (second.address, late)]));
    }

    fn rotation_begins_with_the_next_server(_subject: &Subject) {
        // resolv.conf(5): rotate.
        let net = network(1);
        let servers = ["10.0.0.53", "10.0.0.54", "10.0.0.55"].map(|host| NameServer::with_zone(&net, host, ZONE));
        let [a, b, c] = &servers;
        let resolver = DnsResolver::new(config(&[a, b, c]).rotate().cache_entries(0));
        for _ in 0..6 {
            look_up(&net, &resolver, "host.example", SECOND).unwrap();
        }
        assert_eq!(servers.map(|server| server.asked().len()), [2, 2, 2]);
    }

    fn an_answer_expires_in_virtual_time(_subject: &Subject) {
        // RFC 1035, section 3.2.1: TTL.
        let net = network(1);
        let server = NameServer::with_zone(&net, "10.0.0.53", ZONE);
        let resolver = DnsResolver::new(config(&[&server]));
        for questions in [1, 1, 1, 2] {
            look_up(&net, &resolver, "host.example", 100 * SECOND).unwrap();
            assert_eq!(server.asked().len(), questions);
        }
    }

    fn a_truncated_answer_without_tcp_is_a_fault(_subject: &Subject) {
        // RFC 7766: a server must offer TCP. This one accepts and says nothing, or closes.
        let net = network(1);
        let silent = NameServer::raw(&net, "10.0.0.53", |question| {
            if question.by_tcp { vec![] } else { vec![question.truncated().to_vec().unwrap()] }
        });
        let good = NameServer::with_zone(&net, "10.0.0.54", ZONE);
        let resolver = DnsResolver::new(config(&[&silent, &good]));
        assert_eq!(look_up(&net, &resolver, "host.example", 6 * SECOND).unwrap(), ["10.0.0.1"]);
        assert_eq!(silent.asked(), ["udp A host.example.", "tcp A host.example."]);
        net.advance(SECOND);
        assert_eq!(net.open_sources(), 4, "those of the servers");
    }

    fn a_cancelled_lookup_closes_its_connection(_subject: &Subject) {
        // IHostResolution.cancel.
        let net = network(1);
        let server = NameServer::silent(&net, "10.0.0.53");
        let resolver = DnsResolver::new(config(&[&server]).tcp_only());
        let asking = resolver.query(&net, "host.example", RecordType::A);
        net.advance(SECOND);
        assert_eq!((server.asked().len(), net.open_sources()), (1, 4));
        asking.cancel();
        net.advance(SECOND);
        assert_eq!(net.open_sources(), 2, "those of the server");
        assert!(net.get_delayed_calls().is_empty());
        drop(asking.try_result().expect("at once").unwrap_err());
    }

    fn a_dropped_reactor_leaves_no_lookup(_subject: &Subject) {
        // A task that owned its reactor would keep it.
        let net = network(1);
        let server = NameServer::silent(&net, "10.0.0.53");
        let weak = net.downgrade();
        drop(DnsResolver::new(config(&[&server])).query(&net, "host.example", RecordType::A));
        net.advance(SECOND);
        drop((net, server));
        assert!(weak.upgrade().is_none());
    }

    fn a_late_ipv6_answer_does_not_delay_ipv4(_subject: &Subject) {
        // RFC 8305, section 3. The server does not answer AAAA questions.
        let net = network(1);
        let server = NameServer::raw(&net, "10.0.0.53", |question| {
            let is_v4 = question.line().starts_with("udp A ");
            if is_v4 { vec![question.answer(ZONE).to_vec().unwrap()] } else { vec![] }
        });
        let resolver = Rc::new(DnsResolver::new(config(&[&server])));
        let target = net.listen_stream("10.0.0.1:80").unwrap();
        let destination = Destination::new("host.example", 80).resolver(resolver);
        net.connect_tcp(destination, AccumulatingProtocol::new().factory()).unwrap();
        net.advance(60 * MS);
        assert!(target.accept().is_some());
        net.advance(SECOND);
        assert_eq!(server.asked().len(), 2, "the other look-up was cancelled");
    }

    fn a_server_is_asked_over_ipv6(_subject: &Subject) {
        // RFC 3596
        let net = network(1);
        let server = NameServer::with_zone(&net, "fd00::53", ZONE);
        let resolver = DnsResolver::new(config(&[&server]));
        assert_eq!(look_up(&net, &resolver, "host.example", SECOND).unwrap(), ["10.0.0.1"]);
    }
}
