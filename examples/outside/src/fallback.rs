//! The endpoint type `fallback:`, whose arguments are the descriptions of other endpoints, tried in order.

use std::rc::Rc;

use ropewalk::endpoints::{Endpoints, StreamClientEndpoint};
use ropewalk::proto::description::{Description, DescriptionError};
use ropewalk::{Deferred, Error, Factory, Failure, Reactor, Transport};

/// Connects to the first of several endpoints that can be reached.
pub struct FallbackEndpoint(Rc<[Rc<dyn StreamClientEndpoint>]>);

impl FallbackEndpoint {
    /// Creates an endpoint that tries `endpoints` in their order.
    ///
    /// # Panics
    /// When `endpoints` is empty.
    pub fn new(endpoints: Vec<Rc<dyn StreamClientEndpoint>>) -> FallbackEndpoint {
        assert!(!endpoints.is_empty(), "a fallback needs at least one endpoint");
        FallbackEndpoint(endpoints.into())
    }
}

impl StreamClientEndpoint for FallbackEndpoint {
    /// If no endpoint can be reached, the Deferred fails with the reason of the last one.
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        let weak = reactor.downgrade();
        let mut connecting = self.0[0].connect(reactor, factory.clone());
        for index in 1..self.0.len() {
            let (endpoints, factory, reactor) = (self.0.clone(), factory.clone(), weak.clone());
            connecting = connecting.or_else(move |failure| match reactor.upgrade() {
                Some(reactor) if !is_cancellation(&failure) => endpoints[index].connect(&reactor, factory),
                _ => ropewalk::fail(failure),
            });
        }
        connecting
    }
}

/// Whether the caller cancelled the attempt, so that no other endpoint is tried.
fn is_cancellation(failure: &Failure) -> bool {
    matches!(failure.downcast_ref(), Some(Error::ConnectingCancelled(_)))
}

/// Registers the type with `endpoints`. Colons within the nested descriptions are escaped, as in
/// `fallback:tcp\:a.example.org\:80:tcp\:b.example.org\:80`.
pub fn register(endpoints: &Endpoints) {
    endpoints.register_client("fallback", parse);
}

fn parse(endpoints: &Endpoints, description: &Description) -> Result<Rc<dyn StreamClientEndpoint>, DescriptionError> {
    let parts = description.positional();
    if parts.is_empty() {
        return Err(DescriptionError::new(description.text().len(), r"expected fallback:ENDPOINT[:ENDPOINT ...]"));
    }
    let tried = parts.iter().map(|part| endpoints.client(&part.value).map_err(|error| error.nested_at(part.offset)));
    Ok(Rc::new(FallbackEndpoint::new(tried.collect::<Result<_, _>>()?)))
}

#[cfg(test)]
mod tests {
    use ropewalk::endpoints::client_from_string;
    use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};

    use super::*;

    const DESCRIPTION: &str = r"fallback:tcp\:10.0.0.1\:80:tcp\:10.0.0.2\:80:tcp\:10.0.0.3\:80";

    fn connect(net: &MemoryReactor) -> Deferred<Transport> {
        register(&net.endpoints());
        let endpoint = client_from_string(net, DESCRIPTION).unwrap();
        endpoint.connect(net, Rc::new(AccumulatingProtocol::new))
    }

    #[test]
    fn the_first_endpoint_that_answers_is_used() {
        let net = MemoryReactor::new();
        let servers = ["10.0.0.2:80", "10.0.0.3:80"].map(|address| net.listen_stream(address).unwrap());
        let connected = connect(&net);
        net.settle();
        let transport = connected.try_result().unwrap().unwrap();
        assert_eq!(transport.peer().to_string(), "10.0.0.2:80");
        assert_eq!(net.tcp_clients().len(), 2);
        assert!(servers[1].accept().is_none());
    }

    #[test]
    fn the_last_reason_is_reported_when_all_fail() {
        let net = MemoryReactor::new();
        let connected = connect(&net);
        net.settle();
        let failure = connected.try_result().unwrap().unwrap_err();
        assert_eq!(failure.to_string(), "connection to 10.0.0.3:80 was refused");
    }

    #[test]
    fn cancelling_stops_the_attempts() {
        let net = MemoryReactor::new();
        let connected = connect(&net);
        connected.cancel();
        net.settle();
        assert!(is_cancellation(&connected.try_result().unwrap().unwrap_err()));
        assert!(net.tcp_clients().is_empty());
    }

    #[test]
    fn an_error_in_a_nested_description_has_its_offset() {
        let endpoints = Endpoints::new();
        register(&endpoints);
        let error = endpoints.client(r"fallback:tcp\:a\:80:udp\:b").err().unwrap();
        assert_eq!(error.offset(), r"fallback:tcp\:a\:80:".len());
        assert!(endpoints.client("fallback:").is_err());
    }
}
