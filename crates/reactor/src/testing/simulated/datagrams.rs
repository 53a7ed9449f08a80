//! Datagram sockets: opening, options, groups, and the provider's calls.

use std::io;
use std::net::IpAddr;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{Arrival, DatagramOption, DatagramSpec, Datagrams, ListenSpec, Outgoing, OwnedSocket, system_error};

use super::datagram_end::{DatagramEnd, check_interface};
use super::network::{Network, Source};
use super::provider::Simulated;

impl Network {
    /// Opens a datagram socket of `owner`. Returns its key and its address.
    pub(crate) fn open_datagrams(&mut self, owner: Key, spec: &DatagramSpec) -> io::Result<(Key, Address)> {
        spec.check()?;
        let machine = self.machine_of(owner)?;
        if let Address::Inet(inet) = spec.address {
            self.machines.check_bind(machine, inet.ip())?;
        }
        let listen = ListenSpec {
            reuse_port: spec.shared,
            dual_stack: spec.dual_stack,
            ..ListenSpec::new(spec.address.clone())
        };
        let is_named = spec.address != Address::Unnamed;
        let names = &mut self.machines.get_mut(machine).datagrams;
        let address = if is_named { names.choose_listening(&listen)? } else { Address::Unnamed };
        let end = DatagramEnd::new(owner, machine, address.clone(), spec);
        let key = self.sources.insert(Source::Datagrams(Box::new(end)));
        if is_named {
            self.machines.get_mut(machine).datagrams.add_listener(key, address, &listen);
        }
        let connected = spec.peer.as_ref().map_or(Ok(()), |peer| self.connect_datagrams(key, peer).map(drop));
        if let Err(error) = connected {
            self.close(key);
            return Err(error);
        }
        Ok((key, self.local_address(key)?))
    }

    /// Connects a datagram socket. Returns its address.
    pub(crate) fn connect_datagrams(&mut self, key: Key, peer: &Address) -> io::Result<Address> {
        let end = self.datagram_end(key)?;
        let peer = end.checked(peer)?;
        let local = match peer {
            Address::Inet(to) => self.machines.local_for(end.machine, to, end.bound_for(to))?.into(),
            _ if self.machines.get(end.machine).datagrams.serving(&peer).is_empty() => {
                return Err(system_error(io::ErrorKind::NotFound));
            }
            _ => end.address.clone(),
        };
        let end = self.datagram_end_mut(key)?;
        (end.peer, end.address) = (Some(peer), local.clone());
        Ok(local)
    }

    /// Receives datagrams that have arrived.
    pub(crate) fn receive_datagrams(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<bool> {
        let end = self.datagram_end_mut(key)?;
        if std::mem::take(&mut end.is_refused) {
            return Err(system_error(io::ErrorKind::ConnectionRefused));
        }
        Ok(end.receive(scratch, most, arrivals))
    }

    fn change_group(&mut self, key: Key, group: IpAddr, interface: u32, joins: bool) -> io::Result<()> {
        let (end, group) = (self.datagram_end_mut(key)?, group.to_canonical());
        if !group.is_multicast() {
            return Err(system_error(io::ErrorKind::InvalidInput));
        }
        end.check_family(group)?;
        check_interface(interface)?;
        let (changed, failure) = match joins {
            true => (end.groups.insert((group, interface)), io::ErrorKind::AddrInUse),
            false => (end.groups.remove(&(group, interface)), io::ErrorKind::AddrNotAvailable),
        };
        if changed { Ok(()) } else { Err(system_error(failure)) }
    }

    fn datagram_option(&self, key: Key, option: DatagramOption) -> io::Result<u32> {
        let options = self.datagram_end(key)?.options_with(option)?;
        Ok(match option {
            DatagramOption::Broadcast => options.broadcast.into(),
            DatagramOption::MulticastTtl => options.ttl,
            DatagramOption::MulticastLoop => options.loops.into(),
            DatagramOption::MulticastInterface => options.interface,
            DatagramOption::MtuProbing => options.probes.into(),
            DatagramOption::ReceiveBuffer => options.receive_buffer as u32,
            DatagramOption::SendBuffer => options.send_buffer as u32,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    fn set_datagram_option(&mut self, key: Key, option: DatagramOption, value: u32) -> io::Result<()> {
        let end = self.datagram_end_mut(key)?;
        end.options_with(option)?;
        let (options, on) = (&mut end.options, value != 0);
        match option {
            DatagramOption::Broadcast => options.broadcast = on,
            DatagramOption::MulticastTtl if value > 255 => return Err(system_error(io::ErrorKind::InvalidInput)),
            DatagramOption::MulticastTtl => options.ttl = value,
            DatagramOption::MulticastLoop => options.loops = on,
            DatagramOption::MulticastInterface => {
                check_interface(value)?;
                options.interface = value;
            }
            DatagramOption::MtuProbing => options.probes = on,
            DatagramOption::ReceiveBuffer => options.receive_buffer = value as usize,
            DatagramOption::SendBuffer => options.send_buffer = value as usize,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(())
    }
}

impl Datagrams for Simulated {
    fn open_datagrams(&mut self, spec: &DatagramSpec) -> io::Result<(Key, Address)> {
        self.network.with(|network| {
            network.check_failure(self.owner, |failures| &mut failures.listen)?;
            network.check_descriptors(self.owner)?;
            network.open_datagrams(self.owner, spec)
        })
    }

    fn adopt_datagrams(&mut self, _: OwnedSocket, _: &DatagramSpec) -> io::Result<(Key, Address, Option<Address>)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connect_datagrams(&mut self, key: Key, peer: &Address) -> io::Result<Address> {
        self.network.with(|network| network.connect_datagrams(key, peer))
    }

    fn receive_datagrams(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<bool> {
        self.network.with(|network| network.receive_datagrams(key, scratch, most, arrivals))
    }

    fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        self.network.with(|network| {
            let taken = network.room_for(batch.len());
            match network.send_datagrams(key, &batch[..taken]) {
                (sent, Ok(())) if sent < batch.len() => (sent, network.refuse_datagram(key)),
                outcome => outcome,
            }
        })
    }

    fn join_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        self.network.with(|network| network.change_group(key, group, interface, true))
    }

    fn leave_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        self.network.with(|network| network.change_group(key, group, interface, false))
    }

    fn datagram_option(&mut self, key: Key, option: DatagramOption) -> io::Result<u32> {
        self.network.with(|network| network.datagram_option(key, option))
    }

    fn set_datagram_option(&mut self, key: Key, option: DatagramOption, value: u32) -> io::Result<()> {
        self.network.with(|network| network.set_datagram_option(key, option, value))
    }

    fn segments_max(&mut self, key: Key) -> io::Result<usize> {
        self.network.with(|network| network.datagram_end(key).map(|_| 1))
    }

    fn dropped_datagrams(&mut self, key: Key) -> io::Result<u64> {
        self.network.with(|network| Ok(network.datagram_end(key)?.dropped))
    }
}
