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

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::proto::CancelHandle;
use ropewalk::{Address, Bytes, Error, Factory, Failure, Protocol, Reactor, Transport};

use ropewalk_runner::BoxedError;

use super::{Begun, WARNINGS_APART};
use crate::arguments::Portforward;
use crate::descriptors::connection_limit;
use crate::idle::{self, IdleTimer};
use crate::listen::{Listeners, comma_separated, listen};

/// Starts to listen.
pub(super) fn begin(reactor: &Reactor, options: &Portforward) -> Result<Begun, BoxedError> {
    let target = client_from_string(reactor, &options.to)?;
    let forward = Forward { target, idle_limit: options.idle_timeout.0 };
    let limit = connection_limit(options.max_connections, 2);
    let Listeners { ports, addresses } = listen(reactor, &options.listen, limit, forward)?;
    let addresses = comma_separated(&addresses);
    let start_line = format!("portforward on {}, listening on {addresses}, to {}", reactor.name(), options.to);
    Ok(Begun { start_line, ports, check: None, close: None })
}

/// The factory of the accepted connections.
struct Forward {
    target: Rc<dyn StreamClientEndpoint>,
    idle_limit: Option<Duration>,
}

impl Factory for Forward {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Client { target: self.target.clone(), idle_limit: self.idle_limit, pair: Rc::default() }))
    }
}

/// A client connection and its connection to the target.
#[derive(Default)]
struct Pair {
    client: RefCell<Option<Transport>>,
    target: RefCell<Option<Transport>>,
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

    fn forward(&self, to: &RefCell<Option<Transport>>, write: impl FnOnce(&Transport)) {
        if let Some(to) = &*to.borrow() {
            write(to);
        }
        self.idle.borrow().touch();
    }

    /// Half-closes `to`, after the other side has done so.
    fn finish(to: &RefCell<Option<Transport>>) {
        if let Some(to) = &*to.borrow() {
            to.unregister_producer();
            to.lose_write_connection();
        }
    }

    /// Closes `other` in the way the lost side ended: in order, or by a reset.
    fn lose(other: &RefCell<Option<Transport>>, reason: &Error) {
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
    target: Rc<dyn StreamClientEndpoint>,
    idle_limit: Option<Duration>,
    pair: Rc<Pair>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_producing();
        let _ = transport.set_tcp_no_delay(true);
        self.pair.client.replace(Some(transport.clone()));
        let reactor = transport.reactor();
        self.pair.start_idle_timer(&reactor, self.idle_limit);
        let connected = self.target.connect(&reactor, Rc::new(TargetFactory(self.pair.clone())));
        self.pair.attempt.replace(Some(connected.cancel_handle()));
        let pair = self.pair.clone();
        connected.add_callbacks(|_| (), move |reason| pair.refuse(&reason));
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.pair.forward(&self.pair.target, |target| target.write(data));
    }

    fn chunk_received(&mut self, _transport: &Transport, chunk: Bytes) {
        self.pair.forward(&self.pair.target, |target| target.write_bytes(chunk));
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        Pair::finish(&self.pair.target);
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
struct TargetFactory(Rc<Pair>);

impl Factory for TargetFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(TargetSide(self.0.clone())))
    }
}

/// The protocol of a connection to the target.
struct TargetSide(Rc<Pair>);

impl Protocol for TargetSide {
    fn connection_made(&mut self, transport: &Transport) {
        let pair = &self.0;
        pair.attempt.take();
        let _ = transport.set_tcp_no_delay(true);
        match &*pair.client.borrow() {
            Some(client) => tracing::info!(client = %client.peer(), target = %transport.peer(), "forwarding"),
            None => return transport.lose_connection(),
        }
        pair.target.replace(Some(transport.clone()));
        pair.join();
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.0.forward(&self.0.client, |client| client.write(data));
    }

    fn chunk_received(&mut self, _transport: &Transport, chunk: Bytes) {
        self.0.forward(&self.0.client, |client| client.write_bytes(chunk));
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        Pair::finish(&self.0.client);
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        self.0.target.take();
        Pair::lose(&self.0.client, reason);
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
        let target = client_from_string(net, "tcp:10.0.0.2:7").unwrap();
        net.listen_tcp("10.0.0.1:80", Forward { target, idle_limit }).unwrap();
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
