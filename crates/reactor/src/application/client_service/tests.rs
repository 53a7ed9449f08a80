//! ClientService on a simulated network. The source is twisted.application.test.test_internet.

use super::*;
use crate::PanicPolicy;
use crate::application::ServiceHandle;
use crate::endpoints::TcpClientEndpoint;
use crate::testing::{AccumulatingProtocol, MemoryReactor, TestListener, TestStream};

const SECOND: Duration = Duration::from_secs(1);
const SERVER: &str = "10.0.0.1:80";

/// A client that waits 1, 2, 3 ... seconds.
fn client() -> ClientService {
    let endpoint = TcpClientEndpoint::new(SERVER).unwrap();
    ClientService::new(endpoint, AccumulatingProtocol::new)
        .retry_policy(|failures| Duration::from_secs(u64::from(failures)))
}

struct Bench {
    net: MemoryReactor,
    client: ClientService,
    service: ServiceHandle,
}

impl Bench {
    fn new(client: ClientService) -> Bench {
        let service = ServiceHandle::new(client.clone());
        Bench { net: MemoryReactor::new(), client, service }
    }

    fn with_server(client: ClientService) -> (Bench, TestListener) {
        let bench = Bench::new(client);
        let server = bench.net.listen_stream(SERVER).unwrap();
        (bench, server)
    }

    fn start(&self) {
        assert!(self.service.start(&self.net).is_done(), "starting does not wait for the connection");
        self.net.settle();
    }

    fn attempts(&self) -> usize {
        self.net.tcp_clients().len()
    }

    #[track_caller]
    fn is_over(&self, stopped: Deferred<()>) {
        self.net.settle();
        assert!(stopped.try_result().expect("a completed stop").is_ok());
        assert_eq!(self.net.open_sources(), 0);
        assert!(self.net.get_delayed_calls().is_empty());
        self.net.advance(3600 * SECOND);
        assert_eq!(self.net.open_sources(), 0);
        assert!(failure(self.client.when_connected(None)).check::<Cancelled>());
    }
}

#[track_caller]
fn value<T>(deferred: Deferred<T>) -> T {
    deferred.try_result().expect("a fired Deferred").expect("a value")
}

#[track_caller]
fn failure<T>(deferred: Deferred<T>) -> Failure {
    deferred.try_result().expect("a fired Deferred").err().expect("a failure")
}

fn accepted(server: &TestListener) -> TestStream {
    server.accept().expect("a connection")
}

#[test]
fn nothing_is_connected_before_the_start() {
    let (bench, server) = Bench::with_server(client());
    let waiting = bench.client.when_connected(None);
    bench.net.advance(10 * SECOND);
    assert!(server.accept().is_none() && !waiting.is_done());
    bench.start();
    assert_eq!(value(waiting).peer().to_string(), SERVER);
    assert!(value(bench.client.when_connected(None)).is_connected());
}

#[test]
fn a_service_without_handles_runs_until_its_reactor_is_dropped() {
    let kept = Rc::new(());
    let held = kept.clone();
    let endpoint = TcpClientEndpoint::new(SERVER).unwrap();
    let factory = move || {
        let _ = &held;
        AccumulatingProtocol::new()
    };
    let net = MemoryReactor::new();
    ServiceHandle::new(ClientService::new(endpoint, factory).retry_policy(|_| SECOND)).start(&net);
    net.advance(3 * SECOND);
    assert_eq!(net.tcp_clients().len(), 4, "the service still tries to connect");
    let server = net.listen_stream(SERVER).unwrap();
    net.advance(2 * SECOND);
    accepted(&server).close();
    net.advance(2 * SECOND);
    let again = accepted(&server);
    net.settle();
    assert_eq!(Rc::strong_count(&kept), 2);
    drop((net, server, again));
    assert_eq!(Rc::strong_count(&kept), 1, "dropping the reactor drops the service");
}

#[test]
fn a_waiting_service_is_dropped_with_its_reactor() {
    let kept = Rc::new(());
    let held = kept.clone();
    let net = MemoryReactor::new();
    let factory = move || {
        let _ = &held;
        AccumulatingProtocol::new()
    };
    ServiceHandle::new(ClientService::new(TcpClientEndpoint::new(SERVER).unwrap(), factory)).start(&net);
    net.settle();
    drop(net);
    assert_eq!(Rc::strong_count(&kept), 1);
}

#[test]
fn failed_attempts_are_retried_after_the_policys_delays() {
    let bench = Bench::new(client());
    bench.start();
    let mut made = Vec::new();
    for second in 1..=10 {
        let before = bench.attempts();
        bench.net.advance(SECOND);
        made.extend((before..bench.attempts()).map(|_| second));
    }
    assert_eq!(made, [1, 3, 6, 10]);
}

#[test]
fn a_policy_that_panics_does_not_stop_the_service() {
    let bench = Bench::new(client().retry_policy(|_| panic!("a bug")));
    bench.net.set_panic_policy(PanicPolicy::Log);
    bench.start();
    bench.net.advance(FALLBACK_DELAY - SECOND);
    assert_eq!(bench.attempts(), 1);
    bench.net.advance(SECOND);
    assert_eq!(bench.attempts(), 2);
}

#[test]
fn after_a_lost_connection_the_delays_start_again() {
    let (bench, server) = Bench::with_server(client());
    bench.start();
    for _ in 0..3 {
        accepted(&server).close();
        bench.net.settle();
        assert!(!bench.client.when_connected(None).is_done());
        bench.net.advance(SECOND);
        assert!(bench.client.when_connected(None).is_done());
    }
}

#[test]
fn a_waiter_fails_after_its_chosen_number_of_failures() {
    let bench = Bench::new(client());
    let [forever, once, twice] = [None, Some(1), Some(2)].map(|limit| bench.client.when_connected(limit));
    let hasty = bench.client.when_connected(0);
    bench.start();
    assert!(matches!(failure(once).trap().unwrap(), Error::ConnectionRefused(..)));
    assert!(hasty.is_done(), "0 counts as 1");
    assert!(!twice.is_done());
    // This waiter counts failures from its own call, not from the start of the service.
    let late = bench.client.when_connected(2);
    bench.net.advance(SECOND);
    assert!(matches!(failure(twice).trap().unwrap(), Error::ConnectionRefused(..)));
    assert!(!late.is_done());
    bench.net.advance(2 * SECOND);
    assert!(late.is_done() && !forever.is_done());
    let server = bench.net.listen_stream(SERVER).unwrap();
    bench.net.advance(3 * SECOND);
    assert!(value(forever).is_connected() && server.accept().is_some());
}

#[test]
fn waiters_fire_after_the_connection_is_prepared() {
    let place: Rc<RefCell<Option<Resolver<()>>>> = Rc::default();
    let kept = place.clone();
    let (bench, _server) = Bench::with_server(client().prepare_connection(move |transport: &Transport| {
        transport.write(b"login");
        let (deferred, resolver) = Deferred::new();
        *kept.borrow_mut() = Some(resolver);
        deferred
    }));
    bench.start();
    let waiting = bench.client.when_connected(None);
    assert!(!waiting.is_done());
    place.take().unwrap().callback(()).unwrap();
    assert!(value(waiting).is_connected());
}

#[test]
fn a_prepare_that_fails_or_panics_fails_the_attempt() {
    let failing = client().prepare_connection(|_: &Transport| fail::<()>(Error::TimedOut));
    let panicking = client().prepare_connection(|_: &Transport| -> () { panic!("wrong password") });
    for client in [failing, panicking] {
        let (bench, server) = Bench::with_server(client);
        bench.net.set_panic_policy(PanicPolicy::Log);
        let impatient = bench.client.when_connected(2);
        bench.start();
        assert!(accepted(&server).is_reset());
        assert!(server.accept().is_none() && !impatient.is_done());
        bench.net.advance(SECOND);
        assert!(accepted(&server).is_reset());
        assert!(matches!(failure(impatient).trap().unwrap(), Error::TimedOut | Error::Panicked(..)));
        bench.net.advance(SECOND);
        assert!(server.accept().is_none(), "the second delay is longer");
    }
}

#[test]
fn a_connection_lost_while_preparing_is_a_failed_attempt() {
    let cancelled = Rc::new(Cell::new(0));
    let count = cancelled.clone();
    let (bench, server) = Bench::with_server(client().prepare_connection(move |_: &Transport| {
        let count = count.clone();
        let (deferred, resolver) = Deferred::with_canceller(move |_| count.set(count.get() + 1));
        std::mem::forget(resolver);
        deferred
    }));
    let impatient = bench.client.when_connected(1);
    bench.start();
    accepted(&server).abort();
    bench.net.settle();
    assert!(matches!(failure(impatient).trap().unwrap(), Error::ConnectionLost(_)));
    assert_eq!(cancelled.get(), 1);
    bench.net.advance(SECOND);
    assert!(server.accept().is_some());
}

#[test]
fn stop_before_the_start_fails_waiters() {
    let bench = Bench::new(client());
    let waiting = bench.client.when_connected(None);
    let stopped = bench.client.stop(&bench.net);
    assert!(failure(waiting).check::<Cancelled>());
    bench.is_over(stopped);
}

#[test]
fn stop_while_connecting_cancels_the_attempt() {
    let bench = Bench::new(client());
    bench.service.start(&bench.net);
    let waiting = bench.client.when_connected(None);
    let stopped = bench.service.stop(&bench.net);
    assert!(failure(waiting).check::<Cancelled>());
    bench.is_over(stopped);
}

#[test]
fn stop_while_waiting_cancels_the_next_attempt() {
    let bench = Bench::new(client());
    bench.start();
    let stopped = bench.service.stop(&bench.net);
    bench.is_over(stopped);
    assert_eq!(bench.attempts(), 1);
}

#[test]
fn stop_while_preparing_closes_the_connection() {
    let (bench, server) = Bench::with_server(client().prepare_connection(|_: &Transport| {
        let (deferred, resolver) = Deferred::new();
        std::mem::forget(resolver);
        deferred
    }));
    bench.start();
    let stopped = bench.service.stop(&bench.net);
    let stream = accepted(&server);
    bench.net.settle();
    assert!(stream.is_eof());
    drop(server);
    bench.is_over(stopped);
}

#[test]
fn stop_called_by_prepare_itself_stops_the_service() {
    let place: Rc<RefCell<Option<ServiceHandle>>> = Rc::default();
    let own = place.clone();
    let (bench, server) = Bench::with_server(client().prepare_connection(move |transport: &Transport| {
        own.take().unwrap().stop(&transport.reactor());
        let (deferred, resolver) = Deferred::new();
        std::mem::forget(resolver);
        deferred
    }));
    *place.borrow_mut() = Some(bench.service.clone());
    bench.start();
    assert!(accepted(&server).is_eof());
    drop(server);
    bench.is_over(bench.client.stop(&bench.net));
}

#[test]
fn stop_while_connected_closes_after_the_written_data() {
    let (bench, server) = Bench::with_server(client());
    bench.start();
    value(bench.client.when_connected(None)).write(b"goodbye");
    let stopped = bench.service.stop(&bench.net);
    let stream = accepted(&server);
    bench.net.settle();
    assert_eq!(stream.received(), b"goodbye");
    assert!(stream.is_eof());
    drop(server);
    bench.is_over(stopped);
}

#[test]
fn cancelling_the_stop_resets_a_peer_that_reads_nothing() {
    let (bench, server) = Bench::with_server(client());
    bench.start();
    let stream = accepted(&server);
    stream.pause_reading();
    value(bench.client.when_connected(None)).write(&vec![0; 10_000_000]);
    let stopped = bench.service.stop(&bench.net);
    bench.net.advance(SECOND);
    assert!(!stopped.is_done());
    stopped.cancel();
    bench.net.settle();
    assert!(stream.is_reset());
    drop(server);
    assert!(failure(stopped).check::<Cancelled>());
    bench.is_over(bench.client.stop(&bench.net));
}

#[test]
fn start_while_stopping_connects_once_stopped() {
    let (bench, server) = Bench::with_server(client());
    bench.start();
    let first = accepted(&server);
    let stopped = bench.service.stop(&bench.net);
    bench.service.start(&bench.net);
    let waiting = bench.client.when_connected(None);
    assert!(!stopped.is_done() && !waiting.is_done());
    bench.net.settle();
    assert!(first.is_eof() && stopped.is_done());
    assert!(accepted(&server).is_connected() && value(waiting).is_connected());
}

#[test]
fn a_second_stop_cancels_a_start_while_stopping() {
    let (bench, server) = Bench::with_server(client());
    bench.start();
    let first = bench.service.stop(&bench.net);
    bench.service.start(&bench.net);
    let waiting = bench.client.when_connected(None);
    let second = bench.service.stop(&bench.net);
    assert!(failure(waiting).check::<Cancelled>());
    drop((accepted(&server), server));
    bench.net.settle();
    assert!(first.is_done());
    bench.is_over(second);
}

#[test]
fn the_reactors_shutdown_waits_for_the_connections_end() {
    let (bench, server) = Bench::with_server(client());
    let application = crate::application::Application::new("client");
    application.services().add(bench.client.clone());
    bench.net.call_later(SECOND, |reactor| reactor.stop().unwrap());
    application.run(&bench.net).unwrap();
    assert!(accepted(&server).is_eof());
    assert!(failure(bench.client.when_connected(None)).check::<Cancelled>());
}
