//! Endpoints for inherited listening sockets. `fd:` takes a descriptor number, and `systemd:` a socket that a service
//! manager passed.
//!
//! ```text
//!   LISTEN_PID=4711   LISTEN_FDS=2   LISTEN_FDNAMES=web:admin
//!         ours?       3, 4           by name: "web" is 3, "admin" is 4
//! ```
//!
//! Each port gets a copy of its socket, so a service can stop and listen again. The environment variables stay set: a
//! child process sees from LISTEN_PID that the sockets are not its own.
//!
//! Source: sd_listen_fds(3), `twisted.python.systemd`, and `AdoptedStreamServerEndpoint` of
//! `twisted.internet.endpoints`.

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;

use ropewalk_proto::description::{FdServer, SocketDomain, SystemdServer, SystemdSocket};
use ropewalk_proto::{Address, Deferred};
use ropewalk_sys::inherited;

use super::StreamServerEndpoint;
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Port;

/// The number of the first descriptor: SD_LISTEN_FDS_START.
const FIRST_LISTEN_FD: u32 = 3;

/// An endpoint for a listening socket that this process inherited: `fd:` and `systemd:`.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::{AdoptedServerEndpoint, StreamServerEndpoint};
/// use ropewalk::proto::description::{SocketDomain, SystemdSocket};
/// use ropewalk::testing::AccumulatingProtocol;
///
/// let reactor = Reactor::new()?;
/// // The socket with FileDescriptorName=web in its unit, if it is an IPv4 socket.
/// let web = AdoptedServerEndpoint::systemd(SystemdSocket::Name("web".into())).domain(SocketDomain::Inet);
/// let port = web.listen(&reactor, Rc::new(AccumulatingProtocol::new));
/// assert!(port.try_result().unwrap().is_err()); // systemd did not start this process
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdoptedServerEndpoint {
    socket: Socket,
    domain: Option<SocketDomain>,
}

#[derive(Clone, Debug)]
enum Socket {
    Number(u32),
    Systemd(SystemdSocket),
}

impl AdoptedServerEndpoint {
    /// Creates an endpoint for the inherited socket with this descriptor number.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::Reactor;
    /// use ropewalk::endpoints::{AdoptedServerEndpoint, StreamServerEndpoint};
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let missing = AdoptedServerEndpoint::number(9999); // not an open descriptor
    /// let port = missing.listen(&reactor, Rc::new(AccumulatingProtocol::new));
    /// assert!(port.try_result().unwrap().is_err());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn number(number: u32) -> AdoptedServerEndpoint {
        AdoptedServerEndpoint { socket: Socket::Number(number), domain: None }
    }

    /// Creates an endpoint for a socket that the service manager passed to this process, by the protocol of systemd.
    pub fn systemd(socket: SystemdSocket) -> AdoptedServerEndpoint {
        AdoptedServerEndpoint { socket: Socket::Systemd(socket), domain: None }
    }

    /// Rejects a socket whose address family is not the expected one.
    #[must_use]
    pub fn domain(mut self, domain: SocketDomain) -> AdoptedServerEndpoint {
        self.domain = Some(domain);
        self
    }

    fn adopt(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Result<Port> {
        let number = match &self.socket {
            Socket::Number(number) => *number,
            Socket::Systemd(socket) => {
                ListenFds::find(|name| std::env::var(name).ok(), std::process::id())?.number(socket)?
            }
        };
        let cannot = |why: &dyn Display| Error::Failed(format!("cannot listen on descriptor {number}: {why}").into());
        let socket = inherited(number).map_err(|error| match error.kind() {
            ErrorKind::Unsupported => cannot(&error),
            _ => cannot(&format_args!("{error}: start this program with a listening socket as descriptor {number}")),
        })?;
        let port = reactor.adopt_stream_port(socket, factory).map_err(|error| match &error {
            // The first field is left out, because the message already says what was attempted.
            Error::Io(_, cause) => cannot(cause),
            other => cannot(other),
        })?;
        let host = port.host()?;
        match self.domain {
            Some(wanted) if wanted != domain_of(&host) => {
                port.stop_listening();
                let found = domain_of(&host);
                let message = format!("wrong domain {found} of the inherited socket {host}: expected {wanted}");
                Err(Error::Failed(message.into()))
            }
            _ => Ok(port),
        }
    }
}

impl From<&SystemdServer> for AdoptedServerEndpoint {
    fn from(systemd: &SystemdServer) -> AdoptedServerEndpoint {
        AdoptedServerEndpoint { socket: Socket::Systemd(systemd.socket.clone()), domain: systemd.domain }
    }
}

impl From<&FdServer> for AdoptedServerEndpoint {
    fn from(fd: &FdServer) -> AdoptedServerEndpoint {
        AdoptedServerEndpoint::number(fd.number)
    }
}

impl StreamServerEndpoint for AdoptedServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        self.adopt(reactor, factory).map_err(Into::into).into()
    }
}

fn domain_of(host: &Address) -> SocketDomain {
    match host {
        Address::Inet(SocketAddr::V4(_)) => SocketDomain::Inet,
        Address::Inet(SocketAddr::V6(_)) => SocketDomain::Inet6,
        _ => SocketDomain::Unix,
    }
}

/// The environment variables about the sockets of the service manager.
#[derive(Debug)]
struct ListenFds {
    count: u32,
    names: Vec<String>,
}

impl ListenFds {
    /// Reads the variables.
    ///
    /// # Errors
    /// If the variables are missing, invalid, or meant for another process than `own`.
    fn find(variable: impl Fn(&str) -> Option<String>, own: u32) -> Result<ListenFds> {
        let failed = |message: String| Err(Error::Failed(message.into()));
        let Some(process) = variable("LISTEN_PID") else {
            let message =
                "no socket from a service manager: LISTEN_PID is not set (start this process with a socket unit)";
            return failed(message.to_owned());
        };
        if process.parse() != Ok(own) {
            return failed(format!(
                "LISTEN_PID is '{process}', but this process is {own}: the sockets are for another process"
            ));
        }
        let count = variable("LISTEN_FDS").unwrap_or_default();
        let Ok(count) = count.parse() else {
            return failed(format!("LISTEN_FDS is '{count}': expected the number of sockets"));
        };
        let names = variable("LISTEN_FDNAMES").filter(|names| !names.is_empty());
        let names = names.map_or_else(Vec::new, |names| names.split(':').map(str::to_owned).collect());
        Ok(ListenFds { count, names })
    }

    /// Returns the descriptor number of one socket.
    fn number(&self, socket: &SystemdSocket) -> Result<u32> {
        let index = match socket {
            SystemdSocket::Index(index) => Some(*index),
            SystemdSocket::Name(wanted) => {
                self.names.iter().position(|name| name == wanted).and_then(|place| place.try_into().ok())
            }
        };
        index.filter(|&index| index < self.count).and_then(|index| FIRST_LISTEN_FD.checked_add(index)).ok_or_else(
            || {
                let wanted = match socket {
                    SystemdSocket::Index(index) => format!("with index {index}"),
                    SystemdSocket::Name(name) => format!("named '{name}'"),
                };
                let names = if self.names.is_empty() { "without names".to_owned() } else { self.names.join(", ") };
                let message =
                    format!("no socket {wanted} from the service manager: it passed {} ({names})", self.count);
                Error::Failed(message.into())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Result<ListenFds> {
        let variable =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        ListenFds::find(variable, 4711)
    }

    #[test]
    fn sockets_are_found_by_index_or_by_name() {
        // sd_listen_fds_with_names(3): LISTEN_FDNAMES is a list with colons.
        let found = find(&[("LISTEN_PID", "4711"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:admin:web")]).unwrap();
        let by_name = |name: &str| found.number(&SystemdSocket::Name(name.to_owned()));
        assert_eq!(found.number(&SystemdSocket::Index(2)).unwrap(), 5);
        assert_eq!((by_name("web").unwrap(), by_name("admin").unwrap()), (3, 4));
        assert_eq!(
            by_name("mail").unwrap_err().to_string(),
            "no socket named 'mail' from the service manager: it passed 3 (web, admin, web)"
        );
    }

    #[test]
    fn sockets_without_names_are_found_by_index() {
        let found = find(&[("LISTEN_PID", "4711"), ("LISTEN_FDS", "1")]).unwrap();
        assert_eq!(found.number(&SystemdSocket::Index(0)).unwrap(), 3);
        let error = found.number(&SystemdSocket::Index(1)).unwrap_err().to_string();
        assert_eq!(error, "no socket with index 1 from the service manager: it passed 1 (without names)");
    }

    #[test]
    fn a_name_beyond_the_number_of_sockets_is_ignored() {
        let found = find(&[("LISTEN_PID", "4711"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")]).unwrap();
        assert!(found.number(&SystemdSocket::Name("b".to_owned())).is_err());
    }

    #[test]
    fn an_index_beyond_all_descriptors_is_an_error() {
        let found = find(&[("LISTEN_PID", "4711"), ("LISTEN_FDS", "4294967295")]).unwrap();
        assert!(found.number(&SystemdSocket::Index(u32::MAX - 1)).is_err());
    }

    #[test]
    fn invalid_or_foreign_variables_are_reported() {
        let cases = [
            (&[][..], "LISTEN_PID is not set"),
            (&[("LISTEN_PID", "4712"), ("LISTEN_FDS", "1")], "LISTEN_PID is '4712', but this process is 4711"),
            (&[("LISTEN_PID", "4711")], "LISTEN_FDS is '': expected the number of sockets"),
            (&[("LISTEN_PID", "4711"), ("LISTEN_FDS", "-1")], "LISTEN_FDS is '-1'"),
        ];
        for (variables, expected) in cases {
            let error = find(variables).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
