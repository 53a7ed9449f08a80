//! Listens on the endpoints that the options name.

use std::cell::Cell;
use std::rc::Rc;

use ropewalk::endpoints::{Endpoints, StdioServerEndpoint, StreamServerEndpoint, server_from_string};
use ropewalk::{Address, Error, Factory, Port, Reactor, Result, Transport, gather_results};

use crate::connection_limit::{ConnectionLimit, LimitedFactory};

/// The listening ports of a service.
pub(crate) struct Listeners {
    pub(crate) ports: Vec<Port>,
    /// The local addresses, with the port numbers that the system chose.
    pub(crate) addresses: Vec<Address>,
}

/// Listens on each of `endpoints`. At most `limit` connections are open at once, over all of them.
pub(crate) fn listen(
    reactor: &Reactor,
    endpoints: &[String],
    limit: usize,
    factory: impl Factory + 'static,
) -> Result<Listeners> {
    let limit = ConnectionLimit::new(limit);
    let factory: Rc<dyn Factory> = Rc::new(LimitedFactory { factory: Rc::new(factory), limit: limit.clone() });
    let mut listeners = Listeners { ports: Vec::new(), addresses: Vec::new() };
    for endpoint in endpoints {
        let port = listen_on(reactor, endpoint, &factory)?;
        listeners.addresses.push(port.host()?);
        limit.add_port(port.clone());
        listeners.ports.push(port);
    }
    stop_with_the_last_connection(&listeners.ports);
    Ok(listeners)
}

/// Whether an endpoint description names standard input and output, also inside another description.
pub(crate) fn is_standard_streams(endpoint: &str) -> bool {
    let endpoints = Endpoints::new();
    let is_named = Rc::new(Cell::new(false));
    let named = is_named.clone();
    endpoints.register_server("stdio", move |_, _| {
        named.set(true);
        Ok(Rc::new(StdioServerEndpoint))
    });
    endpoints.server(endpoint).is_ok() && is_named.get()
}

/// Stops the reactor when the connections over standard input and output are lost, unless another port accepts more.
fn stop_with_the_last_connection(ports: &[Port]) {
    let connections: Option<Vec<_>> = ports.iter().map(Port::only_connection).collect();
    let Some(connections) = connections else { return };
    let lost = gather_results(connections.iter().map(Transport::when_lost).collect());
    lost.add_callback(move |_| {
        if let Some(reactor) = connections.first().and_then(Transport::try_reactor) {
            let _ = reactor.stop();
        }
    });
}

fn listen_on(reactor: &Reactor, endpoint: &str, factory: &Rc<dyn Factory>) -> Result<Port> {
    let endpoint = server_from_string(reactor, endpoint)?;
    let outcome = endpoint.listen(reactor, factory.clone()).try_result();
    let outcome = outcome.map_err(|_| Error::Failed("the endpoint did not start to listen immediately".into()))?;
    outcome.map_err(|failure| failure.trap().unwrap_or_else(|failure| Error::Failed(failure.to_string().into())))
}

/// Joins addresses with commas.
pub(crate) fn comma_separated(addresses: &[Address]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_streams_are_recognized_in_nested_descriptions() {
        for endpoint in ["stdio:", "STDIO:", "haproxy:stdio:", "haproxy:Stdio:"] {
            assert!(is_standard_streams(endpoint), "{endpoint}");
        }
        for endpoint in ["tcp:80", "unix:stdio", "unix:stdio\\:", "haproxy:tcp:80", "fd:0"] {
            assert!(!is_standard_streams(endpoint), "{endpoint}");
        }
    }
}
