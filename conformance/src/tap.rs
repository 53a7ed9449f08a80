//! An event provider that notes the datagrams of another provider, and at times takes no more of them.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk::proto::Key;
use ropewalk::sys::{
    Arrival, Clock, DatagramOption, DatagramSpec, Datagrams, Event, EventProvider, Events, Outgoing, OwnedSocket,
    ProviderDecorator, Ready, system_error,
};
use ropewalk::{Address, Moment};

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
pub struct Tap(Arc<Mutex<Tapping>>);

#[derive(Default)]
struct Tapping {
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
        let mut tapping = self.0.lock().unwrap();
        (tapping.room, tapping.left) = (Some(count), count);
    }

    /// Returns the number of sends that failed because there was no room.
    pub fn refusals(&self) -> usize {
        self.0.lock().unwrap().refusals
    }
}

impl Tapping {
    fn number_of(&self, key: Key) -> usize {
        self.sockets.iter().position(|known| *known == key).expect("a socket that was opened here")
    }
}

/// A provider with a tap.
pub struct Tapped {
    provider: Box<dyn EventProvider>,
    clock: Clock,
    tap: Tap,
    /// Sockets that had no room, and report it at the next wait.
    full: Vec<Key>,
}

impl Tapped {
    /// Wraps `provider`. Also returns the tap.
    pub fn new(provider: Box<dyn EventProvider>) -> (Tapped, Tap) {
        let (tap, clock) = (Tap::default(), provider.clock());
        (Tapped { provider, clock, tap: tap.clone(), full: Vec::new() }, tap)
    }

    fn inner(&mut self) -> &mut dyn Datagrams {
        self.provider.datagrams().expect("a provider with datagrams keeps them")
    }

    fn note(&self, key: Key, is_sent: bool, datagrams: impl Iterator<Item = (usize, u8)>) {
        let at = (self.clock)();
        let mut tapping = self.tap.0.lock().unwrap();
        let socket = tapping.number_of(key);
        tapping.noted.extend(datagrams.map(|(length, ecn)| Noted { at, socket, is_sent, length, ecn }));
    }
}

impl ProviderDecorator for Tapped {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.provider
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.provider
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        self.provider.datagrams()?;
        Some(self)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let timeout = if self.full.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.provider.wait(timeout, events)?;
        events.extend(self.full.drain(..).map(|key| Event { key, ready: Ready::WRITE }));
        let mut tapping = self.tap.0.lock().unwrap();
        tapping.left = tapping.room.unwrap_or_default();
        Ok(())
    }
}

impl Datagrams for Tapped {
    fn open_datagrams(&mut self, spec: &DatagramSpec) -> io::Result<(Key, Address)> {
        let opened = self.inner().open_datagrams(spec)?;
        self.tap.0.lock().unwrap().sockets.push(opened.0);
        Ok(opened)
    }

    fn adopt_datagrams(
        &mut self,
        socket: OwnedSocket,
        spec: &DatagramSpec,
    ) -> io::Result<(Key, Address, Option<Address>)> {
        let adopted = self.inner().adopt_datagrams(socket, spec)?;
        self.tap.0.lock().unwrap().sockets.push(adopted.0);
        Ok(adopted)
    }

    fn connect_datagrams(&mut self, key: Key, peer: &Address) -> io::Result<Address> {
        self.inner().connect_datagrams(key, peer)
    }

    fn receive_datagrams(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<bool> {
        let before = arrivals.len();
        let outcome = self.inner().receive_datagrams(key, scratch, most, arrivals);
        self.note(key, false, arrivals[before..].iter().map(|arrival| (arrival.bytes.len(), arrival.ecn)));
        outcome
    }

    fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        let room = {
            let tapping = self.tap.0.lock().unwrap();
            tapping.room.map_or(batch.len(), |_| tapping.left.min(batch.len()))
        };
        let (sent, outcome) = self.inner().send_datagrams(key, &batch[..room]);
        self.note(key, true, batch[..sent].iter().map(|datagram| (datagram.bytes.len(), datagram.ecn)));
        let mut tapping = self.tap.0.lock().unwrap();
        tapping.left = tapping.left.saturating_sub(sent);
        if outcome.is_ok() && room < batch.len() {
            tapping.refusals += 1;
            self.full.push(key);
            return (sent, Err(system_error(io::ErrorKind::WouldBlock)));
        }
        (sent, outcome)
    }

    fn join_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        self.inner().join_group(key, group, interface)
    }

    fn leave_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        self.inner().leave_group(key, group, interface)
    }

    fn datagram_option(&mut self, key: Key, option: DatagramOption) -> io::Result<u32> {
        self.inner().datagram_option(key, option)
    }

    fn set_datagram_option(&mut self, key: Key, option: DatagramOption, value: u32) -> io::Result<()> {
        self.inner().set_datagram_option(key, option, value)
    }

    fn segments_max(&mut self, key: Key) -> io::Result<usize> {
        self.inner().segments_max(key)
    }

    fn dropped_datagrams(&mut self, key: Key) -> io::Result<u64> {
        self.inner().dropped_datagrams(key)
    }
}
