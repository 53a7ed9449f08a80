//! The values that convert into a [`Binding`] and a [`Destination`]: texts, addresses, and pairs with a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::resolver::{literal, split_host_port};
use super::tcp::{Binding, Destination};
use crate::error::{Error, Result};

/// The texts that convert into a [`Binding`].
const LISTEN_AT: &str = "IPV4:PORT, [IPV6]:PORT or :PORT with a port from 0 to 65535";

/// The texts that convert into a [`Destination`].
const CONNECT_TO: &str = "HOST:PORT, IPV4:PORT or [IPV6]:PORT with a port from 0 to 65535";

/// Converts values that are an address for certain.
macro_rules! from_addresses {
    ($($type:ty),*) => {$(
        impl From<$type> for Binding {
            fn from(address: $type) -> Binding {
                Binding::new(address.into())
            }
        }

        impl From<$type> for Destination {
            fn from(address: $type) -> Destination {
                Destination::address(address.into())
            }
        }
    )*};
}

from_addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

fn binding(host: &str, port: u16, text: impl FnOnce() -> String) -> Result<Binding> {
    if host.is_empty() {
        return Ok(Binding::everywhere(port));
    }
    let expected = match host.split_once('%') {
        Some((ip, _)) if ip.parse::<Ipv6Addr>().is_ok() => "the zone to be a network interface of this machine",
        _ => "IPV4:PORT, [IPV6]:PORT or :PORT (not a host name)",
    };
    literal(host, port).map(Binding::new).ok_or_else(|| Error::invalid_address(&text(), expected))
}

impl TryFrom<&str> for Binding {
    type Error = Error;

    fn try_from(text: &str) -> Result<Binding> {
        let (host, port) = split_host_port(text, LISTEN_AT)?;
        binding(host, port, || text.to_owned())
    }
}

impl TryFrom<&String> for Binding {
    type Error = Error;

    fn try_from(text: &String) -> Result<Binding> {
        Binding::try_from(text.as_str())
    }
}

/// An address without brackets and a port. The empty address is every address of the machine.
impl TryFrom<(&str, u16)> for Binding {
    type Error = Error;

    fn try_from((host, port): (&str, u16)) -> Result<Binding> {
        binding(host, port, || format!("{host}:{port}"))
    }
}

impl TryFrom<&str> for Destination {
    type Error = Error;

    fn try_from(text: &str) -> Result<Destination> {
        let (host, port) = split_host_port(text, CONNECT_TO)?;
        Ok(Destination::new(host, port))
    }
}

impl TryFrom<&String> for Destination {
    type Error = Error;

    fn try_from(text: &String) -> Result<Destination> {
        Destination::try_from(text.as_str())
    }
}

/// A name or an address without brackets, and a port. The empty name is this machine.
impl From<(&str, u16)> for Destination {
    fn from((host, port): (&str, u16)) -> Destination {
        Destination::new(host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    fn listens<B>(binding: B) -> String
    where
        B: TryInto<Binding>,
        Error: From<B::Error>,
    {
        let net = MemoryReactor::new();
        let port = net.listen_tcp(binding, AccumulatingProtocol::new().factory()).unwrap();
        port.host().unwrap().to_string()
    }

    #[test]
    fn a_binding_converts_from_an_address_with_a_port() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        for address in [listens(("127.0.0.1", 80)), listens((v4, 80)), listens((IpAddr::from(v4), 80))] {
            assert_eq!(address, "127.0.0.1:80");
        }
        for address in [listens(("::1", 80)), listens((v6, 80)), listens(SocketAddrV6::new(v6, 80, 0, 0))] {
            assert_eq!(address, "[::1]:80");
        }
        assert_eq!(listens(("", 80)), listens(":80"));
    }

    #[test]
    fn a_binding_of_a_name_with_a_port_is_refused() {
        let error = Binding::try_from(("localhost", 80)).unwrap_err();
        assert!(error.to_string().starts_with("'localhost:80' is not an address"), "{error}");
    }

    #[test]
    fn the_error_of_a_binding_shows_its_form_on_one_line() {
        let refused = |text: &str| Binding::try_from(text).unwrap_err().to_string();
        let long = "x".repeat(1000);
        assert_eq!(refused("127.0.0.1"), format!("'127.0.0.1' is not an address: expected {LISTEN_AT}"));
        assert!(refused("[fe80::1%no such]:80").ends_with("the zone to be a network interface of this machine"));
        assert!(refused("exam\nple:80").starts_with(r"'exam\nple:80' is not an address"));
        assert!(refused(&long).starts_with(&format!("'{}...' is", &long[..200])));
    }
}
