//! Listens on the endpoints that the options name.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV6};
use std::rc::Rc;

use ropewalk::endpoints::{
    DatagramEndpoint, Endpoints, StdioServerEndpoint, StreamServerEndpoint, datagram_server_from_string,
};
use ropewalk::{
    Address, DatagramPort, DatagramProtocol, Deferred, Error, Factory, Port, Reactor, Result, Transport, gather_results,
};

use crate::connection_limit::{ConnectionLimit, LimitedFactory};
use crate::endpoint_types::{self, endpoints};

/// The first port that needs no rights.
const FIRST_FREE_PORT: u16 = 1024;

/// The open ports of a service.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) ports: Vec<Port>,
    pub(crate) datagram_ports: Vec<DatagramPort>,
    /// The local addresses in the order of the endpoints, with the port numbers that the system chose.
    pub(crate) places: Vec<Place>,
}

impl Listeners {
    fn add_stream(
        &mut self,
        reactor: &Reactor,
        registry: &Endpoints,
        endpoint: &str,
        factory: &Rc<dyn Factory>,
        limit: &ConnectionLimit,
    ) -> Result<()> {
        let listening = registry.server(endpoint)?.listen(reactor, factory.clone());
        let port = opened_at_once(listening, "ss -ltnp")?;
        self.places.push(Place::Stream(port.host()?));
        limit.add_port(port.clone());
        self.ports.push(port);
        Ok(())
    }
}

/// The local address of a port.
pub(crate) enum Place {
    Stream(Address),
    Datagram(Address),
}

impl Place {
    pub(crate) fn address(&self) -> &Address {
        match self {
            Place::Stream(address) | Place::Datagram(address) => address,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Datagram(Address::Inet(address)) => write!(f, "{address}/udp"),
            Place::Stream(address) | Place::Datagram(address) => address.fmt(f),
        }
    }
}

/// Listens on each of `endpoints`, which are for streams. At most `limit` connections are open at once, over all of
/// them.
pub(crate) fn listen(
    reactor: &Reactor,
    endpoints: &[String],
    limit: usize,
    factory: impl Factory + 'static,
) -> Result<Listeners> {
    listen_any(reactor, endpoints, limit, factory, |_| {
        Err(Error::Failed("a datagram endpoint was given to a service for streams".into()))
    })
}

/// Listens on each of `endpoints`. At most `limit` connections are open at once, over all of them. `protocol` creates
/// the protocol of a datagram port.
pub(crate) fn listen_any(
    reactor: &Reactor,
    endpoints: &[String],
    limit: usize,
    factory: impl Factory + 'static,
    mut protocol: impl FnMut(&Reactor) -> Result<Box<dyn DatagramProtocol>>,
) -> Result<Listeners> {
    endpoint_types::register(&reactor.endpoints());
    let limit = ConnectionLimit::new(limit);
    let factory: Rc<dyn Factory> = Rc::new(LimitedFactory { factory: Rc::new(factory), limit: limit.clone() });
    let mut listeners = Listeners::default();
    for endpoint in endpoints {
        if is_datagram_server(endpoint) {
            let port = receive_on(reactor, endpoint, protocol(reactor)?)?;
            listeners.places.push(Place::Datagram(port.host()));
            listeners.datagram_ports.push(port);
            continue;
        }
        listeners.add_stream(reactor, &reactor.endpoints(), endpoint, &factory, &limit)?;
    }
    if listeners.datagram_ports.is_empty() {
        stop_with_the_last_connection(&listeners.ports);
    }
    Ok(listeners)
}

/// Listens on the endpoints of several services for streams, whose descriptions `registry` knows. At most `limit`
/// connections are open at once, over all of them.
pub(crate) fn listen_each<'a>(
    reactor: &Reactor,
    registry: &Endpoints,
    limit: usize,
    services: impl IntoIterator<Item = (&'a [String], Rc<dyn Factory>)>,
) -> Result<Listeners> {
    let (limit, mut listeners) = (ConnectionLimit::new(limit), Listeners::default());
    for (endpoints, factory) in services {
        let factory: Rc<dyn Factory> = Rc::new(LimitedFactory { factory, limit: limit.clone() });
        for endpoint in endpoints {
            listeners.add_stream(reactor, registry, endpoint, &factory, &limit)?;
        }
    }
    stop_with_the_last_connection(&listeners.ports);
    Ok(listeners)
}

/// Whether an endpoint description is that of a datagram server.
pub(crate) fn is_datagram_server(endpoint: &str) -> bool {
    endpoints().datagram_server(endpoint).is_ok()
}

/// Whether an endpoint description is that of a datagram client.
pub(crate) fn is_datagram_client(endpoint: &str) -> bool {
    endpoints().datagram_client(endpoint).is_ok()
}

/// Whether an endpoint description names standard input and output, also inside another description.
pub(crate) fn is_standard_streams(endpoint: &str) -> bool {
    has_prefix(endpoint, "stdio")
}

/// Whether connections of an endpoint speak TLS.
pub(crate) fn is_tls(endpoint: &str) -> bool {
    endpoint_types::TLS.iter().any(|prefix| has_prefix(endpoint, prefix))
}

/// Whether an endpoint description has this prefix, also inside another description.
pub(crate) fn has_prefix(endpoint: &str, prefix: &str) -> bool {
    let endpoints = endpoints();
    let is_named = Rc::new(Cell::new(false));
    let named = is_named.clone();
    endpoints.register_server(prefix, move |_, _| {
        named.set(true);
        Ok(Rc::new(StdioServerEndpoint))
    });
    endpoints.server(endpoint).is_ok() && is_named.get()
}

/// Stops the program when the connections over standard input and output are lost, unless another port accepts more.
/// The program fails if output was lost.
fn stop_with_the_last_connection(ports: &[Port]) {
    let connections: Option<Vec<_>> = ports.iter().map(Port::only_connection).collect();
    let Some(connections) = connections else { return };
    let lost = gather_results(connections.iter().map(Transport::when_lost).collect());
    lost.add_callback(move |reasons| {
        let Some(reactor) = connections.first().and_then(Transport::try_reactor) else { return };
        match reasons.iter().find_map(output_error) {
            Some(error) => ropewalk_runner::fail(&reactor, format!("cannot {}: {error}", failed_use(error))),
            None => drop(reactor.stop()),
        }
    });
}

/// Returns the error of a failed write to standard output. A closed pipe is not an error (`ropewalk ... | head`), and a
/// connection with an invalid PROXY header has written nothing.
pub(crate) fn output_error(reason: &Error) -> Option<&std::io::Error> {
    let Error::ConnectionLost(Some(cause)) = reason else { return None };
    let is_from_system = cause.raw_os_error().is_some();
    (is_from_system && cause.kind() != ErrorKind::BrokenPipe).then_some(cause)
}

/// Returns the use of the standard streams that failed with `error`.
fn failed_use(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::IsADirectory => "read standard input",
        _ => "write to standard output",
    }
}

/// Opens a datagram port.
pub(crate) fn receive_on(
    reactor: &Reactor,
    endpoint: &str,
    protocol: Box<dyn DatagramProtocol>,
) -> Result<DatagramPort> {
    let endpoint = datagram_server_from_string(reactor, endpoint)?;
    opened_at_once(endpoint.open(reactor, protocol), "ss -lunp")
}

/// Returns a port, or the error with its usual remedy. `list` is the command that lists the ports of programs.
fn opened_at_once<P>(opening: Deferred<P>, list: &str) -> Result<P> {
    let outcome = opening.try_result();
    let outcome = outcome.map_err(|_| Error::Failed("the endpoint did not start to listen immediately".into()))?;
    outcome.map_err(|failure| match failure.trap::<Error>() {
        Ok(error) => match remedy(&error, list) {
            Some(remedy) => Error::Failed(format!("{error}: {remedy}").into()),
            None => error,
        },
        Err(failure) => Error::Failed(failure.to_string().into()),
    })
}

/// Returns the usual remedy of a failure to listen.
fn remedy(error: &Error, list: &str) -> Option<Cow<'static, str>> {
    let Error::CannotListen(address, cause) = error else { return None };
    let remedy = match (cause.kind(), address) {
        (ErrorKind::PermissionDenied, Address::Inet(address)) if address.port() < FIRST_FREE_PORT => {
            "ports below 1024 need root: start as root with --uid USER to give it up again, or choose a higher port with \
             --listen"
        }
        (ErrorKind::PermissionDenied, Address::Unix(_)) => {
            "choose a directory that this user may write to with --listen"
        }
        (ErrorKind::AddrInUse, Address::Inet(_)) => {
            let remedy = "or choose another port with --listen";
            return Some(format!("stop the program that listens there ('{list}' shows it), {remedy}").into());
        }
        (ErrorKind::AddrInUse, _) => {
            "stop the program that listens there, remove the file, or choose another path with --listen"
        }
        (ErrorKind::AddrNotAvailable, _) => {
            "no interface of this machine has that address ('ip address' lists them): choose another with --listen"
        }
        (ErrorKind::InvalidInput, Address::Inet(SocketAddr::V6(address))) if lacks_zone(address) => {
            "a link-local address needs the interface that it belongs to, such as fe80\\:\\:1%eth0"
        }
        (ErrorKind::NotFound, Address::Unix(_)) => {
            "create the directory of the socket first, or choose another path with --listen"
        }
        _ => return None,
    };
    Some(remedy.into())
}

fn lacks_zone(address: &SocketAddrV6) -> bool {
    address.ip().is_unicast_link_local() && address.scope_id() == 0
}

/// Joins local addresses with commas.
pub(crate) fn comma_separated(places: &[Place]) -> String {
    let places: Vec<_> = places.iter().map(ToString::to_string).collect();
    places.join(", ")
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

    #[test]
    fn a_link_local_address_without_a_zone_names_its_form() {
        let refused = |address: &str| {
            let address = Address::Inet(address.parse().unwrap());
            remedy(&Error::CannotListen(address, std::sync::Arc::new(ErrorKind::InvalidInput.into())), "ss")
        };
        assert!(refused("[fe80::1]:80").is_some_and(|remedy| remedy.contains(r"fe80\:\:1%eth0")));
        assert_eq!((refused("[fe80::1%3]:80"), refused("[::1]:80")), (None, None));
    }

    #[test]
    fn a_privileged_port_names_the_options_of_root() {
        let denied = |address: &str| {
            let address = Address::Inet(address.parse().unwrap());
            remedy(&Error::CannotListen(address, std::sync::Arc::new(ErrorKind::PermissionDenied.into())), "ss")
        };
        assert!(denied("127.0.0.1:80").is_some_and(|remedy| remedy.contains("--uid USER")));
        assert_eq!(denied("127.0.0.1:8000"), None);
    }
}
