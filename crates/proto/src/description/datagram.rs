//! Descriptions of datagram ports: where to receive datagrams, and where to send them.

use std::fmt;
use std::str::FromStr;

use super::arguments::{Arguments, Kind, Shape, interface, number, port, read, switch, unix_address, unix_text};
use super::client::{self, connectable, host, write_bind_address};
use super::server::{MODE, MODE_RANGE, PORT, mode};
use super::{Description, DescriptionError, ZonedIp, quote_string_argument};
use crate::Address;

/// The default length of the longest datagram: `maxPacketSize` of IReactorUDP.
const PACKET_SIZE: u32 = 8192;

const PACKET_SIZE_RANGE: &str = "a number from 1 to 65536";

/// A description of where to receive datagrams, with checked and typed arguments.
///
/// | string | meaning |
/// |---|---|
/// | `udp:PORT[:interface=IP][:max_packet_size=8192][:reuse_port=0]` | UDP on every interface, or on one |
/// | `unix-datagram:PATH[:mode=666][:max_packet_size=8192]` | a UNIX datagram socket at a path; `@NAME` is an abstract name |
///
/// The arguments may also be given without keys, in this order, except `reuse_port`. With port 0 the system chooses a
/// port.
///
/// ```
/// use ropewalk_proto::description::DatagramServerDescription;
///
/// let DatagramServerDescription::Udp(udp) = "udp:53:interface=127.0.0.1".parse()? else { panic!("expected udp") };
/// assert_eq!((udp.port, udp.max_packet_size), (53, 8192));
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramServerDescription {
    /// `udp:`
    Udp(UdpServer),
    /// `unix-datagram:`
    UnixDatagram(UnixDatagramServer),
}

/// A description of where to send datagrams, with checked and typed arguments.
///
/// | string | meaning |
/// |---|---|
/// | `udp:HOST:PORT[:bind_address=IP][:max_packet_size=8192]` | UDP to a name or an IP address |
/// | `unix-datagram:PATH[:bind_address=PATH][:max_packet_size=8192]` | a UNIX datagram socket at a path; `@NAME` is an abstract name |
///
/// ```
/// use ropewalk_proto::description::DatagramClientDescription;
///
/// let DatagramClientDescription::Udp(udp) = "udp:ns.example.com:53".parse()? else { panic!("expected udp") };
/// assert_eq!((&udp.host[..], udp.port), ("ns.example.com", 53));
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramClientDescription {
    /// `udp:`
    Udp(UdpClient),
    /// `unix-datagram:`
    UnixDatagram(UnixDatagramClient),
}

/// The arguments of a `udp:` server.
///
/// ```
/// use ropewalk_proto::description::{DatagramServerDescription, UdpServer};
///
/// let mut udp = UdpServer::new(53);
/// udp.max_packet_size = 1500;
/// assert_eq!("udp:53:max_packet_size=1500".parse(), Ok(DatagramServerDescription::Udp(udp)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpServer {
    /// The port to receive on. With 0 the system chooses.
    pub port: u16,
    /// The address to bind. `None` means every interface.
    pub interface: Option<ZonedIp>,
    /// The length of the longest datagram, from 1 to 65536. Longer ones are dropped.
    pub max_packet_size: u32,
    /// Whether several sockets with this option may share the address: SO_REUSEPORT.
    pub reuse_port: bool,
}

/// The arguments of a `unix-datagram:` server.
///
/// ```
/// use ropewalk_proto::Address;
/// use ropewalk_proto::description::{DatagramServerDescription, UnixDatagramServer};
///
/// let mut unix = UnixDatagramServer::new(Address::Unix(std::path::Path::new("/run/log").into()));
/// unix.mode = 0o600;
/// assert_eq!("unix-datagram:/run/log:mode=600".parse(), Ok(DatagramServerDescription::UnixDatagram(unix)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixDatagramServer {
    /// The socket's path or abstract name.
    pub address: Address,
    /// The permission bits of the socket's file, at most 0o777.
    pub mode: u32,
    /// The length of the longest datagram, from 1 to 65536. Longer ones are dropped.
    pub max_packet_size: u32,
}

/// The arguments of a `udp:` client.
///
/// ```
/// use ropewalk_proto::description::{DatagramClientDescription, UdpClient};
///
/// let udp = UdpClient::new("ns.example.org", 53);
/// assert_eq!("udp:ns.example.org:53".parse(), Ok(DatagramClientDescription::Udp(udp)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpClient {
    /// A name to resolve, or an IP address. Never empty.
    pub host: String,
    /// The port to send to. Never 0.
    pub port: u16,
    /// The local address. With `None` the system chooses.
    pub bind_address: Option<ZonedIp>,
    /// The length of the longest datagram that is received, from 1 to 65536. Longer ones are dropped.
    pub max_packet_size: u32,
}

/// The arguments of a `unix-datagram:` client.
///
/// ```
/// use ropewalk_proto::Address;
/// use ropewalk_proto::description::{DatagramClientDescription, UnixDatagramClient};
///
/// let mut unix = UnixDatagramClient::new(Address::Unix(std::path::Path::new("/dev/log").into()));
/// unix.bind_address = Some(Address::Abstract((*b"me").into()));
/// assert_eq!("unix-datagram:/dev/log:bind_address=@me".parse(), Ok(DatagramClientDescription::UnixDatagram(unix)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixDatagramClient {
    /// The path or abstract name of the peer.
    pub address: Address,
    /// The path or abstract name to bind, without which the peer cannot answer.
    pub bind_address: Option<Address>,
    /// The length of the longest datagram that is received, from 1 to 65536. Longer ones are dropped.
    pub max_packet_size: u32,
}

impl UdpServer {
    /// Describes a port of every interface, for datagrams of up to 8192 bytes.
    pub fn new(port: u16) -> UdpServer {
        UdpServer { port, interface: None, max_packet_size: PACKET_SIZE, reuse_port: false }
    }
}

impl UnixDatagramServer {
    /// Describes a socket at `address` with mode 666, for datagrams of up to 8192 bytes.
    pub fn new(address: Address) -> UnixDatagramServer {
        UnixDatagramServer { address, mode: MODE, max_packet_size: PACKET_SIZE }
    }
}

impl UdpClient {
    /// Describes a socket that sends to `port` of `host`, and receives datagrams of up to 8192 bytes.
    pub fn new(host: impl Into<String>, port: u16) -> UdpClient {
        UdpClient { host: host.into(), port, bind_address: None, max_packet_size: PACKET_SIZE }
    }
}

impl UnixDatagramClient {
    /// Describes a socket without a name that sends to `address`.
    pub fn new(address: Address) -> UnixDatagramClient {
        UnixDatagramClient { address, bind_address: None, max_packet_size: PACKET_SIZE }
    }
}

pub(super) const SERVER_KINDS: &[Kind<DatagramServerDescription>] = &[
    (
        Shape {
            name: "udp",
            usage: "udp:PORT[:interface=IP][:max_packet_size=N][:reuse_port=0]",
            parameters: &["port", "interface", "max_packet_size", "reuse_port"],
            positional_max: 3,
        },
        |arguments| udp_server(arguments).map(DatagramServerDescription::Udp),
    ),
    (
        Shape {
            name: "unix-datagram",
            usage: "unix-datagram:PATH[:mode=666][:max_packet_size=N]",
            parameters: &["path|address", "mode", "max_packet_size"],
            positional_max: 3,
        },
        |arguments| unix_server(arguments).map(DatagramServerDescription::UnixDatagram),
    ),
];

pub(super) const CLIENT_KINDS: &[Kind<DatagramClientDescription>] = &[
    (
        Shape {
            name: "udp",
            usage: "udp:HOST:PORT[:bind_address=IP][:max_packet_size=N]",
            parameters: &["host", "port", "bind_address|bindAddress", "max_packet_size"],
            positional_max: 2,
        },
        |arguments| udp_client(arguments).map(DatagramClientDescription::Udp),
    ),
    (
        Shape {
            name: "unix-datagram",
            usage: "unix-datagram:PATH[:bind_address=PATH][:max_packet_size=N]",
            parameters: &["path|address", "bind_address|bindAddress", "max_packet_size"],
            positional_max: 1,
        },
        |arguments| unix_client(arguments).map(DatagramClientDescription::UnixDatagram),
    ),
];

impl DatagramServerDescription {
    /// Returns the names of the built-in endpoint types.
    ///
    /// ```
    /// use ropewalk_proto::description::DatagramServerDescription;
    ///
    /// assert!(DatagramServerDescription::names().eq(["udp", "unix-datagram"]));
    /// ```
    pub fn names() -> impl Iterator<Item = &'static str> {
        SERVER_KINDS.iter().map(|(shape, _)| shape.name)
    }
}

impl DatagramClientDescription {
    /// Returns the names of the built-in endpoint types.
    ///
    /// ```
    /// use ropewalk_proto::description::DatagramClientDescription;
    ///
    /// assert!(DatagramClientDescription::names().any(|name| name == "udp"));
    /// ```
    pub fn names() -> impl Iterator<Item = &'static str> {
        CLIENT_KINDS.iter().map(|(shape, _)| shape.name)
    }
}

impl FromStr for DatagramServerDescription {
    type Err = DescriptionError;

    /// Parses a server description.
    ///
    /// # Errors
    /// If the grammar, the name or an argument is wrong. The message names the fault and what was expected.
    fn from_str(text: &str) -> Result<DatagramServerDescription, DescriptionError> {
        DatagramServerDescription::try_from(&text.parse::<Description>()?)
    }
}

impl FromStr for DatagramClientDescription {
    type Err = DescriptionError;

    /// Parses a client description.
    ///
    /// # Errors
    /// If the grammar, the name or an argument is wrong. The message names the fault and what was expected.
    fn from_str(text: &str) -> Result<DatagramClientDescription, DescriptionError> {
        DatagramClientDescription::try_from(&text.parse::<Description>()?)
    }
}

impl TryFrom<&Description> for DatagramServerDescription {
    type Error = DescriptionError;

    fn try_from(description: &Description) -> Result<DatagramServerDescription, DescriptionError> {
        read(description, SERVER_KINDS, "datagram server", "udp:8000:interface=127.0.0.1")
    }
}

impl TryFrom<&Description> for DatagramClientDescription {
    type Error = DescriptionError;

    fn try_from(description: &Description) -> Result<DatagramClientDescription, DescriptionError> {
        read(description, CLIENT_KINDS, "datagram client", "udp:127.0.0.1:8000")
    }
}

impl fmt::Display for DatagramServerDescription {
    /// Formats the description without the arguments that have their default values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatagramServerDescription::Udp(udp) => {
                write!(f, "udp:{}", udp.port)?;
                if let Some(interface) = &udp.interface {
                    write!(f, ":interface={}", quote_string_argument(&interface.to_string()))?;
                }
                write_packet_size(f, udp.max_packet_size)?;
                f.write_str(if udp.reuse_port { ":reuse_port=1" } else { "" })
            }
            DatagramServerDescription::UnixDatagram(unix) => {
                write!(f, "unix-datagram:{}", quote_string_argument(&unix_text(&unix.address)))?;
                if unix.mode != MODE {
                    write!(f, ":mode={:o}", unix.mode)?;
                }
                write_packet_size(f, unix.max_packet_size)
            }
        }
    }
}

impl fmt::Display for DatagramClientDescription {
    /// Formats the description without the arguments that have their default values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatagramClientDescription::Udp(udp) => {
                write!(f, "udp:{}:{}", quote_string_argument(&udp.host), udp.port)?;
                write_bind_address(f, udp.bind_address.as_ref())?;
                write_packet_size(f, udp.max_packet_size)
            }
            DatagramClientDescription::UnixDatagram(unix) => {
                write!(f, "unix-datagram:{}", quote_string_argument(&unix_text(&unix.address)))?;
                write_bind_address(f, unix.bind_address.as_ref().map(unix_text).as_ref())?;
                write_packet_size(f, unix.max_packet_size)
            }
        }
    }
}

fn write_packet_size(f: &mut fmt::Formatter<'_>, bytes: u32) -> fmt::Result {
    match bytes {
        PACKET_SIZE => Ok(()),
        other => write!(f, ":max_packet_size={other}"),
    }
}

fn udp_server(arguments: &Arguments<'_>) -> Result<UdpServer, DescriptionError> {
    Ok(UdpServer {
        port: arguments.required("port", PORT, port)?,
        interface: arguments.optional("interface", "an IP address", interface)?.flatten(),
        max_packet_size: max_packet_size(arguments)?,
        reuse_port: arguments.optional("reuse_port", "0 or 1", switch)?.unwrap_or(false),
    })
}

fn unix_server(arguments: &Arguments<'_>) -> Result<UnixDatagramServer, DescriptionError> {
    Ok(UnixDatagramServer {
        address: arguments.required("path", "a path or @NAME", unix_address)?,
        mode: arguments.optional("mode", MODE_RANGE, mode)?.unwrap_or(MODE),
        max_packet_size: max_packet_size(arguments)?,
    })
}

fn udp_client(arguments: &Arguments<'_>) -> Result<UdpClient, DescriptionError> {
    Ok(UdpClient {
        host: arguments.required("host", "a name or an IP address", host)?,
        port: arguments.required("port", client::PORT, connectable)?,
        bind_address: arguments.optional("bind_address", "an IP address", interface)?.flatten(),
        max_packet_size: max_packet_size(arguments)?,
    })
}

fn unix_client(arguments: &Arguments<'_>) -> Result<UnixDatagramClient, DescriptionError> {
    Ok(UnixDatagramClient {
        address: arguments.required("path", "a path or @NAME", unix_address)?,
        bind_address: arguments.optional("bind_address", "a path or @NAME", unix_address)?,
        max_packet_size: max_packet_size(arguments)?,
    })
}

fn max_packet_size(arguments: &Arguments<'_>) -> Result<u32, DescriptionError> {
    let valid = |value: &str| number(value).filter(|bytes| (1..=65_536).contains(bytes));
    Ok(arguments.optional("max_packet_size", PACKET_SIZE_RANGE, valid)?.unwrap_or(PACKET_SIZE))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn server(text: &str) -> DatagramServerDescription {
        text.parse().unwrap()
    }

    fn client(text: &str) -> DatagramClientDescription {
        text.parse().unwrap()
    }

    fn unix_at(path: &str) -> Address {
        Address::Unix(Path::new(path).into())
    }

    #[test]
    fn arguments_are_found_by_position_or_by_key() {
        let expected = UdpServer { interface: ZonedIp::parse("127.0.0.1"), max_packet_size: 512, ..UdpServer::new(53) };
        for text in ["udp:53:127.0.0.1:512", "UDP:max_packet_size=512:53:interface=127.0.0.1"] {
            assert_eq!(server(text), DatagramServerDescription::Udp(expected.clone()), "{text}");
        }
        let expected = UdpClient { bind_address: ZonedIp::parse("::1"), ..UdpClient::new("ns.example", 53) };
        for text in [r"udp:ns.example:53:bind_address=\:\:1", r"udp:53:host=ns.example:bindAddress=\:\:1"] {
            assert_eq!(client(text), DatagramClientDescription::Udp(expected.clone()), "{text}");
        }
    }

    #[test]
    fn a_unix_client_may_have_an_own_name() {
        let expected =
            UnixDatagramClient { bind_address: Some(unix_at("/run/me")), ..UnixDatagramClient::new(unix_at("/run/x")) };
        assert_eq!(
            client("unix-datagram:/run/x:bind_address=/run/me"),
            DatagramClientDescription::UnixDatagram(expected)
        );
    }

    #[test]
    fn an_error_names_the_fault_with_the_expected_form() {
        let servers = [
            (
                "tcp:53",
                "datagram server endpoint type 'tcp' is for streams: expected one of udp, unix-datagram (did you mean \
                 udp:53?)",
            ),
            (
                "unix:/run/x:backlog=5",
                "datagram server endpoint type 'unix' is for streams: expected one of udp, unix-datagram (did you mean \
                 unix-datagram?)",
            ),
            (
                "stdio:",
                "unknown datagram server endpoint type 'stdio': expected one of udp, unix-datagram (for example \
                 udp:8000:interface=127.0.0.1)",
            ),
            (
                "53",
                "unknown datagram server endpoint type '53': expected one of udp, unix-datagram (did you mean \
                 udp:53:interface=127.0.0.1?)",
            ),
            (
                "udp:127.0.0.1:53",
                "invalid port '127.0.0.1' in 'udp:127.0.0.1:53': expected a number from 0 to 65535 (did you mean \
                 udp:53:interface=127.0.0.1?)",
            ),
            (
                "udp:53:iface=lo",
                "unknown key 'iface' in 'udp:53:iface=lo': expected \
                 udp:PORT[:interface=IP][:max_packet_size=N][:reuse_port=0]",
            ),
            (
                "udp:53:max_packet_size=65537",
                "invalid max_packet_size '65537' in 'udp:53:max_packet_size=65537': expected a number from 1 to 65536",
            ),
            (
                "unix-datagram:/x:mode=8",
                "invalid mode '8' in 'unix-datagram:/x:mode=8': expected an octal number from 0 to 777",
            ),
        ];
        for (text, message) in servers {
            assert_eq!(text.parse::<DatagramServerDescription>().unwrap_err().to_string(), message);
        }
        let clients = [
            (
                "tcp:example.com:53:timeout=5",
                "datagram client endpoint type 'tcp' is for streams: expected one of udp, unix-datagram (did you mean \
                 udp?)",
            ),
            ("udp:53", "(did you mean udp:127.0.0.1:53?)"),
            ("/dev/log", "(did you mean unix-datagram:/dev/log?)"),
            ("udp:ns.example:0", "invalid port '0' in 'udp:ns.example:0': expected a number from 1 to 65535"),
        ];
        for (text, part) in clients {
            let error = text.parse::<DatagramClientDescription>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    fn servers() -> impl Strategy<Value = DatagramServerDescription> {
        prop_oneof![
            (any::<u16>(), any::<Option<std::net::IpAddr>>(), 1..=65_536u32, any::<bool>()).prop_map(
                |(port, interface, max_packet_size, reuse_port)| {
                    let interface = interface.map(ZonedIp::from);
                    DatagramServerDescription::Udp(UdpServer { port, interface, max_packet_size, reuse_port })
                }
            ),
            ("[^\0@][^\0]*", 0..=0o777u32, 1..=65_536u32).prop_map(|(path, mode, max_packet_size)| {
                let unix = UnixDatagramServer { address: unix_at(&path), mode, max_packet_size };
                DatagramServerDescription::UnixDatagram(unix)
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_displayed_server_is_parsed_to_itself(description in servers()) {
            prop_assert_eq!(server(&description.to_string()), description);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in r"(udp|unix-datagram)(:(port=|host=|interface=|bind_address=|max_packet_size=|reuse_port=|mode=|path=)?[0-9.\\:=é@]{0,6}){0,4}") {
            if let Ok(parsed) = text.parse::<DatagramServerDescription>() {
                prop_assert_eq!(server(&parsed.to_string()), parsed);
            }
            if let Ok(parsed) = text.parse::<DatagramClientDescription>() {
                prop_assert_eq!(client(&parsed.to_string()), parsed);
            }
        }
    }
}
