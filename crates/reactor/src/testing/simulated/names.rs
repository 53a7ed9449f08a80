//! The addresses in use on one machine: bind(2) without a kernel.
//!
//! UNIX paths are only names: no file is created, and a name is free again as soon as its listener is closed.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{ListenSpec, system_error};

/// The first port that may be chosen for port 0: RFC 6335, section 6.
const FIRST_PORT: u16 = 49152;

/// The addresses in use.
pub(super) struct Names {
    listening: Vec<Name>,
    /// The local ends of outgoing connections.
    outgoing: HashSet<SocketAddr>,
    next_port: u16,
}

struct Name {
    key: Key,
    address: Address,
    reuse_port: bool,
    dual_stack: bool,
}

impl Default for Names {
    fn default() -> Names {
        Names { listening: Vec::new(), outgoing: HashSet::new(), next_port: FIRST_PORT }
    }
}

impl Names {
    /// Chooses the address of a listener for `spec`, without reserving the address.
    pub(super) fn choose_listening(&mut self, spec: &ListenSpec) -> io::Result<Address> {
        let address = match &spec.address {
            Address::Inet(inet) if inet.port() == 0 => self.choose_port(*inet)?.into(),
            Address::Unnamed => return Err(system_error(io::ErrorKind::InvalidInput)),
            address => address.clone(),
        };
        let wanted = |name: &Name| overlap(name, &address, spec.dual_stack) && !(name.reuse_port && spec.reuse_port);
        let connected = address.inet().is_some_and(|inet| self.outgoing.contains(&inet));
        if connected || self.listening.iter().any(wanted) {
            return Err(system_error(io::ErrorKind::AddrInUse));
        }
        Ok(address)
    }

    /// Records that the listener under `key` listens at `address`.
    pub(super) fn add_listener(&mut self, key: Key, address: Address, spec: &ListenSpec) {
        let ListenSpec { reuse_port, dual_stack, .. } = *spec;
        self.listening.push(Name { key, address, reuse_port, dual_stack });
    }

    /// Frees the address of a listener.
    pub(super) fn remove_listener(&mut self, key: Key) {
        self.listening.retain(|name| name.key != key);
    }

    /// Returns the listeners that match `target` best. Several listeners may share a port.
    pub(super) fn listeners_for(&self, target: &Address) -> Vec<Key> {
        let best = self.listening.iter().filter_map(|name| serves(name, target)).min();
        let served = self.listening.iter().filter(|name| best.is_some() && serves(name, target) == best);
        served.map(|name| name.key).collect()
    }

    /// Returns the names that match `target`, with their ranks. The lowest rank is the best.
    pub(super) fn serving(&self, target: &Address) -> Vec<(u8, Key)> {
        self.listening.iter().filter_map(|name| Some((serves(name, target)?, name.key))).collect()
    }

    /// Returns the names at `port`, whatever their addresses.
    pub(super) fn at_port(&self, port: u16) -> Vec<(u8, Key)> {
        let at_port = |name: &&Name| name.address.inet().is_some_and(|inet| inet.port() == port);
        self.listening.iter().filter(at_port).map(|name| (0, name.key)).collect()
    }

    /// Takes `local` for the local end of an outgoing connection. Port 0 chooses a free one.
    pub(super) fn take_outgoing(&mut self, mut local: SocketAddr) -> io::Result<SocketAddr> {
        if local.port() == 0 {
            local = self.choose_port(local)?;
        } else if self.is_taken(local) {
            return Err(system_error(io::ErrorKind::AddrInUse));
        }
        self.outgoing.insert(local);
        Ok(local)
    }

    /// Frees an address that [`Names::take_outgoing`] took.
    pub(super) fn free_outgoing(&mut self, local: SocketAddr) {
        self.outgoing.remove(&local);
    }

    fn choose_port(&mut self, mut address: SocketAddr) -> io::Result<SocketAddr> {
        for _ in FIRST_PORT..=u16::MAX {
            address.set_port(self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.is_taken(address) {
                return Ok(address);
            }
        }
        Err(system_error(io::ErrorKind::AddrNotAvailable))
    }

    fn is_taken(&self, inet: SocketAddr) -> bool {
        self.outgoing.contains(&inet) || self.listening.iter().any(|name| overlap(name, &inet.into(), true))
    }
}

/// Returns the destination of a connection to `target`. A wildcard address stands for the machine itself.
pub(super) fn destination(target: SocketAddr) -> SocketAddr {
    let ip = match target.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, target.port())
}

/// Returns `address` in the form that an IPv6 listener of both families reports.
pub(super) fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Whether one connection could match both addresses.
fn overlap(name: &Name, address: &Address, dual_stack: bool) -> bool {
    let (Address::Inet(a), Address::Inet(b)) = (&name.address, address) else { return name.address == *address };
    a.port() == b.port() && (covers(a.ip(), name.dual_stack, b.ip()) || covers(b.ip(), dual_stack, a.ip()))
}

/// Whether a listener at `ip` accepts connections to `other`.
fn covers(ip: IpAddr, dual_stack: bool, other: IpAddr) -> bool {
    ip == other || ip.is_unspecified() && (ip.is_ipv4() == other.is_ipv4() || ip.is_ipv6() && dual_stack)
}

/// Returns the rank of `name` among the listeners for `target`. The lowest rank takes the connection.
fn serves(name: &Name, target: &Address) -> Option<u8> {
    let (Address::Inet(at), Address::Inet(to)) = (&name.address, target) else {
        return (name.address == *target).then_some(0);
    };
    let taken = at.port() == to.port() && covers(at.ip(), name.dual_stack, to.ip());
    taken.then_some(if at.ip() == to.ip() { 0 } else { 1 + u8::from(at.is_ipv4() != to.is_ipv4()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str) -> ListenSpec {
        ListenSpec::new(Address::Inet(address.parse().unwrap()))
    }

    fn listen(names: &mut Names, index: u32, spec: &ListenSpec) -> io::Result<Address> {
        let address = names.choose_listening(spec)?;
        names.add_listener(Key::new(index, 0), address.clone(), spec);
        Ok(address)
    }

    fn served_by(names: &Names, target: &str) -> Vec<u32> {
        names.listeners_for(&Address::Inet(target.parse().unwrap())).iter().map(|key| key.index()).collect()
    }

    fn in_use<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }

    #[test]
    fn the_most_specific_listener_gets_the_connection() {
        let mut names = Names::default();
        let only_v6 = ListenSpec { dual_stack: false, ..spec("[::]:80") };
        listen(&mut names, 1, &only_v6).unwrap();
        listen(&mut names, 2, &spec("0.0.0.0:80")).unwrap();
        listen(&mut names, 3, &spec("[::]:81")).unwrap();
        assert_eq!(served_by(&names, "10.0.0.1:80"), [2]);
        assert_eq!(served_by(&names, "[fe80::1]:80"), [1]);
        assert_eq!(served_by(&names, "10.0.0.1:81"), [3]);
        assert_eq!(served_by(&names, "10.0.0.1:82"), []);
    }

    #[test]
    fn a_wildcard_address_conflicts_with_all_that_it_covers() {
        let mut names = Names::default();
        listen(&mut names, 1, &spec("10.0.0.1:80")).unwrap();
        assert!(in_use(listen(&mut names, 2, &spec("0.0.0.0:80"))));
        assert!(in_use(listen(&mut names, 2, &spec("[::]:80"))));
        listen(&mut names, 2, &ListenSpec { dual_stack: false, ..spec("[::]:80") }).unwrap();
        assert!(in_use(listen(&mut names, 3, &spec("[::1]:80"))));
        listen(&mut names, 3, &spec("10.0.0.2:80")).unwrap();
    }

    #[test]
    fn an_address_is_shared_only_if_all_listeners_allow_it() {
        let mut names = Names::default();
        let shared = ListenSpec { reuse_port: true, ..spec("10.0.0.1:80") };
        listen(&mut names, 1, &shared).unwrap();
        listen(&mut names, 2, &shared).unwrap();
        assert!(in_use(listen(&mut names, 3, &spec("10.0.0.1:80"))));
        assert_eq!(served_by(&names, "10.0.0.1:80"), [1, 2]);
        names.remove_listener(Key::new(1, 0));
        assert_eq!(served_by(&names, "10.0.0.1:80"), [2]);
    }

    #[test]
    fn a_chosen_port_is_not_chosen_again_until_it_is_freed() {
        let mut names = Names::default();
        let local: SocketAddr = "10.0.0.1:0".parse().unwrap();
        let mut taken: Vec<_> = (FIRST_PORT..=u16::MAX).map(|_| names.take_outgoing(local).unwrap()).collect();
        let none_left = names.take_outgoing(local).unwrap_err();
        assert_eq!(none_left.kind(), io::ErrorKind::AddrNotAvailable);
        let freed = taken.swap_remove(77);
        names.free_outgoing(freed);
        assert_eq!(names.take_outgoing(local).unwrap(), freed);
    }

    #[test]
    fn a_local_address_in_use_is_rejected() {
        let mut names = Names::default();
        let local: SocketAddr = "10.0.0.9:1234".parse().unwrap();
        assert_eq!(names.take_outgoing(local).unwrap(), local);
        assert!(in_use(names.take_outgoing(local)));
        assert!(in_use(listen(&mut names, 1, &spec("10.0.0.9:1234"))));
    }
}
