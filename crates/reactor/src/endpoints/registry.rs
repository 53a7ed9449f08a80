//! The names of endpoint kinds: IStreamServerEndpointStringParser and IStreamClientEndpointStringParserWithReactor.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ropewalk_proto::description::{ClientDescription, Description, DescriptionError, ServerDescription};

use super::adopted::AdoptedServerEndpoint;
use super::haproxy::HaproxyServerEndpoint;
use super::stdio::StdioServerEndpoint;
use super::tcp::{TcpClientEndpoint, TcpServerEndpoint};
use super::unix::{UnixClientEndpoint, UnixServerEndpoint};
use super::{StreamClientEndpoint, StreamServerEndpoint};
use crate::kernel::{Feature, Reactor};

type Parsed<E> = Result<Rc<E>, DescriptionError>;
type Parser<E> = Rc<dyn Fn(&Endpoints, &Description) -> Parsed<E>>;

/// Which kinds of endpoints a description may name. A cheap handle: clones are the same registry.
///
/// Each reactor has one of its own, [`Reactor::endpoints`](crate::Reactor::endpoints), with the kinds of this crate; one
/// without a reactor can check descriptions before there is one.
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
///     let wrong = || DescriptionError::new(0, "it is written local:PORT with a port from 0 to 65535");
///     let endpoint = TcpServerEndpoint::new(("127.0.0.1".parse().unwrap(), port.ok_or_else(wrong)?));
///     Ok(Rc::new(endpoint.expect("an address and a port")))
/// });
/// assert!(endpoints.server("local:8000").is_ok());
/// let error = endpoints.server("remote:8000").err().unwrap();
/// assert!(error.to_string().contains("'remote'") && error.to_string().contains("local"));
/// ```
#[derive(Clone)]
pub struct Endpoints(Rc<Kinds>);

/// How many descriptions may stand around another one: more than anybody needs, and each takes some of the stack.
const AROUND_MOST: usize = 16;

struct Kinds {
    servers: Names<dyn StreamServerEndpoint>,
    clients: Names<dyn StreamClientEndpoint>,
    /// How many descriptions are being parsed, one within the other.
    depth: Cell<usize>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Endpoints::new()
    }
}

impl Feature for Endpoints {
    fn new(_reactor: &Reactor) -> Endpoints {
        Endpoints::new()
    }
}

impl Endpoints {
    /// A registry with the kinds of this crate.
    pub fn new() -> Endpoints {
        let endpoints = Endpoints(Rc::new(Kinds {
            servers: Names::new("server", "tcp:8000:interface=127.0.0.1"),
            clients: Names::new("client", "tcp:localhost:8000"),
            depth: Cell::default(),
        }));
        for name in ["tcp", "tcp6", "unix", "systemd", "fd", "stdio"] {
            endpoints.register_server(name, |_, description| described_server(description));
        }
        endpoints.register_server("haproxy", haproxy);
        for name in ["tcp", "tcp6", "unix"] {
            endpoints.register_client(name, |_, description| described_client(description));
        }
        endpoints
    }

    /// Has `parser` make the server endpoints whose description begins with `name:`, in place of who did before. It is
    /// given this registry, for descriptions that contain another.
    ///
    /// Names are compared without regard to the case of ASCII letters.
    pub fn register_server(
        &self,
        name: &str,
        parser: impl Fn(&Endpoints, &Description) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> + 'static,
    ) {
        self.0.servers.register(name, Rc::new(parser));
    }

    /// Has `parser` make the client endpoints whose description begins with `name:`; otherwise as
    /// [`register_server`](Endpoints::register_server).
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

    /// The server endpoint that `description` names.
    ///
    /// # Errors
    /// As [`server_from_string`](super::server_from_string).
    pub fn server(&self, description: &str) -> Result<Rc<dyn StreamServerEndpoint>, DescriptionError> {
        self.0.servers.parse(self, description)
    }

    /// The client endpoint that `description` names.
    ///
    /// # Errors
    /// As [`server_from_string`](super::server_from_string).
    pub fn client(&self, description: &str) -> Result<Rc<dyn StreamClientEndpoint>, DescriptionError> {
        self.0.clients.parse(self, description)
    }

    /// The names of the server kinds, in alphabetical order.
    pub fn server_names(&self) -> Vec<String> {
        self.0.servers.names()
    }

    /// The names of the client kinds, in alphabetical order.
    pub fn client_names(&self) -> Vec<String> {
        self.0.clients.names()
    }
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints")
            .field("servers", &self.server_names())
            .field("clients", &self.client_names())
            .finish()
    }
}

/// The kinds of one side.
struct Names<E: ?Sized> {
    side: &'static str,
    example: &'static str,
    parsers: RefCell<BTreeMap<String, Parser<E>>>,
}

impl<E: ?Sized> Names<E> {
    fn new(side: &'static str, example: &'static str) -> Names<E> {
        Names { side, example, parsers: RefCell::default() }
    }

    fn register(&self, name: &str, parser: Parser<E>) {
        self.parsers.borrow_mut().insert(name.to_ascii_lowercase(), parser);
    }

    fn names(&self) -> Vec<String> {
        self.parsers.borrow().keys().cloned().collect()
    }

    fn parse(&self, endpoints: &Endpoints, text: &str) -> Parsed<E> {
        let description: Description = text.parse()?;
        let name = description.name().value.to_ascii_lowercase();
        // Not borrowed while it runs: a parser may register another.
        let parser = self.parsers.borrow().get(&name).cloned();
        let Some(parser) = parser else {
            let known = self.names();
            let known = known.iter().map(String::as_str);
            return Err(DescriptionError::unknown_name(&description, self.side, known, self.example));
        };
        let _within = endpoints.0.descend(&name)?;
        parser(endpoints, &description)
    }
}

impl Kinds {
    /// One description more, until the result is dropped.
    fn descend(&self, name: &str) -> Result<Within<'_>, DescriptionError> {
        let depth = self.depth.get();
        if depth > AROUND_MOST {
            let message =
                format!("'{name}' stands within {depth} other descriptions: at most {AROUND_MOST} were expected");
            return Err(DescriptionError::new(0, message));
        }
        self.depth.set(depth + 1);
        Ok(Within(&self.depth))
    }
}

/// A description that is being parsed.
struct Within<'a>(&'a Cell<usize>);

impl Drop for Within<'_> {
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
        other => Err(unmade(&other)),
    }
}

fn described_client(description: &Description) -> Parsed<dyn StreamClientEndpoint> {
    match ClientDescription::try_from(description)? {
        ClientDescription::Tcp(tcp) => Ok(Rc::new(TcpClientEndpoint::from(&tcp))),
        ClientDescription::Tcp6(tcp) => Ok(Rc::new(TcpClientEndpoint::from(&tcp))),
        ClientDescription::Unix(unix) => Ok(Rc::new(UnixClientEndpoint::from(&unix))),
        other => Err(unmade(&other)),
    }
}

/// `haproxy:` and another description.
fn haproxy(endpoints: &Endpoints, description: &Description) -> Parsed<dyn StreamServerEndpoint> {
    let missing = || {
        let message = "haproxy: stands before another description, as in haproxy:tcp:8000:interface=127.0.0.1";
        DescriptionError::new(description.text().len(), message)
    };
    let (offset, rest) = description.rest().filter(|(_, rest)| !rest.is_empty()).ok_or_else(missing)?;
    let inner = endpoints.server(rest).map_err(|error| error.nested_at(offset))?;
    Ok(Rc::new(HaproxyServerEndpoint::new(inner)))
}

/// The grammar may know more than this crate makes: the two are released apart.
fn unmade(description: &dyn std::fmt::Display) -> DescriptionError {
    DescriptionError::new(0, format_args!("'{description}' is of a kind that this version cannot make"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(endpoints: &Endpoints, text: &str) -> String {
        endpoints.server(text).err().expect("a wrong description").to_string()
    }

    #[test]
    fn a_name_may_be_written_in_any_case() {
        let endpoints = Endpoints::new();
        endpoints.register_server("Own", |endpoints, _| endpoints.server("tcp:0"));
        for text in ["TCP:0", "own:", "OWN"] {
            assert!(endpoints.server(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_lists_what_exists_on_its_side() {
        let endpoints = Endpoints::new();
        endpoints.register_client("own", |endpoints, _| endpoints.client("tcp:localhost:1"));
        let error = endpoints.client("udp:1").err().unwrap();
        assert_eq!(
            (error.to_string().as_str(), error.offset()),
            ("'udp' in 'udp:1' is no client type: known are own, tcp, tcp6, unix, as in tcp:localhost:8000", 0)
        );
        assert!(
            server_error(&endpoints, "udp:1")
                .contains("known are fd, haproxy, stdio, systemd, tcp, tcp6, unix, as in tcp:8000")
        );
    }

    #[test]
    fn a_parser_may_register_and_replace_kinds_while_it_runs() {
        let endpoints = Endpoints::new();
        endpoints.register_server("own", |endpoints, _| {
            endpoints.register_server("own", |_, _| Err(DescriptionError::new(0, "replaced")));
            endpoints.server("unix:/run/x")
        });
        assert!(endpoints.server("own").is_ok());
        assert_eq!(server_error(&endpoints, "own"), "replaced");
    }

    #[test]
    fn an_error_in_a_description_within_another_is_found_at_its_place() {
        let endpoints = Endpoints::new();
        assert!(endpoints.server(r"haproxy:haproxy:tcp:0:interface=\:\:1").is_ok());
        let error = endpoints.server("haproxy:tcp:eighty").err().unwrap();
        assert_eq!((error.offset(), error.to_string().contains("'eighty'")), ("haproxy:tcp:".len(), true));
        for text in ["haproxy", "haproxy:"] {
            assert!(server_error(&endpoints, text).contains("another description"), "{text}");
        }
    }

    #[test]
    fn descriptions_within_descriptions_are_bounded_and_a_long_text_needs_no_deep_stack() {
        let endpoints = Endpoints::new();
        let nested = |count: usize| format!("{}tcp:0", r"hapro\xy:".repeat(count));
        assert!(endpoints.server(&nested(AROUND_MOST)).is_ok());
        let error = endpoints.server(&nested(AROUND_MOST + 1)).err().unwrap();
        assert_eq!(error.to_string(), "'tcp' stands within 17 other descriptions: at most 16 were expected");
        assert_eq!(error.offset(), 17 * r"hapro\xy:".len());
        assert!(server_error(&endpoints, &nested(100_000)).starts_with("'haproxy' stands within 17"));
        assert!(endpoints.server(&nested(AROUND_MOST)).is_ok(), "it forgets what failed");
    }

    #[test]
    fn registries_do_not_share_what_was_registered() {
        let endpoints = Endpoints::new();
        endpoints.register_server("own", |_, _| unreachable!("it is of the other registry"));
        assert!(server_error(&Endpoints::new(), "own").starts_with("'own' in 'own' is no server type"));
    }
}
