//! An event provider that notes the datagrams of another provider, and at times takes no more of them.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk::Moment;
use ropewalk::proto::Key;
use ropewalk::sys::{Arrival, Clock, Datagrams, Event, EventProvider, Events, Outgoing, Ready, system_error};

use crate::intercepted::{Intercept, Intercepted};

/// A datagram that a socket has sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The time.
    pub at: Moment,
    /// The number of the socket, in the order in which sockets were opened.
    pub socket: usize,
    /// Whether the datagram was sent. Otherwise it was received.
    pub is_sent: bool,
    /// The length of the content.
    pub length: usize,
    /// The ECN mark.
    pub ecn: u8,
}

/// The datagrams of a provider so far. Clones are the same tap.
#[derive(Clone, Default)]
pub struct Tap(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    sockets: Vec<Key>,
    noted: Vec<Noted>,
    /// The number of datagrams after which a socket takes no more until the next wait.
    room: Option<usize>,
    left: usize,
    refusals: usize,
}

impl Tap {
    /// Returns the datagrams so far, in order.
    pub fn noted(&self) -> Vec<Noted> {
        self.0.lock().unwrap().noted.clone()
    }

    /// Lets the sockets take only `count` datagrams between two waits. Then a send fails with `WouldBlock`.
    pub fn set_room(&self, count: usize) {
        let mut record = self.0.lock().unwrap();
        (record.room, record.left) = (Some(count), count);
    }

    /// Returns the number of sends that failed because there was no room.
    pub fn refusals(&self) -> usize {
        self.0.lock().unwrap().refusals
    }
}

impl Record {
    fn number_of(&self, key: Key) -> usize {
        self.sockets.iter().position(|known| *known == key).expect("a socket that was opened here")
    }
}

/// Wraps `provider`, and returns the tap on its datagrams as well.
pub fn tapped(provider: Box<dyn EventProvider>) -> (impl EventProvider, Tap) {
    let (tap, clock) = (Tap::default(), provider.clock());
    let intercept = Tapping { clock, tap: tap.clone(), full: Vec::new() };
    (Intercepted { provider, intercept }, tap)
}

struct Tapping {
    clock: Clock,
    tap: Tap,
    /// Sockets that had no room, and report it at the next wait.
    full: Vec<Key>,
}

impl Tapping {
    fn note(&self, key: Key, is_sent: bool, datagrams: impl Iterator<Item = (usize, u8)>) {
        let at = (self.clock)();
        let mut record = self.tap.0.lock().unwrap();
        let socket = record.number_of(key);
        record.noted.extend(datagrams.map(|(length, ecn)| Noted { at, socket, is_sent, length, ecn }));
    }
}

impl Intercept for Tapping {
    fn opened(&mut self, key: Key) {
        self.tap.0.lock().unwrap().sockets.push(key);
    }

    fn received(&mut self, key: Key, arrivals: &[Arrival]) {
        self.note(key, false, arrivals.iter().map(|arrival| (arrival.bytes.len(), arrival.ecn)));
    }

    fn send(&mut self, datagrams: &mut dyn Datagrams, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        let room = {
            let record = self.tap.0.lock().unwrap();
            record.room.map_or(batch.len(), |_| record.left.min(batch.len()))
        };
        let (sent, outcome) = datagrams.send_datagrams(key, &batch[..room]);
        self.note(key, true, batch[..sent].iter().map(|datagram| (datagram.bytes.len(), datagram.ecn)));
        let mut record = self.tap.0.lock().unwrap();
        record.left = record.left.saturating_sub(sent);
        if outcome.is_ok() && room < batch.len() {
            record.refusals += 1;
            self.full.push(key);
            return (sent, Err(system_error(io::ErrorKind::WouldBlock)));
        }
        (sent, outcome)
    }

    fn wait(
        &mut self,
        provider: &mut dyn EventProvider,
        timeout: Option<Duration>,
        events: &mut Events,
    ) -> io::Result<()> {
        let timeout = if self.full.is_empty() { timeout } else { Some(Duration::ZERO) };
        provider.wait(timeout, events)?;
        events.extend(self.full.drain(..).map(|key| Event { key, ready: Ready::WRITE }));
        let mut record = self.tap.0.lock().unwrap();
        record.left = record.room.unwrap_or_default();
        Ok(())
    }
}
