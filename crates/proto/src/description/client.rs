//! Client descriptions: where to connect.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use super::arguments::{Arguments, Kind, Shape, interface, port, read, seconds, switch, unix_address, unix_text};
use super::{Description, DescriptionError, SerialDescription, ZonedIp, quote_string_argument, serial};
use crate::Address;

/// The default time limit of a connection attempt.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A description of where to connect, with checked and typed arguments.
///
/// | string | meaning |
/// |---|---|
/// | `tcp:HOST:PORT[:timeout=30][:bind_address=IP]` | TCP to a name or an IP address (`bindAddress` is accepted too) |
/// | `tcp6:HOST:PORT[:timeout=30][:bind_address=IP]` | TCP over IPv6 only; IPv4 addresses of a name are ignored |
/// | `unix:PATH[:timeout=30][:lockfile=0]` | a UNIX socket at a path; `@NAME` is an abstract name |
/// | `serial:DEVICE[:speed=9600][...]` | a serial port; for its other settings see [`SerialDescription`] |
///
/// The timeout is in seconds and may have a fraction.
///
/// ```
/// use ropewalk_proto::description::ClientDescription;
///
/// let ClientDescription::Tcp(tcp) = "tcp:example.com:80:timeout=2.5".parse()? else { panic!("expected tcp") };
/// assert_eq!((&tcp.host[..], tcp.port, tcp.timeout.as_millis()), ("example.com", 80, 2500));
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientDescription {
    /// `tcp:`
    Tcp(TcpClient),
    /// `tcp6:`
    Tcp6(Tcp6Client),
    /// `unix:`
    Unix(UnixClient),
    /// `serial:`
    Serial(SerialDescription),
}

/// The arguments of a `tcp:` client.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_proto::description::{ClientDescription, TcpClient};
///
/// let mut tcp = TcpClient::new("example.org", 80);
/// tcp.timeout = Duration::from_secs(5);
/// assert_eq!("tcp:example.org:80:timeout=5".parse(), Ok(ClientDescription::Tcp(tcp)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpClient {
    /// A name to resolve, or an IP address. Never empty.
    pub host: String,
    /// The port to connect to. Never 0.
    pub port: u16,
    /// The time limit of the attempt, including name resolution. Never zero.
    pub timeout: Duration,
    /// The local address. With `None` the system chooses.
    pub bind_address: Option<ZonedIp>,
}

/// The arguments of a `tcp6:` client.
///
/// ```
/// use ropewalk_proto::description::{ClientDescription, Tcp6Client};
///
/// let tcp6 = ClientDescription::Tcp6(Tcp6Client::new("example.org", 80));
/// assert_eq!("tcp6:example.org:80".parse(), Ok(tcp6));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tcp6Client {
    /// A name to resolve, or an IPv6 address. It is neither empty nor an IPv4 address.
    pub host: String,
    /// The port to connect to. Never 0.
    pub port: u16,
    /// The time limit of the attempt, including name resolution. Never zero.
    pub timeout: Duration,
    /// The local address. With `None` the system chooses.
    pub bind_address: Option<ZonedIp<Ipv6Addr>>,
}

/// The arguments of a `unix:` client.
///
/// ```
/// use ropewalk_proto::Address;
/// use ropewalk_proto::description::{ClientDescription, UnixClient};
///
/// let mut unix = UnixClient::new(Address::Unix(std::path::Path::new("/run/db.sock").into()));
/// unix.lockfile = true;
/// assert_eq!("unix:/run/db.sock:lockfile=1".parse(), Ok(ClientDescription::Unix(unix)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixClient {
    /// The socket's path or abstract name.
    pub address: Address,
    /// The time limit of the attempt. Never zero.
    pub timeout: Duration,
    /// Whether to connect only if a lock file shows that the server is running.
    pub lockfile: bool,
}

impl TcpClient {
    /// Describes a connection to `port` of `host`, with the default timeout of 30 seconds.
    pub fn new(host: impl Into<String>, port: u16) -> TcpClient {
        TcpClient { host: host.into(), port, timeout: TIMEOUT, bind_address: None }
    }
}

impl Tcp6Client {
    /// Describes a connection to `port` of `host`, with the default timeout of 30 seconds.
    pub fn new(host: impl Into<String>, port: u16) -> Tcp6Client {
        Tcp6Client { host: host.into(), port, timeout: TIMEOUT, bind_address: None }
    }
}

impl UnixClient {
    /// Describes a connection to `address`, with the default timeout of 30 seconds and without a check of the lock
    /// file.
    pub fn new(address: Address) -> UnixClient {
        UnixClient { address, timeout: TIMEOUT, lockfile: false }
    }
}

pub(super) const KINDS: &[Kind<ClientDescription>] = &[
    (
        Shape {
            name: "tcp",
            usage: "tcp:HOST:PORT[:timeout=30][:bind_address=IP]",
            parameters: &["host", "port", "timeout", "bind_address|bindAddress"],
            positional_max: 2,
        },
        |arguments| tcp(arguments).map(ClientDescription::Tcp),
    ),
    (
        Shape {
            name: "tcp6",
            usage: "tcp6:HOST:PORT[:timeout=30][:bind_address=IP]",
            parameters: &["host", "port", "timeout", "bind_address|bindAddress"],
            positional_max: 2,
        },
        |arguments| tcp6(arguments).map(ClientDescription::Tcp6),
    ),
    (
        Shape {
            name: "unix",
            usage: "unix:PATH[:timeout=30][:lockfile=0]",
            parameters: &["path", "timeout", "lockfile"],
            positional_max: 1,
        },
        |arguments| unix(arguments).map(ClientDescription::Unix),
    ),
    (serial::SHAPE, |arguments| serial::read(arguments).map(ClientDescription::Serial)),
];

pub(super) const PORT: &str = "a number from 1 to 65535";
const SECONDS: &str = "a number of seconds above 0";

impl ClientDescription {
    /// Returns the names of the built-in endpoint types.
    ///
    /// ```
    /// use ropewalk_proto::description::ClientDescription;
    ///
    /// assert!(ClientDescription::names().any(|name| name == "tcp6"));
    /// ```
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(shape, _)| shape.name)
    }
}

impl FromStr for ClientDescription {
    type Err = DescriptionError;

    /// Parses a client description.
    ///
    /// # Errors
    /// If the grammar, the name or an argument is wrong. The message names the fault and what was expected.
    fn from_str(text: &str) -> Result<ClientDescription, DescriptionError> {
        ClientDescription::try_from(&text.parse::<Description>()?)
    }
}

impl TryFrom<&Description> for ClientDescription {
    type Error = DescriptionError;

    fn try_from(description: &Description) -> Result<ClientDescription, DescriptionError> {
        read(description, KINDS, "client", "tcp:localhost:8000")
    }
}

impl fmt::Display for ClientDescription {
    /// Formats the description without the arguments that have their default values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientDescription::Tcp(tcp) => {
                write!(f, "tcp:{}:{}", quote_string_argument(&tcp.host), tcp.port)?;
                write_timeout(f, tcp.timeout)?;
                write_bind_address(f, tcp.bind_address.as_ref())
            }
            ClientDescription::Tcp6(tcp) => {
                write!(f, "tcp6:{}:{}", quote_string_argument(&tcp.host), tcp.port)?;
                write_timeout(f, tcp.timeout)?;
                write_bind_address(f, tcp.bind_address.as_ref())
            }
            ClientDescription::Unix(unix) => {
                write!(f, "unix:{}", quote_string_argument(&unix_text(&unix.address)))?;
                write_timeout(f, unix.timeout)?;
                f.write_str(if unix.lockfile { ":lockfile=1" } else { "" })
            }
            ClientDescription::Serial(serial) => serial.fmt(f),
        }
    }
}

fn write_timeout(f: &mut fmt::Formatter<'_>, timeout: Duration) -> fmt::Result {
    match timeout {
        TIMEOUT => Ok(()),
        other => write!(f, ":timeout={}", other.as_secs_f64()),
    }
}

pub(super) fn write_bind_address(f: &mut fmt::Formatter<'_>, address: Option<&impl fmt::Display>) -> fmt::Result {
    match address {
        Some(address) => write!(f, ":bind_address={}", quote_string_argument(&address.to_string())),
        None => Ok(()),
    }
}

pub(super) fn host(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

pub(super) fn connectable(value: &str) -> Option<u16> {
    port(value).filter(|&port| port != 0)
}

fn tcp(arguments: &Arguments<'_>) -> Result<TcpClient, DescriptionError> {
    Ok(TcpClient {
        host: arguments.required("host", "a name or an IP address", host)?,
        port: arguments.required("port", PORT, connectable)?,
        timeout: arguments.optional("timeout", SECONDS, seconds)?.unwrap_or(TIMEOUT),
        bind_address: arguments.optional("bind_address", "an IP address", interface)?.flatten(),
    })
}

fn tcp6(arguments: &Arguments<'_>) -> Result<Tcp6Client, DescriptionError> {
    let v6_host = |value: &str| host(value).filter(|host| host.parse::<Ipv4Addr>().is_err());
    let expected = r"an IPv6 address with its colons written \:";
    Ok(Tcp6Client {
        host: arguments.required("host", "a name or an IPv6 address", v6_host)?,
        port: arguments.required("port", PORT, connectable)?,
        timeout: arguments.optional("timeout", SECONDS, seconds)?.unwrap_or(TIMEOUT),
        bind_address: arguments.optional("bind_address", expected, interface)?.flatten(),
    })
}

fn unix(arguments: &Arguments<'_>) -> Result<UnixClient, DescriptionError> {
    Ok(UnixClient {
        address: arguments.required("path", "a path or @NAME", unix_address)?,
        timeout: arguments.optional("timeout", SECONDS, seconds)?.unwrap_or(TIMEOUT),
        lockfile: arguments.optional("lockfile", "0 or 1", switch)?.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> ClientDescription {
        text.parse().unwrap()
    }

    fn fails(text: &str) -> String {
        text.parse::<ClientDescription>().unwrap_err().to_string()
    }

    #[test]
    fn a_tcp_client_has_default_arguments() {
        assert_eq!(parse("tcp:example.com:80"), ClientDescription::Tcp(TcpClient::new("example.com", 80)));
        for mixed in [r"tcp:port=80:host=\:\:1", r"tcp:80:host=\:\:1", r"tcp:port=80:\:\:1"] {
            assert_eq!(parse(mixed), ClientDescription::Tcp(TcpClient::new("::1", 80)), "{mixed}");
        }
    }

    #[test]
    fn bind_address_has_two_spellings() {
        let expected = TcpClient {
            bind_address: ZonedIp::parse("127.0.0.1"),
            timeout: Duration::from_millis(1500),
            ..TcpClient::new("h", 1)
        };
        for text in ["tcp:h:1:timeout=1.5:bind_address=127.0.0.1", "tcp:h:1:bindAddress=127.0.0.1:timeout=1.5"] {
            assert_eq!(parse(text), ClientDescription::Tcp(expected.clone()), "{text}");
        }
        let both = "tcp:h:1:bindAddress=127.0.0.1:bind_address=127.0.0.1";
        assert_eq!(fails(both), format!("the bind_address is given twice in '{both}'"));
    }

    #[test]
    fn a_tcp6_client_accepts_a_name_or_an_ipv6_address() {
        assert_eq!(parse("tcp6:example.com:80"), ClientDescription::Tcp6(Tcp6Client::new("example.com", 80)));
        let expected = Tcp6Client { bind_address: ZonedIp::parse("::1%lo"), ..Tcp6Client::new("fe80::1%2", 80) };
        let text = r"tcp6:fe80\:\:1%2:80:bind_address=\:\:1%lo";
        assert_eq!(parse(text), ClientDescription::Tcp6(expected));
    }

    #[test]
    fn a_unix_client_ignores_the_lock_file_by_default() {
        let plain = UnixClient::new(Address::Unix(Path::new("/run/x").into()));
        assert_eq!(parse("unix:/run/x"), ClientDescription::Unix(plain.clone()));
        let checking = UnixClient { lockfile: true, timeout: Duration::from_secs(2), ..plain };
        assert_eq!(parse("unix:path=/run/x:lockfile=1:timeout=2"), ClientDescription::Unix(checking));
    }

    #[test]
    fn an_error_names_the_fault_with_the_expected_form() {
        let cases = [
            (
                "ipx:h:1",
                "unknown client endpoint type 'ipx': expected one of tcp, tcp6, unix, serial (for example tcp:localhost:8000)",
            ),
            (
                "udp:h:1",
                "client endpoint type 'udp' is for datagrams: expected one of tcp, tcp6, unix, serial \
                 (did you mean tcp:h:1?)",
            ),
            (
                "tcp6:192.0.2.1:80",
                "invalid host '192.0.2.1' in 'tcp6:192.0.2.1:80': expected a name or an IPv6 address \
                 (did you mean tcp:192.0.2.1:80?)",
            ),
            (
                "tcp6:h:80:bind_address=127.0.0.1",
                "invalid bind_address '127.0.0.1' in 'tcp6:h:80:bind_address=127.0.0.1': expected an IPv6 address with \
                 its colons written \\:",
            ),
            ("tcp:h", "missing port in 'tcp:h': expected tcp:HOST:PORT[:timeout=30][:bind_address=IP]"),
            ("tcp:h:0", "invalid port '0' in 'tcp:h:0': expected a number from 1 to 65535"),
            ("tcp:host=:1", "invalid host '' in 'tcp:host=:1': expected a name or an IP address"),
            ("tcp:h:1:timeout=0", "invalid timeout '0' in 'tcp:h:1:timeout=0': expected a number of seconds above 0"),
            (
                "tcp:h:1:timeout=nan",
                "invalid timeout 'nan' in 'tcp:h:1:timeout=nan': expected a number of seconds above 0",
            ),
            (
                "tcp:h:1:timeout=-1",
                "invalid timeout '-1' in 'tcp:h:1:timeout=-1': expected a number of seconds above 0",
            ),
            ("tcp:h:1:bindAddress=h", "invalid bind_address 'h' in 'tcp:h:1:bindAddress=h': expected an IP address"),
            (
                "tcp:h:1:5",
                "unexpected argument '5' in 'tcp:h:1:5': expected tcp:HOST:PORT[:timeout=30][:bind_address=IP]",
            ),
            (
                "unix:/run/x:timout=5",
                "unknown key 'timout' in 'unix:/run/x:timout=5': expected unix:PATH[:timeout=30][:lockfile=0] \
                 (did you mean 'timeout'?)",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(fails(text), message);
        }
    }

    #[test]
    fn a_huge_timeout_is_accepted() {
        let ClientDescription::Tcp(tcp) = parse("tcp:h:1:timeout=1e12") else { panic!("expected tcp") };
        assert_eq!(tcp.timeout.as_secs(), 1_000_000_000_000);
    }

    fn clients() -> impl Strategy<Value = ClientDescription> {
        let timeout = (1..100_000_000u64).prop_map(Duration::from_millis);
        prop_oneof![
            (".+", 1..=u16::MAX, timeout.clone(), any::<Option<IpAddr>>()).prop_map(
                |(host, port, timeout, bind_address)| {
                    let bind_address = bind_address.map(ZonedIp::from);
                    ClientDescription::Tcp(TcpClient { host, port, timeout, bind_address })
                }
            ),
            ("[^0-9].*", 1..=u16::MAX, timeout.clone(), any::<Option<Ipv6Addr>>()).prop_map(
                |(host, port, timeout, bind_address)| {
                    let bind_address = bind_address.map(ZonedIp::from);
                    ClientDescription::Tcp6(Tcp6Client { host, port, timeout, bind_address })
                }
            ),
            ("[^\0@][^\0]*", timeout, any::<bool>()).prop_map(|(path, timeout, lockfile)| {
                let address = Address::Unix(Path::new(&path).into());
                ClientDescription::Unix(UnixClient { address, timeout, lockfile })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_displayed_client_is_parsed_to_itself(client in clients()) {
            prop_assert_eq!(parse(&client.to_string()), client);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in r"(tcp6?|unix)(:(host=|port=|timeout=|bindAddress=|lockfile=)?[0-9.e\\:=é-]{0,6}){0,4}") {
            let _ = text.parse::<ClientDescription>();
        }
    }
}
