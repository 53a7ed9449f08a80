//! The machines of the network: their addresses and their states.
//!
//! [`OUTSIDE`] owns all addresses that do not belong to a host. A [`MemoryReactor`](crate::testing::MemoryReactor) and
//! all test ends run on that machine.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ropewalk_proto::Key;
use ropewalk_sys::{BindError, explained_error, system_error};

use super::names::Names;

/// The number of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineId(pub(super) usize);

/// The machine that owns all addresses that do not belong to a host.
pub(crate) const OUTSIDE: MachineId = MachineId(0);

/// The addresses of [`OUTSIDE`] as hosts see them, from the ranges for documentation (RFC 5737, RFC 3849).
const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// All machines. A machine is never removed.
pub(super) struct Machines(Vec<Machine>);

/// The state of a machine apart from its processes.
#[derive(Default)]
pub(super) struct Machine {
    /// `None` for [`OUTSIDE`].
    address: Option<IpAddr>,
    pub(super) is_down: bool,
    pub(super) names: Names,
    /// The names of datagram sockets, which are apart from those of streams.
    pub(super) datagrams: Names,
    /// The paths of locked UNIX sockets, and the owners of the locks.
    pub(super) locked: BTreeMap<PathBuf, Key>,
}

impl Default for Machines {
    fn default() -> Machines {
        Machines(vec![Machine::default()])
    }
}

impl Machines {
    /// Returns the host with this address, and adds it if there is none.
    pub(super) fn host(&mut self, address: IpAddr) -> MachineId {
        self.find(address).unwrap_or_else(|| {
            self.0.push(Machine { address: Some(address), ..Machine::default() });
            MachineId(self.0.len() - 1)
        })
    }

    /// Returns the host with this address.
    pub(super) fn find(&self, address: IpAddr) -> Option<MachineId> {
        self.0.iter().position(|machine| machine.address == Some(address)).map(MachineId)
    }

    /// Whether there are hosts.
    pub(super) fn has_hosts(&self) -> bool {
        self.0.len() > 1
    }

    /// Returns all machines.
    pub(super) fn all(&self) -> impl Iterator<Item = MachineId> + use<> {
        (0..self.0.len()).map(MachineId)
    }

    pub(super) fn get(&self, id: MachineId) -> &Machine {
        &self.0[id.0]
    }

    pub(super) fn get_mut(&mut self, id: MachineId) -> &mut Machine {
        &mut self.0[id.0]
    }

    /// Returns the machine that a packet for `target` from `here` reaches.
    pub(super) fn route(&self, here: MachineId, target: IpAddr) -> MachineId {
        if target.is_loopback() { here } else { self.find(target.to_canonical()).unwrap_or(OUTSIDE) }
    }

    /// Checks that a socket on `here` may bind to `ip`: EADDRNOTAVAIL.
    pub(super) fn check_bind(&self, here: MachineId, ip: IpAddr) -> io::Result<()> {
        if ip.is_unspecified() || self.route(here, ip) == here {
            return Ok(());
        }
        let message = match self.get(here).address {
            Some(own) => format!("{ip} is not an address of the host {own}"),
            None => format!("{ip} is the address of a host of the simulated network"),
        };
        let cause = system_error(io::ErrorKind::AddrNotAvailable);
        Err(explained_error(cause.kind(), cause, message))
    }

    /// Returns the local address for a connection from `here` to `target`. Port 0 means any free port.
    pub(super) fn local_for(
        &self,
        here: MachineId,
        target: SocketAddr,
        bind: Option<SocketAddr>,
    ) -> io::Result<SocketAddr> {
        let port = bind.map_or(0, |bind| bind.port());
        match bind {
            Some(bind) if bind.is_ipv4() != target.is_ipv4() => {
                Err(BindError(system_error(io::ErrorKind::InvalidInput)).into())
            }
            Some(bind) if !bind.ip().is_unspecified() => {
                self.check_bind(here, bind.ip()).map_err(BindError)?;
                Ok(bind)
            }
            _ => Ok(SocketAddr::new(self.source_for(here, target.ip())?, port)),
        }
    }

    /// Returns the source address of a connection from `here` to `target`. A connection of a machine to itself has the
    /// same address at both ends.
    fn source_for(&self, here: MachineId, target: IpAddr) -> io::Result<IpAddr> {
        match (self.get(here).address, target) {
            _ if self.route(here, target) == here => Ok(target),
            (Some(own), target) if own.is_ipv4() == target.is_ipv4() => Ok(own),
            (Some(_), _) => Err(system_error(io::ErrorKind::NetworkUnreachable)),
            (None, IpAddr::V4(_)) => Ok(OUTSIDE_V4.into()),
            (None, IpAddr::V6(_)) => Ok(OUTSIDE_V6.into()),
        }
    }
}
