//! Where to listen: typed server descriptions.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::arguments::{
    Arguments, Shape, backlog, find_shape, interface, number, port, switch, unix_address, unix_text,
};
use super::{Description, DescriptionError, quote_string_argument};
use crate::{Address, DEFAULT_BACKLOG};

/// The permission bits of a UNIX socket's file, unless told otherwise.
const MODE: u32 = 0o666;

/// Where to listen, as a string names it.
///
/// | string | meaning |
/// |---|---|
/// | `tcp:PORT[:interface=IP][:backlog=128][:reuse_port=0]` | TCP on every interface, or on one |
/// | `tcp6:PORT[:backlog=128][:interface=\:\:][:reuse_port=0]` | TCP over IPv6 |
/// | `unix:PATH[:mode=666][:backlog=128][:lockfile=1]` | a UNIX socket; `@NAME` is an abstract one |
/// | `systemd:[INET\|INET6\|UNIX][:index=0\|name=NAME]` | a listening socket of a service manager |
/// | `fd:NUMBER` | a listening socket that this process was started with |
/// | `stdio:` | standard input and output, as one connection |
///
/// What stands behind the first argument may be given by position too, in this order. Port 0 lets the system choose.
///
/// ```
/// use ropewalk_proto::description::ServerDescription;
///
/// let ServerDescription::Tcp(tcp) = "tcp:8000:interface=127.0.0.1".parse()? else { panic!("it says tcp") };
/// assert_eq!((tcp.port, tcp.backlog), (8000, 128));
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
}

/// The arguments of a `tcp:` server.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, TcpServer};
///
/// let mut tcp = TcpServer::new(8000);
/// tcp.backlog = 1024;
/// assert_eq!("tcp:8000:backlog=1024".parse(), Ok(ServerDescription::Tcp(tcp)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpServer {
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The address to bind; `None` means every interface.
    pub interface: Option<IpAddr>,
    /// How many connections may wait to be accepted, at most 2147483647.
    pub backlog: u32,
    /// Whether other sockets that ask for the same may listen at the same place: SO_REUSEPORT.
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
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The address to bind.
    pub interface: Ipv6Addr,
    /// How many connections may wait to be accepted, at most 2147483647.
    pub backlog: u32,
    /// Whether other sockets that ask for the same may listen at the same place: SO_REUSEPORT.
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
    /// The permission bits of the socket's file.
    pub mode: u32,
    /// How many connections may wait to be accepted, at most 2147483647.
    pub backlog: u32,
    /// Whether a lock file tells a living server from a stale socket.
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
    /// Which of the sockets.
    pub socket: SystemdSocket,
    /// What kind of addresses it must have; `None` takes any.
    pub domain: Option<SocketDomain>,
}

/// Which of a service manager's sockets.
///
/// ```
/// use ropewalk_proto::description::{ServerDescription, SystemdServer, SystemdSocket};
///
/// let first = SystemdServer::new(SystemdSocket::Index(0));
/// assert_eq!("systemd:index=0".parse(), Ok(ServerDescription::Systemd(first)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemdSocket {
    /// By its place, from 0.
    Index(u32),
    /// By its name, FileDescriptorName= of its unit; the first one of that name. Never empty.
    Name(String),
}

/// A kind of addresses.
///
/// ```
/// use ropewalk_proto::description::SocketDomain;
///
/// assert_eq!(SocketDomain::Inet6.to_string(), "INET6"); // as a description has it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketDomain {
    /// TCP over IPv4.
    Inet,
    /// TCP over IPv6, or over both.
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
    /// Takes `socket`, whatever its addresses are.
    pub fn new(socket: SystemdSocket) -> SystemdServer {
        SystemdServer { socket, domain: None }
    }
}

impl FdServer {
    /// Takes the descriptor of this number.
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
    /// Listens on `port` of every interface with the default backlog.
    pub fn new(port: u16) -> TcpServer {
        TcpServer { port, interface: None, backlog: DEFAULT_BACKLOG, reuse_port: false }
    }
}

impl Tcp6Server {
    /// Listens on `port` of every interface with the default backlog.
    pub fn new(port: u16) -> Tcp6Server {
        Tcp6Server { port, interface: Ipv6Addr::UNSPECIFIED, backlog: DEFAULT_BACKLOG, reuse_port: false }
    }
}

impl UnixServer {
    /// Listens on `address` with mode 666, the default backlog and a lock file.
    pub fn new(address: Address) -> UnixServer {
        UnixServer { address, mode: MODE, backlog: DEFAULT_BACKLOG, lockfile: true }
    }
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "tcp",
        usage: "tcp:PORT[:interface=IP][:backlog=N][:reuse_port=0]",
        parameters: &["port", "interface", "backlog", "reuse_port"],
        positional_max: 3,
    },
    Shape {
        name: "tcp6",
        usage: "tcp6:PORT[:backlog=N][:interface=IP][:reuse_port=0]",
        parameters: &["port", "backlog", "interface", "reuse_port"],
        positional_max: 3,
    },
    Shape {
        name: "unix",
        usage: "unix:PATH[:mode=666][:backlog=N][:lockfile=1]",
        parameters: &["path|address", "mode", "backlog", "lockfile"],
        positional_max: 4,
    },
    Shape {
        name: "systemd",
        usage: "systemd:[INET|INET6|UNIX][:index=N|name=NAME]",
        parameters: &["domain", "index", "name"],
        positional_max: 1,
    },
    Shape { name: "fd", usage: "fd:NUMBER", parameters: &["number|fileno"], positional_max: 1 },
    Shape { name: "stdio", usage: "stdio:", parameters: &[], positional_max: 0 },
];

const PORT: &str = "a number from 0 to 65535";
const BACKLOG_RANGE: &str = "a number from 0 to 2147483647";

impl FromStr for ServerDescription {
    type Err = DescriptionError;

    /// Reads a server description.
    ///
    /// # Errors
    /// When the grammar, the name or an argument is wrong; the message says which, and what was expected.
    fn from_str(text: &str) -> Result<ServerDescription, DescriptionError> {
        ServerDescription::try_from(&text.parse::<Description>()?)
    }
}

impl TryFrom<&Description> for ServerDescription {
    type Error = DescriptionError;

    fn try_from(description: &Description) -> Result<ServerDescription, DescriptionError> {
        let shape = find_shape(description, SHAPES, "server", "tcp:8000:interface=127.0.0.1")?;
        let arguments = Arguments::bind(description, shape)?;
        match shape.name {
            "tcp" => tcp(&arguments).map(ServerDescription::Tcp),
            "tcp6" => tcp6(&arguments).map(ServerDescription::Tcp6),
            "systemd" => systemd(description, &arguments).map(ServerDescription::Systemd),
            "fd" => fd(&arguments).map(ServerDescription::Fd),
            "stdio" => Ok(ServerDescription::Stdio),
            _ => unix(&arguments).map(ServerDescription::Unix),
        }
    }
}

impl fmt::Display for ServerDescription {
    /// Writes what [`FromStr`] reads, without what is as by default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerDescription::Tcp(tcp) => {
                write!(f, "tcp:{}", tcp.port)?;
                if let Some(interface) = tcp.interface {
                    write!(f, ":interface={}", quote_string_argument(&interface.to_string()))?;
                }
                write_backlog(f, tcp.backlog)?;
                f.write_str(if tcp.reuse_port { ":reuse_port=1" } else { "" })
            }
            ServerDescription::Tcp6(tcp) => {
                write!(f, "tcp6:{}", tcp.port)?;
                if !tcp.interface.is_unspecified() {
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
    let expected = r"an IPv6 address, its colons written \:,";
    let interface = arguments.optional("interface", expected, |value| value.parse().ok())?;
    Ok(Tcp6Server {
        port: arguments.required("port", PORT, port)?,
        interface: interface.unwrap_or(Ipv6Addr::UNSPECIFIED),
        backlog: arguments.optional("backlog", BACKLOG_RANGE, backlog)?.unwrap_or(DEFAULT_BACKLOG),
        reuse_port: arguments.optional("reuse_port", "0 or 1", switch)?.unwrap_or(false),
    })
}

fn unix(arguments: &Arguments<'_>) -> Result<UnixServer, DescriptionError> {
    Ok(UnixServer {
        address: arguments.required("path", "a path or @NAME", unix_address)?,
        mode: arguments.optional("mode", "an octal number from 0 to 7777", mode)?.unwrap_or(MODE),
        backlog: arguments.optional("backlog", BACKLOG_RANGE, backlog)?.unwrap_or(DEFAULT_BACKLOG),
        lockfile: arguments.optional("lockfile", "0 or 1", switch)?.unwrap_or(true),
    })
}

fn systemd(description: &Description, arguments: &Arguments<'_>) -> Result<SystemdServer, DescriptionError> {
    let index = arguments.optional("index", "a number from 0", number)?;
    let name = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let name = arguments.optional("name", "a name", name)?;
    let socket = match (index, name) {
        (Some(_), Some(_)) => {
            let message = format!("'{description}' gives both an index and a name: one of them says which socket");
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

fn mode(value: &str) -> Option<u32> {
    let octal = value.bytes().all(|byte| byte.is_ascii_digit());
    octal.then(|| u32::from_str_radix(value, 8).ok()).flatten().filter(|&mode| mode <= 0o7777)
}

#[cfg(test)]
mod tests {
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
    fn arguments_are_taken_by_position_or_by_key() {
        let expected = TcpServer { interface: "127.0.0.1".parse().ok(), backlog: 5, ..TcpServer::new(80) };
        for text in ["tcp:80:127.0.0.1:5", "tcp:80:backlog=5:interface=127.0.0.1", "TCP:backlog=5:80:127.0.0.1"] {
            assert_eq!(parse(text), ServerDescription::Tcp(expected.clone()), "{text}");
        }
        assert_eq!(parse("tcp:port=0:interface="), ServerDescription::Tcp(TcpServer::new(0)));
    }

    #[test]
    fn an_ipv6_interface_has_its_colons_escaped() {
        let expected = Tcp6Server { interface: Ipv6Addr::LOCALHOST, ..Tcp6Server::new(80) };
        assert_eq!(parse(r"tcp6:80:interface=\:\:1"), ServerDescription::Tcp6(expected));
        let expected = TcpServer { interface: Some(Ipv6Addr::LOCALHOST.into()), ..TcpServer::new(80) };
        assert_eq!(parse(r"tcp:80:interface=\:\:1"), ServerDescription::Tcp(expected));
        assert_eq!(parse("tcp6:80"), ServerDescription::Tcp6(Tcp6Server::new(80)));
    }

    #[test]
    fn a_unix_socket_has_an_octal_mode_and_a_lock_file_by_default() {
        assert_eq!(parse("unix:/run/x"), ServerDescription::Unix(unix_at("/run/x")));
        let expected = UnixServer { mode: 0o600, backlog: 7, lockfile: false, ..unix_at("/run/x:y") };
        assert_eq!(parse(r"unix:/run/x\:y:mode=600:backlog=7:lockfile=0"), ServerDescription::Unix(expected));
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign_or_a_nul() {
        let expected = ServerDescription::Unix(UnixServer::new(Address::Abstract((*b"name").into())));
        assert_eq!(parse("unix:@name"), expected);
        assert_eq!(parse("unix:\0name"), expected);
        assert_eq!(ServerDescription::Unix(unix_at("@file")).to_string(), "unix:./@file");
    }

    #[test]
    fn each_error_names_the_part_and_what_was_expected() {
        let cases = [
            (
                "8000",
                "'8000' in '8000' is no server type: known are tcp, tcp6, unix, systemd, fd, stdio, as in tcp:8000:interface=127.0.0.1",
            ),
            ("tcp", "'tcp' has no port: it is written tcp:PORT[:interface=IP][:backlog=N][:reuse_port=0]"),
            ("tcp:http", "the port in 'tcp:http' is 'http', but a number from 0 to 65535 was expected"),
            ("tcp:65536", "the port in 'tcp:65536' is '65536', but a number from 0 to 65535 was expected"),
            ("tcp:+80", "the port in 'tcp:+80' is '+80', but a number from 0 to 65535 was expected"),
            ("tcp:port=", "the port in 'tcp:port=' is '', but a number from 0 to 65535 was expected"),
            (
                "tcp:80:if=x",
                "'if' in 'tcp:80:if=x' has no meaning: it is written tcp:PORT[:interface=IP][:backlog=N][:reuse_port=0]",
            ),
            ("unix:path=/x:address=/y", "'unix:path=/x:address=/y' gives the path twice"),
            (
                "tcp:80:port=90",
                "'tcp:80:port=90' gives the port twice: by its key and as '80', which as the interface would have to be an \
                 IP address",
            ),
            ("fd:3:number=4", "'fd:3:number=4' gives the number twice: by its key and as '3'"),
            ("tcp:1:localhost", "the interface in 'tcp:1:localhost' is 'localhost', but an IP address was expected"),
            (
                "tcp6:1:interface=127.0.0.1",
                r"the interface in 'tcp6:1:interface=127.0.0.1' is '127.0.0.1', but an IPv6 address, its colons written \:, was expected",
            ),
            (
                "tcp6:1:interface=::1",
                r"'tcp6:1:interface=::1' has an empty argument: a colon inside an argument is written \:, and a shell wants the whole in quotation marks",
            ),
            (
                "tcp:1:backlog=2147483648",
                "the backlog in 'tcp:1:backlog=2147483648' is '2147483648', but a number from 0 to 2147483647 was expected",
            ),
            ("unix:/x:mode=8", "the mode in 'unix:/x:mode=8' is '8', but an octal number from 0 to 7777 was expected"),
            ("unix:/x:lockfile=no", "the lockfile in 'unix:/x:lockfile=no' is 'no', but 0 or 1 was expected"),
            ("unix:@", "the path in 'unix:@' is '@', but a path or @NAME was expected"),
            ("unix:a\0b", r"the path in 'unix:a\u{0}b' is 'a\u{0}b', but a path or @NAME was expected"),
        ];
        for (text, message) in cases {
            assert_eq!(fails(text), message);
        }
    }

    #[test]
    fn an_argument_beyond_the_last_is_an_error_at_its_place() {
        let error = "tcp:1:127.0.0.1:2:reuse_port=1:3".parse::<ServerDescription>().unwrap_err();
        assert_eq!(error.offset(), 31);
    }

    #[test]
    fn a_service_managers_socket_is_named_by_place_or_by_name() {
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
        assert!(fails("systemd:INET4").contains("the domain in 'systemd:INET4' is 'INET4', but INET, INET6 or UNIX"));
    }

    #[test]
    fn a_descriptor_has_a_number_and_standard_input_and_output_have_no_argument() {
        assert_eq!(parse("fd:3"), ServerDescription::Fd(FdServer::new(3)));
        assert_eq!(fails("fd:"), "'fd:' has no number: it is written fd:NUMBER");
        assert_eq!(parse("stdio:"), parse("stdio"));
        assert!(fails("stdio:1").contains("'1' in 'stdio:1' has no meaning"));
    }

    fn servers() -> impl Strategy<Value = ServerDescription> {
        let backlog = 0..=u32::try_from(i32::MAX).unwrap();
        prop_oneof![
            (any::<u16>(), any::<Option<IpAddr>>(), backlog.clone(), any::<bool>()).prop_map(
                |(port, interface, backlog, reuse_port)| {
                    ServerDescription::Tcp(TcpServer { port, interface, backlog, reuse_port })
                }
            ),
            (any::<u16>(), any::<Ipv6Addr>(), backlog.clone(), any::<bool>()).prop_map(
                |(port, interface, backlog, reuse_port)| {
                    ServerDescription::Tcp6(Tcp6Server { port, interface, backlog, reuse_port })
                }
            ),
            ("[^\0@][^\0]*", 0..=0o7777u32, backlog, any::<bool>()).prop_map(|(path, mode, backlog, lockfile)| {
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
        fn what_is_displayed_is_parsed_to_the_same(server in servers()) {
            prop_assert_eq!(parse(&server.to_string()), server);
        }

        #[test]
        fn no_text_panics(text in r"(tcp|tcp6|unix|systemd|fd|stdio)(:(port=|interface=|backlog=|reuse_port=|mode=|lockfile=|index=|name=)?[0-9.\\:=é]{0,6}){0,4}") {
            if let Ok(server) = text.parse::<ServerDescription>() {
                prop_assert_eq!(parse(&server.to_string()), server);
            }
        }
    }
}
