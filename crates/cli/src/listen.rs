//! Listening where the command line says.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;

use ropewalk::{Address, Binding, Error, Factory, Port, Reactor, Result, UnixBinding};
use ropewalk_proto::description::{ServerDescription, TcpServer, UnixServer};

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

/// Listens at every one of `places`, and returns the addresses, with the ports that the system chose.
pub(crate) fn listen(
    reactor: &Reactor,
    places: &[ServerDescription],
    limit: &Limit,
    factory: impl Factory + 'static,
) -> Result<Vec<Address>> {
    let seats = Seats::new(match limit {
        Limit::Of(connections) => *connections,
        Limit::DescriptorsEach(each) => descriptors::connections(*each),
    });
    let factory: Rc<dyn Factory> = Rc::new(SeatedFactory { factory: Rc::new(factory), seats: seats.clone() });
    let mut addresses = Vec::new();
    for place in places {
        let port = listen_at(reactor, place, &factory)?;
        addresses.push(port.host()?);
        seats.add_port(port);
    }
    Ok(addresses)
}

fn listen_at(reactor: &Reactor, place: &ServerDescription, factory: &Rc<dyn Factory>) -> Result<Port> {
    match place {
        ServerDescription::Tcp(tcp) => listen_tcp(reactor, tcp, factory),
        ServerDescription::Tcp6(tcp) => {
            let address = SocketAddr::from((tcp.interface, tcp.port));
            reactor.listen_tcp(Binding::new(address).backlog(tcp.backlog).v6_only(), factory.clone())
        }
        ServerDescription::Unix(unix) => listen_unix(reactor, unix, factory),
        other => Err(unknown(&other.to_string())),
    }
}

fn listen_tcp(reactor: &Reactor, tcp: &TcpServer, factory: &Rc<dyn Factory>) -> Result<Port> {
    let listen = |interface| {
        let address = SocketAddr::new(interface, tcp.port);
        reactor.listen_tcp(Binding::new(address).backlog(tcp.backlog), factory.clone())
    };
    match tcp.interface {
        Some(interface) => listen(interface),
        None => listen(Ipv6Addr::UNSPECIFIED.into()).or_else(|error| {
            // A machine without IPv6 refuses its wildcard; one that has it tells what is wrong with the port twice.
            listen(Ipv4Addr::UNSPECIFIED.into()).map_err(|_| error)
        }),
    }
}

fn listen_unix(reactor: &Reactor, unix: &UnixServer, factory: &Rc<dyn Factory>) -> Result<Port> {
    let binding = UnixBinding::new(unix_path(&unix.address)).backlog(unix.backlog).mode(unix.mode);
    reactor.listen_unix(if unix.lockfile { binding.lock() } else { binding }, factory.clone())
}

/// The path of a UNIX address as the reactor takes it.
pub(crate) fn unix_path(address: &Address) -> PathBuf {
    match address {
        Address::Unix(path) => path.to_path_buf(),
        // A description is text, so its names are.
        Address::Abstract(name) => format!("\0{}", String::from_utf8_lossy(name)).into(),
        other => other.to_string().into(),
    }
}

/// A kind of endpoint that this program does not know what to do with.
pub(crate) fn unknown(endpoint: &str) -> Error {
    Error::InvalidAddress(endpoint.into(), "an endpoint of a kind that this program knows".into())
}

/// Addresses as a sentence lists them.
pub(crate) fn listed(addresses: &[Address]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}
