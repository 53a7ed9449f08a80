//! Version 1: one line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{ProxyHeader, ProxyHeaderError};

/// Section 2.1: "a 108-byte buffer is always enough to store all the line and a trailing zero".
pub(super) const LENGTH_MAX: usize = 107;
pub(super) const PREFIX: &[u8] = b"PROXY ";

/// Parses a line that begins with the prefix and ends with its first line feed.
pub(super) fn parse(line: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let line = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r')).ok_or(ProxyHeaderError::LineEnd)?;
    let line = &line[PREFIX.len()..];
    let (protocol, rest) = match line.iter().position(|&byte| byte == b' ') {
        Some(end) => (&line[..end], Some(&line[end + 1..])),
        None => (line, None),
    };
    match protocol {
        // "The receiver must ignore anything presented before the CRLF is found."
        b"UNKNOWN" => Ok(ProxyHeader::Own),
        b"TCP4" => proxied::<Ipv4Addr>(rest),
        b"TCP6" => proxied::<Ipv6Addr>(rest),
        _ => Err(ProxyHeaderError::Protocol),
    }
}

fn proxied<A: FromStr + Into<IpAddr>>(fields: Option<&[u8]>) -> Result<ProxyHeader, ProxyHeaderError> {
    let fields = std::str::from_utf8(fields.unwrap_or_default()).map_err(|_| ProxyHeaderError::Address)?;
    let mut fields = fields.split(' ');
    let [source, destination, source_port, destination_port] =
        std::array::from_fn(|_| fields.next()).map(|field| field.ok_or(ProxyHeaderError::Fields));
    if fields.next().is_some() {
        return Err(ProxyHeaderError::Fields);
    }
    // A missing field is reported before an invalid one.
    let destination_port = destination_port?;
    Ok(ProxyHeader::Proxied {
        source: SocketAddr::new(address::<A>(source?)?, port(source_port?)?).into(),
        destination: SocketAddr::new(address::<A>(destination?)?, port(destination_port)?).into(),
    })
}

fn address<A: FromStr + Into<IpAddr>>(field: &str) -> Result<IpAddr, ProxyHeaderError> {
    field.parse::<A>().map(Into::into).map_err(|_| ProxyHeaderError::Address)
}

/// Accepts digits only. Rust's own parser also accepts a sign.
fn port(field: &str) -> Result<u16, ProxyHeaderError> {
    let canonical = field == "0" || !field.starts_with(['0', '+']);
    canonical.then(|| field.parse().ok()).flatten().ok_or(ProxyHeaderError::Port)
}
