//! Connecting by a name with several addresses, on real sockets: RFC 8305 (happy eyeballs).
//!
//! The specifications of `races` and `lookups` check each delay in virtual time. Here real sockets take part: one
//! refuses, one never answers, and one answers late. A machine may stand still, so times have lower limits only.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::interfaces::resolver::{HostnameResolver, IpFamily};
use ropewalk::proto::Resolver;
use ropewalk::{Connector, Deferred, Destination, Error, Port, Reactor, succeed};
use rustix::io::Errno;

use crate::links::NOWHERE;
use crate::script::{Log, LoggingFactory, Script};
use crate::specifications;
use crate::waiting::iterate_until;

/// RFC 8305, section 8: Connection Attempt Delay.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// RFC 8305, section 8: Resolution Delay.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A listening socket with a full queue: the system drops further attempts, which are sent again after a second.
struct Silent {
    listener: TcpListener,
    address: SocketAddr,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    fn at(ip: IpAddr) -> Silent {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        // listen(2) again: the queue has the smallest length.
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let next = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let waiting = std::iter::from_fn(next).collect();
        Silent { listener, address, _waiting: waiting }
    }

    /// Takes the first connection from the queue, so that an attempt that is sent again is answered.
    fn make_room(&self) {
        drop(self.listener.accept().unwrap());
    }
}

/// A resolver that knows one name, and answers at once.
struct Several(Vec<SocketAddr>);

impl HostnameResolver for Several {
    fn resolve_host_name(&self, _: &Reactor, _host: &str, _port: u16) -> Deferred<Vec<SocketAddr>> {
        succeed(self.0.clone())
    }
}

/// A resolver that answers at once for IPv4, and never for IPv6.
struct OnlyIpv4 {
    address: SocketAddr,
    log: Log,
    /// Dropping the resolver would fail the lookup.
    pending: Cell<Option<Resolver<Vec<SocketAddr>>>>,
}

impl HostnameResolver for OnlyIpv4 {
    fn resolve_host_name(&self, _: &Reactor, host: &str, _port: u16) -> Deferred<Vec<SocketAddr>> {
        panic!("'{host}' must be looked up by family");
    }

    fn resolve_family(&self, _: &Reactor, _: &str, _: u16, family: IpFamily) -> Option<Deferred<Vec<SocketAddr>>> {
        if family == IpFamily::V4 {
            return Some(succeed(vec![self.address]));
        }
        let log = self.log.clone();
        let (deferred, resolver) = Deferred::with_canceller(move |_| log.add("cancelled the lookup"));
        self.pending.set(Some(resolver));
        Some(deferred)
    }
}

fn listen(reactor: &Reactor, ip: IpAddr) -> (Port, SocketAddr) {
    let port = reactor.listen_tcp((ip, 0), Script::new().factory()).unwrap();
    let address = port.host().unwrap().inet().unwrap();
    (port, address)
}

/// Makes `several.test` the name of these addresses.
fn name(reactor: &Reactor, addresses: &[SocketAddr]) {
    reactor.install_name_resolver(Rc::new(Several(addresses.to_vec())));
}

fn destination() -> Destination {
    Destination::new("several.test", 80)
}

/// An attempt to connect to `several.test`, its outcome, and the time that it has taken.
struct Attempt {
    log: Log,
    took: Rc<Cell<Option<Duration>>>,
    connector: Connector,
}

impl Attempt {
    fn begin(reactor: &Reactor, destination: Destination) -> Attempt {
        let (log, took) = (Log::new(), Rc::new(Cell::new(None)));
        let (began, seen) = (reactor.now(), log.clone());
        let (made, failed) = (took.clone(), took.clone());
        let client = Script::new().on_made(move |transport| {
            made.set(Some(transport.reactor().now() - began));
            seen.add(format!("made {}", transport.peer()));
        });
        let factory = LoggingFactory::new(&log, client).after(move |connector| {
            failed.set(connector.try_reactor().map(|reactor| reactor.now() - began));
        });
        Attempt { connector: reactor.connect_tcp(destination, factory).unwrap(), log, took }
    }

    /// Turns the loop until the attempt has an outcome, and returns its time. The end of a run would close the
    /// connection.
    fn finish(&self, reactor: &Reactor) -> Duration {
        iterate_until(reactor, || self.took.get().is_some());
        self.took.get().expect("it has an outcome")
    }

    /// Fails unless the factory's log has exactly these entries after its start.
    #[track_caller]
    fn expect(&self, entries: &[&str]) {
        assert_eq!(self.log.entries().split_off(2), entries);
    }

    #[track_caller]
    fn expect_made(&self, address: SocketAddr) {
        self.expect(&["build", &format!("made {address}")]);
    }
}

/// Fails unless only a port and both ends of a connection are left, and no timer.
#[track_caller]
fn expect_one_connection(reactor: &Reactor, ports: usize) {
    assert_eq!(reactor.source_count(), ports + 2, "attempts are left over");
    assert!(reactor.get_delayed_calls().is_empty(), "timers are left over");
}

specifications! {
    real_races;

    fn a_refused_first_address_is_followed_at_once(subject: &Subject) {
        // RFC 8305, section 5: a failed attempt starts the next one without the delay.
        for _attempt in 0..20 {
            let reactor = subject.reactor();
            let (_port, open) = listen(&reactor, V4);
            name(&reactor, &[SocketAddr::new(V6, NOWHERE.port()), open]);
            let attempt = Attempt::begin(&reactor, destination());
            let took = attempt.finish(&reactor);
            attempt.expect_made(open);
            expect_one_connection(&reactor, 1);
            if took < ATTEMPT_DELAY {
                return;
            }
            // The machine was too busy, so this attempt proves nothing about the time.
        }
        panic!("the second attempt began only after the delay");
    }

    fn a_silent_first_address_is_overtaken_after_the_delay(subject: &Subject) {
        // RFC 8305, section 5: Connection Attempt Delay.
        for (silent, open) in [(V6, V4), (V4, V6)] {
            let (reactor, silent) = (subject.reactor(), Silent::at(silent));
            let (_port, open) = listen(&reactor, open);
            name(&reactor, &[silent.address, open]);
            let attempt = Attempt::begin(&reactor, destination());
            assert!(attempt.finish(&reactor) >= ATTEMPT_DELAY);
            attempt.expect_made(open);
            expect_one_connection(&reactor, 1);
        }
    }

    fn the_second_attempt_is_of_the_other_family(subject: &Subject) {
        // RFC 8305, section 4: the families alternate, whatever the order of the resolver.
        let (reactor, silent) = (subject.reactor(), Silent::at(V4));
        let ((_port, same), (_other_port, other)) = (listen(&reactor, V4), listen(&reactor, V6));
        name(&reactor, &[silent.address, same, other]);
        let attempt = Attempt::begin(&reactor, destination());
        attempt.finish(&reactor);
        attempt.expect_made(other);
        expect_one_connection(&reactor, 2);
    }

    fn a_late_first_address_may_still_win(subject: &Subject) {
        // RFC 8305, section 5: attempts run in parallel. The system sends the first attempt again after a second.
        let (reactor, late, silent) = (subject.reactor(), Silent::at(V6), Silent::at(V4));
        name(&reactor, &[late.address, silent.address]);
        let attempt = Attempt::begin(&reactor, destination());
        let address = late.address;
        reactor.call_later(ATTEMPT_DELAY * 2, move |reactor| {
            assert_eq!(reactor.source_count(), 2, "both attempts are under way");
            late.make_room();
            std::mem::forget(late);
        });
        assert!(attempt.finish(&reactor) >= ATTEMPT_DELAY * 2);
        attempt.expect_made(address);
        assert_eq!(reactor.source_count(), 1, "the other attempt is closed");
    }

    fn two_failed_ipv6_addresses_leave_ipv4(subject: &Subject) {
        // RFC 8305, section 5. This machine does not have the second address.
        let reactor = subject.reactor();
        let (_port, open) = listen(&reactor, V4);
        let refusing = SocketAddr::new(V6, NOWHERE.port());
        let foreign = SocketAddr::new(std::net::Ipv6Addr::from(2).into(), NOWHERE.port());
        name(&reactor, &[refusing, foreign, open]);
        let attempt = Attempt::begin(&reactor, destination());
        attempt.finish(&reactor);
        attempt.expect_made(open);
        expect_one_connection(&reactor, 1);
        name(&reactor, &[refusing, foreign, NOWHERE]);
        let endpoint = client_from_string(&reactor, "tcp:several.test:80").unwrap();
        let connected = endpoint.connect(&reactor, Rc::new(Script::new().factory()));
        iterate_until(&reactor, || connected.is_done());
        let error: Error = connected.try_result().unwrap().unwrap_err().trap().unwrap();
        let Error::NoneOfSeveral(attempts) = error else { panic!("{error:?}") };
        let tried: Vec<_> = attempts.iter().map(|(address, _)| address.inet().unwrap()).collect();
        assert_eq!(tried, [refusing, NOWHERE, foreign]);
        assert!(attempts.iter().all(|(_, error)| error.raw_os_error().is_some()), "{attempts:?}");
    }

    fn all_refusals_are_reported_together(subject: &Subject) {
        // IStreamClientEndpoint.connect; each attempt has the number of the system's error.
        let reactor = subject.reactor();
        let addresses = [SocketAddr::new(V6, NOWHERE.port()), NOWHERE];
        name(&reactor, &addresses);
        let endpoint = client_from_string(&reactor, "tcp:several.test:80").unwrap();
        let connected = endpoint.connect(&reactor, Rc::new(Script::new().factory()));
        iterate_until(&reactor, || connected.is_done());
        let error: Error = connected.try_result().unwrap().unwrap_err().trap().unwrap();
        let Error::NoneOfSeveral(attempts) = error else { panic!("{error:?}") };
        let refused = |(address, error): &(ropewalk::Address, Error)| {
            let number = error.raw_os_error().map(Errno::from_raw_os_error);
            (address.inet().unwrap(), error.name(), number)
        };
        let expected = addresses.map(|address| (address, "ConnectionRefused", Some(Errno::CONNREFUSED)));
        assert_eq!(attempts.iter().map(refused).collect::<Vec<_>>(), expected);
        assert_eq!(reactor.source_count(), 0);
    }

    fn the_timeout_closes_every_silent_attempt(subject: &Subject) {
        // IReactorTCP.connectTCP: the timeout covers all attempts.
        let (reactor, silent) = (subject.reactor(), [Silent::at(V6), Silent::at(V4)]);
        name(&reactor, &[silent[0].address, silent[1].address]);
        let timeout = ATTEMPT_DELAY + Duration::from_millis(100);
        let attempt = Attempt::begin(&reactor, destination().timeout(timeout));
        assert!(attempt.finish(&reactor) >= timeout);
        attempt.expect(&["failed ConnectTimedOut", "stop factory"]);
        assert_eq!(reactor.source_count(), 0);
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn stopping_a_race_closes_both_attempts(subject: &Subject) {
        // IConnector.stopConnecting
        let (reactor, silent) = (subject.reactor(), [Silent::at(V6), Silent::at(V4)]);
        name(&reactor, &[silent[0].address, silent[1].address]);
        let attempt = Attempt::begin(&reactor, destination());
        iterate_until(&reactor, || reactor.source_count() == 2);
        attempt.connector.stop_connecting().unwrap();
        attempt.expect(&["failed UserAborted", "stop factory"]);
        assert_eq!((reactor.source_count(), reactor.get_delayed_calls().len()), (0, 0));
    }

    fn a_silent_ipv6_lookup_is_waited_for_briefly(subject: &Subject) {
        // RFC 8305, section 3: Resolution Delay. The lookup is cancelled when the connection is made.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (_port, address) = listen(&reactor, V4);
        reactor.install_name_resolver(Rc::new(OnlyIpv4 { address, log: log.clone(), pending: Cell::default() }));
        let attempt = Attempt::begin(&reactor, destination());
        assert!(attempt.finish(&reactor) >= RESOLUTION_DELAY);
        attempt.expect_made(address);
        log.expect(&["cancelled the lookup"]);
        expect_one_connection(&reactor, 1);
    }
}
