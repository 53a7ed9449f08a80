//! Host names by way of name servers: `twisted.names.client`. The server runs on the same reactor.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::interfaces::resolver::HostnameResolver;
use ropewalk::names::hickory_proto::op::{Message, ResponseCode};
use ropewalk::names::hickory_proto::rr::RecordType;
use ropewalk::names::{DnsConfig, DnsError, DnsResolver, ServerFault};
use ropewalk::proto::Cancelled;
use ropewalk::{Deferred, Destination, Failure, Reactor};

use crate::datagram_script::DatagramScript;
use crate::name_server::NameServer;
use crate::script::{Log, LoggingFactory, Script};
use crate::specifications;
use crate::waiting::iterate_until;

const HERE: &str = "127.0.0.1";

/// The time after which a server is given up that never answers.
const SOON: Duration = Duration::from_millis(20);

/// Installs a resolver that asks these servers.
fn install(reactor: &Reactor, config: DnsConfig) {
    reactor.install_name_resolver(Rc::new(DnsResolver::new(config)));
}

/// Returns a configuration with these servers. None of them is given up, because a machine may stand still.
fn patient(servers: &[&NameServer]) -> DnsConfig {
    DnsConfig::new(servers.iter().map(|server| server.address)).timeout(Duration::from_secs(60))
}

/// Runs until the outcome is there.
fn outcome<T: 'static>(reactor: &Reactor, deferred: Deferred<T>) -> Result<T, Failure> {
    iterate_until(reactor, || deferred.is_done());
    deferred.try_result().expect("it is done")
}

/// Resolves `host`, and returns its addresses as text.
fn resolve(reactor: &Reactor, host: &str) -> Result<Vec<String>, Failure> {
    let found = outcome(reactor, reactor.resolve_host_name(host, 80))?;
    Ok(found.iter().map(ToString::to_string).collect())
}

/// Resolves the IPv4 addresses of `host`.
fn resolve_v4(reactor: &Reactor, config: DnsConfig, host: &str) -> Result<Vec<String>, DnsError> {
    use ropewalk::interfaces::resolver::IpFamily;
    let asking = DnsResolver::new(config).resolve_family(reactor, host, 80, IpFamily::V4).expect("a family");
    match outcome(reactor, asking) {
        Ok(found) => Ok(found.iter().map(|address| address.ip().to_string()).collect()),
        Err(failure) => Err(failure.trap().expect("an error of the resolver")),
    }
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a short message")
}

specifications! { dns;
    fn a_name_has_the_addresses_of_both_families(subject: &Subject) {
        // IHostnameResolver.resolveHostName; lookupAddress, lookupIPV6Address.
        let reactor = subject.reactor();
        let zone = &["host.example. 300 A 10.0.0.1", "host.example. 300 A 10.0.0.2", "host.example. 300 AAAA fd00::1"];
        let server = NameServer::with_zone(&reactor, HERE, zone);
        install(&reactor, patient(&[&server]));
        assert_eq!(resolve(&reactor, "host.example").unwrap(), ["[fd00::1]:80", "10.0.0.1:80", "10.0.0.2:80"]);
        let mut asked = server.asked();
        asked.sort();
        assert_eq!(asked, ["udp A host.example.", "udp AAAA host.example."]);
    }

    fn a_name_of_one_family_is_no_error(subject: &Subject) {
        // RFC 2308, section 2.2: NODATA.
        let reactor = subject.reactor();
        let zone = &["host.example. 300 A 10.0.0.1", "mail.example. 300 MX 10 host.example."];
        let server = NameServer::with_zone(&reactor, HERE, zone);
        install(&reactor, patient(&[&server]));
        assert_eq!(resolve(&reactor, "host.example").unwrap(), ["10.0.0.1:80"]);
        assert_eq!(resolve(&reactor, "mail.example").unwrap(), [""; 0]);
    }

    fn a_name_that_does_not_exist_is_an_error(subject: &Subject) {
        // DNSNameError. RFC 1035, section 4.1.1: NXDOMAIN.
        let reactor = subject.reactor();
        let server = NameServer::with_zone(&reactor, HERE, &[]);
        install(&reactor, patient(&[&server]));
        let failure = resolve(&reactor, "host.example").unwrap_err();
        assert_eq!(failure.downcast_ref::<DnsError>(), Some(&DnsError::NoSuchName));
    }

    fn aliases_are_followed_to_their_addresses(subject: &Subject) {
        // RFC 1034, section 3.6.2. The server sends the aliases together or one by one.
        let chain = [
            "www.example. 300 CNAME web.example.",
            "web.example. 300 CNAME host.example.",
            "host.example. 300 A 10.0.0.1",
        ];
        let reactor = subject.reactor();
        let together = NameServer::start(&reactor, HERE, move |question| question.records(&chain));
        assert_eq!(resolve_v4(&reactor, patient(&[&together]), "www.example").unwrap(), ["10.0.0.1"]);
        let apart = NameServer::start(&reactor, HERE, move |question| question.answer(&chain));
        assert_eq!(resolve_v4(&reactor, patient(&[&apart]), "www.example").unwrap(), ["10.0.0.1"]);
        assert_eq!(apart.asked(), ["udp A www.example.", "udp A web.example.", "udp A host.example."]);
    }

    fn aliases_without_an_end_are_an_error(subject: &Subject) {
        // RFC 1034, section 5.2.2: "should be detected".
        let reactor = subject.reactor();
        let endless = NameServer::start(&reactor, HERE, |question| {
            let alias = format!("{0} 300 CNAME a{0}", question.name());
            question.records(&[&alias])
        });
        let circle = ["a.example. 300 CNAME b.example.", "b.example. 300 CNAME a.example."];
        let circular = NameServer::start(&reactor, HERE, move |question| question.records(&circle));
        for server in [&endless, &circular] {
            let outcome = resolve_v4(&reactor, patient(&[server]), "a.example");
            assert!(matches!(outcome, Err(DnsError::TooManyAliases(8))) || outcome == Ok(Vec::new()), "{outcome:?}");
            assert!(server.asked().len() <= 8);
        }
    }

    fn a_truncated_answer_is_fetched_by_tcp(subject: &Subject) {
        // RFC 1035, section 4.2.1; RFC 7766.
        let reactor = subject.reactor();
        let many: Vec<_> = (0..200).map(|last| format!("host.example. 300 A 10.0.0.{last}")).collect();
        let server = NameServer::start(&reactor, HERE, move |question| {
            let many: Vec<_> = many.iter().map(String::as_str).collect();
            if question.by_tcp { question.records(&many) } else { question.truncated() }
        });
        let found = resolve_v4(&reactor, patient(&[&server]), "host.example").unwrap();
        assert_eq!((found.len(), found[199].as_str()), (200, "10.0.0.199"));
        assert_eq!(server.asked(), ["udp A host.example.", "tcp A host.example."]);
    }

    fn tcp_alone_is_used_on_request(subject: &Subject) {
        // resolv.conf(5): use-vc.
        let reactor = subject.reactor();
        let server = NameServer::with_zone(&reactor, HERE, &["host.example. 300 A 10.0.0.1"]);
        assert_eq!(resolve_v4(&reactor, patient(&[&server]).tcp_only(), "host.example").unwrap(), ["10.0.0.1"]);
        assert_eq!(server.asked(), ["tcp A host.example."]);
    }

    fn a_failing_server_is_followed_by_the_next_one(subject: &Subject) {
        // DNSServerError, DNSQueryRefusedError; resolv.conf(5): nameserver. The first one is not there at all.
        let reactor = subject.reactor();
        let [gone, broken, strict] = [ResponseCode::NoError, ResponseCode::ServFail, ResponseCode::Refused]
            .map(|code| NameServer::start(&reactor, HERE, move |question| question.error(code)));
        gone.stop();
        iterate_until(&reactor, || true);
        let good = NameServer::with_zone(&reactor, HERE, &["host.example. 300 A 10.0.0.1"]);
        let servers = [&gone, &broken, &strict, &good];
        assert_eq!(resolve_v4(&reactor, patient(&servers), "host.example").unwrap(), ["10.0.0.1"]);
        assert_eq!([broken.asked().len(), strict.asked().len()], [1, 1]);
        let expected = |server: &NameServer, code| (server.address, ServerFault::Code(code));
        let outcome = resolve_v4(&reactor, patient(&servers[..3]), "host.example");
        let Err(DnsError::NoAnswer(faults)) = outcome else { panic!("no server has answered: {outcome:?}") };
        assert_eq!(faults[0].0, gone.address);
        assert!(matches!(&faults[0].1, ServerFault::Failed(why) if why.contains("refused")), "{faults:?}");
        assert_eq!(faults[1..], [expected(&broken, ResponseCode::ServFail), expected(&strict, ResponseCode::Refused)]);
    }

    fn a_server_that_never_answers_is_given_up(subject: &Subject) {
        // DNSQueryTimeoutError; resolv.conf(5): timeout, attempts.
        let reactor = subject.reactor();
        let server = NameServer::silent(&reactor, HERE);
        let config = DnsConfig::new([server.address]).timeout(SOON).attempts(3);
        let error = resolve_v4(&reactor, config.clone(), "host.example").unwrap_err();
        assert_eq!(error, DnsError::NoAnswer(vec![(server.address, ServerFault::TimedOut(SOON))]));
        let error = resolve_v4(&reactor, config.tcp_only(), "host.example").unwrap_err();
        assert_eq!(error, DnsError::NoAnswer(vec![(server.address, ServerFault::TimedOut(SOON))]));
    }

    fn datagrams_that_do_not_answer_are_ignored(subject: &Subject) {
        // RFC 5452, section 9.1: the identifier, the question and the form of an answer.
        let reactor = subject.reactor();
        let server = NameServer::raw(&reactor, HERE, |question| {
            let forged = question.records(&["host.example. 300 A 10.6.6.6"]);
            let mut wrong_id = forged.clone();
            wrong_id.set_id(question.id().wrapping_add(1));
            let mut other_question = forged.clone();
            let other = ropewalk::names::hickory_proto::rr::Name::from_ascii("other.example.").expect("a name");
            other_question.queries_mut()[0].set_name(other);
            let mut no_question = forged.clone();
            no_question.queries_mut().clear();
            let mut no_response = forged.clone();
            no_response.set_message_type(ropewalk::names::hickory_proto::op::MessageType::Query);
            let mut cut = bytes(&forged);
            cut.truncate(20);
            let good = question.records(&["host.example. 300 A 10.0.0.1"]);
            let garbage = vec![0xff; 300];
            let others = [&wrong_id, &other_question, &no_question, &no_response, &good].map(bytes);
            [vec![], garbage, cut].into_iter().chain(others).collect()
        });
        assert_eq!(resolve_v4(&reactor, patient(&[&server]), "host.example").unwrap(), ["10.0.0.1"]);
        assert_eq!(server.asked().len(), 1);
    }

    fn answers_from_another_address_are_ignored(subject: &Subject) {
        // RFC 5452, section 9.1: the address and the port of the server.
        let reactor = subject.reactor();
        let spoofer = reactor.listen_udp((HERE, 0), DatagramScript::new()).unwrap();
        let server = NameServer::raw(&reactor, HERE, move |question| {
            let forged = bytes(&question.records(&["host.example. 300 A 10.6.6.6"]));
            // The system may say that the client does not take datagrams from there.
            let _ = spoofer.write_to(&forged, &question.client.into());
            let whole = || question.records(&["host.example. 300 A 10.0.0.1"]);
            vec![bytes(&if question.by_tcp { whole() } else { question.truncated() })]
        });
        assert_eq!(resolve_v4(&reactor, patient(&[&server]), "host.example").unwrap(), ["10.0.0.1"]);
    }

    fn many_wrong_answers_lead_to_tcp(subject: &Subject) {
        // RFC 5452, section 9.3: an outsider guesses identifiers.
        let reactor = subject.reactor();
        let server = NameServer::raw(&reactor, HERE, |question| {
            let mut answer = question.records(&["host.example. 300 A 10.0.0.1"]);
            if question.by_tcp {
                return vec![bytes(&answer)];
            }
            let wrong = |guess| bytes(answer.set_id(question.id().wrapping_add(guess)));
            (1..=100).map(wrong).collect()
        });
        assert_eq!(resolve_v4(&reactor, patient(&[&server]), "host.example").unwrap(), ["10.0.0.1"]);
        assert_eq!(server.asked(), ["udp A host.example.", "tcp A host.example."]);
    }

    fn each_question_has_a_new_port_with_a_new_identifier(subject: &Subject) {
        // RFC 5452, section 9.2.
        let reactor = subject.reactor();
        let secrets = Rc::new(RefCell::new(Vec::new()));
        let seen = secrets.clone();
        let server = NameServer::start(&reactor, HERE, move |question| {
            seen.borrow_mut().push((question.client.port(), question.id()));
            question.error(ResponseCode::NXDomain)
        });
        let resolver = DnsResolver::new(patient(&[&server]));
        for number in 0..20 {
            let answer = resolver.query(&reactor, &format!("host{number}.example"), RecordType::A);
            assert_eq!(outcome(&reactor, answer).unwrap().response_code(), ResponseCode::NXDomain);
        }
        let mut secrets = secrets.take();
        secrets.sort();
        let ids = secrets.iter().map(|(_, id)| id).collect::<std::collections::BTreeSet<_>>().len();
        secrets.dedup_by_key(|(port, _)| *port);
        // Two of twenty are equal now and then, but not ten.
        assert!(secrets.len() > 10 && ids > 10, "{secrets:?}");
    }

    fn an_answer_is_kept_for_its_lifetime(subject: &Subject) {
        // RFC 1035, section 3.2.1: TTL. RFC 2308: negative answers too, with an SOA record.
        let reactor = subject.reactor();
        let server = NameServer::start(&reactor, HERE, |question| match question.name().as_str() {
            "host.example." => question.answer(&["host.example. 300 A 10.0.0.1", "host.example. 300 AAAA fd00::1"]),
            "never.example." => question.answer(&["never.example. 0 A 10.0.0.2", "never.example. 0 AAAA fd00::2"]),
            _ => {
                let mut none = question.error(ResponseCode::NXDomain);
                none.add_name_server(crate::name_server::record("example. 300 SOA 300"));
                none
            }
        });
        install(&reactor, patient(&[&server]));
        let known = [("host.example", 2), ("HOST.example", 2), ("gone.example", 4), ("gone.example", 4)];
        for (host, questions) in known.into_iter().chain([("never.example", 6), ("never.example", 8)]) {
            let _ = resolve(&reactor, host);
            assert_eq!(server.asked().len(), questions, "{host}");
        }
        let known = reactor.resolve_host_name("host.example", 443);
        assert_eq!(known.try_result().expect("at once").unwrap().len(), 2);
    }

    fn short_names_are_looked_up_in_the_search_list(subject: &Subject) {
        // resolv.conf(5): search.
        let reactor = subject.reactor();
        let server = NameServer::with_zone(&reactor, HERE, &["host.b.example. 300 A 10.0.0.1"]);
        let config = patient(&[&server]).search(["a.example", "b.example"]);
        assert_eq!(resolve_v4(&reactor, config.clone(), "host").unwrap(), ["10.0.0.1"]);
        assert_eq!(server.asked(), ["udp A host.a.example.", "udp A host.b.example."]);
        assert_eq!(resolve_v4(&reactor, config, "host."), Err(DnsError::NoSuchName));
    }

    fn names_beyond_ascii_are_asked_in_their_ascii_form(subject: &Subject) {
        // RFC 5891, section 5.5.
        let reactor = subject.reactor();
        let server = NameServer::with_zone(&reactor, HERE, &["xn--bcher-kva.example. 300 A 10.0.0.1"]);
        install(&reactor, patient(&[&server]));
        assert_eq!(resolve(&reactor, "b\u{fc}cher.example").unwrap(), ["10.0.0.1:80"]);
    }

    fn loopback_names_ask_no_server(subject: &Subject) {
        // RFC 6761, section 6.3.
        let reactor = subject.reactor();
        let server = NameServer::silent(&reactor, HERE);
        install(&reactor, patient(&[&server]));
        let found = reactor.resolve_host_name("db.localhost", 80).try_result().expect("at once").unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap(), "127.0.0.1:80".parse::<SocketAddr>().unwrap()]);
        assert!(resolve(&reactor, "www..example").unwrap_err().to_string().contains("two dots"));
        assert_eq!(server.asked(), [""; 0]);
    }

    fn a_cancelled_lookup_frees_its_port(subject: &Subject) {
        // IHostResolution.cancel.
        let reactor = subject.reactor();
        let client = Rc::new(RefCell::new(None));
        let seen = client.clone();
        let server = NameServer::raw(&reactor, HERE, move |question| {
            *seen.borrow_mut() = Some(question.client);
            Vec::new()
        });
        let asking = DnsResolver::new(patient(&[&server])).query(&reactor, "host.example", RecordType::A);
        iterate_until(&reactor, || client.borrow().is_some());
        let address = client.take().expect("it has asked");
        assert!(reactor.listen_udp(("0.0.0.0", address.port()), DatagramScript::new()).is_err());
        asking.cancel();
        iterate_until(&reactor, || true);
        assert!(asking.try_result().expect("at once").unwrap_err().check::<Cancelled>());
        reactor.listen_udp(("0.0.0.0", address.port()), DatagramScript::new()).unwrap();
        assert_eq!(server.asked().len(), 1);
    }

    fn lookups_beyond_the_bounds_wait_or_fail(subject: &Subject) {
        // No interface: a bound of ours.
        let reactor = subject.reactor();
        let server = NameServer::silent(&reactor, HERE);
        let resolver = DnsResolver::new(patient(&[&server]).concurrent(2).waiting(1));
        let host = |number| format!("host{number}.example");
        let asking = [1, 2, 3, 4].map(|number| resolver.query(&reactor, &host(number), RecordType::A));
        iterate_until(&reactor, || server.asked().len() == 2 && asking[3].is_done());
        let [first, _second, third, fourth] = asking;
        let error: DnsError = fourth.try_result().expect("it is done").unwrap_err().trap().unwrap();
        assert_eq!(error, DnsError::TooMany(1));
        assert!(!third.is_done());
        first.cancel();
        iterate_until(&reactor, || server.asked().len() == 3);
        drop(first.try_result().expect("at once").unwrap_err());
    }

    fn records_of_any_type_can_be_asked_for(subject: &Subject) {
        // lookupMailExchange
        let reactor = subject.reactor();
        let zone = &["example. 300 MX 10 mail.example.", "example. 300 MX 20 spare.example."];
        let server = NameServer::with_zone(&reactor, HERE, zone);
        let resolver = DnsResolver::new(patient(&[&server]));
        let message = outcome(&reactor, resolver.query(&reactor, "example", RecordType::MX)).unwrap();
        let records: Vec<_> = message.answers().iter().map(|record| record.data().to_string()).collect();
        assert_eq!(records, ["10 mail.example.", "20 spare.example."]);
        let message = outcome(&reactor, resolver.query(&reactor, "gone.example", RecordType::MX)).unwrap();
        assert_eq!(message.response_code(), ResponseCode::NXDomain);
    }

    fn a_connection_is_made_by_name(subject: &Subject) {
        // IReactorTCP.connectTCP with a name, for one destination alone.
        let reactor = subject.reactor();
        let server = NameServer::with_zone(&reactor, HERE, &["host.example. 300 A 127.0.0.1"]);
        let port = reactor.listen_tcp((HERE, 0), Script::echo().factory()).unwrap();
        let resolver = Rc::new(DnsResolver::new(patient(&[&server])));
        let (log, address) = (Log::new(), port.host().unwrap().inet().unwrap());
        let destination = Destination::new("host.example", address.port()).resolver(resolver.clone());
        let noted = log.clone();
        let script = Script::new().on_made(move |transport| noted.add(transport.peer().to_string()));
        let _connector = reactor.connect_tcp(destination, LoggingFactory::new(&Log::new(), script)).unwrap();
        iterate_until(&reactor, || !log.entries().is_empty());
        log.expect(&[&address.to_string()]);
        let gone = Destination::new("gone.example", 80).resolver(resolver);
        let log = Log::new();
        let _connector = reactor.connect_tcp(gone, LoggingFactory::new(&log, Script::new())).unwrap();
        iterate_until(&reactor, || log.contains("failed DnsLookup"));
    }
}
