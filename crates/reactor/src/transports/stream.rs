//! One stream connection inside the reactor: its protocol, its outbox, and what has been asked of it.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use ropewalk_proto::{Address, Key, Outbox, StreamState};
use ropewalk_sys::{EventProvider, Ready, Received};

use super::observer::Observer;
use super::producer::Registered;
use super::{Connector, ConnectorInner, Producer, Transport};
use crate::error::{Error, Result};
use crate::protocols::Protocol;
use crate::reactor::{Inner, Reactor, Source, catch, guard, name_of};

/// A write of this size with nothing queued goes to the operating system from the caller's slice: measured, copying it
/// first costs more than the system call it could save.
const DIRECT_WRITE: usize = 4096;

/// The fair share of one connection in one turn.
const READS_PER_TURN: usize = 32;
const BYTES_PER_TURN: usize = 256 * 1024;

const HIGH_WATER: u32 = 64 * 1024;
const LOW_WATER: u32 = 32 * 1024;

/// Who is told, beside the protocol, when the connection ends.
pub(crate) enum Origin {
    /// Accepted by a port, or adopted.
    Server,
    /// Made by a connector.
    Client(Rc<ConnectorInner>),
}

pub(crate) struct Stream {
    pub(super) reactor: Weak<Inner>,
    pub(super) key: Key,
    state: Cell<StreamState>,
    pub(super) flags: Cell<Flags>,
    /// Out while one of its callbacks runs.
    protocol: Cell<Option<Box<dyn Protocol>>>,
    /// There only while something is queued: an idle connection holds no buffer.
    pub(super) outbox: RefCell<Option<Box<Outbox>>>,
    pub(super) producer: RefCell<Option<Box<Registered>>>,
    rare: RefCell<Option<Box<Rare>>>,
    high_water: Cell<u32>,
    low_water: Cell<u32>,
    pub(super) peer: Address,
    /// Whose connection this one carries, when somebody forwards it: source and destination.
    pub(super) proxied: OnceCell<Box<[Address; 2]>>,
    origin: Origin,
}

/// What the reactor remembers about a connection, beside its [`StreamState`].
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// The provider reports readability.
    pub(super) armed: bool,
    /// The provider said that no more goes, and will say when it does.
    pub(super) blocked: bool,
    /// A callback of the protocol is on the stack: settling follows when it returns.
    pub(super) in_callback: bool,
    /// The protocol is out, in one of its callbacks.
    protocol_is_out: bool,
    /// Queued for settling before the loop waits.
    pub(super) queued: bool,
    /// Something was written since the producer was told something.
    pub(super) wrote: bool,
    /// There are unread bytes in [`Rare`].
    pub(super) unread: bool,
    /// There are observers in [`Rare`].
    pub(super) observed: bool,
    /// How many policies hold reading back.
    pub(super) read_holds: u8,
    /// How many policies hold writing back.
    pub(super) write_holds: u8,
}

/// What few connections need.
#[derive(Default)]
pub(super) struct Rare {
    /// What a protocol gave back.
    pub(super) unread: Vec<u8>,
    pub(super) observers: Vec<Rc<dyn Observer>>,
    /// What is dropped when the connection ends.
    pub(super) tokens: Vec<Box<dyn Any>>,
    /// Why the connection ended, until the callback returns that it ended in.
    untold: Option<Error>,
}

impl Stream {
    /// Makes the transport of a new connection and tells the protocol. Reading begins when that returns.
    pub(crate) fn begin(
        reactor: &Reactor,
        key: Key,
        peer: Address,
        protocol: Box<dyn Protocol>,
        origin: Origin,
    ) -> Transport {
        let stream = Rc::new(Stream {
            reactor: reactor.downgrade(),
            key,
            state: Cell::new(StreamState::new()),
            flags: Cell::default(),
            protocol: Cell::new(Some(protocol)),
            outbox: RefCell::default(),
            producer: RefCell::default(),
            rare: RefCell::default(),
            high_water: Cell::new(HIGH_WATER),
            low_water: Cell::new(LOW_WATER),
            peer,
            proxied: OnceCell::new(),
            origin,
        });
        reactor.0.sources.borrow_mut().insert(key, Source::Stream(stream.clone()));
        let transport = Transport(stream);
        if let Origin::Client(connector) = &transport.0.origin {
            connector.connected(&transport);
        }
        transport.0.with_protocol(&reactor.0, |protocol| protocol.connection_made(&transport));
        transport.0.settle(&reactor.0);
        transport
    }

    /// The provider reported something.
    pub(crate) fn ready(self: Rc<Stream>, reactor: &Reactor, ready: Ready, scratch: &mut [u8]) {
        if ready.contains(Ready::GONE) {
            return self.end(&reactor.0, Error::ConnectionFdescWentAway);
        }
        let transport = Transport(self);
        let stream = &transport.0;
        if stream.flags.get().in_callback {
            return stream.ready_in_callback(&reactor.0, ready);
        }
        // What the peer sent before it hung up is read before a send finds the connection broken.
        if ready.intersects(Ready::READ | Ready::ERROR | Ready::HANGUP) {
            stream.read(&reactor.0, &transport, scratch);
        }
        if ready.intersects(Ready::WRITE | Ready::ERROR | Ready::HANGUP) && stream.flags.get().blocked {
            stream.update(|flags| flags.blocked = false);
            stream.settle(&reactor.0);
        }
    }

    /// The connection's own callback runs the loop, and is not called again before it returns. Settling follows then:
    /// it sends what can be sent, and has readability reported again.
    fn ready_in_callback(&self, inner: &Inner, ready: Ready) {
        if ready.intersects(Ready::WRITE | Ready::ERROR | Ready::HANGUP) {
            self.update(|flags| flags.blocked = false);
        }
        if self.flags.get().armed {
            let _ = inner.provider(|provider| provider.set_reading(self.key, false));
            self.update(|flags| flags.armed = false);
        }
    }

    fn read(&self, inner: &Rc<Inner>, transport: &Transport, scratch: &mut [u8]) {
        let mut bytes = 0;
        for _ in 0..READS_PER_TURN {
            if !self.reads() || bytes >= BYTES_PER_TURN {
                return;
            }
            if let Some(unread) = self.take_unread() {
                self.deliver(inner, transport, &unread);
                continue;
            }
            let Ok(received) = inner.provider(|provider| provider.receive(self.key, scratch)) else { return };
            let drained = matches!(received, Ok(Received::Drained(_)));
            match received {
                Ok(Received::Filled(count) | Received::Drained(count)) => {
                    bytes += count;
                    self.tell_received(count);
                    self.deliver(inner, transport, &scratch[..count]);
                }
                Ok(Received::Lent(chunk)) => {
                    bytes += chunk.len();
                    self.tell_received(chunk.len());
                    transport.0.with_protocol(inner, |protocol| protocol.chunk_received(transport, chunk));
                    self.settle(inner);
                }
                Ok(Received::Empty) => return,
                Ok(Received::Eof) => return self.end_of_file(inner, transport),
                Err(error) => return self.end(inner, Error::lost(error)),
            }
            if drained {
                return;
            }
        }
    }

    pub(super) fn deliver(&self, inner: &Rc<Inner>, transport: &Transport, data: &[u8]) {
        transport.0.with_protocol(inner, |protocol| protocol.data_received(transport, data));
        self.settle(inner);
    }

    fn end_of_file(&self, inner: &Rc<Inner>, transport: &Transport) {
        let mut state = self.state.get();
        let news = state.end_of_file();
        self.state.set(state);
        if news {
            transport.0.with_protocol(inner, |protocol| protocol.read_connection_lost(transport));
        }
        self.settle(inner);
    }

    /// Calls the protocol, which is out of its place meanwhile. A panic ends the connection.
    pub(super) fn with_protocol(self: &Rc<Stream>, inner: &Rc<Inner>, callback: impl FnOnce(&mut dyn Protocol)) {
        let Some(mut protocol) = self.protocol.take() else { return };
        self.update(|flags| (flags.in_callback, flags.protocol_is_out) = (true, true));
        let outcome = catch(|| callback(&mut *protocol));
        self.update(|flags| (flags.in_callback, flags.protocol_is_out) = (false, false));
        let outcome = outcome.map_err(|panic| panic.log(inner, name_of(|| protocol.log_prefix())));
        match self.protocol.take() {
            None => self.protocol.set(Some(protocol)),
            // The callback switched to another one.
            successor => {
                self.protocol.set(successor);
                let _ = guard(inner, name_of(|| protocol.log_prefix()), || drop(protocol));
            }
        }
        if let Err(panicked) = outcome {
            self.end(inner, panicked);
        }
        if self.state.get().is_lost() {
            let untold = self.rare.take().and_then(|rare| rare.untold);
            if let Some(reason) = untold {
                self.tell_the_end(inner, &reason);
            }
        }
    }

    /// The connection is over: closes it, and tells everyone once, though not before its own callback has returned.
    pub(crate) fn end(&self, inner: &Rc<Inner>, reason: Error) {
        let mut state = self.state.get();
        if !state.lost() {
            return;
        }
        self.state.set(state);
        let source = inner.sources.borrow_mut().remove(self.key);
        let (key, aborted) = (self.key, matches!(reason, Error::ConnectionAborted));
        inner.tell_provider(move |provider| if aborted { provider.abort(key) } else { provider.close(key) });
        if let Some(outbox) = self.outbox.take() {
            inner.keep_outbox(outbox);
        }
        self.stop_producer(inner);
        self.drop_rare();
        if self.flags.get().protocol_is_out {
            self.rare(|rare| rare.untold = Some(reason));
        } else if let Some(Source::Stream(stream)) = source {
            stream.tell_the_end(inner, &reason);
        }
        inner.descriptor_closed();
    }

    fn tell_the_end(self: &Rc<Stream>, inner: &Rc<Inner>, reason: &Error) {
        let transport = Transport(self.clone());
        if let Some(mut protocol) = self.protocol.take() {
            let name = name_of(|| protocol.log_prefix());
            let _ = guard(inner, name, || {
                protocol.connection_lost(&transport, reason);
                drop(protocol);
            });
        }
        if let Origin::Client(connector) = &self.origin {
            connector.connection_lost(&Reactor(inner.clone()), reason);
        }
    }

    fn stop_producer(&self, inner: &Rc<Inner>) {
        let registered = self.producer.borrow_mut().take();
        if let Some(registered) = registered {
            let _ = guard(inner, "stop_producing", move || registered.producer.stop());
        }
    }

    /// Lets go of everything a user gave, without telling him.
    pub(crate) fn forget(&self) {
        self.protocol.take();
        self.producer.take();
        self.drop_rare();
        if let Origin::Client(connector) = &self.origin {
            connector.forget();
        }
    }

    pub(super) fn write(self: &Rc<Stream>, data: &[u8]) {
        if data.is_empty() || !self.accepts_writes() {
            return;
        }
        let Some(inner) = self.reactor.upgrade() else { return };
        self.update(|flags| flags.wrote = true);
        self.tell_written(data.len());
        let rest = if data.len() >= DIRECT_WRITE { self.write_directly(&inner, data) } else { data };
        if !rest.is_empty() {
            self.queue(&inner, |outbox| outbox.write(rest));
        }
    }

    pub(super) fn write_bytes(self: &Rc<Stream>, data: Bytes) {
        if data.is_empty() || !self.accepts_writes() {
            return;
        }
        let Some(inner) = self.reactor.upgrade() else { return };
        self.update(|flags| flags.wrote = true);
        self.tell_written(data.len());
        self.queue(&inner, |outbox| outbox.write_bytes(data));
    }

    fn accepts_writes(&self) -> bool {
        let state = self.state.get();
        state.accepts_writes(false) || state.accepts_writes(true) && self.producer.borrow().is_some()
    }

    /// Sends what goes at once when nothing is queued, and returns the rest.
    fn write_directly<'a>(&self, inner: &Inner, data: &'a [u8]) -> &'a [u8] {
        if !self.sends() || self.outbox.borrow().is_some() {
            return data;
        }
        // An error shows again when the rest is sent while settling: there it can end the connection.
        let sent = inner.provider(|provider| provider.send_slice(self.key, data));
        let count = sent.ok().and_then(Result::ok).unwrap_or(0);
        &data[count..]
    }

    fn queue(self: &Rc<Stream>, inner: &Inner, append: impl FnOnce(&mut Outbox)) {
        let mut slot = self.outbox.borrow_mut();
        let outbox = slot.get_or_insert_with(|| inner.take_outbox());
        append(outbox);
        let queued = outbox.len();
        drop(slot);
        if queued > self.high_water.get() as usize {
            self.pause_transport_producer();
        }
        self.settle_soon(inner);
    }

    /// Pausing a transport calls no user code, so a forwarder stops at once instead of after its fair share.
    fn pause_transport_producer(&self) {
        let mut producer = self.producer.borrow_mut();
        let Some(registered) = producer.as_mut().filter(|registered| !registered.paused) else { return };
        if let Producer::Transport(transport) = &registered.producer {
            registered.paused = true;
            transport.pause_producing();
        }
    }

    /// Has this connection settled when its callback returns, or else before the loop waits.
    pub(super) fn settle_soon(self: &Rc<Stream>, inner: &Inner) {
        let flags = self.flags.get();
        if !flags.in_callback && !flags.queued {
            self.update(|flags| flags.queued = true);
            inner.settle_later(self.clone());
        }
    }

    /// Asks the state machine for a transition.
    pub(super) fn change(self: &Rc<Stream>, transition: impl FnOnce(&mut StreamState)) {
        let mut state = self.state.get();
        transition(&mut state);
        if self.state.replace(state) != state {
            if let Some(inner) = self.reactor.upgrade() {
                self.settle_soon(&inner);
            }
        }
    }

    /// Has it closed when nothing is left to send, also if that was asked before: the connection that it waited for as its
    /// producer may have ended since.
    pub(super) fn lose(self: &Rc<Stream>) {
        self.change(StreamState::lose);
        if self.state.get().is_losing() {
            if let Some(inner) = self.reactor.upgrade() {
                self.settle_soon(&inner);
            }
        }
    }

    pub(super) fn register_producer(self: &Rc<Stream>, producer: Producer) -> Result<()> {
        if self.producer.borrow().is_some() {
            return Err(Error::ProducerRegistered);
        }
        if self.state.get().is_lost() {
            producer.stop();
            return Ok(());
        }
        // A pull producer counts as paused until it is asked for its first piece.
        let paused = matches!(producer, Producer::Pull(_));
        *self.producer.borrow_mut() = Some(Box::new(Registered { producer, paused }));
        if let Some(inner) = self.reactor.upgrade() {
            self.settle_soon(&inner);
        }
        Ok(())
    }

    pub(super) fn unregister_producer(self: &Rc<Stream>) {
        let registered = self.producer.borrow_mut().take();
        if registered.is_some() {
            if let Some(inner) = self.reactor.upgrade() {
                self.settle_soon(&inner);
            }
        }
    }

    pub(super) fn switch_protocol(&self, protocol: Box<dyn Protocol>) {
        if !self.state.get().is_lost() {
            drop(self.protocol.replace(Some(protocol)));
        }
    }

    pub(super) fn set_watermarks(&self, high: usize, low: usize) {
        let high = u32::try_from(high).unwrap_or(u32::MAX);
        self.high_water.set(high);
        self.low_water.set(u32::try_from(low).unwrap_or(u32::MAX).min(high));
    }

    pub(super) fn high_water(&self) -> usize {
        self.high_water.get() as usize
    }

    pub(super) fn low_water(&self) -> usize {
        self.low_water.get() as usize
    }

    pub(super) fn buffered(&self) -> usize {
        self.outbox.borrow().as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Whether the provider knows everything: nearly always, once what a callback wrote has left.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        let flags = self.flags.get();
        self.state.get() == StreamState::new()
            && flags.armed
            && !(flags.blocked || flags.unread || flags.in_callback)
            && flags.read_holds == 0
            && flags.write_holds == 0
            && self.outbox.borrow().is_none()
            && self.producer.borrow().is_none()
    }

    /// Whether the provider should report what arrives.
    pub(super) fn reads(&self) -> bool {
        let flags = self.flags.get();
        self.state.get().wants_reading() && flags.read_holds == 0 && !flags.in_callback
    }

    /// Whether the provider takes bytes now.
    pub(super) fn sends(&self) -> bool {
        let flags = self.flags.get();
        !flags.blocked && flags.write_holds == 0
    }

    /// Whether the protocol whose callback runs has been replaced.
    pub(super) fn is_switched(&self) -> bool {
        let successor = self.protocol.take();
        let switched = successor.is_some();
        self.protocol.set(successor);
        switched
    }

    /// Does something with what few connections need.
    pub(super) fn rare<R>(&self, act: impl FnOnce(&mut Rare) -> R) -> R {
        act(self.rare.borrow_mut().get_or_insert_default())
    }

    fn drop_rare(&self) {
        self.update(|flags| (flags.unread, flags.observed) = (false, false));
        self.rare.take();
    }

    pub(super) fn state(&self) -> StreamState {
        self.state.get()
    }

    pub(super) fn set_state(&self, state: StreamState) {
        self.state.set(state);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Flags)) {
        let mut flags = self.flags.get();
        change(&mut flags);
        self.flags.set(flags);
    }

    pub(super) fn connector(&self) -> Option<Connector> {
        match &self.origin {
            Origin::Client(connector) => Some(Connector(connector.clone())),
            Origin::Server => None,
        }
    }

    /// Asks the provider about this connection.
    pub(super) fn ask<R>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&mut dyn EventProvider, Key) -> io::Result<R>,
    ) -> Result<R> {
        if self.state.get().is_lost() {
            return Err(Error::Closed);
        }
        let inner = self.reactor.upgrade().ok_or(Error::Closed)?;
        inner.provider(|provider| ask(provider, self.key))?.map_err(Error::io(doing))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use crate::error::Error;
    use crate::reactor::{Reactor, reactors};
    use crate::testing::AccumulatingProtocol;

    #[test]
    fn what_the_peer_said_before_it_closed_is_read_although_it_did_not_listen() {
        for info in reactors().into_iter().filter(|info| info.unavailable.is_none()) {
            let reactor = Reactor::with(info.name).unwrap();
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let protocol = AccumulatingProtocol::new();
            let transport = reactor.adopt_stream_connection(ours, &protocol.factory()).unwrap();
            // More than the kernel takes, so the connection waits until it can send the rest.
            transport.write(&vec![0; 8 << 20]);
            reactor.prepare().unwrap();
            assert!(transport.buffered() > 0);
            theirs.write_all(b"enough").unwrap();
            drop(theirs);
            for _ in 0..10 {
                reactor.iterate(Some(std::time::Duration::ZERO)).unwrap();
            }
            assert_eq!(protocol.data(), b"enough", "on {}", info.name);
            assert!(matches!(protocol.lost(), Some(Error::ConnectionLost(Some(_)))));
        }
    }
}
