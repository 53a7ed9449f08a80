//! IP addresses with the zone of a link-local one: RFC 4007, section 11.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An IP address, with the zone that a link-local IPv6 address needs.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, ZonedIp};
///
/// let ServerDescription::Tcp(tcp) = r"tcp:8000:interface=fe80\:\:77%eth0".parse()? else { panic!("expected tcp") };
/// let interface: ZonedIp = tcp.interface.expect("an interface");
/// assert_eq!((interface.ip, interface.zone.as_deref()), ("fe80::77".parse().unwrap(), Some("eth0")));
/// assert_eq!(interface.to_string(), "fe80::77%eth0");
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZonedIp<A = IpAddr> {
    /// The address.
    pub ip: A,
    /// The name or number of the network interface behind which the address is valid. Only IPv6 addresses have one.
    /// Never empty.
    pub zone: Option<String>,
}

impl<A> From<A> for ZonedIp<A> {
    fn from(ip: A) -> ZonedIp<A> {
        ZonedIp { ip, zone: None }
    }
}

impl<A: fmt::Display> fmt::Display for ZonedIp<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}%{zone}", self.ip),
            None => self.ip.fmt(f),
        }
    }
}

impl ZonedIp<Ipv6Addr> {
    /// Returns the same address, of the type for both families.
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv6Addr};
    /// use ropewalk_proto::description::ZonedIp;
    ///
    /// let here: ZonedIp<IpAddr> = ZonedIp::from(Ipv6Addr::LOCALHOST).into_ip();
    /// assert_eq!(here.to_string(), "::1");
    /// ```
    pub fn into_ip(self) -> ZonedIp {
        ZonedIp { ip: self.ip.into(), zone: self.zone }
    }
}

impl<A: FromStr> ZonedIp<A> {
    /// Parses `ADDRESS` or `ADDRESS%ZONE`.
    pub(crate) fn parse(text: &str) -> Option<ZonedIp<A>> {
        let (ip, zone) = match text.split_once('%') {
            Some((ip, zone)) if !zone.is_empty() && ip.parse::<Ipv6Addr>().is_ok() => (ip, Some(zone.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        Some(ZonedIp { ip: ip.parse().ok()?, zone })
    }
}
