//! Server descriptions: where to listen.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::arguments::{
    Arguments, Kind, Shape, backlog, interface, number, port, read, switch, unix_address, unix_text,
};
use super::{Description, DescriptionError, SerialDescription, ZonedIp, quote_string_argument, serial};
use crate::escape::Quoted;
use crate::{Address, DEFAULT_BACKLOG};

/// The default permission bits of a UNIX socket's file.
pub(super) const MODE: u32 = 0o666;

/// A description of where to listen, with checked and typed arguments.
///
/// | string | meaning |
/// |---|---|
/// | `tcp:PORT[:interface=IP][:backlog=1024][:reuse_port=0]` | TCP on every interface, or on one |
/// | `tcp6:PORT[:backlog=1024][:interface=\:\:][:reuse_port=0]` | TCP over IPv6 |
/// | `unix:PATH[:mode=666][:backlog=1024][:lockfile=1]` | a UNIX socket at a path; `@NAME` is an abstract name |
/// | `systemd:[INET\|INET6\|UNIX][:index=0\|name=NAME]` | a listening socket of a service manager |
/// | `fd:NUMBER` | a listening socket that this process inherited |
/// | `stdio:` | standard input and output, as one connection |
/// | `serial:DEVICE[:speed=9600][...]` | a serial port, as one connection; for its other settings see [`SerialDescription`] |
///
/// The arguments of `tcp`, `tcp6` and `unix` may also be given without keys, in this order, except `reuse_port`. With
/// port 0 the system chooses a port.
///
/// ```
/// use ropewalk_proto::description::ServerDescription;
///
/// let ServerDescription::Tcp(tcp) = "tcp:8000:interface=127.0.0.1".parse()? else { panic!("expected tcp") };
/// assert_eq!((tcp.port, tcp.backlog), (8000, 1024));
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerDescription {
    /// `tcp:`
    Tcp(TcpServer),
    /// `tcp6:`
    Tcp6(Tcp6Server),
    /// `unix:`
    Unix(UnixServer),
    /// `systemd:`
    Systemd(SystemdServer),
    /// `fd:`
    Fd(FdServer),
    /// `stdio:`
    Stdio,
    /// `serial:`
    Serial(SerialDescription),
}

/// The arguments of a `tcp:` server.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, TcpServer};
///
/// let mut tcp = TcpServer::new(8000);
/// tcp.backlog = 64;
/// assert_eq!("tcp:8000:backlog=64".parse(), Ok(ServerDescription::Tcp(tcp)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpServer {
    /// The port to listen on. With 0 the system chooses.
    pub port: u16,
    /// The address to bind. `None` means every interface.
    pub interface: Option<ZonedIp>,
    /// The number of connections that may wait to be accepted, at most 2147483647.
    pub backlog: u32,
    /// Whether several sockets with this option may listen on the same address: SO_REUSEPORT.
    pub reuse_port: bool,
}

/// The arguments of a `tcp6:` server.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, Tcp6Server};
///
/// assert_eq!("tcp6:8000".parse(), Ok(ServerDescription::Tcp6(Tcp6Server::new(8000))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tcp6Server {
    /// The port to listen on. With 0 the system chooses.
    pub port: u16,
    /// The address to bind.
    pub interface: ZonedIp<Ipv6Addr>,
    /// The number of connections that may wait to be accepted, at most 2147483647.
    pub backlog: u32,
    /// Whether several sockets with this option may listen on the same address: SO_REUSEPORT.
    pub reuse_port: bool,
}

/// The arguments of a `unix:` server.
///
/// ```
/// use ropewalk_proto::Address;
/// use ropewalk_proto::description::{ServerDescription, UnixServer};
///
/// let mut unix = UnixServer::new(Address::Unix(std::path::Path::new("/run/web.sock").into()));
/// unix.mode = 0o600;
/// assert_eq!("unix:/run/web.sock:mode=600".parse(), Ok(ServerDescription::Unix(unix)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixServer {
    /// The socket's path or abstract name.
    pub address: Address,
    /// The permission bits of the socket's file, at most 0o777.
    pub mode: u32,
    /// The number of connections that may wait to be accepted, at most 2147483647.
    pub backlog: u32,
    /// Whether a lock file shows that a server is running, so that a stale socket can be removed.
    pub lockfile: bool,
}

/// The arguments of a `systemd:` server.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, SocketDomain, SystemdServer, SystemdSocket};
///
/// let mut systemd = SystemdServer::new(SystemdSocket::Name("web".to_owned()));
/// systemd.domain = Some(SocketDomain::Inet6);
/// assert_eq!("systemd:INET6:name=web".parse(), Ok(ServerDescription::Systemd(systemd)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemdServer {
    /// The socket to listen on.
    pub socket: SystemdSocket,
    /// The domain that the socket must have. `None` accepts any.
    pub domain: Option<SocketDomain>,
}

/// A reference to one of the sockets that the service manager passed to this process.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, SystemdServer, SystemdSocket};
///
/// let first = SystemdServer::new(SystemdSocket::Index(0));
/// assert_eq!("systemd:index=0".parse(), Ok(ServerDescription::Systemd(first)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemdSocket {
    /// The socket with this index, from 0.
    Index(u32),
    /// The first socket with this name, `FileDescriptorName=` of its unit. Never empty.
    Name(String),
}

/// The domain of a socket: the kind of its addresses.
///
/// ```
/// use ropewalk_proto::description::SocketDomain;
///
/// assert_eq!(SocketDomain::Inet6.to_string(), "INET6"); // as in a description
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketDomain {
    /// TCP over IPv4.
    Inet,
    /// TCP over IPv6, or over IPv6 and IPv4.
    Inet6,
    /// UNIX sockets.
    Unix,
}

/// The arguments of an `fd:` server.
///
/// ```
/// use ropewalk_proto::description::{FdServer, ServerDescription};
///
/// assert_eq!("fd:3".parse(), Ok(ServerDescription::Fd(FdServer::new(3))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FdServer {
    /// The descriptor's number, at most 2147483647.
    pub number: u32,
}

impl SystemdServer {
    /// Describes a socket of any domain.
    pub fn new(socket: SystemdSocket) -> SystemdServer {
        SystemdServer { socket, domain: None }
    }
}

impl FdServer {
    /// Describes the inherited socket with this descriptor number.
    pub fn new(number: u32) -> FdServer {
        FdServer { number }
    }
}

impl fmt::Display for SocketDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SocketDomain::Inet => "INET",
            SocketDomain::Inet6 => "INET6",
            SocketDomain::Unix => "UNIX",
        })
    }
}

impl TcpServer {
    /// Describes a server on `port` of every interface, with the default backlog.
    pub fn new(port: u16) -> TcpServer {
        TcpServer { port, interface: None, backlog: DEFAULT_BACKLOG, reuse_port: false }
    }
}

impl Tcp6Server {
    /// Describes a server on `port` of every interface, with the default backlog.
    pub fn new(port: u16) -> Tcp6Server {
        Tcp6Server { port, interface: Ipv6Addr::UNSPECIFIED.into(), backlog: DEFAULT_BACKLOG, reuse_port: false }
    }
}

impl UnixServer {
    /// Describes a server on `address` with mode 666, the default backlog and a lock file.
    pub fn new(address: Address) -> UnixServer {
        UnixServer { address, mode: MODE, backlog: DEFAULT_BACKLOG, lockfile: true }
    }
}

pub(super) const KINDS: &[Kind<ServerDescription>] = &[
    (
        Shape {
            name: "tcp",
            usage: "tcp:PORT[:interface=IP][:backlog=N][:reuse_port=0]",
            parameters: &["port", "interface", "backlog", "reuse_port"],
            positional_max: 3,
        },
        |arguments| tcp(arguments).map(ServerDescription::Tcp),
    ),
    (
        Shape {
            name: "tcp6",
            usage: "tcp6:PORT[:backlog=N][:interface=IP][:reuse_port=0]",
            parameters: &["port", "backlog", "interface", "reuse_port"],
            positional_max: 3,
        },
        |arguments| tcp6(arguments).map(ServerDescription::Tcp6),
    ),
    (
        Shape {
            name: "unix",
            usage: "unix:PATH[:mode=666][:backlog=N][:lockfile=1]",
            parameters: &["path|address", "mode", "backlog", "lockfile"],
            positional_max: 4,
        },
        |arguments| unix(arguments).map(ServerDescription::Unix),
    ),
    (
        Shape {
            name: "systemd",
            usage: "systemd:[INET|INET6|UNIX][:index=N|name=NAME]",
            parameters: &["domain", "index", "name"],
            positional_max: 1,
        },
        |arguments| systemd(arguments).map(ServerDescription::Systemd),
    ),
    (Shape { name: "fd", usage: "fd:NUMBER", parameters: &["number|fileno"], positional_max: 1 }, |arguments| {
        fd(arguments).map(ServerDescription::Fd)
    }),
    (Shape { name: "stdio", usage: "stdio:", parameters: &[], positional_max: 0 }, |_| Ok(ServerDescription::Stdio)),
    (serial::SHAPE, |arguments| serial::read(arguments).map(ServerDescription::Serial)),
];

pub(super) const PORT: &str = "a number from 0 to 65535";
pub(super) const MODE_RANGE: &str = "an octal number from 0 to 777";
const BACKLOG_RANGE: &str = "a number from 0 to 2147483647";

impl ServerDescription {
    /// Returns the names of the built-in endpoint types.
    ///
    /// ```
    /// use ropewalk_proto::description::ServerDescription;
    ///
    /// assert!(ServerDescription::names().any(|name| name == "tcp6"));
    /// ```
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(shape, _)| shape.name)
    }
}

impl FromStr for ServerDescription {
    type Err = DescriptionError;

    /// Parses a server description.
    ///
    /// # Errors
    /// If the grammar, the name or an argument is wrong. The message names the fault and what was expected.
    fn from_str(text: &str) -> Result<ServerDescription, DescriptionError> {
        ServerDescription::try_from(&text.parse::<Description>()?)
    }
}

impl TryFrom<&Description> for ServerDescription {
    type Error = DescriptionError;

    fn try_from(description: &Description) -> Result<ServerDescription, DescriptionError> {
        read(description, KINDS, "server", "tcp:8000:interface=127.0.0.1")
    }
}

impl fmt::Display for ServerDescription {
    /// Formats the description without the arguments that have their default values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerDescription::Tcp(tcp) => {
                write!(f, "tcp:{}", tcp.port)?;
                if let Some(interface) = &tcp.interface {
                    write!(f, ":interface={}", quote_string_argument(&interface.to_string()))?;
                }
                write_backlog(f, tcp.backlog)?;
                f.write_str(if tcp.reuse_port { ":reuse_port=1" } else { "" })
            }
            ServerDescription::Tcp6(tcp) => {
                write!(f, "tcp6:{}", tcp.port)?;
                if !tcp.interface.ip.is_unspecified() || tcp.interface.zone.is_some() {
                    write!(f, ":interface={}", quote_string_argument(&tcp.interface.to_string()))?;
                }
                write_backlog(f, tcp.backlog)?;
                f.write_str(if tcp.reuse_port { ":reuse_port=1" } else { "" })
            }
            ServerDescription::Unix(unix) => {
                write!(f, "unix:{}", quote_string_argument(&unix_text(&unix.address)))?;
                if unix.mode != MODE {
                    write!(f, ":mode={:o}", unix.mode)?;
                }
                write_backlog(f, unix.backlog)?;
                f.write_str(if unix.lockfile { "" } else { ":lockfile=0" })
            }
            ServerDescription::Systemd(systemd) => {
                f.write_str("systemd:")?;
                if let Some(domain) = systemd.domain {
                    write!(f, "domain={domain}:")?;
                }
                match &systemd.socket {
                    SystemdSocket::Index(index) => write!(f, "index={index}"),
                    SystemdSocket::Name(name) => write!(f, "name={}", quote_string_argument(name)),
                }
            }
            ServerDescription::Fd(fd) => write!(f, "fd:{}", fd.number),
            ServerDescription::Stdio => f.write_str("stdio:"),
            ServerDescription::Serial(serial) => serial.fmt(f),
        }
    }
}

fn write_backlog(f: &mut fmt::Formatter<'_>, backlog: u32) -> fmt::Result {
    match backlog {
        DEFAULT_BACKLOG => Ok(()),
        other => write!(f, ":backlog={other}"),
    }
}

fn tcp(arguments: &Arguments<'_>) -> Result<TcpServer, DescriptionError> {
    Ok(TcpServer {
        port: arguments.required("port", PORT, port)?,
        interface: arguments.optional("interface", "an IP address", interface)?.flatten(),
        backlog: arguments.optional("backlog", BACKLOG_RANGE, backlog)?.unwrap_or(DEFAULT_BACKLOG),
        reuse_port: arguments.optional("reuse_port", "0 or 1", switch)?.unwrap_or(false),
    })
}

fn tcp6(arguments: &Arguments<'_>) -> Result<Tcp6Server, DescriptionError> {
    let expected = r"an IPv6 address with its colons written \:";
    let interface = arguments.optional("interface", expected, ZonedIp::parse)?;
    Ok(Tcp6Server {
        port: arguments.required("port", PORT, port)?,
        interface: interface.unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
        backlog: arguments.optional("backlog", BACKLOG_RANGE, backlog)?.unwrap_or(DEFAULT_BACKLOG),
        reuse_port: arguments.optional("reuse_port", "0 or 1", switch)?.unwrap_or(false),
    })
}

fn unix(arguments: &Arguments<'_>) -> Result<UnixServer, DescriptionError> {
    Ok(UnixServer {
        address: arguments.required("path", "a path or @NAME", unix_address)?,
        mode: arguments.optional("mode", MODE_RANGE, mode)?.unwrap_or(MODE),
        backlog: arguments.optional("backlog", BACKLOG_RANGE, backlog)?.unwrap_or(DEFAULT_BACKLOG),
        lockfile: arguments.optional("lockfile", "0 or 1", switch)?.unwrap_or(true),
    })
}

fn systemd(arguments: &Arguments<'_>) -> Result<SystemdServer, DescriptionError> {
    let index = arguments.optional("index", "a number from 0", number)?;
    let name = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let name = arguments.optional("name", "a name", name)?;
    let socket = match (index, name) {
        (Some(_), Some(_)) => {
            let message = format!("both an index and a name in {}: give only one of them", Quoted(arguments.text()));
            return Err(DescriptionError::new(0, message));
        }
        (None, Some(name)) => SystemdSocket::Name(name),
        (index, None) => SystemdSocket::Index(index.unwrap_or(0)),
    };
    Ok(SystemdServer { socket, domain: arguments.optional("domain", "INET, INET6 or UNIX", domain)? })
}

fn fd(arguments: &Arguments<'_>) -> Result<FdServer, DescriptionError> {
    Ok(FdServer { number: arguments.required("number", "a number from 0 to 2147483647", backlog)? })
}

fn domain(value: &str) -> Option<SocketDomain> {
    [SocketDomain::Inet, SocketDomain::Inet6, SocketDomain::Unix]
        .into_iter()
        .find(|domain| domain.to_string().eq_ignore_ascii_case(value))
}

pub(super) fn mode(value: &str) -> Option<u32> {
    let octal = value.bytes().all(|byte| byte.is_ascii_digit());
    octal.then(|| u32::from_str_radix(value, 8).ok()).flatten().filter(|&mode| mode <= 0o777)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> ServerDescription {
        text.parse().unwrap()
    }

    fn fails(text: &str) -> String {
        text.parse::<ServerDescription>().unwrap_err().to_string()
    }

    fn unix_at(path: &str) -> UnixServer {
        UnixServer::new(Address::Unix(Path::new(path).into()))
    }

    #[test]
    fn arguments_are_found_by_position_or_by_key() {
        let expected = TcpServer { interface: ZonedIp::parse("127.0.0.1"), backlog: 5, ..TcpServer::new(80) };
        for text in ["tcp:80:127.0.0.1:5", "tcp:80:backlog=5:interface=127.0.0.1", "TCP:backlog=5:80:127.0.0.1"] {
            assert_eq!(parse(text), ServerDescription::Tcp(expected.clone()), "{text}");
        }
        assert_eq!(parse("tcp:port=0:interface="), ServerDescription::Tcp(TcpServer::new(0)));
    }

    #[test]
    fn an_ipv6_interface_has_its_colons_escaped() {
        let expected = Tcp6Server { interface: Ipv6Addr::LOCALHOST.into(), ..Tcp6Server::new(80) };
        assert_eq!(parse(r"tcp6:80:interface=\:\:1"), ServerDescription::Tcp6(expected));
        let expected = TcpServer { interface: Some(IpAddr::from(Ipv6Addr::LOCALHOST).into()), ..TcpServer::new(80) };
        assert_eq!(parse(r"tcp:80:interface=\:\:1"), ServerDescription::Tcp(expected));
        assert_eq!(parse("tcp6:80"), ServerDescription::Tcp6(Tcp6Server::new(80)));
    }

    #[test]
    fn an_interface_may_have_a_zone_by_name_or_number() {
        for zone in ["lo", "2", "wlan0.3"] {
            let text = format!(r"tcp:80:interface=fe80\:\:77%{zone}");
            let ServerDescription::Tcp(tcp) = parse(&text) else { panic!("expected tcp") };
            assert_eq!(tcp.interface.as_ref().and_then(|interface| interface.zone.as_deref()), Some(zone));
            assert_eq!(parse(&ServerDescription::Tcp(tcp).to_string()), parse(&text));
            let text = format!(r"tcp6:80:interface=\:\:%{zone}");
            assert_eq!(parse(&text).to_string(), text);
        }
        for wrong in [r"tcp:80:interface=fe80\:\:77%", "tcp:80:interface=127.0.0.1%lo", "tcp:80:interface=%lo"] {
            assert!(fails(wrong).contains("expected an IP address"), "{wrong}");
        }
    }

    #[test]
    fn the_mode_of_a_unix_socket_is_octal() {
        assert_eq!(parse("unix:/run/x"), ServerDescription::Unix(unix_at("/run/x")));
        let expected = UnixServer { mode: 0o600, backlog: 7, lockfile: false, ..unix_at("/run/x:y") };
        assert_eq!(parse(r"unix:/run/x\:y:mode=600:backlog=7:lockfile=0"), ServerDescription::Unix(expected));
    }

    #[test]
    fn an_abstract_name_starts_with_an_at_sign_or_a_nul() {
        let expected = ServerDescription::Unix(UnixServer::new(Address::Abstract((*b"name").into())));
        assert_eq!(parse("unix:@name"), expected);
        assert_eq!(parse("unix:\0name"), expected);
        assert_eq!(ServerDescription::Unix(unix_at("@file")).to_string(), "unix:./@file");
    }

    #[test]
    fn an_error_names_the_fault_with_the_expected_form() {
        let cases = [
            (
                "ipx:1",
                "unknown server endpoint type 'ipx': expected one of tcp, tcp6, unix, systemd, fd, stdio, serial \
                 (for example tcp:8000:interface=127.0.0.1)",
            ),
            (
                "8000",
                "unknown server endpoint type '8000': expected one of tcp, tcp6, unix, systemd, fd, stdio, serial \
                 (did you mean tcp:8000:interface=127.0.0.1?)",
            ),
            ("tcp", "missing port in 'tcp': expected tcp:PORT[:interface=IP][:backlog=N][:reuse_port=0]"),
            ("tcp:http", "invalid port 'http' in 'tcp:http': expected a number from 0 to 65535"),
            (
                "tcp:127.0.0.1:8000",
                "invalid port '127.0.0.1' in 'tcp:127.0.0.1:8000': expected a number from 0 to 65535 (did you mean \
                 tcp:8000:interface=127.0.0.1?)",
            ),
            ("tcp:65536", "invalid port '65536' in 'tcp:65536': expected a number from 0 to 65535"),
            ("tcp:+80", "invalid port '+80' in 'tcp:+80': expected a number from 0 to 65535"),
            ("tcp:port=", "invalid port '' in 'tcp:port=': expected a number from 0 to 65535"),
            (
                "tcp:80:if=x",
                "unknown key 'if' in 'tcp:80:if=x': expected tcp:PORT[:interface=IP][:backlog=N][:reuse_port=0]",
            ),
            ("unix:path=/x:address=/y", "the path is given twice in 'unix:path=/x:address=/y'"),
            (
                "tcp:80:port=90",
                "the port is given twice in 'tcp:80:port=90': by its key and as '80', which is not an IP address for \
                 the interface",
            ),
            ("fd:3:number=4", "the number is given twice in 'fd:3:number=4': by its key and as '3'"),
            ("tcp:1:localhost", "invalid interface 'localhost' in 'tcp:1:localhost': expected an IP address"),
            (
                "tcp6:1:interface=127.0.0.1",
                "invalid interface '127.0.0.1' in 'tcp6:1:interface=127.0.0.1': expected an IPv6 address with its colons \
                 written \\:",
            ),
            (
                "tcp6:1:interface=::1",
                "empty argument in 'tcp6:1:interface=::1': write \\: for a colon inside an argument, and quote the \
                 description for a shell",
            ),
            (
                "tcp:1:backlog=2147483648",
                "invalid backlog '2147483648' in 'tcp:1:backlog=2147483648': expected a number from 0 to 2147483647",
            ),
            ("unix:/x:mode=8", "invalid mode '8' in 'unix:/x:mode=8': expected an octal number from 0 to 777"),
            ("unix:/x:mode=1777", "invalid mode '1777' in 'unix:/x:mode=1777': expected an octal number from 0 to 777"),
            ("unix:/x:lockfile=no", "invalid lockfile 'no' in 'unix:/x:lockfile=no': expected 0 or 1"),
            ("unix:@", "invalid path '@' in 'unix:@': expected a path or @NAME"),
            ("unix:a\0b", r"invalid path 'a\u{0}b' in 'unix:a\u{0}b': expected a path or @NAME"),
        ];
        for (text, message) in cases {
            assert_eq!(fails(text), message);
        }
    }

    #[test]
    fn an_argument_beyond_the_last_has_its_offset() {
        let error = "tcp:1:127.0.0.1:2:reuse_port=1:3".parse::<ServerDescription>().unwrap_err();
        assert_eq!(error.offset(), 31);
    }

    #[test]
    fn a_systemd_socket_is_chosen_by_index_or_by_name() {
        let by = |socket| ServerDescription::Systemd(SystemdServer::new(socket));
        assert_eq!(parse("systemd:"), by(SystemdSocket::Index(0)));
        assert_eq!(parse("systemd:index=2"), by(SystemdSocket::Index(2)));
        assert_eq!(parse("systemd:name=web"), by(SystemdSocket::Name("web".to_owned())));
        let domain = Some(SocketDomain::Inet6);
        let expected = SystemdServer { domain, ..SystemdServer::new(SystemdSocket::Index(1)) };
        for text in ["systemd:INET6:index=1", "systemd:index=1:domain=inet6"] {
            assert_eq!(parse(text), ServerDescription::Systemd(expected.clone()), "{text}");
        }
        assert!(fails("systemd:index=1:name=web").contains("both an index and a name"));
        let error = fails("systemd:INET4");
        assert_eq!(error, "invalid domain 'INET4' in 'systemd:INET4': expected INET, INET6 or UNIX");
    }

    #[test]
    fn an_inherited_socket_has_a_number() {
        assert_eq!(parse("fd:3"), ServerDescription::Fd(FdServer::new(3)));
        assert_eq!(fails("fd:"), "missing number in 'fd:': expected fd:NUMBER");
    }

    #[test]
    fn stdio_has_no_arguments() {
        assert_eq!(parse("stdio:"), parse("stdio"));
        assert_eq!(fails("stdio:1"), "unexpected argument '1' in 'stdio:1': expected stdio:");
    }

    fn servers() -> impl Strategy<Value = ServerDescription> {
        let backlog = 0..=u32::try_from(i32::MAX).unwrap();
        prop_oneof![
            (any::<u16>(), any::<Option<IpAddr>>(), backlog.clone(), any::<bool>()).prop_map(
                |(port, interface, backlog, reuse_port)| {
                    let interface = interface.map(ZonedIp::from);
                    ServerDescription::Tcp(TcpServer { port, interface, backlog, reuse_port })
                }
            ),
            (any::<u16>(), any::<Ipv6Addr>(), backlog.clone(), any::<bool>()).prop_map(
                |(port, interface, backlog, reuse_port)| {
                    let interface = interface.into();
                    ServerDescription::Tcp6(Tcp6Server { port, interface, backlog, reuse_port })
                }
            ),
            ("[^\0@][^\0]*", 0..=0o777u32, backlog, any::<bool>()).prop_map(|(path, mode, backlog, lockfile)| {
                ServerDescription::Unix(UnixServer { mode, backlog, lockfile, ..unix_at(&path) })
            }),
            (systemd_sockets(), prop::sample::select(&[None, Some(SocketDomain::Unix), Some(SocketDomain::Inet)][..]))
                .prop_map(|(socket, domain)| ServerDescription::Systemd(SystemdServer { socket, domain })),
            (0..=u32::try_from(i32::MAX).unwrap()).prop_map(|number| ServerDescription::Fd(FdServer { number })),
            Just(ServerDescription::Stdio),
        ]
    }

    fn systemd_sockets() -> impl Strategy<Value = SystemdSocket> {
        prop_oneof![any::<u32>().prop_map(SystemdSocket::Index), ".+".prop_map(SystemdSocket::Name)]
    }

    proptest! {
        #[test]
        fn a_displayed_server_is_parsed_to_itself(server in servers()) {
            prop_assert_eq!(parse(&server.to_string()), server);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in r"(tcp|tcp6|unix|systemd|fd|stdio)(:(port=|interface=|backlog=|reuse_port=|mode=|lockfile=|index=|name=)?[0-9.\\:=é]{0,6}){0,4}") {
            if let Ok(server) = text.parse::<ServerDescription>() {
                prop_assert_eq!(parse(&server.to_string()), server);
            }
        }
    }
}
