//! Version 2: a preamble of 16 bytes, addresses and extensions.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::extensions::Extensions;
use super::{ProxyHeader, ProxyHeaderError};
use crate::Address;

/// The size of signature, command, family and length.
pub(super) const PREAMBLE: usize = 16;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// A valid preamble.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preamble {
    family: Family,
    /// The number of bytes after the preamble.
    length: u16,
}

/// The kind of the addresses.
#[derive(Clone, Copy, Debug)]
enum Family {
    /// No addresses: all bytes after the preamble are skipped.
    Own,
    Inet,
    Inet6,
    Unix,
}

impl Family {
    fn addresses_length(self) -> u16 {
        match self {
            Family::Own => 0,
            Family::Inet => 12,
            Family::Inet6 => 36,
            Family::Unix => 216,
        }
    }
}

/// Checks the beginning of a preamble, and returns the preamble if `bytes` is all of it.
pub(super) fn check(bytes: &[u8]) -> Result<Option<Preamble>, ProxyHeaderError> {
    let signature = &bytes[..bytes.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(signature) {
        return Err(ProxyHeaderError::NoHeader);
    }
    if let Some(&command) = bytes.get(12) {
        check_command(command)?;
    }
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    let family = if bytes[12] & 0xf == 0 { Family::Own } else { family_of(family)? };
    let Some(&[high, low]) = bytes.get(14..PREAMBLE) else { return Ok(None) };
    let length = u16::from_be_bytes([high, low]);
    if length < family.addresses_length() {
        return Err(ProxyHeaderError::Length(length));
    }
    Ok(Some(Preamble { family, length }))
}

fn check_command(byte: u8) -> Result<(), ProxyHeaderError> {
    match (byte >> 4, byte & 0xf) {
        (2, 0 | 1) => Ok(()),
        (2, command) => Err(ProxyHeaderError::Command(command)),
        (version, _) => Err(ProxyHeaderError::Version(version)),
    }
}

/// A connection forwards a stream. Datagrams would need a header each.
fn family_of(byte: u8) -> Result<Family, ProxyHeaderError> {
    match (byte >> 4, byte & 0xf) {
        (0, 0..=1) => Ok(Family::Own),
        (1, 0..=1) => Ok(Family::Inet),
        (2, 0..=1) => Ok(Family::Inet6),
        (3, 0..=1) => Ok(Family::Unix),
        (0..=3, 2) => Err(ProxyHeaderError::Datagram(byte)),
        _ => Err(ProxyHeaderError::Family(byte)),
    }
}

impl Preamble {
    pub(super) fn addresses_length(self) -> usize {
        self.family.addresses_length().into()
    }

    /// Returns what follows the addresses.
    pub(super) fn extensions(self) -> Extensions {
        let length = usize::from(self.length - self.family.addresses_length());
        match self.family {
            Family::Own => Extensions::unchecked(length),
            _ => Extensions::checked(length),
        }
    }

    /// Decodes the addresses after this preamble.
    pub(super) fn header(self, addresses: &[u8]) -> ProxyHeader {
        let [source, destination] = match self.family {
            Family::Own => return ProxyHeader::Own,
            Family::Inet => inet::<4>(addresses).map(|(ip, port)| (Ipv4Addr::from(ip), port).into()).map(inet_address),
            Family::Inet6 => {
                inet::<16>(addresses).map(|(ip, port)| (Ipv6Addr::from(ip), port).into()).map(inet_address)
            }
            Family::Unix => [unix(&addresses[..108]), unix(&addresses[108..])],
        };
        ProxyHeader::Proxied { source, destination }
    }
}

fn inet_address(address: SocketAddr) -> Address {
    Address::Inet(address)
}

/// Decodes two addresses of `LENGTH` bytes and two ports.
fn inet<const LENGTH: usize>(bytes: &[u8]) -> [([u8; LENGTH], u16); 2] {
    [0, 1].map(|which| {
        let ip = &bytes[which * LENGTH..][..LENGTH];
        let port = &bytes[2 * LENGTH + 2 * which..][..2];
        (ip.try_into().expect("a slice of LENGTH bytes"), u16::from_be_bytes([port[0], port[1]]))
    })
}

/// Decodes a `sun_path`: a path up to the first zero, or an abstract name after a leading zero.
fn unix(bytes: &[u8]) -> Address {
    let length = |bytes: &[u8]| bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match bytes {
        [0, name @ ..] if length(name) == 0 => Address::Unnamed,
        [0, name @ ..] => Address::Abstract(name[..length(name)].into()),
        path => {
            let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
            // A lossy conversion is enough, because this path is only displayed and never opened.
            Address::Unix(Path::new(&*String::from_utf8_lossy(&path[..end])).into())
        }
    }
}
