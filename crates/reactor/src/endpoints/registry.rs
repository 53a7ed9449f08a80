//! The registry of endpoint types: `IStreamServerEndpointStringParser` and
//! `IStreamClientEndpointStringParserWithReactor`, and the same for datagram ports.
//!
//! To add a prefix to this crate, copy `haproxy`: a parser function here, and one line in [`Endpoints::new`]. Programs
//! register parsers with [`Endpoints::register_server`]. The plain types (`tcp`, `unix`, `fd` ...) are listed in
//! `ropewalk_proto::description` instead, so that their arguments are checked and fuzzed without a reactor.
//!
//! The help of the program, the book and the dictionary of the fuzz targets list all names of this crate. A test of the
//! program checks that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk_proto::description::{
    ClientDescription, DatagramClientDescription, DatagramServerDescription, Description, DescriptionError,
    ServerDescription,
};

use super::adopted::AdoptedServerEndpoint;
use super::haproxy::HaproxyServerEndpoint;
use super::process::ProcessClientEndpoint;
use super::serial::SerialPortEndpoint;
use super::stdio::StdioServerEndpoint;
use super::tcp::{TcpClientEndpoint, TcpServerEndpoint};
use super::udp::{UdpClientEndpoint, UdpServerEndpoint};
use super::unix::{UnixClientEndpoint, UnixServerEndpoint};
use super::unix_datagram::{UnixDatagramClientEndpoint, UnixDatagramServerEndpoint};
use super::{DatagramEndpoint, StreamClientEndpoint, StreamServerEndpoint};
use crate::kernel::Reactor;
use crate::processes::Command;

pub(super) type Parsed<E> = Result<Rc<E>, DescriptionError>;
type Parser<E> = Rc<dyn Fn(&Endpoints, &Description) -> Parsed<E>>;

/// A registry of the endpoint types that a description may name.
///
/// Each reactor has its own registry, [`Reactor::endpoints`](crate::Reactor::endpoints). A registry without a reactor
/// can check descriptions before the reactor exists. Clones are handles of the same registry. A registry cannot be sent
/// to another thread. Its methods may be called from any callback, and by a parser.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::endpoints::{Endpoints, TcpServerEndpoint};
/// use ropewalk::proto::description::DescriptionError;
///
/// let endpoints = Endpoints::new();
/// endpoints.register_server("local", |_, description| {
///     let argument = description.positional().first();
///     let port = argument.and_then(|port| port.value.parse::<u16>().ok());
///     let invalid = || DescriptionError::new(0, "invalid port: expected local:PORT with a port from 0 to 65535");
///     let endpoint = TcpServerEndpoint::new(("127.0.0.1", port.ok_or_else(invalid)?));
///     Ok(Rc::new(endpoint.expect("a valid address and port")))
/// });
/// assert!(endpoints.server("local:8000").is_ok());
/// let error = endpoints.server("remote:8000").err().unwrap();
/// assert!(error.to_string().contains("'remote'") && error.to_string().contains("local"));
/// ```
#[derive(Clone)]
pub struct Endpoints(Rc<Registry>);

/// The maximum number of descriptions that may enclose the innermost one. Each takes stack space while it is parsed.
const ENCLOSING_MAX: usize = 16;

struct Registry {
    servers: Parsers<dyn StreamServerEndpoint>,
    clients: Parsers<dyn StreamClientEndpoint>,
    datagram_servers: Parsers<dyn DatagramEndpoint>,
    datagram_clients: Parsers<dyn DatagramEndpoint>,
    /// The number of nested descriptions that are being parsed.
    depth: Cell<usize>,
}

impl Reactor {
    /// Returns the registry of endpoint types that descriptions may name on this reactor.
    ///
    /// A registered type lasts as long as the reactor. May be called from any callback.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let names = reactor.endpoints().server_names();
    /// assert!(names.contains(&"tcp".to_owned()) && names.contains(&"unix".to_owned()));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn endpoints(&self) -> Endpoints {
        (*self.extension(|_| Endpoints::new())).clone()
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Endpoints::new()
    }
}

impl Endpoints {
    /// Creates a registry with the built-in endpoint types.
    pub fn new() -> Endpoints {
        let endpoints = Endpoints(Rc::new(Registry {
            servers: Parsers::new("server", "tcp:8000:interface=127.0.0.1"),
            clients: Parsers::new("client", "tcp:localhost:8000"),
            datagram_servers: Parsers::new("datagram server", "udp:8000:interface=127.0.0.1"),
            datagram_clients: Parsers::new("datagram client", "udp:127.0.0.1:8000"),
            depth: Cell::default(),
        }));
        for name in ServerDescription::names() {
            endpoints.register_server(name, |_, description| described_server(description));
        }
        endpoints.register_server("haproxy", haproxy);
        for name in ClientDescription::names() {
            endpoints.register_client(name, |_, description| described_client(description));
        }
        endpoints.register_client("process", |_, description| process(description));
        super::tls_files::register(&endpoints);
        for name in DatagramServerDescription::names() {
            endpoints.register_datagram_server(name, |_, description| described_datagram_server(description));
        }
        for name in DatagramClientDescription::names() {
            endpoints.register_datagram_client(name, |_, description| described_datagram_client(description));
        }
        endpoints
    }

    /// Registers `parser` for server descriptions that begin with `name:`. `parser` replaces an earlier parser of that
    /// name.
    ///
    /// The parser also gets this registry, so that it can parse a nested description. Names ignore the case of ASCII
    /// letters.
    ///
    /// Source: `IStreamServerEndpointStringParser.parseStreamServer`.
    pub fn register_server(
        &self,
        name: &str,
        parser: impl Fn(&Endpoints, &Description) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> + 'static,
    ) {
        self.0.servers.register(name, Rc::new(parser));
    }

    /// Registers `parser` for client descriptions that begin with `name:`. `parser` replaces an earlier parser of that
    /// name.
    ///
    /// The parser also gets this registry, so that it can parse a nested description. Names ignore the case of ASCII
    /// letters.
    ///
    /// Source: `IStreamClientEndpointStringParserWithReactor.parseStreamClient`.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::endpoints::{Endpoints, TcpClientEndpoint};
    /// use ropewalk::proto::description::DescriptionError;
    ///
    /// let endpoints = Endpoints::new();
    /// endpoints.register_client("shop", |_, _| {
    ///     let endpoint = TcpClientEndpoint::new("shop.example.org:4000");
    ///     Ok(Rc::new(endpoint.map_err(|error| DescriptionError::new(0, error.to_string()))?))
    /// });
    /// assert!(endpoints.client("shop:").is_ok());
    /// assert!(endpoints.client_names().contains(&"shop".to_owned()));
    /// assert!(!endpoints.server_names().contains(&"shop".to_owned()));
    /// ```
    pub fn register_client(
        &self,
        name: &str,
        parser: impl Fn(&Endpoints, &Description) -> Result<Rc<dyn StreamClientEndpoint>, DescriptionError> + 'static,
    ) {
        self.0.clients.register(name, Rc::new(parser));
    }

    /// Registers `parser` for datagram servers whose descriptions begin with `name:`. `parser` replaces an earlier
    /// parser of that name.
    ///
    /// The parser also gets this registry, so that it can parse a nested description. Names ignore the case of ASCII
    /// letters.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::UdpBinding;
    /// use ropewalk::endpoints::{Endpoints, UdpServerEndpoint};
    ///
    /// let endpoints = Endpoints::new();
    /// endpoints.register_datagram_server("dns", |_, _| {
    ///     let binding = UdpBinding::everywhere(53).details_where_available();
    ///     Ok(Rc::new(UdpServerEndpoint::new(binding).expect("a binding is an address")))
    /// });
    /// assert!(endpoints.datagram_server("dns:").is_ok());
    /// assert!(endpoints.datagram_server_names().contains(&"dns".to_owned()));
    /// assert!(endpoints.server("dns:").is_err());
    /// ```
    pub fn register_datagram_server(
        &self,
        name: &str,
        parser: impl Fn(&Endpoints, &Description) -> Result<Rc<dyn DatagramEndpoint>, DescriptionError> + 'static,
    ) {
        self.0.datagram_servers.register(name, Rc::new(parser));
    }

    /// Registers `parser` for datagram clients whose descriptions begin with `name:`. `parser` replaces an earlier
    /// parser of that name.
    ///
    /// The parser also gets this registry, so that it can parse a nested description. Names ignore the case of ASCII
    /// letters.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::endpoints::{Endpoints, UdpClientEndpoint};
    ///
    /// let endpoints = Endpoints::new();
    /// endpoints.register_datagram_client("dns", |_, _| Ok(Rc::new(UdpClientEndpoint::new("ns.example.org", 53))));
    /// assert!(endpoints.datagram_client("dns:").is_ok());
    /// assert!(endpoints.datagram_client_names().contains(&"dns".to_owned()));
    /// ```
    pub fn register_datagram_client(
        &self,
        name: &str,
        parser: impl Fn(&Endpoints, &Description) -> Result<Rc<dyn DatagramEndpoint>, DescriptionError> + 'static,
    ) {
        self.0.datagram_clients.register(name, Rc::new(parser));
    }

    /// Parses `description` into a server endpoint.
    ///
    /// # Errors
    /// The errors of [`server_from_string`](super::server_from_string).
    pub fn server(&self, description: &str) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> {
        self.0.servers.parse(self, description)
    }

    /// Parses `description` into a client endpoint.
    ///
    /// # Errors
    /// The errors of [`client_from_string`](super::client_from_string).
    pub fn client(&self, description: &str) -> Result<Rc<dyn StreamClientEndpoint>, DescriptionError> {
        self.0.clients.parse(self, description)
    }

    /// Parses `description` into the endpoint of a datagram server.
    ///
    /// # Errors
    /// The errors of [`datagram_server_from_string`](super::datagram_server_from_string).
    pub fn datagram_server(&self, description: &str) -> Result<Rc<dyn DatagramEndpoint>, DescriptionError> {
        self.0.datagram_servers.parse(self, description)
    }

    /// Parses `description` into the endpoint of a datagram client.
    ///
    /// # Errors
    /// The errors of [`datagram_client_from_string`](super::datagram_client_from_string).
    pub fn datagram_client(&self, description: &str) -> Result<Rc<dyn DatagramEndpoint>, DescriptionError> {
        self.0.datagram_clients.parse(self, description)
    }

    /// Returns the names of the server types, in alphabetical order.
    pub fn server_names(&self) -> Vec<String> {
        self.0.servers.names()
    }

    /// Returns the names of the client types, in alphabetical order.
    pub fn client_names(&self) -> Vec<String> {
        self.0.clients.names()
    }

    /// Returns the names of the datagram server types, in alphabetical order.
    pub fn datagram_server_names(&self) -> Vec<String> {
        self.0.datagram_servers.names()
    }

    /// Returns the names of the datagram client types, in alphabetical order.
    pub fn datagram_client_names(&self) -> Vec<String> {
        self.0.datagram_clients.names()
    }
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints")
            .field("servers", &self.server_names())
            .field("clients", &self.client_names())
            .field("datagram_servers", &self.datagram_server_names())
            .field("datagram_clients", &self.datagram_client_names())
            .finish()
    }
}

/// The parsers for servers or for clients, by name.
struct Parsers<E: ?Sized> {
    side: &'static str,
    example: &'static str,
    by_name: RefCell<BTreeMap<String, Parser<E>>>,
}

impl<E: ?Sized> Parsers<E> {
    fn new(side: &'static str, example: &'static str) -> Parsers<E> {
        Parsers { side, example, by_name: RefCell::default() }
    }

    fn register(&self, name: &str, parser: Parser<E>) {
        self.by_name.borrow_mut().insert(name.to_ascii_lowercase(), parser);
    }

    fn names(&self) -> Vec<String> {
        self.by_name.borrow().keys().cloned().collect()
    }

    fn parse(&self, endpoints: &Endpoints, text: &str) -> Parsed<E> {
        let description: Description = text.parse()?;
        let name = description.name().value.to_ascii_lowercase();
        // The parser is cloned, because a running parser may register another parser.
        let parser = self.by_name.borrow().get(&name).cloned();
        let Some(parser) = parser else {
            let known = self.names();
            let known = known.iter().map(String::as_str);
            return Err(DescriptionError::unknown_name(&description, self.side, known, self.example));
        };
        let _nesting = endpoints.0.descend()?;
        parser(endpoints, &description)
    }
}

impl Registry {
    /// Counts one more nested description, until the result is dropped.
    fn descend(&self) -> Result<Nesting<'_>, DescriptionError> {
        let depth = self.depth.get();
        if depth > ENCLOSING_MAX {
            let message = format!("endpoint descriptions are nested too deeply ({depth}, limit {ENCLOSING_MAX})");
            return Err(DescriptionError::new(0, message));
        }
        self.depth.set(depth + 1);
        Ok(Nesting(&self.depth))
    }
}

/// A description that is being parsed.
struct Nesting<'a>(&'a Cell<usize>);

impl Drop for Nesting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn described_server(description: &Description) -> Parsed<dyn StreamServerEndpoint> {
    match ServerDescription::try_from(description)? {
        ServerDescription::Tcp(tcp) => Ok(Rc::new(TcpServerEndpoint::from(&tcp))),
        ServerDescription::Tcp6(tcp) => Ok(Rc::new(TcpServerEndpoint::from(&tcp))),
        ServerDescription::Unix(unix) => Ok(Rc::new(UnixServerEndpoint::from(&unix))),
        ServerDescription::Systemd(systemd) => Ok(Rc::new(AdoptedServerEndpoint::from(&systemd))),
        ServerDescription::Fd(fd) => Ok(Rc::new(AdoptedServerEndpoint::from(&fd))),
        ServerDescription::Stdio => Ok(Rc::new(StdioServerEndpoint)),
        ServerDescription::Serial(serial) => Ok(Rc::new(SerialPortEndpoint::from(&serial))),
        other => Err(unsupported(&other)),
    }
}

fn described_client(description: &Description) -> Parsed<dyn StreamClientEndpoint> {
    match ClientDescription::try_from(description)? {
        ClientDescription::Tcp(tcp) => Ok(Rc::new(TcpClientEndpoint::from(&tcp))),
        ClientDescription::Tcp6(tcp) => Ok(Rc::new(TcpClientEndpoint::from(&tcp))),
        ClientDescription::Unix(unix) => Ok(Rc::new(UnixClientEndpoint::from(&unix))),
        ClientDescription::Serial(serial) => Ok(Rc::new(SerialPortEndpoint::from(&serial))),
        other => Err(unsupported(&other)),
    }
}

fn described_datagram_server(description: &Description) -> Parsed<dyn DatagramEndpoint> {
    match DatagramServerDescription::try_from(description)? {
        DatagramServerDescription::Udp(udp) => Ok(Rc::new(UdpServerEndpoint::from(&udp))),
        DatagramServerDescription::UnixDatagram(unix) => Ok(Rc::new(UnixDatagramServerEndpoint::from(&unix))),
        other => Err(unsupported(&other)),
    }
}

fn described_datagram_client(description: &Description) -> Parsed<dyn DatagramEndpoint> {
    match DatagramClientDescription::try_from(description)? {
        DatagramClientDescription::Udp(udp) => Ok(Rc::new(UdpClientEndpoint::from(&udp))),
        DatagramClientDescription::UnixDatagram(unix) => Ok(Rc::new(UnixDatagramClientEndpoint::from(&unix))),
        other => Err(unsupported(&other)),
    }
}

/// Parses `haproxy:` followed by another description.
fn haproxy(endpoints: &Endpoints, description: &Description) -> Parsed<dyn StreamServerEndpoint> {
    let missing = || {
        let message = "missing endpoint description after 'haproxy:': expected one, for example haproxy:tcp:8000";
        DescriptionError::new(description.text().len(), message)
    };
    let (offset, rest) = description.rest().filter(|(_, rest)| !rest.is_empty()).ok_or_else(missing)?;
    let inner = endpoints.server(rest).map_err(|error| error.nested_at(offset))?;
    Ok(Rc::new(HaproxyServerEndpoint::new(inner)))
}

/// Parses `process:PROGRAM[:ARGUMENT...][:directory=PATH]`.
fn process(description: &Description) -> Parsed<dyn StreamClientEndpoint> {
    let missing = "missing program after 'process:': expected process:PROGRAM[:ARGUMENT...], for example process:cat";
    let mut words = description.positional().iter().map(|argument| argument.value.as_str());
    let program = words.next().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| DescriptionError::new(description.text().len(), missing))?;
    let mut command = Command::new(program).args(words);
    for keyed in description.keyed() {
        if keyed.key.value != "directory" {
            let message = format!(
                "unknown key '{}': expected directory=PATH. An '=' in an argument of the program is written '\\='",
                keyed.key.value
            );
            return Err(DescriptionError::new(keyed.key.offset, message));
        }
        command = command.directory(&keyed.argument.value);
    }
    Ok(Rc::new(ProcessClientEndpoint::new(command)))
}

/// Returns the error for a type that only a newer grammar knows: `ropewalk-proto` is released separately.
fn unsupported(description: &dyn std::fmt::Display) -> DescriptionError {
    DescriptionError::new(0, format_args!("endpoint type of '{description}' is not supported by this version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(endpoints: &Endpoints, text: &str) -> String {
        endpoints.server(text).err().expect("an invalid description").to_string()
    }

    #[test]
    fn names_ignore_the_case_of_letters() {
        let endpoints = Endpoints::new();
        endpoints.register_server("Custom", |endpoints, _| endpoints.server("tcp:0"));
        for text in ["TCP:0", "custom:", "CUSTOM"] {
            assert!(endpoints.server(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_types() {
        let endpoints = Endpoints::new();
        endpoints.register_client("custom", |endpoints, _| endpoints.client("tcp:localhost:1"));
        let error = endpoints.client("ipx:1").err().unwrap();
        assert_eq!(error.offset(), 0);
        assert_eq!(
            error.to_string(),
            "unknown client endpoint type 'ipx': expected one of custom, process, serial, ssl, tcp, tcp6, tls, unix (for example tcp:localhost:8000)"
        );
        assert!(
            server_error(&endpoints, "ipx:1").contains(
                "expected one of fd, haproxy, serial, ssl, stdio, systemd, tcp, tcp6, tls, unix (for example"
            )
        );
    }

    #[test]
    fn a_type_of_the_other_transport_is_named() {
        let endpoints = Endpoints::new();
        assert_eq!(
            server_error(&endpoints, "haproxy:udp:53"),
            "server endpoint type 'udp' is for datagrams: expected one of fd, haproxy, serial, ssl, stdio, systemd, \
             tcp, tcp6, tls, unix (did you mean tcp:53?)"
        );
        let error = endpoints.datagram_client("tcp:ns.example:53").err().unwrap();
        assert_eq!(
            error.to_string(),
            "datagram client endpoint type 'tcp' is for streams: expected one of udp, unix-datagram (did you mean \
             udp:ns.example:53?)"
        );
    }

    #[test]
    fn a_parser_may_replace_itself_while_it_runs() {
        let endpoints = Endpoints::new();
        endpoints.register_server("custom", |endpoints, _| {
            endpoints.register_server("custom", |_, _| Err(DescriptionError::new(0, "replaced")));
            endpoints.server("unix:/run/x")
        });
        assert!(endpoints.server("custom").is_ok());
        assert_eq!(server_error(&endpoints, "custom"), "replaced");
    }

    #[test]
    fn an_error_in_a_nested_description_has_its_offset() {
        let endpoints = Endpoints::new();
        assert!(endpoints.server(r"haproxy:haproxy:tcp:0:interface=\:\:1").is_ok());
        let error = endpoints.server("haproxy:tcp:eighty").err().unwrap();
        assert_eq!((error.offset(), error.to_string().contains("'eighty'")), ("haproxy:tcp:".len(), true));
        for text in ["haproxy", "haproxy:"] {
            assert!(
                server_error(&endpoints, text).starts_with("missing endpoint description after 'haproxy:'"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_nesting_of_descriptions_is_bounded() {
        let endpoints = Endpoints::new();
        let nested = |count: usize| format!("{}tcp:0", r"hapro\xy:".repeat(count));
        assert!(endpoints.server(&nested(ENCLOSING_MAX)).is_ok());
        let error = endpoints.server(&nested(ENCLOSING_MAX + 1)).err().unwrap();
        assert_eq!(error.to_string(), "endpoint descriptions are nested too deeply (17, limit 16)");
        assert_eq!(error.offset(), 17 * r"hapro\xy:".len());
        assert_eq!(server_error(&endpoints, &nested(100_000)), error.to_string(), "the stack does not overflow");
        assert!(endpoints.server(&nested(ENCLOSING_MAX)).is_ok(), "the depth is reset after an error");
    }

    #[test]
    fn registries_are_independent() {
        let endpoints = Endpoints::new();
        endpoints.register_server("custom", |_, _| unreachable!("registered in the other registry"));
        assert!(server_error(&Endpoints::new(), "custom").starts_with("unknown server endpoint type 'custom'"));
    }
}
