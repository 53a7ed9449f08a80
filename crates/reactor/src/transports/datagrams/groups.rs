//! Groups of receivers: IMulticastTransport.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ropewalk_proto::Key;
use ropewalk_sys::{Datagrams, explained_error, zone_number};

use super::handle::DatagramPort;
use crate::error::{Error, Result};

/// A network interface of this machine. Converts from its number and from its name. The empty name means
/// [`Any`](NetworkInterface::Any), as in Twisted.
///
/// ```
/// use ropewalk::transports::NetworkInterface;
///
/// assert_eq!(NetworkInterface::from(""), NetworkInterface::Any);
/// assert_eq!(NetworkInterface::from("eth0"), NetworkInterface::Named("eth0".into()));
/// assert_eq!(NetworkInterface::from(2), NetworkInterface::Number(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetworkInterface {
    /// The system chooses, by its routes.
    Any,
    /// The interface with this number: if_nametoindex(3).
    Number(u32),
    /// The interface with this name.
    Named(Arc<str>),
}

impl NetworkInterface {
    /// Returns the number, which is zero for any interface.
    pub(super) fn number(&self) -> io::Result<u32> {
        match self {
            NetworkInterface::Any => Ok(0),
            NetworkInterface::Number(number) => Ok(*number),
            NetworkInterface::Named(name) => zone_number(name).ok_or_else(|| {
                let cause = io::Error::from(io::ErrorKind::NotFound);
                let message = format!("no network interface is called '{}'", name.escape_debug());
                explained_error(io::ErrorKind::NotFound, cause, message)
            }),
        }
    }
}

impl From<u32> for NetworkInterface {
    fn from(number: u32) -> NetworkInterface {
        NetworkInterface::Number(number)
    }
}

impl From<&str> for NetworkInterface {
    fn from(name: &str) -> NetworkInterface {
        if name.is_empty() { NetworkInterface::Any } else { NetworkInterface::Named(name.into()) }
    }
}

/// Groups.
impl DatagramPort {
    /// Joins the multicast group `group` on `interface`: joinGroup. From then on datagrams for the group arrive at this
    /// port. The port must be bound to a wildcard address or to the group.
    ///
    /// The port leaves its groups when it is closed.
    ///
    /// ```no_run
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("0.0.0.0:5353", Silent)?;
    /// let group = "224.0.0.251".parse().unwrap();
    /// port.join_group(group, "eth0")?;
    /// port.leave_group(group, "eth0")?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::MulticastJoin`] if `group` is not the address of a group, if it was joined already, or if the interface
    /// does not exist. [`Error::WrongFamily`] for a group of another family. [`Error::Closed`], [`Error::Waiting`].
    pub fn join_group(&self, group: IpAddr, interface: impl Into<NetworkInterface>) -> Result<()> {
        self.change_group(group, &interface.into(), |datagrams, key, number| datagrams.join_group(key, group, number))
    }

    /// Leaves a group that was joined on `interface`: leaveGroup.
    ///
    /// # Errors
    /// As [`join_group`](DatagramPort::join_group). [`Error::MulticastJoin`] if the group was not joined there.
    pub fn leave_group(&self, group: IpAddr, interface: impl Into<NetworkInterface>) -> Result<()> {
        self.change_group(group, &interface.into(), |datagrams, key, number| datagrams.leave_group(key, group, number))
    }

    fn change_group(
        &self,
        group: IpAddr,
        interface: &NetworkInterface,
        change: impl FnOnce(&mut dyn Datagrams, Key, u32) -> io::Result<()>,
    ) -> Result<()> {
        let (kernel, key) = (self.0.kernel()?, self.0.key()?);
        let changed = match interface.number() {
            Ok(number) => kernel.datagrams(|datagrams| change(datagrams, key, number))?,
            Err(error) => Err(error),
        };
        changed.map_err(|error| match Error::send(error, 0) {
            Error::Io(_, cause) => Error::MulticastJoin(group, cause),
            other => other,
        })
    }
}
