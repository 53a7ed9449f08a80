//! Recognizes connections of the forwarder to itself: its target is its own listener.
//!
//! ```text
//!   client -> listener -> outgoing X -> Y ----> listener -> accepted X -> Y -> outgoing ...
//! ```
//!
//! Each connection would cause another one. The description of the target does not show this if it has a name or a
//! wildcard address. But an outgoing connection and an accepted one with the same two addresses are the two ends of one
//! connection. One address is not enough: a system may use a port for several connections to different addresses.
//!
//! The accepted end does not exist yet if the connection waits in the queue of the listener, as it does while the limit
//! on connections is reached. Then the address of the listener decides: it is the address of the peer, or the wildcard
//! address of the same family, and the peer is on this machine. (A program that shares the port by SO_REUSEPORT and
//! listens at a single address would be mistaken for this one.)
//!
//! After such a connection, all clients are refused for a while. Otherwise the accepted end of a refused connection
//! would be forwarded like any other client, and so on without an end.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, Transport};

use crate::listen::{Place, has_prefix};

/// The time for which clients are refused.
const REFUSAL: Duration = Duration::from_secs(1);

/// The address that has connected, and the address that was connected to.
type Ends = (SocketAddr, SocketAddr);

/// The connections of one forwarder, and the addresses of its listeners.
#[derive(Default)]
pub(super) struct OwnConnections {
    accepted: RefCell<HashSet<Ends>>,
    outgoing: RefCell<HashSet<Ends>>,
    listeners: RefCell<Vec<Listener>>,
    is_refusing: Cell<bool>,
}

/// A listener of this forwarder.
struct Listener {
    address: Address,
    /// Whether the IPv6 wildcard address also accepts IPv4.
    is_dual_stack: bool,
}

impl Listener {
    /// Whether a connection from `host` to `peer` ends at this listener, as far as the addresses tell.
    fn is_reached(&self, host: Option<SocketAddr>, peer: &Address) -> bool {
        let peer = canonical(peer);
        let all_inet = inet(&self.address).zip(host).zip(inet(&peer));
        self.address == peer
            || all_inet.is_some_and(|((own, host), peer)| self.covers(own, peer) && is_local(host, peer))
    }

    fn covers(&self, own: SocketAddr, peer: SocketAddr) -> bool {
        let is_of_family = own.is_ipv4() == peer.is_ipv4() || own.is_ipv6() && self.is_dual_stack;
        own.ip().is_unspecified() && own.port() == peer.port() && is_of_family
    }
}

/// Whether a connection from `host` to `peer` stays on this machine. A system gives both ends of such a connection the
/// same address, except for the many addresses of the loopback interface.
fn is_local(host: SocketAddr, peer: SocketAddr) -> bool {
    host.ip() == peer.ip() || host.ip().is_loopback() && peer.ip().is_loopback()
}

type Side = fn(&OwnConnections) -> &RefCell<HashSet<Ends>>;

/// The addresses of an open connection. Dropping the value removes them.
pub(super) struct Entry {
    own: Rc<OwnConnections>,
    side: Side,
    ends: Ends,
}

impl Drop for Entry {
    fn drop(&mut self) {
        (self.side)(&self.own).borrow_mut().remove(&self.ends);
    }
}

/// The other program of a new connection.
pub(super) enum Checked {
    /// The connection leads to another program. A UNIX connection has no entry.
    Foreign(Option<Entry>),
    /// The connection leads from this forwarder to itself, or another one did so a moment ago.
    Own,
}

impl OwnConnections {
    /// Sets the listeners: their descriptions, and their addresses in the same order.
    pub(super) fn set_listeners(&self, descriptions: &[String], places: &[Place]) {
        let listener = |(description, place): (&String, &Place)| Listener {
            address: canonical(place.address()),
            // An adopted socket may accept IPv6 only, which its address does not show.
            is_dual_stack: has_prefix(description, "tcp"),
        };
        *self.listeners.borrow_mut() = descriptions.iter().zip(places).map(listener).collect();
    }

    /// Checks an accepted connection.
    pub(super) fn check_accepted(self: &Rc<OwnConnections>, transport: &Transport) -> Checked {
        let ends = inet(transport.peer()).zip(host(transport));
        if self.is_refusing.get() || ends.is_some_and(|ends| self.outgoing.borrow().contains(&ends)) {
            self.refuse(transport);
            return Checked::Own;
        }
        Checked::Foreign(ends.map(|ends| self.enter(|own| &own.accepted, ends)))
    }

    /// Checks a connection to the target.
    pub(super) fn check_outgoing(self: &Rc<OwnConnections>, transport: &Transport) -> Checked {
        // The addresses of the listeners recognize a UNIX socket, and a connection that waits to be accepted.
        let (host, peer) = (host(transport), transport.peer());
        let leads_to_listener = self.listeners.borrow().iter().any(|listener| listener.is_reached(host, peer));
        let ends = host.zip(inet(peer));
        if leads_to_listener || ends.is_some_and(|ends| self.accepted.borrow().contains(&ends)) {
            self.refuse(transport);
            return Checked::Own;
        }
        Checked::Foreign(ends.map(|ends| self.enter(|own| &own.outgoing, ends)))
    }

    /// Refuses the clients of the next second.
    fn refuse(self: &Rc<OwnConnections>, transport: &Transport) {
        if !self.is_refusing.replace(true) {
            let own = Rc::downgrade(self);
            transport.reactor().call_later(REFUSAL, move |_| {
                if let Some(own) = own.upgrade() {
                    own.is_refusing.set(false);
                }
            });
        }
    }

    fn enter(self: &Rc<OwnConnections>, side: Side, ends: Ends) -> Entry {
        side(self).borrow_mut().insert(ends);
        Entry { own: self.clone(), side, ends }
    }
}

fn host(transport: &Transport) -> Option<SocketAddr> {
    transport.host().ok().as_ref().and_then(inet)
}

/// Returns a TCP address in the form that both ends have in common. A listener for IPv6 and IPv4 may show an IPv4 peer
/// as an IPv6 address.
fn inet(address: &Address) -> Option<SocketAddr> {
    let address = address.inet()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Returns an address in a form that is equal for all names of one socket.
fn canonical(address: &Address) -> Address {
    match (inet(address), address) {
        (Some(address), _) => Address::Inet(address),
        (None, Address::Unix(path)) => Address::Unix(fs::canonicalize(path).map_or_else(|_| path.clone(), Into::into)),
        (None, other) => other.clone(),
    }
}
