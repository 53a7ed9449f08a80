//! Listening where the command line says.

use std::cell::Cell;
use std::rc::Rc;

use ropewalk::endpoints::{Endpoints, StdioServerEndpoint, StreamServerEndpoint, server_from_string};
use ropewalk::{Address, Error, Factory, Port, Reactor, Result, Transport, gather_results};

use crate::descriptors;
use crate::seats::{SeatedFactory, Seats};

/// How many connections a service takes.
pub(crate) enum Limit {
    /// So many.
    Of(usize),
    /// As many as the descriptors suffice for, when each connection needs this many.
    DescriptorsEach(usize),
}

impl Limit {
    /// What the user chose, or else what the descriptors suffice for.
    pub(crate) fn new(chosen: Option<usize>, descriptors_each: usize) -> Limit {
        chosen.map_or(Limit::DescriptorsEach(descriptors_each), Limit::Of)
    }
}

/// What listens.
pub(crate) struct Open {
    pub(crate) ports: Vec<Port>,
    /// Where, with the ports that the system chose.
    pub(crate) addresses: Vec<Address>,
}

/// Listens at every one of `places`.
pub(crate) fn listen(
    reactor: &Reactor,
    places: &[String],
    limit: &Limit,
    factory: impl Factory + 'static,
) -> Result<Open> {
    let seats = Seats::new(match limit {
        Limit::Of(connections) => *connections,
        Limit::DescriptorsEach(each) => descriptors::connections(*each),
    });
    let factory: Rc<dyn Factory> = Rc::new(SeatedFactory { factory: Rc::new(factory), seats: seats.clone() });
    let mut open = Open { ports: Vec::new(), addresses: Vec::new() };
    for place in places {
        let port = listen_at(reactor, place, &factory)?;
        open.addresses.push(port.host()?);
        seats.add_port(port.clone());
        open.ports.push(port);
    }
    end_with_the_last(&open.ports);
    Ok(open)
}

/// Whether a description names standard input and output, alone or within another.
pub(crate) fn is_standard_streams(place: &str) -> bool {
    let endpoints = Endpoints::new();
    let is_named = Rc::new(Cell::new(false));
    let named = is_named.clone();
    endpoints.register_server("stdio", move |_, _| {
        named.set(true);
        Ok(Rc::new(StdioServerEndpoint))
    });
    endpoints.server(place).is_ok() && is_named.get()
}

/// Standard input and output are one connection, and nobody will make another.
fn end_with_the_last(ports: &[Port]) {
    let connections: Option<Vec<_>> = ports.iter().map(Port::only_connection).collect();
    let Some(connections) = connections else { return };
    let lost = gather_results(connections.iter().map(Transport::when_lost).collect());
    lost.add_callback(move |_| {
        if let Some(reactor) = connections.first().and_then(Transport::try_reactor) {
            let _ = reactor.stop();
        }
    });
}

fn listen_at(reactor: &Reactor, place: &str, factory: &Rc<dyn Factory>) -> Result<Port> {
    let endpoint = server_from_string(reactor, place)?;
    let outcome = endpoint.listen(reactor, factory.clone()).try_result();
    let outcome = outcome.map_err(|_| Error::Failed("the endpoint does not listen at once".into()))?;
    outcome.map_err(|failure| failure.trap().unwrap_or_else(|failure| Error::Failed(failure.to_string().into())))
}

/// Addresses as a sentence lists them.
pub(crate) fn listed(addresses: &[Address]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_streams_are_known_in_every_disguise() {
        for place in ["stdio:", "STDIO:", "haproxy:stdio:", "haproxy:Stdio:"] {
            assert!(is_standard_streams(place), "{place}");
        }
        for place in ["tcp:80", "unix:stdio", "unix:stdio\\:", "haproxy:tcp:80", "fd:0"] {
            assert!(!is_standard_streams(place), "{place}");
        }
    }
}
