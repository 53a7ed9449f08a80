//! The place to forward to.
//!
//! A flow begins with any datagram, whose sender may be forged. So the name of a target is not looked up for each flow:
//! the outcome of one look-up counts for all flows of some seconds. Flows that begin during a look-up wait for its
//! outcome.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{
    DatagramEndpoint, UdpClientEndpoint, UnixDatagramClientEndpoint, datagram_client_from_string,
};
use ropewalk::proto::CancelHandle;
use ropewalk::proto::description::{DatagramClientDescription, DescriptionError, UdpClient, UnixDatagramClient};
use ropewalk::{DatagramPort, DatagramProtocol, Deferred, Error, Failure, Moment, Reactor};

use super::own_name;

/// The time for which the addresses of a name are kept.
const ADDRESSES_KEPT: Duration = Duration::from_secs(10);

/// The time for which it is kept that a name has no addresses, or that no server has answered.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

pub(super) enum Target {
    Udp(Rc<Named>),
    /// A UNIX socket. Each flow has a name of its own, where the system has names without files.
    Unix(UnixDatagramClient),
    Other(Rc<dyn DatagramEndpoint>),
}

impl Target {
    pub(super) fn new(reactor: &Reactor, description: &str) -> Result<Target, DescriptionError> {
        Ok(match description.parse() {
            Ok(DatagramClientDescription::Udp(udp)) => Target::Udp(Rc::new(Named::new(&udp))),
            Ok(DatagramClientDescription::UnixDatagram(unix)) if unix.bind_address.is_none() => Target::Unix(unix),
            _ => Target::Other(datagram_client_from_string(reactor, description)?),
        })
    }

    /// Opens the socket of a flow.
    pub(super) fn open(&self, reactor: &Reactor, protocol: impl DatagramProtocol + 'static) -> Deferred<DatagramPort> {
        match self {
            Target::Udp(named) => named.open(reactor, protocol),
            Target::Unix(unix) => {
                let mut named = unix.clone();
                named.bind_address = own_name::own_name();
                UnixDatagramClientEndpoint::from(&named).open(reactor, Box::new(protocol))
            }
            Target::Other(endpoint) => endpoint.open(reactor, Box::new(protocol)),
        }
    }

    /// Cancels a look-up that has no outcome yet.
    pub(super) fn close(&self) {
        if let Target::Udp(named) = self {
            named.close();
        }
    }
}

/// A UDP target, with the outcome of the last look-up of its name.
pub(super) struct Named {
    host: String,
    port: u16,
    endpoint: UdpClientEndpoint,
    known: RefCell<Option<Known>>,
    /// The look-up that has no outcome yet.
    asking: RefCell<Option<CancelHandle>>,
}

struct Known {
    until: Moment,
    addresses: Result<Vec<SocketAddr>, Error>,
}

impl Named {
    fn new(udp: &UdpClient) -> Named {
        Named {
            host: udp.host.clone(),
            port: udp.port,
            endpoint: udp.into(),
            known: RefCell::default(),
            asking: RefCell::default(),
        }
    }

    fn open(self: &Rc<Named>, reactor: &Reactor, protocol: impl DatagramProtocol + 'static) -> Deferred<DatagramPort> {
        let (named, weak) = (self.clone(), reactor.downgrade());
        self.addresses(reactor).and_then(move |addresses| {
            let reactor = weak.upgrade().ok_or(Error::Closed)?;
            reactor.listen_udp_first(&named.endpoint.bindings(addresses)?, protocol)
        })
    }

    fn addresses(self: &Rc<Named>, reactor: &Reactor) -> Deferred<Vec<SocketAddr>> {
        let now = reactor.now();
        if self.known.borrow().as_ref().is_none_or(|known| known.until <= now) && self.asking.borrow().is_none() {
            self.ask(reactor);
        }
        if let Some(known) = self.known.borrow().as_ref().filter(|known| now < known.until) {
            return known.addresses.clone().map_err(Failure::from).into();
        }
        // The reactor joins this question to the one that has no answer yet.
        reactor.resolve_host_name(&self.host, self.port)
    }

    /// Looks the name up. No flow cancels this look-up, because many short flows would begin it again and again.
    fn ask(self: &Rc<Named>, reactor: &Reactor) {
        let (named, weak) = (self.clone(), reactor.downgrade());
        let answer = reactor.resolve_host_name(&self.host, self.port);
        let cancel = answer.cancel_handle();
        let answered = answer.add_both(move |outcome| {
            named.asking.take();
            if let Some(reactor) = weak.upgrade() {
                named.keep(reactor.now(), outcome);
            }
        });
        if !answered.is_done() {
            self.asking.replace(Some(cancel));
        }
    }

    fn keep(&self, now: Moment, outcome: Result<Vec<SocketAddr>, Failure>) {
        let kept = if outcome.is_ok() { ADDRESSES_KEPT } else { FAILURE_KEPT };
        let addresses = outcome.map_err(Error::from);
        self.known.replace(Some(Known { until: now + kept, addresses }));
    }

    fn close(&self) {
        if let Some(asking) = self.asking.take() {
            asking.cancel();
        }
    }
}
