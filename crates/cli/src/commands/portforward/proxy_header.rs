//! Writes a header of the PROXY protocol: the addresses of a client, for the program that the client is forwarded to.
//!
//! ```text
//!   addresses           version 1                        version 2
//!   IPv4                PROXY TCP4 192.0.2.1 ...\r\n     PROXY, 0x11, 12 bytes
//!   IPv6, or both       PROXY TCP6 2001:db8::1 ...\r\n   PROXY, 0x21, 36 bytes
//!   anything else       PROXY UNKNOWN\r\n                LOCAL, 0x00, nothing
//! ```
//!
//! Version 2 has addresses of UNIX sockets and an unspecified family too. But HAProxy 2.6 refuses both on a stream. A
//! receiver must accept LOCAL, and then uses the addresses of the connection itself, as with UNKNOWN.
//!
//! The parser of these headers is `ropewalk::proto::proxy_header`.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ropewalk::Address;

use crate::arguments::ProxyVersion;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, with the command LOCAL: the header has no addresses.
const LOCAL: u8 = 0x20;
/// Version 2, with the command PROXY: the connection is forwarded.
const PROXY: u8 = 0x21;

/// Returns the header for a connection from `source` to `destination`.
pub(super) fn encode(version: ProxyVersion, source: &Address, destination: &Address) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => text(source, destination),
        ProxyVersion::V2 => binary(source, destination),
    }
}

/// Returns a header of version 1: section 2.1.
fn text(source: &Address, destination: &Address) -> Vec<u8> {
    let Some([source, destination]) = inet(source, destination) else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (ips, ports) = ([source.ip(), destination.ip()], [source.port(), destination.port()]);
    format!("PROXY {family} {} {} {} {}\r\n", ips[0], ips[1], ports[0], ports[1]).into_bytes()
}

/// Returns a header of version 2: section 2.2.
fn binary(source: &Address, destination: &Address) -> Vec<u8> {
    let Some(both) = inet(source, destination) else { return [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat() };
    let (family, addresses) = (if both[0].is_ipv4() { 0x11 } else { 0x21 }, inet_bytes(both));
    let length = u16::try_from(addresses.len()).expect("at most 36 bytes");
    [&SIGNATURE[..], &[PROXY, family], &length.to_be_bytes(), &addresses].concat()
}

fn inet_bytes(both: [SocketAddr; 2]) -> Vec<u8> {
    let ip = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = both.iter().flat_map(|address| address.port().to_be_bytes());
    both.iter().flat_map(ip).chain(ports).collect()
}

/// Returns two IP addresses of one family, or `None` for other sockets. An IPv4 address beside one of IPv6 is mapped.
fn inet(source: &Address, destination: &Address) -> Option<[SocketAddr; 2]> {
    let both = [source.inet()?, destination.inet()?];
    let both = both.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    if both[0].is_ipv4() == both[1].is_ipv4() {
        return Some(both);
    }
    Some(both.map(|address| SocketAddr::new(mapped(address.ip()).into(), address.port())))
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ropewalk::proto::proxy_header::{ProxyHeader, ProxyHeaderParser};

    use super::*;

    fn parsed(header: &[u8]) -> ProxyHeader {
        let mut rest = header;
        let parsed = ProxyHeaderParser::new().parse(&mut rest).unwrap().unwrap();
        assert!(rest.is_empty(), "the header is longer than it says");
        parsed
    }

    fn address(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    #[test]
    fn a_text_header_names_both_addresses() {
        let encoded = |source, destination| text(&address(source), &address(destination));
        let header = encoded("192.0.2.1:54321", "198.51.100.7:443");
        assert_eq!(header, b"PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n");
        assert_eq!(encoded("[2001:db8::1]:1", "[::1]:65535"), b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
        // A socket for both families shows IPv4 addresses in this form.
        assert_eq!(encoded("[::ffff:192.0.2.1]:1", "192.0.2.2:2"), b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
        assert_eq!(encoded("192.0.2.1:1", "[2001:db8::1]:2"), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
        // An address without its zone: section 2.1 has no place for one.
        assert_eq!(encoded("[fe80::1%3]:1", "[fe80::2%3]:2"), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n");
    }

    #[test]
    fn a_binary_header_names_both_addresses() {
        let encoded = binary(&address("192.0.2.1:54321"), &address("198.51.100.7:443"));
        let body = b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xd4\x31\x01\xbb";
        assert_eq!(encoded, [&SIGNATURE[..], body].concat());
    }

    #[test]
    fn the_longest_text_header_has_a_permitted_length() {
        let longest = address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
        assert_eq!(text(&longest, &longest).len(), "PROXY TCP6 ".len() + 2 * 39 + 2 * 5 + 3 + 2);
    }

    #[test]
    fn the_parser_reads_each_header() {
        let unix = Address::Unix(Path::new("/run/x.sock").into());
        let inet = address("192.0.2.1:1");
        let both = [address("[2001:db8::1]:1"), address("[::1]:2")];
        for [source, destination] in [[inet.clone(), address("192.0.2.2:2")], both] {
            let expected = ProxyHeader::Proxied { source: source.clone(), destination: destination.clone() };
            assert_eq!(parsed(&binary(&source, &destination)), expected);
            assert_eq!(parsed(&text(&source, &destination)), expected);
        }
        for [source, destination] in [[Address::Unnamed, unix.clone()], [inet.clone(), unix], [Address::Unnamed, inet]]
        {
            assert_eq!(parsed(&binary(&source, &destination)), ProxyHeader::Own);
            assert_eq!(parsed(&text(&source, &destination)), ProxyHeader::Own);
        }
    }
}
