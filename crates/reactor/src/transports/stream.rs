//! One stream connection inside the reactor: its protocol, its outbox, and its pending requests.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Address, EndStep, Key, Resolver, StreamState};
use ropewalk_sys::{Ready, Received, Sockets};

use super::Transport;
use super::closing::Closing;
use super::flags::{Flags, Word};
use super::inbound::Inbound;
use super::keys::Keys;
use super::layered::Layered;
use super::lingering::{linger, may_linger};
use super::observer::Attachments;
use super::outbound::Outbound;
use super::producer::Producer;
use super::protocol_slot::ProtocolSlot;
use super::rest::Rest;
use super::share::{BYTES_PER_TURN, READS_PER_TURN};
use super::slot::Slot;
use crate::error::{Error, Result};
use crate::interfaces::time::DelayedCall;
use crate::kernel::{CallbackKind, Kernel, Reactor, Source, drop_logged};
use crate::protocols::Protocol;

/// The object that made a connection, and is notified of its beginning and end: a connector, or the call that adopted
/// pipes.
pub(crate) trait Origin {
    /// Called before `connection_made` of the protocol.
    fn connected(self: Rc<Self>, transport: &Transport);

    /// Called when the socket is closed, before `connection_lost` of the protocol.
    fn closed(self: Rc<Self>, _reactor: &Reactor, _reason: &Error) {}

    /// Called after `connection_lost` of the protocol.
    fn connection_lost(self: Rc<Self>, reactor: &Reactor, reason: &Error);

    /// Whether the other end may close in order by sending its last byte and reading no more, as a program that exits.
    fn exits_in_order(&self) -> bool {
        false
    }

    /// Drops the creator's handle of the connection, because the reactor has been dropped.
    fn forget(&self);

    /// Returns `self` as `Any`, for a caller that knows the type.
    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;
}

pub(crate) struct Stream {
    pub(super) reactor: Weak<Kernel>,
    /// The key of received bytes.
    pub(super) key: Key,
    /// The key of sent bytes: another one for a pair of pipes.
    pub(super) send_key: Key,
    state: Cell<StreamState>,
    /// Bits that summarize facts in `inbound`, `outbound` and `protocol`.
    pub(super) flags: Word,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    protocol: ProtocolSlot,
    rare: Slot<Rare>,
    pub(super) peer: Address,
    /// The source and the destination of the connection that a proxy forwards through this one.
    pub(super) proxied: OnceCell<Box<[Address; 2]>>,
    /// `None` for a connection that was accepted or adopted from outside.
    origin: Option<Rc<dyn Origin>>,
}

/// State that few connections need.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) attachments: Attachments,
    /// The connections to which the bytes of this one are forwarded. Their close may wait for this connection.
    consumers: Vec<Weak<Stream>>,
    /// The reason with which the program has ended the connection.
    pub(super) ending: Option<Error>,
    pub(super) layered: Option<Rc<RefCell<Layered>>>,
    /// The limit of what a pair of pipes delivers after its output was lost.
    pub(super) rest: Option<Rest>,
    pub(super) waiting_for_end: Vec<Resolver<Error>>,
    /// The number of bytes that were still queued when the connection ended.
    pub(super) unsent: usize,
    /// The reason of the end, unless the connection ended in order.
    pub(super) lost: Option<Error>,
}

/// Settings that a connection has from its beginning.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Whether the factory asks for pacing.
    pub(crate) is_paced: bool,
    /// Whether the connection lingers. `None` leaves that to the reactor's default.
    pub(crate) lingers: Option<bool>,
}

impl Settings {
    pub(crate) fn paced(is_paced: bool) -> Settings {
        Settings { is_paced, lingers: None }
    }

    fn flags(self) -> Flags {
        let mut flags = Flags::UNARMED;
        flags.set(Flags::PACED, self.is_paced);
        flags.set(Flags::LINGERS, self.lingers == Some(true));
        flags.set(Flags::PROMPT, self.lingers == Some(false));
        flags
    }
}

impl Source for Stream {
    #[inline(always)]
    fn ready(self: Rc<Stream>, reactor: &Reactor, key: Key, ready: Ready, scratch: &mut [u8]) {
        let transport = Transport(self);
        let stream = &transport.0;
        if ready == Ready::READ && stream.flags.get().are_plain() {
            // In nearly all cases one message has arrived, and no more bytes follow it.
            match reactor.0.receive_all(stream.key, scratch) {
                Ok(count) => stream.call(&reactor.0, |protocol| protocol.data_received(&transport, &scratch[..count])),
                Err(received) => stream.read(&reactor.0, &transport, scratch, Some(received)),
            }
        } else {
            stream.ready_otherwise(&reactor.0, &transport, key, ready, scratch);
        }
    }

    fn settle(self: Rc<Stream>, reactor: &Reactor) {
        self.settle_queued(&reactor.0);
    }

    fn shut_down(self: Rc<Stream>, reactor: &Reactor) {
        // The call that stopped the run may have written, and so may a connection that was shut down before this one.
        if self.has(Flags::QUEUED) {
            self.settle_queued(&reactor.0);
        }
        self.close_layer_at_once(&reactor.0);
        self.end(&reactor.0, self.layer_failure().unwrap_or(Error::ConnectionLost(None)));
    }

    fn panicked(self: Rc<Stream>, reactor: &Reactor, error: Error) {
        self.end(&reactor.0, error);
    }

    fn forget(&self) {
        drop_logged("a protocol", self.protocol.take());
        drop_logged("a producer", self.outbound.take_producer(&self.flags));
        drop_logged("a layer or an observer", self.rare.take());
        self.drop_rare();
        if let Some(origin) = &self.origin {
            origin.forget();
        }
    }
}

impl Stream {
    /// Creates the transport of a new connection and calls `connection_made`. Reading begins when `connection_made`
    /// returns.
    pub(crate) fn begin(
        reactor: &Reactor,
        keys: impl Into<Keys>,
        peer: Address,
        protocol: Box<dyn Protocol>,
        origin: Option<Rc<dyn Origin>>,
        settings: Settings,
    ) -> Transport {
        // The caller may be user code outside of a turn, such as that of `adopt_stream_connection`.
        let _entered = reactor.0.enter();
        let protocol = ProtocolSlot::new(&reactor.0, protocol);
        let keys = keys.into();
        let (key, send_key) = keys.of_directions();
        let stream = Rc::new(Stream {
            reactor: Rc::downgrade(&reactor.0),
            key,
            send_key,
            state: Cell::new(StreamState::new()),
            flags: Word::new(settings.flags() | keys.flags(&peer, reactor.0.capabilities())),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            protocol,
            rare: Slot::default(),
            peer,
            proxied: OnceCell::new(),
            origin,
        });
        stream.protocol.ask_how_it_receives(&reactor.0, &stream.flags);
        stream.set_state(keys.state());
        keys.each(|key| reactor.0.add_source(key, stream.clone()));
        let transport = Transport(stream);
        if let Some(origin) = &transport.0.origin {
            origin.clone().connected(&transport);
        }
        reactor.contain(key, || transport.0.call(&reactor.0, |protocol| protocol.connection_made(&transport)));
        transport
    }

    #[inline(never)]
    fn ready_otherwise(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        transport: &Transport,
        key: Key,
        ready: Ready,
        scratch: &mut [u8],
    ) {
        if key != self.key {
            return self.output_ready(kernel, ready);
        }
        if ready.contains(Ready::GONE) {
            return self.end(kernel, Error::ConnectionFdescWentAway);
        }
        let is_lost = self.is_lost_unread(ready);
        if is_lost {
            self.note_loss(kernel);
        }
        if self.has(Flags::IN_CALLBACK) {
            return self.ready_in_callback(kernel, ready);
        }
        if is_lost {
            return self.settle(kernel);
        }
        // Read before sending: the peer may have sent data before it hung up, and a send would end the connection.
        if ready.intersects(Ready::READ | Ready::ERROR | Ready::HANGUP) {
            self.read(kernel, transport, scratch, None);
        }
        if ready.intersects(Ready::WRITE | Ready::ERROR | Ready::HANGUP) && self.has(Flags::BLOCKED) {
            self.mark(Flags::BLOCKED, false);
            self.settle(kernel);
        }
    }

    /// Handles an event while a callback of this connection runs the loop. The protocol is not called again before that
    /// callback returns. Then the connection settles: it sends as much as possible, and arms readability again.
    fn ready_in_callback(&self, kernel: &Kernel, ready: Ready) {
        if ready.intersects(Ready::WRITE | Ready::ERROR | Ready::HANGUP) {
            self.mark(Flags::BLOCKED, false);
        }
        self.disarm(kernel);
    }

    /// Stops reports of readability. Settling switches the reports on again when the connection reads.
    pub(super) fn disarm(&self, kernel: &Kernel) {
        if self.has(Flags::ARMED) {
            let _ = kernel.streams(|streams| streams.set_reading(self.key, false));
            self.mark(Flags::ARMED, false);
        }
    }

    /// Delivers `first` and the bytes that follow it, up to this connection's share of the turn.
    #[inline(never)]
    fn read(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        transport: &Transport,
        scratch: &mut [u8],
        mut first: Option<io::Result<Received>>,
    ) {
        let mut bytes = 0;
        for _ in 0..READS_PER_TURN {
            if self.has(Flags::LAYERED) {
                return self.read_layered(kernel, transport, scratch);
            }
            if !self.reads() || self.has(Flags::BROKEN) {
                return self.disarm(kernel);
            }
            if bytes >= BYTES_PER_TURN {
                return;
            }
            if self.has(Flags::UNREAD) {
                self.deliver_unread(kernel, transport);
                continue;
            }
            if self.flags.get().intersects(Flags::TAILORED) {
                match self.receive_tailored(kernel, transport, scratch) {
                    Some(count) => bytes += count,
                    None => return,
                }
                continue;
            }
            match first.take().unwrap_or_else(|| kernel.receive(self.key, scratch)) {
                Ok(Received::Drained(count)) => return self.deliver(kernel, transport, &scratch[..count]),
                Ok(Received::Filled(count)) => {
                    bytes += count;
                    self.deliver(kernel, transport, &scratch[..count]);
                }
                Ok(Received::Lent(chunk)) => {
                    bytes += chunk.len();
                    self.observe_received(&chunk);
                    self.call(kernel, |protocol| protocol.chunk_received(transport, chunk));
                }
                Ok(Received::Empty) => return,
                Ok(Received::Eof) => return self.end_of_file(kernel, transport),
                Err(error) => return self.end(kernel, Error::lost(error)),
            }
        }
        if bytes == 0 {
            // Unread bytes used up the share of this turn, so the socket was not read.
            self.disarm(kernel);
            self.settle_soon(kernel);
        }
    }

    #[inline(always)]
    pub(super) fn deliver(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport, data: &[u8]) {
        self.observe_received(data);
        self.call(kernel, |protocol| protocol.data_received(transport, data));
    }

    /// Delivers unread bytes again. Observers are not called, because they have counted these bytes already.
    #[inline(never)]
    pub(super) fn deliver_unread(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        if self.flags.get().intersects(Flags::TAILORED) {
            return self.deliver_piece(kernel, transport);
        }
        // The protocol takes no descriptors any more.
        drop(self.inbound.take_passed());
        if let Some(unread) = self.inbound.take_unread(&self.flags) {
            self.call(kernel, |protocol| protocol.data_received(transport, &unread));
        }
    }

    pub(super) fn end_of_file(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        let mut state = self.state.get();
        let news = state.end_of_file();
        self.set_state(state);
        if self.has(Flags::PIPE) {
            // The end of a terminal is that of both directions, and no event may say so.
            self.mark(Flags::BLOCKED, false);
        }
        if self.is_pair() {
            self.report_loss_of_reader(kernel);
        }
        self.settle_consumers(kernel);
        if news {
            self.call(kernel, |protocol| protocol.read_connection_lost(transport));
        } else {
            self.settle(kernel);
        }
    }

    /// Returns the peer's address, or that of the peer for which a proxy forwards.
    pub(super) fn peer(&self) -> &Address {
        self.proxied.get().map_or(&self.peer, |proxied| &proxied[0])
    }

    /// Calls the protocol, and settles. A panic closes the connection.
    #[inline(always)]
    pub(super) fn call(self: &Rc<Stream>, kernel: &Rc<Kernel>, callback: impl FnOnce(&mut dyn Protocol)) {
        // `ProtocolSlot::call` does nothing while a callback runs, and after `connection_lost`.
        let lend = || self.outbound.lend_outbox(kernel);
        let panicked = |panic| self.panicked(kernel, panic);
        if self.protocol.call(kernel, &self.flags, || self.peer(), lend, callback, panicked) {
            self.settle_after_callback(kernel);
        }
    }

    #[cold]
    fn panicked(self: &Rc<Stream>, kernel: &Rc<Kernel>, error: Error) {
        self.install_successor(kernel);
        self.end(kernel, error);
    }

    /// Installs the successor. Calls `connection_made` of the successor if it came through `hand_over`.
    fn install_successor(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        if self.protocol.install_successor(kernel, &self.flags) {
            // The new protocol may start a layer itself.
            self.remove_done_layer(kernel);
            let transport = Transport(self.clone());
            self.call(kernel, |protocol| protocol.connection_made(&transport));
        }
    }

    /// Completes changes that waited for a callback to return: a switch of the protocol, and the end of the connection.
    pub(super) fn settle_protocol(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        self.install_successor(kernel);
        if self.state.get().is_lost() {
            if let Some(reason) = self.protocol.take_deferred_end() {
                // All but the last step have been taken already, unless the connection ended by `end_soon`.
                for step in EndStep::ORDER.into_iter().filter(|step| step.is_for_users()) {
                    self.take_end_step(kernel, step, Closing::AtOnce, &reason);
                }
            }
        }
    }

    /// Completes the end of a connection that no longer has its socket. Its user is notified when the connection
    /// settles.
    pub(super) fn end_soon(self: &Rc<Stream>, kernel: &Rc<Kernel>, reason: Error) {
        let mut state = self.state.get();
        state.lost();
        self.set_state(state);
        self.take_end_step(kernel, EndStep::Events, Closing::AtOnce, &reason);
        self.protocol.defer_end(reason);
        if !self.has(Flags::QUEUED) {
            self.mark(Flags::QUEUED, true);
            kernel.settle_later(self.clone());
        }
    }

    /// Closes a connection that is lost.
    pub(super) fn end(self: &Rc<Stream>, kernel: &Rc<Kernel>, reason: Error) {
        self.end_by(kernel, Closing::AtOnce, reason);
    }

    /// Takes the steps of the connection's end, once, in the order of [`EndStep::ORDER`].
    #[inline(never)]
    pub(super) fn end_by(self: &Rc<Stream>, kernel: &Rc<Kernel>, closing: Closing, reason: Error) {
        let mut state = self.state.get();
        if !state.lost() {
            return;
        }
        self.set_state(state);
        for step in EndStep::ORDER {
            self.take_end_step(kernel, step, closing, &reason);
        }
    }

    fn take_end_step(self: &Rc<Stream>, kernel: &Rc<Kernel>, step: EndStep, closing: Closing, reason: &Error) {
        match step {
            EndStep::Events => {
                drop(kernel.remove_source(self.key));
                if self.is_pair() {
                    drop(kernel.remove_source(self.send_key));
                }
                self.mark(Flags::ARMED, false);
            }
            EndStep::Socket => {
                self.close_socket(kernel, closing);
                if let Some(origin) = &self.origin {
                    origin.clone().closed(&Reactor(kernel.clone()), reason);
                }
            }
            EndStep::Queue => self.drop_queue(kernel),
            EndStep::Producer => self.stop_producer(kernel),
            EndStep::Consumers => self.settle_consumers(kernel),
            EndStep::Attachments => {
                self.drop_layer(kernel);
                self.announce_end(kernel, reason);
                self.drop_rare();
            }
            EndStep::Protocol if self.has(Flags::PROTOCOL_OUT) => self.protocol.defer_end(reason.clone()),
            EndStep::Protocol => self.notify_of_end(kernel, reason),
            EndStep::Descriptor => kernel.descriptor_closed(),
        }
    }

    fn close_socket(self: &Rc<Stream>, kernel: &Rc<Kernel>, closing: Closing) {
        let key = self.key;
        if self.is_pair() {
            let output = self.send_key;
            kernel.tell_streams(move |streams| streams.close(output));
        }
        match closing {
            Closing::Reset => kernel.tell_streams(move |streams| streams.abort(key)),
            Closing::InOrder if self.lingers(kernel) => linger(&Reactor(kernel.clone()), key),
            Closing::InOrder | Closing::AtOnce => kernel.tell_streams(move |streams| streams.close(key)),
        }
    }

    /// Whether the socket lingers, because the peer may still send. A closed socket would answer the peer's bytes with
    /// a reset.
    fn lingers(&self, kernel: &Rc<Kernel>) -> bool {
        !self.has_socket_ended() && !self.has(Flags::PIPE) && may_linger(&Reactor(kernel.clone()), self.flags.get())
    }

    fn notify_of_end(self: &Rc<Stream>, kernel: &Rc<Kernel>, reason: &Error) {
        let transport = Transport(self.clone());
        if let Some(mut protocol) = self.protocol.take() {
            let _ = kernel.guard_labelled(
                self.protocol.label(),
                || Some(self.peer()),
                || {
                    protocol.connection_lost(&transport, reason);
                    drop(protocol);
                },
            );
        }
        if let Some(origin) = &self.origin {
            origin.clone().connection_lost(&Reactor(kernel.clone()), reason);
        }
    }

    pub(super) fn stop_producer(&self, kernel: &Rc<Kernel>) {
        if let Some(producer) = self.take_producer() {
            let _ = kernel.guard(CallbackKind::Producer, "stop_producing", move || producer.stop());
        }
    }

    /// Schedules `call` to run after `delay`, unless the connection no longer exists. If the call panics, the
    /// connection ends.
    pub(super) fn later(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        delay: Duration,
        call: impl FnOnce(&Rc<Stream>, &Rc<Kernel>) + 'static,
    ) -> DelayedCall {
        let weak = Rc::downgrade(self);
        Reactor(kernel.clone()).call_later(delay, move |reactor| {
            if let Some(stream) = weak.upgrade() {
                reactor.contain(stream.key, || call(&stream, &reactor.0));
            }
        })
    }

    /// Makes this connection settle when its running callback returns, or before the loop waits if no callback runs.
    pub(super) fn settle_soon(self: &Rc<Stream>, kernel: &Kernel) {
        if !self.flags.get().intersects(Flags::IN_CALLBACK | Flags::QUEUED) {
            self.mark(Flags::QUEUED, true);
            kernel.settle_later(self.clone());
        }
    }

    /// Asserts that the flags summarize the facts of the parts.
    #[cfg(debug_assertions)]
    pub(super) fn assert_flags(&self) {
        if self.state.get().is_lost() {
            return;
        }
        self.inbound.assert_flags(&self.flags);
        self.outbound.assert_flags(&self.flags);
        self.protocol.assert_flags(&self.flags);
        let facts = |rare: &mut Rare| (!rare.attachments.observers().is_empty(), rare.layered.is_some());
        let (is_observed, is_layered) = self.rare.peek(facts).unwrap_or_default();
        self.flags.assert_is(Flags::OBSERVED, is_observed);
        self.flags.assert_is(Flags::LAYERED, is_layered);
        self.flags.assert_is(Flags::CHANGED, self.state.get() != StreamState::new());
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(super) fn assert_flags(&self) {}

    /// Makes a transition of the state machine. If the state changes, the connection settles soon.
    pub(super) fn change(self: &Rc<Stream>, transition: impl FnOnce(&mut StreamState)) {
        let mut state = self.state.get();
        transition(&mut state);
        if self.state.get() != state {
            self.set_state(state);
            if let Some(kernel) = self.reactor.upgrade() {
                self.settle_soon(&kernel);
            }
        }
    }

    /// Closes the connection when nothing is left to send. A repeated request makes the connection settle again,
    /// because the connection that produces for this one may have ended since the first request.
    pub(super) fn lose(self: &Rc<Stream>) {
        self.change(StreamState::lose);
        if self.state.get().is_losing() {
            if let Some(kernel) = self.reactor.upgrade() {
                self.settle_soon(&kernel);
            }
        }
    }

    pub(super) fn register_producer(self: &Rc<Stream>, producer: Producer) -> Result<()> {
        if self.has(Flags::PRODUCER) {
            return Err(Error::ProducerRegistered);
        }
        if self.state.get().is_lost() {
            match self.reactor.upgrade() {
                Some(kernel) => drop(kernel.guard(CallbackKind::Producer, "stop_producing", move || producer.stop())),
                None => producer.stop(),
            }
            return Ok(());
        }
        let producing = producer.transport().cloned();
        self.outbound.register(producer, &self.flags);
        if let Some(transport) = &producing {
            transport.0.rare(|rare| rare.consumers.push(Rc::downgrade(self)));
        }
        if let Some(kernel) = self.reactor.upgrade() {
            self.settle_soon(&kernel);
            // The connection that produces may be closing, and need no longer wait if the registration completes a
            // ring.
            producing.iter().for_each(|transport| transport.0.settle_soon(&kernel));
        }
        Ok(())
    }

    pub(super) fn unregister_producer(self: &Rc<Stream>) {
        if self.take_producer().is_some() {
            if let Some(kernel) = self.reactor.upgrade() {
                self.settle_soon(&kernel);
            }
        }
    }

    pub(super) fn take_producer(&self) -> Option<Producer> {
        let producer = self.outbound.take_producer(&self.flags)?;
        if let Some(transport) = producer.transport() {
            transport.0.rare(|rare| rare.consumers.retain(|consumer| !std::ptr::eq(consumer.as_ptr(), self)));
        }
        Some(producer)
    }

    /// Whether the chain of connections, in which each is followed by its producer, leads back to this connection.
    pub(super) fn is_in_a_ring(&self) -> bool {
        let mut chain: Vec<Rc<Stream>> = Vec::new();
        let mut next = self.producing_stream();
        while let Some(stream) = next {
            if std::ptr::eq(&*stream, self) {
                return true;
            }
            // A ring of other connections.
            if chain.iter().any(|known| Rc::ptr_eq(known, &stream)) {
                return false;
            }
            next = stream.producing_stream();
            chain.push(stream);
        }
        false
    }

    fn producing_stream(&self) -> Option<Rc<Stream>> {
        Some(self.outbound.producer()?.transport()?.0.clone())
    }

    /// Settles the connections to which the bytes of this one are forwarded. Their close may have waited for the last
    /// of these bytes.
    fn settle_consumers(&self, kernel: &Kernel) {
        let consumers = self.rare.peek(|rare| rare.consumers.clone()).unwrap_or_default();
        for consumer in consumers.iter().filter_map(Weak::upgrade) {
            consumer.settle_soon(kernel);
        }
    }

    pub(super) fn switch_protocol(&self, protocol: Box<dyn Protocol>) {
        if !self.state.get().is_lost() {
            let kernel = self.reactor.upgrade();
            let _entered = kernel.as_deref().and_then(Kernel::enter);
            drop(self.protocol.switch(kernel.as_deref(), protocol, &self.flags));
        }
    }

    /// Switches to `protocol`, and calls its `connection_made`.
    pub(super) fn hand_over(self: &Rc<Stream>, protocol: Box<dyn Protocol>) {
        let Some(kernel) = self.reactor.upgrade().filter(|_| !self.state().is_lost()) else { return };
        let _entered = kernel.enter();
        drop(self.protocol.hand_over(protocol, &self.flags));
        self.settle_soon(&kernel);
    }

    pub(super) fn set_watermarks(self: &Rc<Stream>, high: usize, low: usize) {
        self.outbound.set_watermarks(high, low);
        if let Some(kernel) = self.reactor.upgrade().filter(|_| self.has(Flags::PACED)) {
            self.settle_soon(&kernel);
        }
    }

    /// Whether the provider should report readability.
    #[inline]
    pub(super) fn reads(&self) -> bool {
        let flags = self.flags.get();
        flags.receive() && (!flags.contains(Flags::CHANGED) || self.state.get().wants_reading())
    }

    /// Whether more bytes may be delivered, now or after a pause.
    pub(super) fn is_producing(&self) -> bool {
        let state = self.state.get();
        state.is_open() && !state.is_read_ended()
    }

    /// Whether the protocol whose callback runs has been replaced.
    pub(super) fn is_switched(&self) -> bool {
        self.has(Flags::SWITCHED)
    }

    /// Calls `act` with the rare state, and creates that state first if necessary.
    pub(super) fn rare<R>(&self, act: impl FnOnce(&mut Rare) -> R) -> R {
        self.rare.with(act)
    }

    /// Calls `look` with the rare state if the connection has any.
    pub(super) fn rare_if_any<R>(&self, look: impl FnOnce(&mut Rare) -> R) -> Option<R> {
        self.rare.peek(look)
    }

    /// Drops the rare state, except for the reason of the end and the number of unsent bytes. A successor is kept, because its `connection_lost` must
    /// be called.
    fn drop_rare(&self) {
        self.inbound.clear(&self.flags);
        self.outbound.clear(&self.flags);
        self.mark(Flags::OBSERVED | Flags::LAYERED, false);
        let Some(mut rare) = self.rare.take() else { return };
        if rare.lost.is_some() || rare.unsent > 0 {
            let (reason, unsent) = (rare.lost.take(), rare.unsent);
            self.rare(|kept| (kept.lost, kept.unsent) = (reason, unsent));
        }
        drop(rare);
    }

    pub(super) fn state(&self) -> StreamState {
        self.state.get()
    }

    pub(super) fn set_state(&self, state: StreamState) {
        self.state.set(state);
        self.mark(Flags::CHANGED, state != StreamState::new());
    }

    #[inline]
    pub(super) fn has(&self, flags: Flags) -> bool {
        self.flags.has(flags)
    }

    #[inline]
    pub(super) fn mark(&self, flags: Flags, on: bool) {
        self.flags.mark(flags, on);
    }

    pub(super) fn origin(&self) -> Option<Rc<dyn Origin>> {
        self.origin.clone()
    }

    /// Asks the provider about this connection.
    pub(super) fn ask<R>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&mut dyn Sockets, Key) -> io::Result<R>,
    ) -> Result<R> {
        if self.state.get().is_lost() {
            return Err(Error::Closed);
        }
        let kernel = self.reactor.upgrade().ok_or(Error::Closed)?;
        kernel.sockets(|sockets| ask(sockets, self.key))?.map_err(Error::io(doing))
    }
}

#[cfg(test)]
mod switching {
    use crate::error::Error;
    use crate::kernel::PanicPolicy;
    use crate::protocols::Protocol;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};
    use crate::transports::Transport;

    /// Switches to another protocol in its first delivery, and closes the connection in the same callback.
    struct SwitchesProtocol(AccumulatingProtocol);

    impl Protocol for SwitchesProtocol {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(b"taken");
            transport.switch_protocol(Box::new(self.0.clone()));
            match data {
                b"abort" => transport.abort_connection(),
                b"panic" => panic!("on purpose"),
                _ => {}
            }
        }

        fn connection_lost(&mut self, _transport: &Transport, _reason: &Error) {
            panic!("the old protocol was called after the switch");
        }
    }

    #[test]
    fn a_close_right_after_the_switch_reaches_the_new_protocol() {
        for said in [&b"on"[..], b"abort", b"panic"] {
            let net = MemoryReactor::new();
            net.set_panic_policy(PanicPolicy::Log);
            let successor = AccumulatingProtocol::new();
            let built = successor.clone();
            net.listen_tcp("10.0.0.1:80", move || SwitchesProtocol(built.clone())).unwrap();
            let client = net.connect_stream("10.0.0.1:80");
            client.write(said);
            net.settle();
            client.write(b"next");
            net.settle();
            let lives = said == b"on";
            assert_eq!(successor.data(), if lives { &b"next"[..] } else { b"" });
            assert_eq!(successor.lost().is_none(), lives, "after {said:?}");
        }
    }
}

#[cfg(test)]
mod stopping {
    use std::time::Duration;

    use crate::testing::{MemoryReactor, connected};

    #[test]
    fn data_written_in_the_call_that_stops_the_reactor_is_sent() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
        let transport = server.transport().unwrap();
        net.call_later(Duration::ZERO, move |reactor| {
            transport.write(b"goodbye");
            transport.lose_connection();
            reactor.stop().unwrap();
        });
        net.run().unwrap();
        net.network().settle();
        assert_eq!(client.received(), b"goodbye");
        assert!(client.is_eof() && server.lost().unwrap().is_done());
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::super::writing::DIRECT_WRITE;
    use crate::error::Error;
    use crate::kernel::{Reactor, reactors};
    use crate::testing::AccumulatingProtocol;

    #[test]
    fn a_large_write_to_a_reset_connection_reports_the_reset() {
        for info in reactors().into_iter().filter(|info| info.unavailable.is_none()) {
            let reactor = Reactor::with(info.name).unwrap();
            let (server, client) = (AccumulatingProtocol::new(), AccumulatingProtocol::new());
            let port = reactor.listen_tcp("127.0.0.1:0", server.factory()).unwrap();
            reactor.connect_tcp(port.host().unwrap().inet().unwrap(), client.factory()).unwrap();
            let turns = |until: &dyn Fn() -> bool| {
                while !until() {
                    reactor.iterate(Some(std::time::Duration::from_millis(10))).unwrap();
                }
            };
            turns(&|| server.transport().is_some() && client.transport().is_some());
            let transport = client.transport().unwrap();
            transport.pause_producing();
            server.transport().unwrap().abort_connection();
            turns(&|| server.lost().is_some());
            transport.write(&[0; 2 * DIRECT_WRITE]);
            turns(&|| client.lost().is_some());
            let Some(Error::ConnectionLost(Some(reason))) = client.lost() else { panic!("{:?}", client.lost()) };
            assert_eq!(reason.kind(), std::io::ErrorKind::ConnectionReset, "on {}", info.name);
        }
    }

    #[test]
    fn bytes_sent_before_the_peer_closed_are_delivered() {
        for info in reactors().into_iter().filter(|info| info.unavailable.is_none()) {
            let reactor = Reactor::with(info.name).unwrap();
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let protocol = AccumulatingProtocol::new();
            let transport = reactor.adopt_stream_connection(ours, &protocol.factory()).unwrap();
            // The write is larger than the kernel's buffers, so the connection waits until it can send the rest.
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
