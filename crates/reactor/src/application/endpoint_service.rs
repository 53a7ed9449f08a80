//! StreamServerEndpointService: a listening port as a service.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use ropewalk_proto::{CancelHandle, Cancelled, Deferred, succeed};

use super::Service;
use crate::endpoints::StreamServerEndpoint;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Port;

/// A service that listens at an endpoint from `privileged_start` to `stop`.
///
/// Stopping closes the port. Accepted connections stay open until they end or the reactor shuts down. All clones refer
/// to the same service.
///
/// The methods may be called from any callback on the reactor's thread.
///
/// ```
/// use ropewalk::application::{Application, StreamServerEndpointService};
/// use ropewalk::endpoints::server_from_string;
/// use ropewalk::prelude::*;
///
/// # struct Echo;
/// # impl Protocol for Echo {
/// #     fn data_received(&mut self, transport: &Transport, data: &[u8]) { transport.write(data); }
/// # }
/// let reactor = Reactor::new()?;
/// let application = Application::new("echo");
/// let endpoint = server_from_string(&reactor, "tcp:0:interface=127.0.0.1")?;
/// application.services().add(StreamServerEndpointService::new(endpoint, || Echo));
/// application.start(&reactor).add_callback(|()| println!("listening"));
/// reactor.call_when_running(|reactor| reactor.stop().unwrap());
/// reactor.run()?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct StreamServerEndpointService(Rc<Listening>);

struct Listening {
    endpoint: Box<dyn StreamServerEndpoint>,
    factory: Rc<dyn Factory>,
    state: RefCell<State>,
}

enum State {
    Idle,
    /// The endpoint has not produced its port yet.
    Beginning(CancelHandle),
    Listening(Port),
}

impl StreamServerEndpointService {
    /// Creates a service that listens at `endpoint`. `factory` builds a protocol for each connection.
    pub fn new(endpoint: impl StreamServerEndpoint + 'static, factory: impl Factory + 'static) -> Self {
        StreamServerEndpointService(Rc::new(Listening {
            endpoint: Box::new(endpoint),
            factory: Rc::new(factory),
            state: RefCell::new(State::Idle),
        }))
    }

    /// Returns the port while the service is listening, and `None` otherwise.
    ///
    /// ```
    /// use ropewalk::application::{ServiceHandle, StreamServerEndpointService};
    /// use ropewalk::endpoints::TcpServerEndpoint;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let web = StreamServerEndpointService::new(TcpServerEndpoint::new("10.0.0.1:80")?, AccumulatingProtocol::new);
    /// let service = ServiceHandle::new(web.clone());
    /// assert!(web.port().is_none());
    /// service.start(&net);
    /// assert_eq!(web.port().expect("a listening service").host()?.to_string(), "10.0.0.1:80");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn port(&self) -> Option<Port> {
        match &*self.0.state.borrow() {
            State::Listening(port) => Some(port.clone()),
            _ => None,
        }
    }

    fn listen(&self, reactor: &Reactor) -> Deferred<()> {
        let listening = self.0.endpoint.listen(reactor, self.0.factory.clone());
        self.0.state.replace(State::Beginning(listening.cancel_handle()));
        let own = self.clone();
        listening.then(move |outcome| {
            let is_wanted = matches!(*own.0.state.borrow(), State::Beginning(_));
            match outcome {
                Ok(port) if is_wanted => {
                    if let Ok(address) = port.host() {
                        tracing::info!(target: "ropewalk::lifecycle", %address, "listening");
                    }
                    own.0.state.replace(State::Listening(port));
                }
                // The endpoint finished although the attempt was cancelled.
                Ok(port) => {
                    let closed = port.stop_listening();
                    return closed.and_then(|()| Err::<(), _>(Cancelled));
                }
                Err(failure) => {
                    own.0.state.replace(State::Idle);
                    return Err::<(), _>(failure).into();
                }
            }
            succeed(())
        })
    }
}

impl fmt::Debug for StreamServerEndpointService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamServerEndpointService").field("port", &self.port()).finish_non_exhaustive()
    }
}

impl Service for StreamServerEndpointService {
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        self.listen(reactor)
    }

    /// Listens, unless `privileged_start` has already done so.
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let is_idle = matches!(*self.0.state.borrow(), State::Idle);
        if is_idle { self.listen(reactor) } else { succeed(()) }
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        match self.0.state.replace(State::Idle) {
            State::Idle => succeed(()),
            State::Beginning(attempt) => {
                attempt.cancel();
                succeed(())
            }
            State::Listening(port) => port.stop_listening(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ropewalk_proto::Resolver;

    use super::*;
    use crate::application::{MultiService, ServiceHandle, TimerService};
    use crate::endpoints::TcpServerEndpoint;
    use crate::error::Error;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    fn endpoint() -> TcpServerEndpoint {
        TcpServerEndpoint::new("10.0.0.1:80").unwrap()
    }

    #[test]
    fn a_service_listens_from_privileged_start_until_stop() {
        let net = MemoryReactor::new();
        let protocol = AccumulatingProtocol::new();
        let service = StreamServerEndpointService::new(endpoint(), protocol.factory());
        let handle = ServiceHandle::new(service.clone());
        assert!(service.port().is_none());
        assert!(handle.privileged_start(&net).is_done());
        assert!(service.port().unwrap().is_listening());
        assert!(handle.start(&net).is_done());
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert!(client.is_connected());
        let stopped = handle.stop(&net);
        net.settle();
        assert!(stopped.is_done() && service.port().is_none());
        client.write(b"still there");
        net.settle();
        assert_eq!(protocol.data(), b"still there");
        let late = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert!(!late.is_connected());
    }

    /// A test of a function that makes a service needs it: `make(&net, options).unwrap_err()`.
    #[test]
    fn services_are_shown_by_debug() {
        let net = MemoryReactor::new();
        let protocol = AccumulatingProtocol::new();
        let service = StreamServerEndpointService::new(endpoint(), protocol.factory());
        assert_eq!(format!("{service:?}"), "StreamServerEndpointService { port: None, .. }");
        net.listen_tcp("10.0.0.1:80", protocol.factory()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write("hello\n");
        net.settle();
        assert_eq!(format!("{client:?}"), "TestStream { peer: \"10.0.0.1:80\", connected: true, .. }");
        let expected = "AccumulatingProtocol { made: 1, data: \"hello\\n\", lost: None, .. }";
        assert_eq!(format!("{protocol:?}"), expected);
        let listener = net.listen_stream("10.0.0.1:81").unwrap();
        assert_eq!(format!("{listener:?}"), "TestListener { address: \"10.0.0.1:81\", .. }");
        let timer = TimerService::new(Duration::from_secs(1), |_: &Reactor| {});
        assert!(format!("{timer:?}").starts_with("TimerService { step: 1s, function: \"ropewalk::"));
    }

    #[test]
    fn start_without_privileged_start_listens_each_time() {
        let net = MemoryReactor::new();
        let service = StreamServerEndpointService::new(endpoint(), AccumulatingProtocol::new().factory());
        let handle = ServiceHandle::new(service);
        for _ in 0..2 {
            handle.start(&net);
            let client = net.connect_stream("10.0.0.1:80");
            net.settle();
            assert!(client.is_connected());
            handle.stop(&net);
            net.settle();
        }
    }

    #[test]
    fn an_address_in_use_fails_the_start_of_the_whole_tree() {
        let net = MemoryReactor::new();
        net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory()).unwrap();
        let services = MultiService::new();
        services.add(StreamServerEndpointService::new(endpoint(), AccumulatingProtocol::new().factory()));
        let failure = ServiceHandle::new(services).privileged_start(&net).try_result().unwrap().unwrap_err();
        assert!(matches!(failure.trap().unwrap(), Error::CannotListen(..)));
    }

    /// An endpoint that is slow and ignores cancellation.
    struct Slow(RefCell<Option<Deferred<Port>>>);

    impl StreamServerEndpoint for Slow {
        fn listen(&self, _reactor: &Reactor, _factory: Rc<dyn Factory>) -> Deferred<Port> {
            self.0.take().expect("a single call")
        }
    }

    fn slow() -> (ServiceHandle, Resolver<Port>) {
        let (deferred, resolver) = Deferred::new();
        let endpoint = Slow(RefCell::new(Some(deferred)));
        let service = StreamServerEndpointService::new(endpoint, AccumulatingProtocol::new().factory());
        (ServiceHandle::new(service), resolver)
    }

    #[test]
    fn stop_cancels_an_endpoint_that_is_still_starting() {
        let net = MemoryReactor::new();
        let (service, resolver) = slow();
        let started = service.privileged_start(&net);
        assert!(service.stop(&net).is_done());
        assert!(resolver.is_cancelled());
        assert!(started.try_result().unwrap().unwrap_err().check::<Cancelled>());
    }

    #[test]
    fn a_port_that_arrives_after_the_stop_is_closed() {
        let net = MemoryReactor::new();
        let (service, resolver) = slow();
        let place = Rc::new(RefCell::new(None));
        let (port, taken) = (place.clone(), net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory()));
        resolver.set_canceller(move |resolver| {
            *port.borrow_mut() = taken.as_ref().ok().cloned();
            let _ = resolver.callback(taken.unwrap());
        });
        let started = service.privileged_start(&net);
        service.stop(&net);
        net.settle();
        assert!(started.try_result().unwrap().unwrap_err().check::<Cancelled>());
        assert!(!place.take().unwrap().is_listening());
    }
}
