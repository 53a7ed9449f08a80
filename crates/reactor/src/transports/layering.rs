//! A connection with a [`Layer`] between its socket and its protocol.
//!
//! ```text
//!   receive -> held -> incoming -> delivered, or kept as unread while the protocol does not read
//!   write -> outbox (plain) -> outgoing -> wire -> send
//! ```
//!
//! A connection without a layer does not use this file: [`Stream::settle`] and `read` check one flag each. The layer is
//! never borrowed while a protocol runs.
//!
//! The ends of a layered connection:
//!
//! | happened | done | reported |
//! |---|---|---|
//! | `lose_connection` | the queue, the layer's close, FIN; lingers | `ConnectionDone`, without waiting for the peer's close |
//! | `end` | the layer's close if the socket takes it at once, FIN; lingers | the caller's reason |
//! | `lose_write_connection` | the queue, the layer's close, no FIN | `write_connection_lost` |
//! | close by the peer's layer | all data, then `read_connection_lost` | as an end of file |
//! | end of file without that | all data | `ConnectionLost(UnexpectedEof)` |
//! | the layer fails | its final bytes, all data, FIN; lingers | `ConnectionLost` with the layer's error |
//! | a write fails | all data | `ConnectionLost`: the layer's error if it fails on the last bytes, else the write's |
//! | a write fails behind a close by the peer's layer | all data | `ConnectionDone` if the queue was empty |
//! | not open within the limit | reset | `ConnectionLost(TimedOut)` |
//! | the run ends | the layer's close, or its final bytes if it fails, if the socket takes them at once | `ConnectionLost`: the layer's error if it has failed |

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Layer, LayerState, Outbox, Step};
use ropewalk_sys::{Received, Sent};

use super::Transport;
use super::closing::Closing;
use super::flags::Flags;
use super::layered::{Arrived, Layered};
use super::share::{BYTES_PER_TURN, PIECES_PER_TURN, READS_PER_TURN};
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Kernel};

/// The maximum number of transformed bytes that wait for the socket. Further bytes stay plain, so that the layer can
/// put more of them into one unit.
const WIRE_MOST: usize = 64 * 1024;

/// The time limit for sending the final bytes of a failed layer.
const FINAL_BYTES_LIMIT: Duration = Duration::from_secs(5);

impl Transport {
    /// Puts `layer` between this connection and its protocol. If the layer does not open within
    /// `limit`, the connection is reset and ends with [`Error::ConnectionLost`].
    ///
    /// Bytes written before this call are sent unchanged. From now on the layer gets the received bytes, and bytes that
    /// the protocol writes wait until the layer is open. When it opens,
    /// [`Protocol::layer_opened`](crate::Protocol::layer_opened) is called. If bytes of the layer have already been
    /// delivered, the callback that starts the layer gives them back with [`unread`](Transport::unread). The receivers
    /// of `protocols::basic` give their undelivered bytes back by themselves.
    ///
    /// `lose_connection` sends all written bytes and the layer's close, and does not wait for the peer's close.
    /// `lose_write_connection` also sends all written bytes and the layer's close, but the socket stays open. May be
    /// called from any callback, and from outside.
    ///
    /// ```
    /// use std::any::Any;
    /// use std::io;
    /// use std::time::Duration;
    /// use ropewalk::prelude::*;
    /// use ropewalk::proto::{Layer, LayerState, Outbox};
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// /// Consumes one line, and is done.
    /// struct Preamble(LayerState);
    ///
    /// impl Layer for Preamble {
    ///     fn incoming(&mut self, received: &mut [u8], _: &mut Outbox, _: &mut Outbox) -> io::Result<usize> {
    ///         let Some(end) = received.iter().position(|&byte| byte == b'\n') else { return Ok(0) };
    ///         self.0 = LayerState::OPEN | LayerState::DONE;
    ///         Ok(end + 1)
    ///     }
    ///
    ///     fn incoming_ended(&mut self, _: usize) -> io::Result<()> {
    ///         Err(io::ErrorKind::UnexpectedEof.into())
    ///     }
    ///
    ///     fn outgoing(&mut self, _: &mut [u8], _: &mut Outbox, _: &mut Outbox, _: usize) -> io::Result<()> {
    ///         Ok(())
    ///     }
    ///
    ///     fn close(&mut self, _: &mut [u8], _: &mut Outbox) {}
    ///
    ///     fn state(&self) -> LayerState {
    ///         self.0
    ///     }
    ///
    ///     fn as_any(&self) -> &dyn Any {
    ///         self
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// let transport = server.transport().expect("it is connected");
    /// transport.start_layer(Box::new(Preamble(LayerState::empty())), Duration::from_secs(5))?;
    /// client.write(b"a preamble\nhello");
    /// net.settle();
    /// assert_eq!(server.data(), b"hello");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection. [`Error::Io`] if the connection already has a layer or has
    /// descriptors to send, or if one of its directions has ended.
    pub fn start_layer(&self, layer: Box<dyn Layer>, limit: Duration) -> Result<()> {
        self.0.start_layer(layer, limit)
    }

    /// Calls `ask` with the layer, which `ask` can downcast to its type. Returns `None` if there is no layer.
    ///
    /// `ask` must not use this transport. May be called from any callback.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// assert!(transport.with_layer(|_| ()).is_none());
    /// ```
    pub fn with_layer<R>(&self, ask: impl FnOnce(&dyn Any) -> R) -> Option<R> {
        let layered = self.0.layered()?;
        let layered = layered.borrow();
        layered.layer().map(|layer| ask(layer.as_any()))
    }

    /// Returns a function that makes the connection pass its held bytes to the layer once more.
    ///
    /// For a layer that waits for something else than bytes of the peer. The function may be called from any callback,
    /// and does nothing after the end of the connection.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let wake = StringTransport::new().layer_waker();
    /// wake();
    /// ```
    pub fn layer_waker(&self) -> impl Fn() + use<> {
        let weak = Rc::downgrade(&self.0);
        move || {
            if let Some(stream) = weak.upgrade() {
                stream.wake_layer();
            }
        }
    }
}

impl Stream {
    fn layered(&self) -> Option<Rc<RefCell<Layered>>> {
        if !self.has(Flags::LAYERED) {
            return None;
        }
        self.rare(|rare| rare.layered.clone())
    }

    /// Whether the connection has a layer for which `is` is true.
    fn layer_is(&self, is: impl FnOnce(&Layered) -> bool) -> bool {
        self.layered().is_some_and(|layered| is(&layered.borrow()))
    }

    fn start_layer(self: &Rc<Stream>, layer: Box<dyn Layer>, limit: Duration) -> Result<()> {
        let kernel = self.reactor.upgrade().filter(|_| !self.state().is_lost()).ok_or(Error::Closed)?;
        if self.has(Flags::LAYERED) {
            return Err(Error::io("cannot start a second layer")(io::ErrorKind::AlreadyExists.into()));
        }
        if self.state().is_read_ended() || !self.state().may_send() {
            return Err(Error::io("cannot start a layer on a half-closed connection")(
                io::ErrorKind::NotConnected.into(),
            ));
        }
        if self.has(Flags::DESCRIPTORS) {
            let message = "it has descriptors to send, which a layer cannot carry";
            let error = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Err(Error::io("cannot start a layer on a connection")(error));
        }
        let held = self.inbound.take_unread(&self.flags).unwrap_or_default();
        let timer = self.later(&kernel, limit, Stream::open_too_late);
        // Bytes written before the layer was started are sent unchanged.
        let wire = self.outbound.take_outbox().filter(|outbox| !outbox.is_empty());
        let layered = Layered::new(layer, held, wire, timer);
        self.rare(|rare| rare.layered = Some(Rc::new(RefCell::new(layered))));
        self.mark(Flags::LAYERED, true);
        self.settle_soon(&kernel);
        Ok(())
    }

    fn wake_layer(self: &Rc<Stream>) {
        let (Some(kernel), Some(layered)) = (self.reactor.upgrade(), self.layered()) else { return };
        // A layer that is running wakes itself. The bytes that it holds are passed to it when it has returned.
        if let Ok(mut layered) = layered.try_borrow_mut() {
            layered.is_held_new = true;
        }
        self.settle_soon(&kernel);
    }

    fn open_too_late(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let Some(layered) = self.layered() else { return };
        let reason = layered.borrow().lost(io::Error::new(io::ErrorKind::TimedOut, "did not open within its limit"));
        // No sent bytes are left that the peer should still read.
        self.end_by(kernel, Closing::Reset, reason);
    }

    /// Whether the callback that started the layer still runs.
    pub(super) fn has_fresh_layer(&self) -> bool {
        self.layer_is(|layered| layered.is_fresh)
    }

    /// Puts bytes that a protocol gave back in front of the bytes that wait for the fresh layer.
    pub(super) fn give_to_layer(&self, bytes: &[u8]) {
        if let Some(layered) = self.layered() {
            let mut layered = layered.borrow_mut();
            layered.held.splice(..0, bytes.iter().copied()).for_each(drop);
            layered.is_held_new = true;
        }
    }

    /// Returns the number of transformed bytes that wait for the socket.
    #[cold]
    pub(super) fn wire_queued(&self) -> usize {
        self.layered().map_or(0, |layered| layered.borrow().queued())
    }

    /// Whether the peer has closed its side of the socket, and not only its layer.
    pub(super) fn has_socket_ended(&self) -> bool {
        match self.layered() {
            Some(layered) => layered.borrow().has_socket_ended,
            None => self.state().is_read_ended(),
        }
    }

    fn has_open_layer(&self) -> bool {
        self.layer_is(|layered| layered.has(LayerState::OPEN))
    }

    /// Whether a layer has failed, so that the peer should receive its final bytes.
    pub(super) fn has_failed_layer(&self) -> bool {
        self.layer_is(|layered| layered.failed.is_some())
    }

    /// Whether the layer wants bytes from the socket.
    fn layer_reads(&self, layered: &Layered) -> bool {
        let ended = layered.has_socket_ended || layered.failed.is_some();
        // Bytes behind a layer that is done are read as plain bytes, once the layer's own bytes have been sent.
        let stops = ended || layered.has(LayerState::PEER_ENDED) || layered.has(LayerState::DONE);
        if stops || self.has(Flags::IN_CALLBACK) || self.has(Flags::BROKEN) {
            return false;
        }
        // A handshake continues even while the protocol has paused reading or has called `lose_connection`. The limit
        // keeps a peer that reads no answers from filling the memory.
        let shakes_hands = !layered.has(LayerState::OPEN) && layered.queued() <= self.outbound.watermarks().0;
        shakes_hands || layered.has(LayerState::OPEN) && self.reads()
    }

    /// Receives for the layer, up to this connection's share of the turn.
    #[inline(never)]
    pub(super) fn read_layered(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport, scratch: &mut [u8]) {
        if self.has_fresh_layer() && !self.has(Flags::IN_CALLBACK) {
            // The layer may have bytes to send before it receives any.
            self.settle(kernel);
        }
        let mut bytes = 0;
        for _ in 0..READS_PER_TURN {
            let Some(layered) = self.layered() else { break };
            if self.has(Flags::UNREAD) && self.reads() {
                self.deliver_unread(kernel, transport);
                self.finish_reading(kernel, transport);
                continue;
            }
            let reads = self.layer_reads(&layered.borrow());
            if !reads {
                return self.disarm(kernel);
            }
            if bytes >= BYTES_PER_TURN {
                return;
            }
            if std::mem::take(&mut layered.borrow_mut().is_held_new) {
                self.take_in(kernel, transport, Arrived::none());
                continue;
            }
            let start = layered.borrow().room_for_held(scratch.len());
            match kernel.receive(self.key, &mut scratch[start..]) {
                Ok(Received::Drained(count)) => {
                    return self.take_in(kernel, transport, Arrived { buffer: &mut scratch[..start + count], start });
                }
                Ok(Received::Filled(count)) => {
                    bytes += count;
                    self.take_in(kernel, transport, Arrived { buffer: &mut scratch[..start + count], start });
                }
                Ok(Received::Lent(chunk)) => {
                    bytes += chunk.len();
                    self.take_in_chunk(kernel, transport, &chunk, scratch, start);
                }
                Ok(Received::Empty) => return,
                Ok(Received::Eof) => return self.socket_ended(kernel, transport),
                Err(error) => return self.end(kernel, Error::lost(error)),
            }
        }
        if bytes == 0 && !self.state().is_lost() {
            // The reported bytes were not read. Settling arms the reports again.
            self.disarm(kernel);
            self.settle_soon(kernel);
        }
    }

    /// Passes received bytes to the layer, and delivers the plain bytes that the layer returns.
    fn take_in(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport, arrived: Arrived<'_>) {
        let Some(layered) = self.layered() else { return };
        let mut plain = kernel.spare_outboxes.take();
        let take_in = || layered.borrow_mut().take_in(kernel, arrived, &mut plain);
        match guard_layer(kernel, take_in) {
            Ok(Ok(())) => {}
            // The failure is recorded before the delivery. Otherwise bytes that the protocol writes could follow the
            // final bytes.
            Ok(Err(error)) => self.fail_layer(kernel, error),
            Err(panicked) => return self.end(kernel, panicked),
        }
        layered.borrow_mut().is_delivering = !plain.is_empty();
        self.report_open(kernel, transport, &layered);
        let is_delivered = self.deliver_plain(kernel, transport, &mut plain);
        layered.borrow_mut().is_delivering = false;
        plain.clear();
        kernel.spare_outboxes.keep(plain);
        if is_delivered && layered.borrow().is_steady() && !self.has(Flags::BROKEN) {
            // The connection settled when the delivery returned, and nothing waits for the end of the delivery.
            return;
        }
        if !self.has_failed_layer() {
            self.finish_reading(kernel, transport);
        }
        self.settle(kernel);
        // Once the layer is done, the bytes that follow are plain.
        if !self.has(Flags::LAYERED) && self.reads() {
            self.deliver_unread(kernel, transport);
        }
    }

    /// Passes bytes that the provider lends to the layer. They are copied, because a layer may decode in place.
    fn take_in_chunk(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        transport: &Transport,
        chunk: &[u8],
        scratch: &mut [u8],
        start: usize,
    ) {
        match scratch.get_mut(..start + chunk.len()) {
            Some(buffer) => {
                buffer[start..].copy_from_slice(chunk);
                self.take_in(kernel, transport, Arrived { buffer, start });
            }
            None => self.take_in(kernel, transport, Arrived { buffer: &mut chunk.to_vec(), start: 0 }),
        }
    }

    fn report_open(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport, layered: &RefCell<Layered>) {
        let timer = {
            let mut layered = layered.borrow_mut();
            if layered.is_reported_open || !layered.has(LayerState::OPEN) {
                return;
            }
            layered.is_reported_open = true;
            layered.timer.take()
        };
        if let Some(timer) = timer {
            let _ = timer.cancel();
        }
        self.call(kernel, |protocol| protocol.layer_opened(transport));
    }

    /// Returns whether all bytes were delivered, and the connection has settled since.
    fn deliver_plain(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport, plain: &mut Outbox) -> bool {
        if let Some(all) = plain.one_segment() {
            return self.deliver_or_keep(kernel, transport, all);
        }
        let mut is_delivered = false;
        while let Some(chunk) = plain.take_chunk() {
            is_delivered = self.deliver_or_keep(kernel, transport, &chunk);
        }
        is_delivered
    }

    /// Returns whether the bytes were delivered at once.
    fn deliver_or_keep(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport, data: &[u8]) -> bool {
        if data.is_empty() || self.state().is_lost() {
            return false;
        }
        let is_next = self.reads() && !self.has(Flags::UNREAD);
        if is_next && !self.flags.get().intersects(Flags::TAILORED) {
            self.deliver(kernel, transport, data);
            return true;
        }
        self.keep_received(data);
        if is_next {
            self.deliver_pieces(kernel, transport);
        }
        false
    }

    fn socket_ended(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        let Some(layered) = self.layered() else { return };
        {
            let mut layered = layered.borrow_mut();
            layered.has_socket_ended = true;
            let early = !layered.has(LayerState::OPEN);
            let ended = guard_layer(kernel, || layered.socket_ended());
            let ended = ended.unwrap_or_else(|panicked| Err(io::Error::other(panicked.to_string())));
            let ended = ended.and_then(|()| if early { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
            layered.truncated = ended.err().map(|error| layered.lost(error));
        }
        self.finish_reading(kernel, transport);
        self.settle(kernel);
    }

    /// Reports the end of the received stream, after the data that waits for the protocol.
    pub(super) fn finish_reading(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        // A broken connection ends with the error of its failed write.
        let Some(layered) = self.layered().filter(|_| !self.has(Flags::BROKEN)) else { return };
        let (has_ended, lost) = {
            let mut layered = layered.borrow_mut();
            let (is_open, peer_ended) = (layered.has(LayerState::OPEN), layered.has(LayerState::PEER_ENDED));
            if self.has(Flags::UNREAD) || is_open && self.state().is_open() && !self.reads() {
                return;
            }
            let has_ended = peer_ended || layered.has_socket_ended;
            let truncated = layered.truncated.take();
            let ends_early = || (has_ended && !is_open).then(|| layered.lost(io::ErrorKind::UnexpectedEof.into()));
            (has_ended, truncated.or_else(ends_early))
        };
        match lost {
            Some(reason) => self.end(kernel, reason),
            None if has_ended && self.state().is_open() && !self.state().is_read_ended() => {
                self.end_of_file(kernel, transport);
            }
            None => {}
        }
    }

    /// Keeps `error` until the layer's final bytes have been sent.
    fn fail_layer(self: &Rc<Stream>, kernel: &Rc<Kernel>, error: io::Error) {
        let Some(layered) = self.layered().filter(|_| !self.state().is_lost()) else { return };
        let timer = self.later(kernel, FINAL_BYTES_LIMIT, Stream::drop_final_bytes);
        let mut layered = layered.borrow_mut();
        if let Some(opening) = layered.timer.replace(timer) {
            let _ = opening.cancel();
        }
        layered.fail(error);
    }

    fn drop_final_bytes(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        self.drop_wire();
        self.settle_soon(kernel);
    }

    pub(super) fn drop_wire(&self) {
        if let Some(layered) = self.layered() {
            layered.borrow_mut().wire = None;
        }
    }

    /// Closes a failed connection when the final bytes have been sent and the protocol has read all bytes.
    fn end_behind_final_bytes(self: &Rc<Stream>, kernel: &Rc<Kernel>, reason: Error) {
        let has_unread = self.has(Flags::UNREAD) && self.state().is_open();
        if !self.is_layer_delivering() && !has_unread && self.wire_queued() == 0 {
            // The peer should receive the layer's final bytes.
            return self.end_by(kernel, Closing::InOrder, reason);
        }
        if has_unread && self.reads() {
            self.deliver_soon(kernel);
        }
        self.set_armed(kernel, false);
    }

    /// Returns the layer's error, if it has failed.
    pub(super) fn layer_failure(&self) -> Option<Error> {
        self.layered().and_then(|layered| layered.borrow().failed.clone())
    }

    /// Brings the provider up to date, as `settle` does without a layer.
    #[inline(never)]
    pub(super) fn settle_layered(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let Some(layered) = self.layered() else { return };
        layered.borrow_mut().is_fresh = false;
        if self.has(Flags::BROKEN) {
            return self.settle_broken(kernel);
        }
        if self.state().is_ending() {
            self.drop_queue(kernel);
            self.close_layer_at_once(kernel);
            return self.end_as_asked(kernel);
        }
        for _ in 0..PIECES_PER_TURN {
            self.transform_and_send(kernel, &layered);
            let is_settled = self.is_settled_with(&layered.borrow());
            if is_settled || !self.finish_flush(kernel) {
                return;
            }
            if self.state().is_aborting() {
                return self.end_by(kernel, Closing::Reset, Error::ConnectionAborted);
            }
            if let Some(reason) = self.layer_failure() {
                return self.end_behind_final_bytes(kernel, reason);
            }
            if !self.has(Flags::PRODUCER) || !self.balance_producer(kernel) {
                return self.take_layered_step(kernel);
            }
        }
        self.settle_soon(kernel);
    }

    /// Whether no work is left: everything was sent, and nothing waits for the layer or the protocol. This is true after
    /// most callbacks.
    fn is_settled_with(&self, layered: &Layered) -> bool {
        let flags = self.flags.get().difference(Flags::LAYERED);
        flags.are_settled() && layered.is_settled() && self.outbound.queued() == 0
    }

    /// Transforms and sends until no more bytes can be transformed or sent.
    fn transform_and_send(self: &Rc<Stream>, kernel: &Rc<Kernel>, layered: &RefCell<Layered>) {
        while self.transform(kernel, layered) && layered.borrow().queued() > 0 {
            let state = self.state();
            if !self.flags.get().send() || !(state.is_open() || state.is_losing()) || !self.send_wire(kernel, layered) {
                break;
            }
            // The layer had no more bytes to transform, so it need not be called again.
            if self.outbound.queued() == 0 {
                break;
            }
        }
    }

    /// Makes the layer transform the bytes that the protocol wrote. Returns whether the connection is still open.
    fn transform(self: &Rc<Stream>, kernel: &Rc<Kernel>, layered: &RefCell<Layered>) -> bool {
        let (is_open, has_closed) = {
            let layered = layered.borrow();
            if layered.failed.is_some() {
                return true;
            }
            (layered.has(LayerState::OPEN), layered.has_closed)
        };
        if has_closed {
            // No bytes may follow the layer's close.
            self.drop_queue(kernel);
        }
        let own = if is_open { self.outbound.take_outbox() } else { None };
        let mut plain = own.unwrap_or_else(|| kernel.spare_outboxes.take());
        let queued = plain.len();
        let transform =
            || layered.borrow_mut().ask(kernel, |layer, held, wire| layer.outgoing(held, &mut plain, wire, WIRE_MOST));
        let outcome = guard_layer(kernel, transform);
        layered.borrow_mut().has_data |= plain.len() < queued;
        match plain.is_empty() {
            true => kernel.spare_outboxes.keep(plain),
            false => self.outbound.put_outbox(plain),
        }
        match outcome {
            Ok(None | Some(Ok(()))) => true,
            Ok(Some(Err(error))) => {
                self.fail_layer(kernel, error);
                true
            }
            Err(panicked) => {
                self.end(kernel, panicked);
                false
            }
        }
    }

    /// Hands the transformed bytes to the provider. Returns whether all of them were sent.
    fn send_wire(self: &Rc<Stream>, kernel: &Rc<Kernel>, layered: &RefCell<Layered>) -> bool {
        let Some(mut wire) = layered.borrow_mut().wire.take() else { return true };
        let sent = kernel.streams(|streams| streams.send(self.send_key, &mut wire));
        if let Ok(Ok(Sent::All)) = sent {
            layered.borrow_mut().has_data = false;
            kernel.spare_outboxes.keep(wire);
            return true;
        }
        layered.borrow_mut().wire = Some(wire);
        match sent {
            Ok(Err(error)) => self.lose_layered(kernel, Error::lost(error)),
            Ok(Ok(_)) => self.mark(Flags::BLOCKED, true),
            Err(_away) => self.settle_soon(kernel),
        }
        false
    }

    /// Handles a failed write. A failure to send only the layer's close is ignored, because a peer that has closed may
    /// be gone.
    pub(super) fn lose_layered(self: &Rc<Stream>, kernel: &Rc<Kernel>, reason: Error) {
        if self.has_failed_layer() {
            return self.drop_final_bytes(kernel);
        }
        let is_clean = self.has_peer_ended_layer() && self.outbound.queued() == 0;
        if self.outbound.queued() == 0 && !self.layer_is(|layered| layered.has_data) {
            // The close of the peer may be among the bytes that have arrived.
            self.outbound.loses_nothing();
        }
        self.outbound.broke(if is_clean { Error::ConnectionDone } else { reason }, &self.flags);
    }

    fn take_layered_step(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        match self.next_step() {
            // `settle_layered` has handled a request to end.
            Step::Stay | Step::End => self.arm_layered(kernel),
            Step::Abort => self.end_by(kernel, Closing::Reset, Error::ConnectionAborted),
            Step::Close if self.close_layer(kernel) => {
                self.end_by(kernel, Closing::InOrder, Error::ConnectionDone);
            }
            Step::ShutdownWrite if !self.has_open_layer() => self.arm_layered(kernel),
            Step::ShutdownWrite => self.shut_down_layer(kernel),
            // The layer's close is queued.
            Step::Close => {}
        }
    }

    /// Makes the layer close this side. Returns whether all bytes have been sent.
    fn close_layer(self: &Rc<Stream>, kernel: &Rc<Kernel>) -> bool {
        self.queue_close(kernel);
        if let Some(layered) = self.layered() {
            self.transform_and_send(kernel, &layered);
        }
        self.finish_flush(kernel) && self.wire_queued() == 0
    }

    /// Sends the layer's close at the end of a run or of a connection, if the socket takes it at once. A layer that
    /// fails while it transforms the last bytes does not close: its final bytes are sent instead.
    pub(super) fn close_layer_at_once(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let Some(layered) = self.layered() else { return };
        let may_close = self.flags.get().send() && self.has_open_layer() && !self.has_failed_layer();
        if !may_close || !self.transform(kernel, &layered) {
            return;
        }
        if !self.has_failed_layer() {
            if self.outbound.queued() > 0 {
                return;
            }
            self.queue_close(kernel);
        }
        self.send_wire(kernel, &layered);
    }

    /// Makes the layer close this side, once.
    fn queue_close(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let Some(layered) = self.layered() else { return };
        if !std::mem::replace(&mut layered.borrow_mut().has_closed, true) {
            let close = || layered.borrow_mut().ask(kernel, |layer, held, wire| layer.close(held, wire));
            if let Err(panicked) = guard_layer(kernel, close) {
                self.end(kernel, panicked);
            }
        }
    }

    /// Panics if the layer itself is running. Bytes that it writes would overtake bytes that it transforms.
    pub(super) fn assert_layer_is_idle(&self) {
        let is_running = self.layered().is_some_and(|layered| layered.try_borrow().is_err());
        assert!(!is_running, "a layer wrote to its own connection: it must append to `queue` instead");
    }

    /// Shuts down the sending direction of the layer. The socket's sending direction stays open, because the layer may
    /// still have to answer the peer.
    fn shut_down_layer(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let mut state = self.state();
        state.write_ended();
        self.set_state(state);
        self.close_layer(kernel);
        if self.has(Flags::BROKEN) {
            return;
        }
        let transport = Transport(self.clone());
        self.call(kernel, |protocol| protocol.write_connection_lost(&transport));
    }

    /// Makes the provider report readability exactly while the layer reads.
    fn arm_layered(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        if self.remove_done_layer(kernel) {
            return self.settle_soon(kernel);
        }
        let Some(layered) = self.layered() else { return };
        let (wanted, waits) = {
            let layered = layered.borrow();
            let wanted = self.layer_reads(&layered);
            let has_end = layered.truncated.is_some() || layered.has(LayerState::PEER_ENDED);
            let ended = has_end && self.state().is_open() && !self.state().is_read_ended();
            (wanted, wanted && layered.is_held_new || self.reads() && (self.has(Flags::UNREAD) || ended))
        };
        if waits || self.has_unreported_layer() {
            self.deliver_soon(kernel);
        }
        self.set_armed(kernel, wanted);
    }

    /// Removes a layer that is done, once its bytes have been sent. The bytes that it has not taken are plain.
    pub(super) fn remove_done_layer(&self, kernel: &Kernel) -> bool {
        let Some(layered) = self.layered() else { return false };
        let mut layered = layered.borrow_mut();
        if !layered.has(LayerState::DONE)
            || layered.has(LayerState::PEER_ENDED)
            || !layered.is_reported_open
            || layered.wire.is_some()
            || layered.has_socket_ended
            || layered.is_delivering
        {
            return false;
        }
        let held = std::mem::take(&mut layered.held);
        drop(layered);
        self.drop_layer(kernel);
        self.inbound.keep(&held, &self.flags);
        if !self.state().may_send() && self.state().is_open() {
            // The layer has closed this side, so no more bytes can follow.
            let _ = self.end_output(kernel);
        }
        true
    }

    /// Passes the last bytes of the peer to the layer, and keeps the plain bytes that the layer returns.
    pub(super) fn pass_to_layer(self: &Rc<Stream>, kernel: &Rc<Kernel>, received: &mut [u8]) {
        let Some(layered) = self.layered() else { return };
        let mut plain = kernel.spare_outboxes.take();
        let arrived = Arrived { buffer: received, start: 0 };
        let take_in = || layered.borrow_mut().take_in(kernel, arrived, &mut plain);
        let outcome = guard_layer(kernel, take_in);
        self.drop_wire();
        while let Some(chunk) = plain.take_chunk() {
            self.keep_received(&chunk);
        }
        kernel.spare_outboxes.keep(plain);
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => layered.borrow_mut().fail(error),
            Err(panicked) => self.end(kernel, panicked),
        }
    }

    /// Passes the held bytes that are new to the layer. Returns whether there were any.
    pub(super) fn pass_held_to_layer(self: &Rc<Stream>, kernel: &Rc<Kernel>) -> bool {
        let layered = self.layered();
        let is_new = layered.is_some_and(|layered| std::mem::take(&mut layered.borrow_mut().is_held_new));
        if is_new {
            self.pass_to_layer(kernel, &mut []);
        }
        is_new
    }

    /// Whether bytes from the layer are being delivered. The connection settles afterwards.
    pub(super) fn is_layer_delivering(&self) -> bool {
        self.layer_is(|layered| layered.is_delivering)
    }

    /// Whether the layer is open, but `layer_opened` was not called yet.
    pub(super) fn has_unreported_layer(&self) -> bool {
        self.layer_is(|layered| layered.has(LayerState::OPEN) && !layered.is_reported_open)
    }

    /// Whether the layer takes no more bytes of the peer.
    pub(super) fn has_layer_ended(&self) -> bool {
        self.layer_is(|layered| {
            layered.failed.is_some() || layered.has_socket_ended || layered.has(LayerState::PEER_ENDED)
        })
    }

    /// Returns whether the peer has closed the layer.
    pub(super) fn has_peer_ended_layer(&self) -> bool {
        self.layer_is(|layered| layered.has(LayerState::PEER_ENDED))
    }

    /// Notes that nothing more is read from the socket.
    pub(super) fn note_end_of_socket(&self) {
        if let Some(layered) = self.layered() {
            layered.borrow_mut().has_socket_ended = true;
        }
    }

    /// Drops the layer. Its destructor is user code.
    pub(super) fn drop_layer(&self, kernel: &Kernel) {
        if self.has(Flags::LAYERED) {
            self.mark(Flags::LAYERED, false);
            let layered = self.rare(|rare| rare.layered.take());
            let layer = layered.and_then(|layered| layered.borrow_mut().take_layer());
            let _ = guard_layer(kernel, || drop(layer));
        }
    }

    /// Continues with bytes that the layer or the connection holds, without an event of the socket.
    pub(super) fn continue_layered(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        // The connection settles after the callback, and then calls this function again.
        if self.has(Flags::IN_CALLBACK) {
            return;
        }
        let Some(layered) = self.layered() else { return };
        self.report_open(kernel, transport, &layered);
        if self.has(Flags::UNREAD) && self.reads() {
            self.deliver_unread(kernel, transport);
        }
        let is_new = self.layered().is_some_and(|layered| {
            let mut layered = layered.borrow_mut();
            self.layer_reads(&layered) && std::mem::take(&mut layered.is_held_new)
        });
        if is_new {
            return self.take_in(kernel, transport, Arrived::none());
        }
        self.finish_reading(kernel, transport);
        if !self.state().is_lost() {
            self.settle(kernel);
        }
    }
}

/// Calls the layer, which is user code.
fn guard_layer<R>(kernel: &Kernel, call: impl FnOnce() -> R) -> Result<R> {
    kernel.guard(CallbackKind::Protocol, "layer", call)
}
