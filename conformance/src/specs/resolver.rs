//! IReactorPluggableNameResolver: from names to addresses.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use ropewalk::endpoints::{TcpClientEndpoint, connect_protocol};
use ropewalk::interfaces::resolver::{HostnameResolver, HostsFileResolver};
use ropewalk::proto::{Cancelled, Deferred, Resolver};
use ropewalk::{Destination, Failure, Reactor, fail, succeed};

use crate::script::{Log, LoggingFactory, Script, stop};
use crate::waiting::{iterate_until, run_until, when};
use crate::{Subject, run, specifications};

/// A resolver that answers when the test calls for it, and records the questions.
#[derive(Default)]
struct Patient {
    asked: RefCell<Vec<String>>,
    waiting: RefCell<Vec<Resolver<Vec<SocketAddr>>>>,
}

impl HostnameResolver for Patient {
    fn resolve_host_name(&self, _reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        self.asked.borrow_mut().push(format!("{host} {port}"));
        let (deferred, resolver) = Deferred::new();
        self.waiting.borrow_mut().push(resolver);
        deferred
    }
}

/// A resolver that always gives the same answer, after a delay or at once.
struct Table(Vec<SocketAddr>, Option<Duration>);

impl HostnameResolver for Table {
    fn resolve_host_name(&self, reactor: &Reactor, _host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let addresses = Vec::from_iter(self.0.iter().map(|address| SocketAddr::new(address.ip(), port)));
        let Some(delay) = self.1 else { return succeed(addresses) };
        let (deferred, resolver) = Deferred::new();
        reactor.call_later(delay, move |_| resolver.callback(addresses).unwrap());
        deferred
    }
}

/// A hosts file that is removed at the end.
struct HostsFile(PathBuf);

impl HostsFile {
    fn new(subject: &Subject, content: &str) -> HostsFile {
        let path = subject.unix_path().with_extension("hosts");
        std::fs::write(&path, content).expect("the folder for temporary files can be written");
        HostsFile(path)
    }
}

impl Drop for HostsFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns a reactor that can read files. In virtual time it reads them in its turns, because a thread takes real time.
fn reads_files(subject: &Subject) -> Reactor {
    let reactor = subject.reactor();
    reactor.set_inline_work(subject.name() == "simulated");
    reactor
}

/// Runs until `answer` has fired, and returns its addresses as text.
fn finish(reactor: &Reactor, answer: Deferred<Vec<SocketAddr>>) -> Result<Vec<String>, String> {
    let (found, handle) = (Rc::new(RefCell::new(None)), reactor.clone());
    let its = found.clone();
    answer.add_both(move |outcome: Result<Vec<SocketAddr>, Failure>| {
        *its.borrow_mut() = Some(outcome.map_err(|failure| failure.to_string()));
        handle.call_from_thread(stop);
    });
    run(reactor);
    let found = found.take().expect("the run ended because it was found");
    found.map(|addresses| addresses.iter().map(ToString::to_string).collect())
}

specifications! {
    resolver;

    fn an_ip_address_resolves_to_itself_without_a_lookup(subject: &Subject) {
        // IReactorCore.resolve: a literal resolves to itself, at once.
        let reactor = subject.reactor();
        let patient = Rc::new(Patient::default());
        reactor.install_name_resolver(patient.clone());
        let literals = [
            ("192.0.2.1", "192.0.2.1:80"),
            ("::1", "[::1]:80"),
            ("fe80::1%2", "[fe80::1%2]:80"),
            ("::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80"),
        ];
        for (literal, address) in literals {
            let found = reactor.resolve_host_name(literal, 80).try_result().expect("at once").unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
        assert!(patient.asked.borrow().is_empty());
    }

    fn the_empty_name_is_the_unspecified_address(subject: &Subject) {
        // IReactorCore.resolve: '' -> '0.0.0.0'
        let found = subject.reactor().resolve_host_name("", 80).try_result().expect("at once").unwrap();
        assert_eq!(found, ["0.0.0.0:80".parse().unwrap()]);
    }

    fn localhost_resolves_to_loopback_with_the_given_port(subject: &Subject) {
        // IHostnameResolver.resolveHostName; RFC 6761. Each provider uses its default resolver here.
        let reactor = subject.reactor();
        let found = finish(&reactor, reactor.resolve_host_name("localhost", 4711)).unwrap();
        assert!(!found.is_empty());
        for address in found {
            let address: SocketAddr = address.parse().unwrap();
            assert!(address.ip().is_loopback() && address.port() == 4711, "{address}");
        }
    }

    fn a_name_beyond_ascii_is_asked_in_its_ascii_form(subject: &Subject) {
        // RFC 5890: name servers know the ASCII form only. HostnameEndpoint: `_idnaBytes`.
        for (host, asked) in [
            ("B\u{fc}cher.example", "xn--bcher-kva.example"),
            ("\u{4f8b}\u{3048}.test.", "xn--r8jz45g.test."),
            ("fa\u{df}.example", "xn--fa-hia.example"),
            ("a_b.\u{e4}.example", "a_b.xn--4ca.example"),
            ("plain_Example", "plain_Example"),
        ] {
            let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
            reactor.install_name_resolver(patient.clone());
            let _answer = reactor.resolve_host_name(host, 80);
            assert_eq!(*patient.asked.borrow(), [format!("{asked} 80")]);
        }
    }

    fn a_name_without_an_ascii_form_is_an_error(subject: &Subject) {
        // RFC 5890. No resolver is asked, and no network.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        for host in ["b\u{fc}cher..example", "\u{fc} x.example", "\u{202e}.example", &"\u{fc}".repeat(64)] {
            let error = reactor.resolve_host_name(host, 80).try_result().expect("at once").unwrap_err();
            assert!(error.to_string().contains("has no ASCII form"), "{host}: {error}");
        }
        let log = Log::new();
        let factory =
            LoggingFactory::new(&log, Script::new()).after(|connector| stop(&connector.try_reactor().unwrap()));
        reactor.connect_tcp("b\u{fc}cher..example:80", factory).unwrap();
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed DnsLookup", "stop factory"]);
        assert!(patient.asked.borrow().is_empty());
    }

    fn wide_digits_are_an_address(subject: &Subject) {
        // UTS 46 maps them to ordinary digits, and a resolver is never asked for an address.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let found = reactor.resolve_host_name("\u{ff11}27.0.0.1", 80).try_result().expect("at once").unwrap();
        assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
        assert!(patient.asked.borrow().is_empty());
    }

    fn names_below_localhost_resolve_to_loopback(subject: &Subject) {
        // RFC 6761, section 6.3: without a query to a name server.
        let reactor = subject.reactor();
        for host in ["localhost", "LOCALHOST.", "a.localhost", "a_b.c.LocalHost."] {
            let found = reactor.resolve_host_name(host, 80).try_result().expect("at once").unwrap();
            assert_eq!(found, ["[::1]:80".parse().unwrap(), "127.0.0.1:80".parse().unwrap()], "{host}");
        }
    }

    fn a_hosts_file_answers_before_the_next_resolver(subject: &Subject) {
        // twisted.names.hosts.Resolver. Other names are passed on, one question for each.
        let (reactor, patient) = (reads_files(subject), Rc::new(Patient::default()));
        let file = HostsFile::new(subject, "192.0.2.7 printer # upstairs\n2001:db8::7 Printer\n");
        reactor.install_name_resolver(Rc::new(HostsFileResolver::new(&file.0, patient.clone())));
        let found = finish(&reactor, reactor.resolve_host_name("PRINTER.", 631)).unwrap();
        assert_eq!(found, ["192.0.2.7:631", "[2001:db8::7]:631"]);
        assert!(patient.asked.borrow().is_empty());
        let answer = reactor.resolve_host_name("upstairs", 80);
        let asked = patient.clone();
        run_until(&reactor, move || !asked.asked.borrow().is_empty());
        assert_eq!(*patient.asked.borrow(), ["upstairs 80"]);
        patient.waiting.borrow_mut().remove(0).callback(vec!["192.0.2.9:80".parse().unwrap()]).unwrap();
        assert_eq!(answer.try_result().unwrap().unwrap(), ["192.0.2.9:80".parse().unwrap()]);
    }

    fn a_changed_hosts_file_is_read_again(subject: &Subject) {
        // twisted.names.hosts.Resolver reads the file for each question.
        let (reactor, file) = (reads_files(subject), HostsFile::new(subject, "192.0.2.1 printer"));
        let next = Rc::new(Table(vec!["192.0.2.99:1".parse().unwrap()], None));
        reactor.install_name_resolver(Rc::new(HostsFileResolver::new(&file.0, next)));
        let ask = || finish(&reactor, reactor.resolve_host_name("printer", 1)).unwrap();
        assert_eq!(ask(), ["192.0.2.1:1"]);
        std::fs::write(&file.0, "192.0.2.2 printer").unwrap();
        assert_eq!(ask(), ["192.0.2.2:1"]);
        std::fs::remove_file(&file.0).unwrap();
        assert_eq!(ask(), ["192.0.2.99:1"]);
    }

    fn connecting_asks_the_hosts_file_for_both_families(subject: &Subject) {
        // RFC 8305, section 3: the families are asked apart. The file has one of them, and nothing else is asked.
        let (reactor, patient, log) = (reads_files(subject), Rc::new(Patient::default()), Log::new());
        let file = HostsFile::new(subject, "127.0.0.1 here\n");
        let hosts = Rc::new(HostsFileResolver::new(&file.0, patient.clone()));
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let number = port.host().unwrap().inet().unwrap().port();
        let client = Script::logged(&log, "client").factory();
        reactor.connect_tcp(Destination::new("here", number).resolver(hosts), client).unwrap();
        let made = log.clone();
        run_until(&reactor, move || made.contains("client made"));
        assert!(patient.asked.borrow().is_empty());
    }

    fn a_name_that_the_hosts_file_lacks_is_asked_once(subject: &Subject) {
        // HostnameResolver::resolve_family: the next resolver does not separate the families.
        let (reactor, patient, log) = (reads_files(subject), Rc::new(Patient::default()), Log::new());
        let file = HostsFile::new(subject, "127.0.0.1 here\n");
        let hosts = Rc::new(HostsFileResolver::new(&file.0, patient.clone()));
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        let client = Script::logged(&log, "client").factory();
        reactor.connect_tcp(Destination::new("there", address.port()).resolver(hosts), client).unwrap();
        let (asked, waiting) = (patient.clone(), patient.clone());
        when(&reactor, move || !asked.asked.borrow().is_empty(), move |_| {
            waiting.waiting.borrow_mut().remove(0).callback(vec![address]).unwrap();
        });
        let made = log.clone();
        run_until(&reactor, move || made.contains("client made"));
        assert_eq!(*patient.asked.borrow(), [format!("there {}", address.port())]);
    }

    fn a_destination_may_have_its_own_resolver(subject: &Subject) {
        // HostnameEndpoint asks reactor.nameResolver. Here a call may choose, and others are not affected.
        let (reactor, log) = (subject.reactor(), Log::new());
        let [installed, own] = [(); 2].map(|()| Rc::new(Patient::default()));
        reactor.install_name_resolver(installed.clone());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        let chosen = Destination::new("db", address.port()).resolver(own.clone());
        reactor.connect_tcp(chosen.clone(), Script::logged(&log, "client").factory()).unwrap();
        reactor.connect_tcp(("db", address.port()), Script::new().factory()).unwrap();
        let endpoint = TcpClientEndpoint::new(chosen).unwrap();
        let second = connect_protocol(&reactor, &endpoint, Script::new());
        let asked = [installed.clone(), own.clone()];
        iterate_until(&reactor, || asked.iter().all(|resolver| !resolver.asked.borrow().is_empty()));
        // Equal questions to one resolver are joined.
        assert_eq!((installed.asked.borrow().len(), own.asked.borrow().len()), (1, 1));
        own.waiting.borrow_mut().remove(0).callback(vec![address]).unwrap();
        iterate_until(&reactor, || log.contains("client made") && second.is_done());
        assert!(second.try_result().unwrap().is_ok());
    }

    fn capitals_in_a_name_make_no_difference(subject: &Subject) {
        // RFC 1034, section 3.1
        let reactor = subject.reactor();
        assert!(!finish(&reactor, reactor.resolve_host_name("LocalHost", 80)).unwrap().is_empty());
    }

    fn an_impossible_name_has_no_address(subject: &Subject) {
        // GAIResolver reports errors as "no addresses". Unlike in Twisted, the reason is kept. Such a name causes no
        // query to the network.
        for name in ["a\0b", &"long".repeat(100), "no.such.host."] {
            let reactor = subject.reactor();
            if subject.name() != "simulated" && name.ends_with('.') {
                continue;
            }
            let outcome = finish(&reactor, reactor.resolve_host_name(name, 80));
            assert!(outcome.as_ref().is_ok_and(Vec::is_empty) || outcome.is_err(), "{name:?}: {outcome:?}");
        }
    }

    fn an_installed_resolver_replaces_the_previous_one(subject: &Subject) {
        // IReactorPluggableNameResolver.installNameResolver returns the previous one.
        let reactor = subject.reactor();
        let patient = Rc::new(Patient::default());
        let standard = reactor.install_name_resolver(patient.clone());
        let answer = reactor.resolve_host_name("example.org", 80);
        assert_eq!(*patient.asked.borrow(), ["example.org 80"]);
        let addresses = vec!["192.0.2.1:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()];
        patient.waiting.borrow_mut().remove(0).callback(addresses).unwrap();
        assert_eq!(finish(&reactor, answer).unwrap(), ["192.0.2.1:80", "[2001:db8::1]:80"]);

        let back = reactor.install_name_resolver(standard);
        assert!(std::ptr::addr_eq(Rc::as_ptr(&back), Rc::as_ptr(&patient)));
        assert!(!finish(&reactor, reactor.resolve_host_name("localhost", 80)).unwrap().is_empty());
        assert_eq!(patient.asked.borrow().len(), 1);
    }

    fn a_resolver_may_answer_in_a_later_turn(subject: &Subject) {
        // IHostnameResolver gets the reactor, and so its clock.
        let reactor = subject.reactor();
        let slow = Table(vec!["192.0.2.7:0".parse().unwrap()], Some(Duration::from_millis(2)));
        reactor.install_name_resolver(Rc::new(slow));
        let answer = reactor.resolve_host_name("slow.example", 7);
        assert!(!answer.is_done());
        assert_eq!(finish(&reactor, answer).unwrap(), ["192.0.2.7:7"]);
    }

    fn a_failure_of_the_resolver_reaches_the_caller(subject: &Subject) {
        // IReactorCore.resolve: DNSLookupError
        struct Broken;
        impl HostnameResolver for Broken {
            fn resolve_host_name(&self, _: &Reactor, host: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
                fail(std::io::Error::other(format!("no server for {host}")))
            }
        }
        let reactor = subject.reactor();
        reactor.install_name_resolver(Rc::new(Broken));
        let outcome = finish(&reactor, reactor.resolve_host_name("example.org", 80));
        assert_eq!(outcome.unwrap_err(), "no server for example.org");
    }

    fn a_name_that_is_not_answered_fails_after_a_minute(subject: &Subject) {
        // IReactorCore.resolve: timeout=(1, 3, 11, 45), together 60 s. The minute is skipped.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let began = reactor.now();
        let answer = reactor.resolve_host_name("silent.example", 80);
        let [timer] = &reactor.get_delayed_calls()[..] else { panic!("one timer") };
        let limit = timer.get_time().unwrap().since(began);
        assert!((Duration::from_secs(60)..Duration::from_secs(61)).contains(&limit), "{limit:?}");
        timer.reset(Duration::ZERO).unwrap();
        assert_eq!(finish(&reactor, answer).unwrap_err(), "timed out after 60s");
    }

    fn the_names_of_the_provider_are_used_by_default(subject: &Subject) {
        // EventProvider::names: a simulated network has names of its own, and no other network is asked.
        let reactor = subject.naming(|host| match host {
            "printer" => Ok(vec!["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()]),
            "broken" => Err(std::io::Error::other("the name server is down")),
            _ => Ok(Vec::new()),
        });
        let found = reactor.resolve_host_name("printer", 631).try_result().expect("at once").unwrap();
        assert_eq!(found, ["192.0.2.9:631".parse().unwrap(), "[2001:db8::9]:631".parse().unwrap()]);
        assert!(reactor.resolve_host_name("nowhere", 631).try_result().expect("at once").unwrap().is_empty());
        let failure = reactor.resolve_host_name("broken", 631).try_result().expect("at once").unwrap_err();
        assert_eq!(failure.to_string(), "the name server is down");
        let log = Log::new();
        let ends = reactor.clone();
        let factory = LoggingFactory::new(&log, Script::new()).after(move |_| stop(&ends));
        reactor.connect_tcp("nowhere:631", factory).unwrap();
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed DnsLookup", "stop factory"]);
    }

    fn a_name_is_asked_once_for_all_callers_that_wait(subject: &Subject) {
        // A burst of connections to one name must not fill the threads and the name server's queue.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let answers = [(); 3].map(|()| reactor.resolve_host_name("busy.example", 80));
        let other = reactor.resolve_host_name("busy.example", 81);
        assert_eq!(*patient.asked.borrow(), ["busy.example 80", "busy.example 81"]);
        let addresses = vec!["192.0.2.1:80".parse().unwrap()];
        patient.waiting.borrow_mut().remove(0).callback(addresses.clone()).unwrap();
        for answer in answers {
            assert_eq!(answer.try_result().expect("it has come").unwrap(), addresses);
        }
        assert!(!other.is_done());
        let later = reactor.resolve_host_name("busy.example", 80);
        assert_eq!(patient.asked.borrow().len(), 3, "an answer is not kept");
        drop((other, later));
    }

    fn a_failed_lookup_fails_for_all_callers_that_wait(subject: &Subject) {
        // Each caller gets the kind and the message of the error.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let answers = [(); 3].map(|()| reactor.resolve_host_name("broken.example", 80));
        let error = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "not for you");
        patient.waiting.borrow_mut().remove(0).errback(error).unwrap();
        for answer in answers {
            let failure = answer.try_result().expect("it has come").unwrap_err();
            assert_eq!(failure.to_string(), "not for you");
            let kind = failure.downcast_ref().map(std::io::Error::kind);
            assert_eq!(kind, Some(std::io::ErrorKind::PermissionDenied));
        }
    }

    fn the_last_caller_that_gives_up_cancels_the_lookup(subject: &Subject) {
        // Deferred.cancel: each caller gives up for itself alone.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let ask = || reactor.resolve_host_name("slow.example", 80);
        let is_cancelled = |index: usize| patient.waiting.borrow()[index].is_cancelled();
        let (first, second, third) = (ask(), ask(), ask());
        first.cancel();
        assert!(first.try_result().expect("at once").unwrap_err().check::<Cancelled>());
        second.cancel();
        assert!(!is_cancelled(0) && !third.is_done());
        third.cancel();
        assert!(is_cancelled(0));
        // A later question has nothing to do with the cancelled one, whose answer may still come.
        let later = ask();
        assert_eq!(patient.asked.borrow().len(), 2);
        let [late, timely] = [0, 1].map(|_| patient.waiting.borrow_mut().remove(0));
        let _ = late.callback(vec!["192.0.2.1:80".parse().unwrap()]);
        assert!(!later.is_done());
        timely.callback(vec!["192.0.2.2:80".parse().unwrap()]).unwrap();
        assert_eq!(later.try_result().expect("it has come").unwrap(), ["192.0.2.2:80".parse().unwrap()]);
        drop((second, third));
    }

    fn a_caller_may_give_another_one_up(subject: &Subject) {
        // The callbacks of one answer may cancel the other callers, and may ask again.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let ask = |reactor: &Reactor| reactor.resolve_host_name("busy.example", 80);
        let (first, second) = (ask(&reactor), ask(&reactor));
        let (other, asks) = (second.cancel_handle(), reactor.clone());
        let again = first.and_then(move |_| {
            other.cancel();
            ask(&asks)
        });
        let asked = patient.waiting.borrow_mut().remove(0);
        asked.callback(Vec::new()).unwrap();
        assert!(second.try_result().expect("at once").unwrap_err().check::<Cancelled>());
        assert!(!again.is_done());
        patient.waiting.borrow_mut().remove(0).callback(Vec::new()).unwrap();
        assert!(again.is_done());
    }

    fn names_are_looked_up_while_all_threads_of_the_pool_are_busy(subject: &Subject) {
        // Files and names must not wait for each other: the look-ups have threads of their own.
        let reactor = subject.reactor();
        let (release, released) = channel::<()>();
        reactor.suggest_thread_pool_size(1);
        reactor.call_in_thread(move || assert!(released.recv().is_err()));
        // The system parses the second name, an old form of an address, without a query.
        let name = if subject.name() == "simulated" { "localhost" } else { "127.1" };
        let found = finish(&reactor, reactor.resolve_host_name(name, 80)).unwrap();
        assert!(!found.is_empty());
        drop(release);
    }

    fn connecting_to_a_name_resolves_it_in_a_later_turn(subject: &Subject) {
        // IReactorTCP.connectTCP returns before the name is resolved.
        let (reactor, log) = (subject.reactor(), Log::new());
        let patient = Rc::new(Patient::default());
        reactor.install_name_resolver(patient.clone());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        let client = Script::logged(&log, "client").on_made(|transport| stop(&transport.reactor()));
        let destination = Destination::new("server.example", address.port());
        reactor.connect_tcp(destination, LoggingFactory::new(&log, client)).unwrap();
        assert!(patient.asked.borrow().is_empty());
        log.expect(&["start factory", "started connecting"]);
        let its = patient.clone();
        reactor.call_later(Duration::from_millis(1), move |_| {
            its.waiting.borrow_mut().remove(0).callback(vec![address]).unwrap();
        });
        run(&reactor);
        assert_eq!(*patient.asked.borrow(), [format!("server.example {}", address.port())]);
        assert_eq!(log.entries()[2..4], ["build", "client made"]);
    }

    fn an_attempt_without_a_timeout_outlives_its_connector_handle(subject: &Subject) {
        // IReactorTCP.connectTCP: callers may ignore its result.
        let (reactor, patient) = (subject.reactor(), Rc::new(Patient::default()));
        reactor.install_name_resolver(patient.clone());
        let port = reactor.listen_tcp("127.0.0.1:0", Script::new().factory()).unwrap();
        let address = port.host().unwrap().inet().unwrap();
        let log = Log::new();
        let client = Script::logged(&log, "client").on_made(|transport| stop(&transport.reactor()));
        reactor.connect_tcp(Destination::new("server.example", 80).timeout(None), client.factory()).unwrap();
        let its = patient.clone();
        reactor.call_later(Duration::from_millis(2), move |_| {
            its.waiting.borrow_mut().remove(0).callback(vec![address]).unwrap();
        });
        reactor.call_later(Duration::from_secs(5), stop);
        run(&reactor);
        assert_eq!(log.count("client made"), 1);
    }

    fn connecting_to_an_unknown_name_is_a_lookup_error(subject: &Subject) {
        // IReactorTCP.connectTCP: DNSLookupError, delivered to clientConnectionFailed.
        for addresses in [None, Some(Duration::from_millis(1))] {
            let (reactor, log) = (subject.reactor(), Log::new());
            reactor.install_name_resolver(Rc::new(Table(Vec::new(), addresses)));
            let factory = LoggingFactory::new(&log, Script::new()).after(|connector| {
                assert_eq!(connector.destination().to_string(), "nowhere.example:80");
            });
            let ends = reactor.clone();
            let factory = factory.after(move |_| stop(&ends));
            reactor.connect_tcp("nowhere.example:80", factory).unwrap();
            run(&reactor);
            log.expect(&["start factory", "started connecting", "failed DnsLookup", "stop factory"]);
        }
    }

    fn the_connect_timeout_includes_the_resolution(subject: &Subject) {
        // IReactorTCP.connectTCP: the timeout counts from connect(). This resolver never answers, and the hour is
        // skipped.
        let (reactor, log) = (subject.reactor(), Log::new());
        let patient = Rc::new(Patient::default());
        reactor.install_name_resolver(patient.clone());
        let ends = reactor.clone();
        let factory = LoggingFactory::new(&log, Script::new()).after(move |_| stop(&ends));
        let destination = Destination::new("patient.example", 80).timeout(Duration::from_secs(3600));
        reactor.connect_tcp(destination, factory).unwrap();
        let (asked, clock) = (patient.clone(), reactor.clone());
        when(&reactor, move || !asked.asked.borrow().is_empty(), move |_| {
            clock.get_delayed_calls().iter().for_each(|call| call.reset(Duration::ZERO).unwrap());
        });
        run(&reactor);
        log.expect(&["start factory", "started connecting", "failed ConnectTimedOut", "stop factory"]);
        // A late answer is not an error, and starts no attempt.
        let late = patient.waiting.borrow_mut().remove(0);
        late.callback(vec!["127.0.0.1:80".parse().unwrap()]).unwrap();
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_replaced_resolver_still_answers_pending_questions(subject: &Subject) {
        // IReactorPluggableNameResolver.installNameResolver concerns later questions.
        let reactor = subject.reactor();
        let patient = Rc::new(Patient::default());
        reactor.install_name_resolver(patient.clone());
        let first = reactor.resolve_host_name("first.example", 1);
        reactor.install_name_resolver(Rc::new(Table(vec!["192.0.2.2:0".parse().unwrap()], None)));
        let second = reactor.resolve_host_name("second.example", 2).try_result().expect("at once");
        assert_eq!(second.unwrap(), ["192.0.2.2:2".parse().unwrap()]);
        patient.waiting.borrow_mut().remove(0).callback(vec!["192.0.2.1:1".parse().unwrap()]).unwrap();
        assert_eq!(finish(&reactor, first).unwrap(), ["192.0.2.1:1"]);
    }

    fn a_resolver_may_install_another_during_a_lookup(subject: &Subject) {
        // The reactor borrows nothing while user code runs.
        struct OnlyOnce;
        impl HostnameResolver for OnlyOnce {
            fn resolve_host_name(&self, reactor: &Reactor, host: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
                reactor.install_name_resolver(Rc::new(Table(vec!["192.0.2.3:0".parse().unwrap()], None)));
                reactor.resolve_host_name(host, port + 1)
            }
        }
        let reactor = subject.reactor();
        reactor.install_name_resolver(Rc::new(OnlyOnce));
        let found = reactor.resolve_host_name("example.org", 80);
        assert_eq!(finish(&reactor, found).unwrap(), ["192.0.2.3:81"]);
    }
}
