//! Forwards connections.
//!
//! ```text
//!            data                              data
//!   client <======> transport <== Pair ==> transport <======> target
//!                       each is the other's producer
//! ```
//!
//! A client is not read before its target is connected. The end of the file ends the other side's sending direction
//! after everything before it; a reset resets the other side.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::{StreamClientEndpoint, client_from_string};
use ropewalk::proto::CancelHandle;
use ropewalk::{Address, Bytes, Error, Factory, Failure, Protocol, Reactor, Transport};

use ropewalk_runner::BoxedError;

use super::Begun;
use crate::arguments::Portforward;
use crate::idle::{self, IdleTimer};
use crate::listen::{Limit, Open, listed, listen};

/// Begins to listen.
pub(super) fn begin(reactor: &Reactor, options: &Portforward) -> Result<Begun, BoxedError> {
    let target = client_from_string(reactor, &options.to)?;
    let forward = Forward { target, idle_limit: options.idle_timeout.0 };
    let limit = Limit::new(options.max_connections, 2);
    let Open { ports, addresses } = listen(reactor, &options.listen, &limit, forward)?;
    let start_line =
        format!("portforward on {}, listening on {}, to {}", reactor.name(), listed(&addresses), options.to);
    Ok(Begun { start_line, ports, check: None, close: None })
}

/// The factory of the listening side.
struct Forward {
    target: Rc<dyn StreamClientEndpoint>,
    idle_limit: Option<Duration>,
}

impl Factory for Forward {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Client { target: self.target.clone(), idle_limit: self.idle_limit, pair: Rc::default() }))
    }
}

/// The two connections that belong together.
#[derive(Default)]
struct Pair {
    client: RefCell<Option<Transport>>,
    target: RefCell<Option<Transport>>,
    attempt: RefCell<Option<CancelHandle>>,
    idle: RefCell<IdleTimer>,
}

impl Pair {
    /// Has each side paused while the other one is slow.
    fn join(&self) {
        let (client, target) = (self.client.borrow().clone(), self.target.borrow().clone());
        if let (Some(client), Some(target)) = (client, target) {
            let _ = client.register_producer(target.clone());
            let _ = target.register_producer(client.clone());
            client.resume_producing();
        }
    }

    fn watch_idleness(self: &Rc<Pair>, reactor: &Reactor, limit: Option<Duration>) {
        let pair = Rc::downgrade(self);
        let timer = IdleTimer::start(reactor, limit, move |_| {
            let Some(pair) = pair.upgrade() else { return };
            for side in [&pair.client, &pair.target] {
                let transport = side.borrow().clone();
                transport.iter().for_each(idle::end);
            }
        });
        self.idle.replace(timer);
    }

    fn give_up_connecting(&self) {
        let attempt = self.attempt.take();
        if let Some(attempt) = attempt {
            attempt.cancel();
        }
    }

    /// There is no connection to the target.
    fn refuse(&self, reason: &Failure) {
        let client = self.client.borrow().clone();
        if let Some(client) = client {
            tracing::warn!(client = %client.peer(), %reason, "cannot forward");
            client.lose_connection();
        }
    }

    fn forward(&self, to: &RefCell<Option<Transport>>, write: impl FnOnce(&Transport)) {
        if let Some(to) = &*to.borrow() {
            write(to);
        }
        self.idle.borrow().touch();
    }

    /// One side has said everything.
    fn finish(to: &RefCell<Option<Transport>>) {
        if let Some(to) = &*to.borrow() {
            to.unregister_producer();
            to.lose_write_connection();
        }
    }

    /// One side is gone.
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

/// The accepted side.
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
        self.pair.watch_idleness(&reactor, self.idle_limit);
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
        tracing::info!(peer = %transport.peer(), %reason, "forwarding ended");
        self.pair.client.take();
        self.pair.give_up_connecting();
        Pair::lose(&self.pair.target, reason);
    }

    fn log_prefix(&self) -> &'static str {
        "portforward client"
    }
}

/// Builds the connecting side of one client.
struct TargetFactory(Rc<Pair>);

impl Factory for TargetFactory {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(TargetSide(self.0.clone())))
    }
}

/// The connecting side.
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

    use ropewalk::testing::{Faults, MemoryReactor};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Sends everything back, with as much back-pressure as anybody.
    struct Echo;

    impl Protocol for Echo {
        fn connection_made(&mut self, transport: &Transport) {
            let _ = transport.register_producer(transport.clone());
        }

        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(data);
        }

        fn read_connection_lost(&mut self, transport: &Transport) {
            transport.unregister_producer();
            transport.lose_connection();
        }
    }

    fn forward(net: &MemoryReactor, idle_limit: Option<Duration>) {
        let target = client_from_string(net, "tcp:10.0.0.2:7").unwrap();
        net.listen_tcp("10.0.0.1:80", Forward { target, idle_limit }).unwrap();
    }

    #[test]
    fn bytes_pass_whole_and_in_order_however_the_network_cuts_them() {
        let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
        for seed in 0..50 {
            let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_reads().short_writes());
            net.listen_tcp("10.0.0.2:7", || Echo).unwrap();
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
    fn no_connection_is_left_behind_whatever_breaks() {
        for seed in 0..200 {
            let net = MemoryReactor::seeded(seed).with_faults(Faults::none().short_reads().resets(0.05));
            net.listen_tcp("10.0.0.2:7", || Echo).unwrap();
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
    fn silence_ends_an_attempt_too() {
        let net = MemoryReactor::new().with_faults(Faults::none().black_hole(Ipv4Addr::new(10, 0, 0, 2)));
        forward(&net, Some(Duration::from_secs(5)));
        let client = net.connect_stream("10.0.0.1:80");
        net.advance(Duration::from_secs(6));
        assert!(client.is_eof());
        assert_eq!(net.open_sources(), 1);
    }

    #[test]
    fn bytes_in_either_direction_keep_a_pair_alive_and_silence_ends_both() {
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
