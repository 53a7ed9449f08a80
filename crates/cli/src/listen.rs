//! Listens on the endpoints that the options name.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV6};
use std::rc::Rc;

use ropewalk::endpoints::{Endpoints, StdioServerEndpoint, StreamServerEndpoint, server_from_string};
use ropewalk::{Address, Error, Factory, Port, Reactor, Result, Transport, gather_results};

use crate::connection_limit::{ConnectionLimit, LimitedFactory};

/// The first port that needs no rights.
const FIRST_FREE_PORT: u16 = 1024;

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
    has_prefix(endpoint, "stdio")
}

/// Whether an endpoint description has this prefix, also inside another description.
pub(crate) fn has_prefix(endpoint: &str, prefix: &str) -> bool {
    let endpoints = Endpoints::new();
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

fn listen_on(reactor: &Reactor, endpoint: &str, factory: &Rc<dyn Factory>) -> Result<Port> {
    let endpoint = server_from_string(reactor, endpoint)?;
    let outcome = endpoint.listen(reactor, factory.clone()).try_result();
    let outcome = outcome.map_err(|_| Error::Failed("the endpoint did not start to listen immediately".into()))?;
    outcome.map_err(|failure| match failure.trap::<Error>() {
        Ok(error) => match remedy(&error) {
            Some(remedy) => Error::Failed(format!("{error}: {remedy}").into()),
            None => error,
        },
        Err(failure) => Error::Failed(failure.to_string().into()),
    })
}

/// Returns the usual remedy of a failure to listen.
fn remedy(error: &Error) -> Option<&'static str> {
    let Error::CannotListen(address, cause) = error else { return None };
    match (cause.kind(), address) {
        (ErrorKind::PermissionDenied, Address::Inet(address)) if address.port() < FIRST_FREE_PORT => Some(
            "ports below 1024 need root: start as root with --uid USER to give it up again, or choose a higher port with \
             --listen",
        ),
        (ErrorKind::PermissionDenied, Address::Unix(_)) => {
            Some("choose a directory that this user may write to with --listen")
        }
        (ErrorKind::AddrInUse, Address::Inet(_)) => {
            Some("stop the program that listens there ('ss -ltnp' shows it), or choose another port with --listen")
        }
        (ErrorKind::AddrInUse, _) => {
            Some("stop the program that listens there, remove the file, or choose another path with --listen")
        }
        (ErrorKind::AddrNotAvailable, _) => Some(
            "no interface of this machine has that address ('ip address' lists them): choose another with --listen",
        ),
        (ErrorKind::InvalidInput, Address::Inet(SocketAddr::V6(address))) if lacks_zone(address) => {
            Some("a link-local address needs the interface that it belongs to, such as fe80\\:\\:1%eth0")
        }
        (ErrorKind::NotFound, Address::Unix(_)) => {
            Some("create the directory of the socket first, or choose another path with --listen")
        }
        _ => None,
    }
}

fn lacks_zone(address: &SocketAddrV6) -> bool {
    address.ip().is_unicast_link_local() && address.scope_id() == 0
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

    #[test]
    fn a_link_local_address_without_a_zone_names_its_form() {
        let refused = |address: &str| {
            let address = Address::Inet(address.parse().unwrap());
            remedy(&Error::CannotListen(address, std::sync::Arc::new(ErrorKind::InvalidInput.into())))
        };
        assert!(refused("[fe80::1]:80").is_some_and(|remedy| remedy.contains(r"fe80\:\:1%eth0")));
        assert_eq!((refused("[fe80::1%3]:80"), refused("[::1]:80")), (None, None));
    }

    #[test]
    fn a_privileged_port_names_the_options_of_root() {
        let denied = |address: &str| {
            let address = Address::Inet(address.parse().unwrap());
            remedy(&Error::CannotListen(address, std::sync::Arc::new(ErrorKind::PermissionDenied.into())))
        };
        assert!(denied("127.0.0.1:80").is_some_and(|remedy| remedy.contains("--uid USER")));
        assert_eq!(denied("127.0.0.1:8000"), None);
    }
}
