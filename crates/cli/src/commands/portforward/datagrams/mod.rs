//! Forwards datagrams: a flow for each client, with a socket of its own towards the target.
//!
//! ```text
//!   client A --+                  +-- flow A: connected socket --+
//!              +--> listener -----+                              +--> target
//!   client B --+    (all clients) +-- flow B: connected socket --+
//! ```
//!
//! Answers of the target arrive at the socket of a flow, and leave through the listener, from the address that the client
//! has sent to. A datagram that a side does not take at once is dropped and counted, as a router does it. A flow ends
//! when it was idle for long enough, or when a new client takes its place.

mod flows;
mod own_name;
mod target;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk::sys::Outgoing;
use ropewalk::{
    Address, DatagramPort, DatagramProtocol, Datagrams, Deferred, DelayedCall, Error, Reactor, gather_results,
};
use ropewalk_runner::BoxedError;

use super::super::{Begun, WARNINGS_APART};
use crate::arguments::Portforward;
use crate::descriptors::connection_limit;
use crate::listen::{Place, comma_separated, receive_on};
use flows::{Client, Counts, Flow, Flows, Upstream};
use target::Target;

/// The time after which an idle flow is closed: RFC 4787, section 4.3.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// The most datagrams of a flow that wait for the address of the target.
const WAITING_MOST: usize = 16;

/// Starts to receive.
pub(super) fn begin(reactor: &Reactor, options: &Portforward) -> Result<Begun, BoxedError> {
    let forwarder = Forwarder::new(
        Target::new(reactor, &options.to)?,
        // As many descriptors again are left for flows that are being closed.
        connection_limit(options.max_connections, 2),
        options.idle_timeout.map_or(Some(IDLE_LIMIT), |limit| limit.0),
    );
    let (mut ports, mut places) = (Vec::new(), Vec::new());
    for (number, endpoint) in options.listen.iter().enumerate() {
        let port = receive_on(reactor, endpoint, Box::new(Listener { forwarder: forwarder.clone(), number }))?;
        places.push(Place::Datagram(port.host()));
        ports.push(port);
    }
    let places = comma_separated(&places);
    let start_line = format!("portforward on {}, listening on {places}, to {}", reactor.name(), options.to);
    let close = Box::new(move || forwarder.close());
    Ok(Begun { start_line, datagram_ports: ports, close: Some(close), ..Begun::default() })
}

/// The state of all flows.
struct Forwarder {
    target: Target,
    /// The most flows.
    most: usize,
    idle_limit: Option<Duration>,
    flows: RefCell<Flows>,
    /// The addresses of the ports that receive from clients.
    listeners: RefCell<Vec<Address>>,
    /// The addresses of the flows' sockets whose target may be such a port.
    own: RefCell<HashSet<Address>>,
    /// The call that closes idle flows.
    expiry: RefCell<Option<DelayedCall>>,
    /// The counts of the flows that have ended.
    ended: Cell<Counts>,
    opened: Cell<u64>,
    is_closed: Cell<bool>,
}

impl Forwarder {
    fn new(target: Target, most: usize, idle_limit: Option<Duration>) -> Rc<Forwarder> {
        Rc::new(Forwarder {
            target,
            most: most.max(1),
            idle_limit,
            flows: RefCell::default(),
            listeners: RefCell::default(),
            own: RefCell::default(),
            expiry: RefCell::default(),
            ended: Cell::default(),
            opened: Cell::default(),
            is_closed: Cell::default(),
        })
    }

    /// Whether datagrams from a flow's socket at `host` to `peer` may arrive at a listener. A flow elsewhere must not be
    /// mistaken for one: the system may give it the port of a client that has just closed its socket.
    fn may_reach_itself(&self, host: &Address, peer: Option<&Address>) -> bool {
        let (Some(host), Some(peer)) = (host.inet(), peer.and_then(Address::inet)) else { return true };
        let is_local = host.ip() == peer.ip() || host.ip().is_loopback() && peer.ip().is_loopback();
        let listeners = self.listeners.borrow();
        is_local && listeners.iter().filter_map(Address::inet).any(|listener| listener.port() == peer.port())
    }

    /// Returns the flow of a client, which is new if the client has none.
    fn flow(self: &Rc<Forwarder>, client: &Client, downstream: &DatagramPort) -> Rc<Flow> {
        let reactor = downstream.reactor();
        let now = reactor.now();
        let known = self.flows.borrow().get(client);
        if let Some(flow) = known {
            self.flows.borrow_mut().touch(&flow, now);
            return flow;
        }
        self.make_room(&reactor);
        let flow = Rc::new(Flow::new(client.clone(), downstream.clone(), now));
        self.flows.borrow_mut().insert(flow.clone(), now);
        self.opened.set(self.opened.get() + 1);
        self.open(&reactor, &flow);
        self.expire_later(&reactor);
        flow
    }

    /// Closes the flow that was idle for longest if there is no place for another one.
    fn make_room(&self, reactor: &Reactor) {
        if self.flows.borrow().len() < self.most {
            return;
        }
        let line = "flow limit reached: a new client replaces the flow that was idle for longest";
        reactor.limit_log(WARNINGS_APART, line, |suppressed| {
            tracing::warn!(limit = self.most, suppressed, "{line}");
        });
        let oldest = self.flows.borrow().oldest();
        if let Some(oldest) = oldest {
            self.close_flow(&oldest);
        }
    }

    /// Opens the socket of a new flow.
    fn open(self: &Rc<Forwarder>, reactor: &Reactor, flow: &Rc<Flow>) {
        let protocol = Upward { forwarder: Rc::downgrade(self), flow: Rc::downgrade(flow), host: None };
        let opening = self.target.open(reactor, protocol);
        if let Upstream::Opening(cancel, _) = &mut *flow.upstream.borrow_mut() {
            *cancel = Some(opening.cancel_handle());
        }
        let (opened, failed) = ((self.clone(), flow.clone()), (self.clone(), flow.clone(), reactor.downgrade()));
        opening.add_callbacks(
            move |port| {
                let (forwarder, flow) = opened;
                forwarder.opened(&flow, port);
            },
            move |reason| {
                let (forwarder, flow, reactor) = failed;
                if let Some(reactor) = reactor.upgrade().filter(|_| forwarder.close_flow(&flow)) {
                    let line = "cannot forward datagrams: no socket to the target";
                    reactor.limit_log(WARNINGS_APART, line, |suppressed| {
                        tracing::warn!(client = %flow.client.address, %reason, suppressed, "{line}");
                    });
                }
            },
        );
    }

    /// Sends the datagrams that have waited for the socket.
    fn opened(&self, flow: &Flow, port: DatagramPort) {
        if !matches!(*flow.upstream.borrow(), Upstream::Opening(..)) {
            // The flow was closed meanwhile.
            drop(port.stop_listening());
            return;
        }
        let upstream = flow.upstream.replace(Upstream::Open(port));
        if let Upstream::Opening(_, waiting) = upstream {
            forward_up(flow, &Vec::from_iter(waiting.iter().map(|data| &data[..])));
        }
    }

    /// Closes a flow, and returns whether it was open.
    fn close_flow(&self, flow: &Flow) -> bool {
        if !self.flows.borrow_mut().remove(flow) {
            return false;
        }
        match flow.upstream.replace(Upstream::Closed) {
            Upstream::Opening(cancel, waiting) => {
                flow.count(|counts| counts.dropped += waiting.len() as u64);
                cancel.iter().for_each(|cancel| cancel.cancel());
            }
            Upstream::Open(port) => drop(port.stop_listening()),
            Upstream::Closed => (),
        }
        self.count_ended(flow.counts.get());
        let Counts { to_target, to_client, dropped, refused } = flow.counts.get();
        // Not a line for each client with -v: their pace is that of strangers.
        tracing::debug!(client = %flow.client.address, to_target, to_client, dropped, refused, "flow closed");
        true
    }

    fn count_ended(&self, counts: Counts) {
        let mut ended = self.ended.get();
        ended.add(counts);
        self.ended.set(ended);
    }

    /// Schedules the end of the flow that was idle for longest.
    fn expire_later(self: &Rc<Forwarder>, reactor: &Reactor) {
        let Some(limit) = self.idle_limit.filter(|_| self.expiry.borrow().is_none()) else { return };
        let Some(oldest) = self.flows.borrow().oldest() else { return };
        let left = limit.saturating_sub(reactor.now() - oldest.last_used());
        let weak = Rc::downgrade(self);
        let call = reactor.call_later(left, move |reactor| {
            if let Some(forwarder) = weak.upgrade() {
                forwarder.expiry.take();
                forwarder.expire(reactor, limit);
            }
        });
        self.expiry.replace(Some(call));
    }

    /// Closes the flows that were idle for `limit`.
    fn expire(self: &Rc<Forwarder>, reactor: &Reactor, limit: Duration) {
        let now = reactor.now();
        loop {
            let oldest = self.flows.borrow().oldest();
            match oldest.filter(|flow| now - flow.last_used() >= limit) {
                Some(flow) => drop(self.close_flow(&flow)),
                None => break,
            }
        }
        self.expire_later(reactor);
    }

    /// Closes all flows at the end of the program.
    fn close(&self) -> Deferred<()> {
        self.is_closed.set(true);
        self.target.close();
        if let Some(call) = self.expiry.take() {
            let _ = call.cancel();
        }
        let mut closed = Vec::new();
        loop {
            let oldest = self.flows.borrow().oldest();
            let Some(flow) = oldest else { break };
            if let Upstream::Open(port) = &*flow.upstream.borrow() {
                closed.push(port.stop_listening());
            }
            self.close_flow(&flow);
        }
        let Counts { to_target, to_client, dropped, refused } = self.ended.get();
        tracing::info!(flows = self.opened.get(), to_target, to_client, dropped, refused, "forwarding stopped");
        gather_results(closed).add_callback(drop)
    }
}

/// Sends datagrams of the client to the target. Those that the system does not take are dropped.
fn forward_up(flow: &Flow, batch: &[&[u8]]) {
    let upstream = flow.upstream.borrow();
    let Upstream::Open(port) = &*upstream else { return };
    let port = port.clone();
    drop(upstream);
    let batch = Vec::from_iter(batch.iter().map(|data| Outgoing::to_peer(data)));
    let sent = send(&port, &batch);
    flow.count(|counts| {
        counts.to_target += sent;
        counts.dropped += batch.len() as u64 - sent;
    });
}

/// Sends datagrams, and returns the number of those that the system has taken.
fn send(port: &DatagramPort, batch: &[Outgoing<'_>]) -> u64 {
    let (mut rest, mut taken) = (batch, 0);
    while !rest.is_empty() {
        let (sent, outcome) = port.send(rest);
        taken += sent as u64;
        rest = match outcome {
            // The system takes no more now. UDP has no back-pressure, so the rest is dropped.
            Err(Error::SendBufferFull | Error::Closed) => break,
            // The error belongs to the first datagram that was not sent.
            _ => rest.get(sent + 1..).unwrap_or_default(),
        };
    }
    taken
}

/// The protocol of a port that receives from clients.
struct Listener {
    forwarder: Rc<Forwarder>,
    number: usize,
}

impl Listener {
    /// Whether a datagram comes from a socket of this forwarder: then its target is its own listener.
    fn refuses(&self, reactor: &Reactor, from: &Address) -> bool {
        let is_own = self.forwarder.own.borrow().contains(from);
        if is_own {
            let line = "cannot forward datagrams: the target is this program's own listener";
            reactor.limit_log(WARNINGS_APART, line, |suppressed| {
                tracing::error!(peer = %from, suppressed, "{line}");
            });
        }
        is_own
    }

    /// Forwards datagrams of one client.
    fn forward(&self, port: &DatagramPort, client: &Client, batch: &[&[u8]]) {
        let flow = self.forwarder.flow(client, port);
        match &mut *flow.upstream.borrow_mut() {
            Upstream::Open(_) => (),
            Upstream::Opening(_, waiting) => {
                let room = WAITING_MOST - waiting.len();
                waiting.extend(batch.iter().take(room).map(|data| Box::from(*data)));
                return flow.count(|counts| counts.dropped += batch.len().saturating_sub(room) as u64);
            }
            // The socket could not be opened, and the flow has ended.
            Upstream::Closed => {
                let dropped = batch.len() as u64;
                return self.forwarder.count_ended(Counts { dropped, ..Counts::default() });
            }
        }
        forward_up(&flow, batch);
    }
}

impl DatagramProtocol for Listener {
    fn start_protocol(&mut self, port: &DatagramPort) {
        self.forwarder.listeners.borrow_mut().push(port.host());
    }

    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        let reactor = port.reactor();
        // Neighbours of one client leave together.
        let mut run: Option<(Client, Vec<&[u8]>)> = None;
        for datagram in batch {
            if self.forwarder.is_closed.get() || self.refuses(&reactor, datagram.from) {
                continue;
            }
            match &mut run {
                Some((client, data)) if client.address == *datagram.from && client.local == datagram.local => {
                    data.push(datagram.data);
                }
                _ => {
                    if let Some((client, data)) = run.take() {
                        self.forward(port, &client, &data);
                    }
                    let (address, local) = (datagram.from.clone(), datagram.local);
                    run = Some((Client { listener: self.number, address, local }, vec![datagram.data]));
                }
            }
        }
        if let Some((client, data)) = run {
            self.forward(port, &client, &data);
        }
    }

    fn log_prefix(&self) -> &'static str {
        "portforward listener"
    }
}

/// The protocol of the socket of a flow.
struct Upward {
    forwarder: Weak<Forwarder>,
    flow: Weak<Flow>,
    host: Option<Address>,
}

impl DatagramProtocol for Upward {
    fn start_protocol(&mut self, port: &DatagramPort) {
        let host = port.host();
        let Some(forwarder) = self.forwarder.upgrade().filter(|_| host != Address::Unnamed) else { return };
        if forwarder.may_reach_itself(&host, port.peer().as_ref()) {
            forwarder.own.borrow_mut().insert(host.clone());
            self.host = Some(host);
        }
    }

    fn datagrams_received(&mut self, port: &DatagramPort, batch: Datagrams<'_>) {
        let (Some(forwarder), Some(flow)) = (self.forwarder.upgrade(), self.flow.upgrade()) else { return };
        forwarder.flows.borrow_mut().touch(&flow, port.reactor().now());
        let Client { address, local, .. } = &flow.client;
        let answers = batch.map(|datagram| Outgoing { from: *local, ..Outgoing::to(datagram.data, address) });
        let answers = Vec::from_iter(answers);
        let sent = if *address == Address::Unnamed { 0 } else { send(&flow.downstream, &answers) };
        flow.count(|counts| {
            counts.to_client += sent;
            counts.dropped += answers.len() as u64 - sent;
        });
    }

    /// The target has no port there, now. The client gets no report, because UDP cannot forward one.
    fn connection_refused(&mut self, _port: &DatagramPort) {
        if let Some(flow) = self.flow.upgrade() {
            flow.count(|counts| counts.refused += 1);
        }
    }

    fn stop_protocol(&mut self) {
        let Some(forwarder) = self.forwarder.upgrade() else { return };
        if let Some(host) = &self.host {
            forwarder.own.borrow_mut().remove(host);
        }
        if let Some(flow) = self.flow.upgrade() {
            forwarder.close_flow(&flow);
        }
    }

    fn log_prefix(&self) -> &'static str {
        "portforward flow"
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ropewalk::Datagram;
    use ropewalk::interfaces::resolver::HostnameResolver;
    use ropewalk::testing::{MemoryReactor, TestDatagrams};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const LISTENER: &str = "10.0.0.1:53";

    /// Sends each datagram back.
    struct Echo;

    impl DatagramProtocol for Echo {
        fn datagram_received(&mut self, port: &DatagramPort, datagram: &Datagram<'_>) {
            port.write_to(datagram.data, datagram.from).unwrap();
        }
    }

    /// Answers each question after a second with the present address, and counts the questions.
    #[derive(Default)]
    struct SlowNames {
        asked: Cell<u32>,
        address: Cell<Option<SocketAddr>>,
    }

    impl HostnameResolver for SlowNames {
        fn resolve_host_name(&self, reactor: &Reactor, _host: &str, _port: u16) -> Deferred<Vec<SocketAddr>> {
            self.asked.set(self.asked.get() + 1);
            let address = self.address.get();
            let (deferred, resolver) = Deferred::new();
            reactor.call_later(SECOND, move |_| {
                let found = address.ok_or_else(|| Error::Failed("there is no such name".into()).into());
                resolver.fire(found.map(|address| vec![address])).unwrap();
            });
            deferred
        }
    }

    /// Forwards datagrams from [`LISTENER`].
    fn forward(net: &MemoryReactor, to: &str, most: usize, idle_limit: Option<Duration>) -> Rc<Forwarder> {
        let target = Target::new(net, to).unwrap();
        let forwarder = Forwarder::new(target, most, idle_limit);
        net.listen_udp(LISTENER, Listener { forwarder: forwarder.clone(), number: 0 }).unwrap();
        forwarder
    }

    fn forward_to_echo(net: &MemoryReactor, most: usize, idle_limit: Option<Duration>) -> Rc<Forwarder> {
        net.listen_udp("10.0.0.2:7", Echo).unwrap();
        forward(net, "udp:10.0.0.2:7", most, idle_limit)
    }

    fn client(net: &MemoryReactor, number: u8) -> TestDatagrams {
        net.open_datagrams(&format!("10.0.1.{number}:5000")).unwrap()
    }

    /// Sends a datagram, and returns whether its echo has arrived from the listener.
    fn is_echoed(net: &MemoryReactor, client: &TestDatagrams, data: &[u8]) -> bool {
        let listener = Address::Inet(LISTENER.parse().unwrap());
        client.send_to(data, &listener);
        net.settle();
        client.receive().is_some_and(|(echo, from)| echo == data && from == listener)
    }

    #[test]
    fn each_client_gets_its_own_answers() {
        let net = MemoryReactor::new();
        let forwarder = forward_to_echo(&net, 100, None);
        let clients = Vec::from_iter((1..=20).map(|number| client(&net, number)));
        for round in 0..3 {
            for (number, client) in clients.iter().enumerate() {
                assert!(is_echoed(&net, client, format!("{round} {number}").as_bytes()));
            }
        }
        assert_eq!(forwarder.opened.get(), 20);
    }

    #[test]
    fn an_idle_flow_is_closed_after_the_limit() {
        let net = MemoryReactor::new();
        let forwarder = forward_to_echo(&net, 100, Some(MINUTE));
        let (one, two) = (client(&net, 1), client(&net, 2));
        assert!(is_echoed(&net, &one, b"x") && is_echoed(&net, &two, b"x"));
        net.advance(MINUTE * 2 / 3);
        assert!(is_echoed(&net, &one, b"y"));
        net.advance(MINUTE * 2 / 3);
        assert_eq!(forwarder.flows.borrow().len(), 1, "only the second one was idle");
        net.advance(MINUTE);
        assert_eq!((forwarder.flows.borrow().len(), net.open_sources()), (0, 2));
        assert!(net.get_delayed_calls().is_empty());
        assert!(is_echoed(&net, &one, b"z"), "a new flow begins");
    }

    #[test]
    fn a_new_client_replaces_the_flow_idle_for_longest() {
        let net = MemoryReactor::new();
        let forwarder = forward_to_echo(&net, 2, None);
        let clients = Vec::from_iter((1..=3).map(|number| client(&net, number)));
        for number in [0, 1, 0, 2, 0, 1] {
            assert!(is_echoed(&net, &clients[number], b"x"));
        }
        // The third client has replaced the second one, which has then replaced the third one.
        assert_eq!((forwarder.opened.get(), forwarder.flows.borrow().len()), (4, 2));
        assert_eq!(net.open_sources(), 4);
    }

    #[test]
    fn a_flood_of_clients_opens_a_bounded_number_of_sockets() {
        let net = MemoryReactor::new();
        let forwarder = forward_to_echo(&net, 10, Some(MINUTE));
        let clients = Vec::from_iter((1..=200).map(|number| client(&net, number)));
        let listener = Address::Inet(LISTENER.parse().unwrap());
        for client in &clients {
            client.send_to(b"x", &listener);
        }
        net.settle();
        assert_eq!((forwarder.opened.get(), forwarder.flows.borrow().len(), net.open_sources()), (200, 10, 12));
        net.advance(MINUTE * 2);
        assert_eq!((forwarder.own.borrow().len(), net.open_sources()), (0, 2));
    }

    #[test]
    fn datagrams_wait_for_the_address_of_the_target() {
        let net = MemoryReactor::new();
        net.add_host("echo.example", &["10.0.0.2"]);
        net.listen_udp("10.0.0.2:7", Echo).unwrap();
        forward(&net, "udp:echo.example:7", 10, None);
        assert!(is_echoed(&net, &client(&net, 1), b"x"));
    }

    #[test]
    fn a_target_that_cannot_be_resolved_costs_no_flow() {
        let net = MemoryReactor::new();
        let forwarder = forward(&net, "udp:missing.example:7", 10, None);
        assert!(!is_echoed(&net, &client(&net, 1), b"x"));
        assert_eq!((forwarder.flows.borrow().len(), net.open_sources()), (0, 1));
        assert_eq!(forwarder.ended.get().dropped, 1);
    }

    #[test]
    fn a_flood_of_clients_looks_the_name_up_once() {
        // Senders may be forged, and a look-up costs a thread or a question to a name server.
        let (net, names) = (MemoryReactor::new(), Rc::new(SlowNames::default()));
        net.install_name_resolver(names.clone());
        net.listen_udp("10.0.0.2:7", Echo).unwrap();
        names.address.set(Some("10.0.0.2:7".parse().unwrap()));
        // Each client replaces the one before it, which gives up to wait.
        let forwarder = forward(&net, "udp:echo.example:7", 1, None);
        for number in 1..=200 {
            assert!(!is_echoed(&net, &client(&net, number), b"x"), "the look-up takes a second");
        }
        net.advance(SECOND);
        assert!(is_echoed(&net, &client(&net, 201), b"x"));
        assert_eq!((forwarder.opened.get(), names.asked.get()), (201, 1));
    }

    #[test]
    fn a_new_address_of_the_target_is_noticed() {
        let (net, names) = (MemoryReactor::new(), Rc::new(SlowNames::default()));
        net.install_name_resolver(names.clone());
        forward(&net, "udp:echo.example:7", 100, None);
        for (number, address) in ["10.0.0.2:7", "10.0.0.3:7"].into_iter().enumerate() {
            let echo = net.listen_udp(address, Echo).unwrap();
            names.address.set(Some(address.parse().unwrap()));
            let client = client(&net, number as u8 + 1);
            assert!(!is_echoed(&net, &client, b"x"));
            net.advance(SECOND);
            assert!(client.receive().is_some(), "{address}");
            net.advance(10 * SECOND);
            echo.stop_listening();
        }
        assert_eq!(names.asked.get(), 2);
    }

    #[test]
    fn a_missing_name_is_looked_up_once_in_a_second() {
        let (net, names) = (MemoryReactor::new(), Rc::new(SlowNames::default()));
        net.install_name_resolver(names.clone());
        let forwarder = forward(&net, "udp:missing.example:7", 100, None);
        for number in 1..=100 {
            assert!(!is_echoed(&net, &client(&net, number), b"x"));
            net.advance(SECOND / 10);
        }
        // A look-up of a second, and a second in which its outcome counts.
        assert_eq!((names.asked.get(), forwarder.flows.borrow().len()), (5, 0));
    }

    #[test]
    fn a_target_that_is_the_own_listener_is_refused() {
        let net = MemoryReactor::new();
        let forwarder = forward(&net, "udp:10.0.0.1:53", 10, None);
        assert!(!is_echoed(&net, &client(&net, 1), b"x"));
        assert_eq!(forwarder.opened.get(), 1, "the forwarder's own datagram begins no flow");
    }

    #[test]
    fn only_flows_to_an_own_port_are_suspected() {
        // A client may have had the address that its system then gives to a flow.
        let net = MemoryReactor::new();
        let forwarder = forward_to_echo(&net, 10, None);
        assert!(is_echoed(&net, &client(&net, 1), b"x"));
        assert!(forwarder.own.borrow().is_empty());
        let inet = |address: &str| Address::Inet(address.parse().unwrap());
        for (host, peer, expected) in [
            ("10.0.0.1:40000", "10.0.0.1:53", true),
            ("127.0.0.1:40000", "127.0.0.2:53", true),
            ("127.0.0.1:40000", "127.0.0.1:54", false),
            ("192.0.2.1:40000", "192.0.2.2:53", false),
        ] {
            assert_eq!(forwarder.may_reach_itself(&inet(host), Some(&inet(peer))), expected, "{host} to {peer}");
        }
    }

    #[test]
    fn the_end_closes_all_flows() {
        let net = MemoryReactor::new();
        let forwarder = forward_to_echo(&net, 10, Some(MINUTE));
        assert!(is_echoed(&net, &client(&net, 1), b"x") && is_echoed(&net, &client(&net, 2), b"x"));
        let closed = forwarder.close();
        assert!(!is_echoed(&net, &client(&net, 3), b"x"), "a datagram after the end begins no flow");
        assert!(closed.is_done() && net.get_delayed_calls().is_empty());
        assert_eq!((net.open_sources(), forwarder.ended.get().to_client), (2, 2));
    }
}
