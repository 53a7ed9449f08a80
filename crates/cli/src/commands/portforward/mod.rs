//! Forwards each accepted connection to a target.
//!
//! ```text
//!            data                              data
//!   client <======> transport <== Pair ==> transport <======> target
//!                       each is the other's producer
//! ```
//!
//! The client is read only once the target is connected. When one side half-closes, the other side is half-closed after
//! all data before that has been sent. When one side is reset, so is the other.

mod announcement;
mod datagrams;
mod own_connections;
mod proxy_header;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::proto::CancelHandle;
use ropewalk::sys::KeepAliveTimes;
use ropewalk::{Address, Bytes, Deferred, Error, Factory, Failure, Protocol, Reactor, Transport};

use ropewalk_runner::BoxedError;

use announcement::Announcement;
use own_connections::{Checked, Entry, OwnConnections};

use super::relay::{self, Side};
use super::{Begun, WARNINGS_APART};
use crate::arguments::Portforward;
use crate::descriptors::connection_limit;
use crate::idle::{self, IdleTimer};
use crate::listen::{Listeners, comma_separated, is_datagram_client, is_datagram_server, listen};

/// The time after which an idle connection is closed. Routers keep it in mind for a shorter time: RFC 5382, section 5.
const IDLE_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Checks that all endpoints are for streams, or all for datagrams.
///
/// # Errors
/// A message for the author of the options.
pub(super) fn check_transports(options: &Portforward) -> Result<(), String> {
    let to_datagrams = is_datagram_client(&options.to);
    if to_datagrams && options.send_proxy.is_some() {
        let target = options.to.escape_debug();
        return Err(format!("--send-proxy is for streams: '{target}' is for datagrams"));
    }
    let Some(other) = options.listen.iter().find(|listen| is_datagram_server(listen) != to_datagrams) else {
        return Ok(());
    };
    let (listen, to) = if to_datagrams { ("streams", "datagrams") } else { ("datagrams", "streams") };
    let (other, target) = (other.escape_debug(), options.to.escape_debug());
    Err(format!("cannot forward {listen} to {to}: '{other}' is for {listen}, and '{target}' is for {to}"))
}

/// Starts to listen.
pub(super) fn begin(reactor: &Reactor, options: &Portforward) -> Result<Begun, BoxedError> {
    if is_datagram_client(&options.to) {
        return datagrams::begin(reactor, options);
    }
    let target = match options.send_proxy {
        Some(version) => Target::Announced(Announcement::parse(&options.to, version)?),
        None => Target::Plain(client_from_string(reactor, &options.to)?),
    };
    let own = Rc::<OwnConnections>::default();
    let idle_limit = options.idle_timeout.map_or(Some(IDLE_LIMIT), |limit| limit.0);
    let route = Route { target, idle_limit, keep_alive: keep_alive(options), own: own.clone() };
    let limit = connection_limit(options.max_connections, 2);
    let Listeners { ports, places, .. } = listen(reactor, &options.listen, limit, Forward(Rc::new(route)))?;
    own.set_listeners(&options.listen, &places);
    let places = comma_separated(&places);
    let start_line = format!("portforward on {}, listening on {places}, to {}", reactor.name(), options.to);
    Ok(Begun { start_line, ports, ..Begun::default() })
}

/// Returns the times of keep-alive probes, or `None` if the probes are disabled.
fn keep_alive(options: &Portforward) -> Option<KeepAliveTimes> {
    let seconds = |number: u32| Duration::from_secs(number.into());
    (options.keep_alive_idle > 0).then_some(KeepAliveTimes {
        idle: seconds(options.keep_alive_idle),
        interval: seconds(options.keep_alive_interval),
        count: options.keep_alive_count,
    })
}

/// The endpoint that connections are forwarded to.
enum Target {
    Plain(Rc<dyn StreamClientEndpoint>),
    /// Each connection begins with a PROXY header.
    Announced(Announcement),
}

impl Target {
    fn connect(&self, client: &Transport, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        match self {
            Target::Plain(endpoint) => endpoint.connect(&client.reactor(), factory),
            Target::Announced(announcement) => announcement.connect(client, factory),
        }
    }
}

/// The target, and the options of all connections.
struct Route {
    target: Target,
    idle_limit: Option<Duration>,
    keep_alive: Option<KeepAliveTimes>,
    own: Rc<OwnConnections>,
}

impl Route {
    /// Prepares a connection of either side.
    fn set_options(&self, transport: &Transport) {
        let _ = transport.set_tcp_no_delay(true);
        let Some(Err(error)) = self.keep_alive.map(|times| transport.set_tcp_keep_alive_times(times)) else { return };
        let line = "cannot probe idle connections";
        transport.reactor().limit_log(WARNINGS_APART, line, |suppressed| {
            tracing::warn!(peer = %transport.peer(), %error, suppressed, "{line}");
        });
    }
}

/// Resets a connection that leads from the forwarder to itself.
fn refuse_own(transport: &Transport) {
    let line = "cannot forward: the target is this program's own listener";
    transport.reactor().limit_log(WARNINGS_APART, line, |suppressed| {
        tracing::error!(peer = %transport.peer(), suppressed, "{line}");
    });
    transport.abort_connection();
}

/// The factory of the accepted connections.
struct Forward(Rc<Route>);

impl Factory for Forward {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Client { route: self.0.clone(), pair: Rc::default(), entry: None }))
    }
}

/// A client connection and its connection to the target.
#[derive(Default)]
struct Pair {
    client: Side,
    target: Side,
    attempt: RefCell<Option<CancelHandle>>,
    idle: RefCell<IdleTimer>,
}

impl Pair {
    /// Makes each side the producer of the other, so that a slow side pauses reading from the other one.
    fn join(&self) {
        let (client, target) = (self.client.borrow().clone(), self.target.borrow().clone());
        if let (Some(client), Some(target)) = (client, target) {
            let _ = client.register_producer(target.clone());
            let _ = target.register_producer(client.clone());
            client.resume_producing();
        }
    }

    fn start_idle_timer(self: &Rc<Pair>, reactor: &Reactor, limit: Option<Duration>) {
        let pair = Rc::downgrade(self);
        let timer = IdleTimer::start(reactor, limit, move |_| {
            let Some(pair) = pair.upgrade() else { return };
            for side in [&pair.client, &pair.target] {
                let transport = side.borrow().clone();
                transport.iter().for_each(idle::close);
            }
        });
        self.idle.replace(timer);
    }

    fn cancel_connecting(&self) {
        let attempt = self.attempt.take();
        if let Some(attempt) = attempt {
            attempt.cancel();
        }
    }

    /// Closes the client, because the connection attempt failed.
    fn refuse(&self, reason: &Failure) {
        let client = self.client.borrow().clone();
        if let Some(client) = client {
            let line = "cannot forward: no connection to the target";
            client.reactor().limit_log(WARNINGS_APART, line, |suppressed| {
                tracing::warn!(client = %client.peer(), %reason, suppressed, "{line}");
            });
            client.lose_connection();
        }
    }

    /// Closes `other` in the way the lost side ended: in order, or by a reset.
    fn lose(other: &Side, reason: &Error) {
        let Some(other) = other.borrow().clone() else { return };
        other.unregister_producer();
        if reason.is_done() {
            other.lose_connection();
        } else {
            other.abort_connection();
        }
    }
}

/// The protocol of an accepted connection.
struct Client {
    route: Rc<Route>,
    pair: Rc<Pair>,
    entry: Option<Entry>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        match self.route.own.check_accepted(transport) {
            Checked::Own => return refuse_own(transport),
            Checked::Foreign(entry) => self.entry = entry,
        }
        transport.pause_producing();
        self.route.set_options(transport);
        self.pair.client.replace(Some(transport.clone()));
        let reactor = transport.reactor();
        self.pair.start_idle_timer(&reactor, self.route.idle_limit);
        let factory = TargetFactory { route: self.route.clone(), pair: self.pair.clone() };
        let connected = self.route.target.connect(transport, Rc::new(factory));
        self.pair.attempt.replace(Some(connected.cancel_handle()));
        let pair = self.pair.clone();
        connected.add_callbacks(|_| (), move |reason| pair.refuse(&reason));
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        relay::forward(&self.pair.target, &self.pair.idle, |target| target.write(data));
    }

    fn chunk_received(&mut self, _transport: &Transport, chunk: Bytes) {
        relay::forward(&self.pair.target, &self.pair.idle, |target| target.write_bytes(chunk));
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        relay::finish(&self.pair.target);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        tracing::info!(peer = %transport.peer(), %reason, "forwarding stopped");
        self.pair.client.take();
        self.pair.cancel_connecting();
        Pair::lose(&self.pair.target, reason);
    }

    fn log_prefix(&self) -> &'static str {
        "portforward client"
    }
}

/// Builds the protocol of the connection to the target, for one client.
struct TargetFactory {
    route: Rc<Route>,
    pair: Rc<Pair>,
}

impl Factory for TargetFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(TargetSide { route: self.route.clone(), pair: self.pair.clone(), entry: None }))
    }
}

/// The protocol of a connection to the target.
struct TargetSide {
    route: Rc<Route>,
    pair: Rc<Pair>,
    entry: Option<Entry>,
}

impl Protocol for TargetSide {
    fn connection_made(&mut self, transport: &Transport) {
        let pair = &self.pair;
        pair.attempt.take();
        match self.route.own.check_outgoing(transport) {
            // The end of this connection closes the client.
            Checked::Own => return refuse_own(transport),
            Checked::Foreign(entry) => self.entry = entry,
        }
        self.route.set_options(transport);
        match &*pair.client.borrow() {
            Some(client) => tracing::info!(client = %client.peer(), target = %transport.peer(), "forwarding"),
            None => return transport.lose_connection(),
        }
        pair.target.replace(Some(transport.clone()));
        pair.join();
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        relay::forward(&self.pair.client, &self.pair.idle, |client| client.write(data));
    }

    fn chunk_received(&mut self, _transport: &Transport, chunk: Bytes) {
        relay::forward(&self.pair.client, &self.pair.idle, |client| client.write_bytes(chunk));
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        relay::finish(&self.pair.client);
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        self.pair.target.take();
        Pair::lose(&self.pair.client, reason);
    }

    fn log_prefix(&self) -> &'static str {
        "portforward target"
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ropewalk::protocols::paced;
    use ropewalk::testing::{Faults, MemoryReactor};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Sends everything back, with back-pressure.
    struct Echo;

    impl Protocol for Echo {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(data);
        }
    }

    fn forward(net: &MemoryReactor, idle_limit: Option<Duration>) {
        let target = Target::Plain(client_from_string(net, "tcp:10.0.0.2:7").unwrap());
        let route = Route { target, idle_limit, keep_alive: None, own: Rc::default() };
        net.listen_tcp("10.0.0.1:80", Forward(Rc::new(route))).unwrap();
    }

    #[test]
    fn bytes_arrive_complete_despite_short_reads() {
        let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
        for seed in 0..50 {
            let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_reads().short_writes());
            net.listen_tcp("10.0.0.2:7", paced(|| Echo)).unwrap();
            forward(&net, None);
            let client = net.connect_stream("10.0.0.1:80");
            client.write(&text);
            client.finish();
            net.settle();
            assert!(client.received() == text, "seed {seed}");
            assert!(client.is_eof(), "seed {seed}");
            assert_eq!(net.open_sources(), 2, "the two ports remain: seed {seed}");
        }
    }

    #[test]
    fn no_connection_is_leaked_despite_resets() {
        for seed in 0..200 {
            let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_reads().resets(0.05));
            net.listen_tcp("10.0.0.2:7", paced(|| Echo)).unwrap();
            forward(&net, None);
            for _ in 0..5 {
                let client = net.connect_stream("10.0.0.1:80");
                client.write(&[seed as u8; 30_000]);
                client.finish();
            }
            net.settle();
            assert_eq!(net.open_sources(), 2, "the two ports remain: seed {seed}");
        }
    }

    #[test]
    fn a_reset_after_a_half_close_closes_both_sides() {
        // The client is not read any more, and the target is silent.
        let net = MemoryReactor::new();
        let target = net.listen_stream("10.0.0.2:7").unwrap();
        forward(&net, None);
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        let accepted = target.accept().unwrap();
        client.write(b"x");
        client.finish();
        net.settle();
        assert!(accepted.is_eof() && !accepted.is_reset());
        client.abort();
        net.settle();
        assert!(accepted.is_reset());
        assert_eq!(net.open_sources(), 1, "the port remains");
    }

    #[test]
    fn the_idle_limit_cancels_a_connection_attempt() {
        let net = MemoryReactor::new().with_faults(Faults::none().black_hole(Ipv4Addr::new(10, 0, 0, 2)));
        forward(&net, Some(Duration::from_secs(5)));
        let client = net.connect_stream("10.0.0.1:80");
        net.advance(Duration::from_secs(6));
        assert!(client.is_eof());
        assert_eq!(net.open_sources(), 1);
    }

    #[test]
    fn the_idle_limit_counts_bytes_of_both_directions() {
        let net = MemoryReactor::new();
        let target = net.listen_stream("10.0.0.2:7").unwrap();
        forward(&net, Some(MINUTE));
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        let accepted = target.accept().unwrap();
        for side in [&client, &accepted, &client] {
            net.advance(MINUTE * 9 / 10);
            side.write(b"x");
        }
        net.advance(MINUTE - Duration::from_millis(1));
        assert!(!client.is_eof() && !accepted.is_eof());
        net.advance(Duration::from_millis(2));
        assert!(client.is_eof() && accepted.is_eof());
        assert!(net.get_delayed_calls().is_empty());
    }
}
