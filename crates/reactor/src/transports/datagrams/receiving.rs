//! Receiving: batches of datagrams, within the share of a turn.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ropewalk_sys::Arrival;

use super::arrived::Datagrams;
use super::pace::BATCH_TIME;
use super::port::DatagramPortInner;
use crate::error::Error;
use crate::kernel::Reactor;

/// The most datagrams of one port in a turn, so that it does not starve other sources. Refusals count as datagrams.
const DATAGRAMS_PER_TURN: usize = 64;

/// Datagrams of a batch during which the port was paused.
pub(super) struct Held {
    bytes: Vec<u8>,
    arrivals: Vec<Arrival>,
}

impl Held {
    fn new(scratch: &[u8], arrivals: &[Arrival]) -> Held {
        let mut held = Held { bytes: Vec::new(), arrivals: Vec::with_capacity(arrivals.len()) };
        for arrival in arrivals {
            let start = held.bytes.len();
            held.bytes.extend_from_slice(&scratch[arrival.bytes.clone()]);
            let mut arrival = arrival.clone();
            arrival.bytes = start..held.bytes.len();
            held.arrivals.push(arrival);
        }
        held
    }
}

impl DatagramPortInner {
    /// Receives and delivers, up to the port's share of the turn.
    pub(super) fn receive_ready(self: &Rc<DatagramPortInner>, reactor: &Reactor, scratch: &mut [u8]) {
        let mut arrivals = self.buffers.arrivals.take();
        let mut left = DATAGRAMS_PER_TURN;
        while left > 0 && self.receives() && self.held.borrow().is_none() {
            let asked = self.pace.next().min(left);
            let began = (asked > 1).then(|| reactor.0.now());
            let Ok(key) = self.key() else { break };
            let received =
                reactor.0.datagrams(|datagrams| datagrams.receive_datagrams(key, scratch, asked, &mut arrivals));
            let got = arrivals.len();
            if arrivals.iter().any(|arrival| arrival.is_cut) {
                self.drop_cut(&mut arrivals);
            }
            if !arrivals.is_empty() {
                self.deliver(reactor, scratch, &arrivals);
            }
            arrivals.clear();
            let is_slow = began.is_some_and(|began| reactor.0.now() - began > BATCH_TIME);
            let may_have_more = match received {
                Ok(Ok(more)) => more,
                Ok(Err(error)) => self.receive_failed(reactor, error),
                Err(_) => false,
            };
            self.pace.learn(asked, got, is_slow, left == DATAGRAMS_PER_TURN);
            if !may_have_more || asked == 1 && got == 1 || is_slow {
                break;
            }
            left = left.saturating_sub(got.max(1));
        }
        self.buffers.arrivals.set(arrivals);
    }

    /// Handles an error of the socket, after which it still works. Returns whether to receive again.
    #[cold]
    fn receive_failed(self: &Rc<DatagramPortInner>, reactor: &Reactor, error: io::Error) -> bool {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.call(reactor, |protocol, port| protocol.connection_refused(port));
            return true;
        }
        tracing::debug!(address = %self.host.borrow(), %error, "a datagram port received an error");
        if Error::panic_within(&error).is_some() {
            self.stop(reactor);
        }
        true
    }

    /// Removes datagrams that were longer than the port's maximum.
    #[cold]
    fn drop_cut(&self, arrivals: &mut Vec<Arrival>) {
        arrivals.retain(|arrival| {
            if arrival.is_cut {
                self.counts.add(|counters| counters.cut += 1);
                tracing::debug!(from = %arrival.sender, most = self.most, "dropped a datagram that is too long");
            }
            !arrival.is_cut
        });
    }

    /// Delivers datagrams. Those behind one that caused a panic are delivered too, and those behind a pause are kept.
    fn deliver(self: &Rc<DatagramPortInner>, reactor: &Reactor, scratch: &[u8], arrivals: &[Arrival]) {
        let mut rest = arrivals;
        while !rest.is_empty() && self.receives() {
            self.delivery.begin();
            let batch = Datagrams::new(scratch, rest, &self.delivery);
            let delivered = Cell::new(0);
            let count = |got: usize| {
                delivered.set(got);
                self.counts.add(|counters| counters.received += got as u64);
            };
            let called = self.call(reactor, |protocol, port| {
                protocol.datagrams_received(port, batch);
                // A protocol that leaves the rest of a batch, without a halt, has got the whole batch. It is counted
                // here, because a port that was closed meanwhile calls `stop_protocol` behind this callback.
                count(if self.delivery.is_halted.get() { self.delivery.taken() } else { rest.len() });
            });
            match called {
                Some(Ok(())) => {}
                Some(Err(_)) => count(self.delivery.taken().max(1)),
                None => return,
            }
            let is_halted = self.delivery.is_halted.get();
            rest = &rest[delivered.get()..];
            // A pause halts the delivery until the port settles, also if the same callback has resumed.
            if is_halted {
                break;
            }
        }
        // A port that stops delivers nothing more.
        if !rest.is_empty() && self.is_open() {
            *self.held.borrow_mut() = Some(Held::new(scratch, rest));
            self.arm(&reactor.0);
        }
    }

    /// Delivers the datagrams that were kept during a pause.
    pub(super) fn deliver_held(self: &Rc<DatagramPortInner>, reactor: &Reactor) {
        if !self.receives() {
            return;
        }
        let held = self.held.take();
        if let Some(held) = held {
            self.deliver(reactor, &held.bytes, &held.arrivals);
        }
    }
}
