//! The layer of one connection, and the bytes that wait for the layer. Nothing here uses the connection.

use std::fmt;
use std::io;

use ropewalk_proto::{Layer, LayerState, Outbox};

use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::Kernel;

/// The maximum number of bytes that a layer may leave untaken. The largest unit of a usual layer is smaller.
const HELD_MOST: usize = 1024 * 1024;

/// The alignment of received bytes in the loop's buffer: the usual size of a page.
const PAGE: usize = 4096;

/// Bytes from the socket in a buffer. They begin at `start`, so that held bytes fit in front of them.
pub(super) struct Arrived<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) start: usize,
}

impl Arrived<'_> {
    /// Returns no bytes, for a layer that gets its held bytes once more.
    pub(super) fn none() -> Arrived<'static> {
        Arrived { buffer: &mut [], start: 0 }
    }
}

/// The layer of one connection.
pub(super) struct Layered {
    name: &'static str,
    /// `None` once the connection has dropped the layer.
    layer: Option<Box<dyn Layer>>,
    /// Transformed bytes for the socket. `None` while there are no such bytes.
    pub(super) wire: Option<Box<Outbox>>,
    /// Whether `wire` has bytes that the protocol wrote, and not only bytes of the layer itself.
    pub(super) has_data: bool,
    /// Received bytes that the layer has not taken.
    pub(super) held: Vec<u8>,
    /// Whether `held` has bytes that the layer has not seen.
    pub(super) is_held_new: bool,
    /// Whether the callback that started the layer still runs. Bytes that this callback gives back go to the layer.
    pub(super) is_fresh: bool,
    /// Whether `layer_opened` was called.
    pub(super) is_reported_open: bool,
    /// The layer's state after the last call of the layer. That call ran under the guard, because a layer is user code.
    pub(super) state: LayerState,
    /// Whether the stream from the socket has ended.
    pub(super) has_socket_ended: bool,
    /// Whether the layer was asked to close this side.
    pub(super) has_closed: bool,
    /// Whether bytes from the layer are being delivered. A failed connection ends after that delivery.
    pub(super) is_delivering: bool,
    /// The error of a stream that ended without the layer's close. The connection ends when the protocol has read all
    /// bytes.
    pub(super) truncated: Option<Error>,
    /// The error of the layer. The connection is closed when the layer's final bytes have been sent.
    pub(super) failed: Option<Error>,
    /// The timer that closes the connection if the layer does not open in time, or if its final bytes are not sent in
    /// time.
    pub(super) timer: Option<DelayedCall>,
}

/// An error, and the name of the layer that returned it.
#[derive(Debug)]
struct LayerError {
    layer: &'static str,
    error: io::Error,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {:?}: {}", self.layer, self.error)
    }
}

impl std::error::Error for LayerError {
    /// Returns the layer's own error. `io::Error::source` would skip it.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.error.get_ref() {
            Some(own) => Some(own),
            None => Some(&self.error),
        }
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let _ = timer.cancel();
        }
    }
}

impl Layered {
    /// Creates the state of a layer that was just started.
    pub(super) fn new(layer: Box<dyn Layer>, held: Vec<u8>, wire: Option<Box<Outbox>>, timer: DelayedCall) -> Layered {
        Layered {
            name: layer.name(),
            layer: Some(layer),
            has_data: wire.is_some(),
            wire,
            is_held_new: !held.is_empty(),
            held,
            is_fresh: true,
            is_reported_open: false,
            state: LayerState::empty(),
            has_socket_ended: false,
            has_closed: false,
            is_delivering: false,
            truncated: None,
            failed: None,
            timer: Some(timer),
        }
    }

    /// Returns the reason for the end of a connection whose layer has failed with `error`.
    pub(super) fn lost(&self, error: io::Error) -> Error {
        let kind = error.kind();
        Error::lost(io::Error::new(kind, LayerError { layer: self.name, error }))
    }

    /// Keeps the error of the layer as the reason for the end of the connection. Only the first error is kept.
    pub(super) fn fail(&mut self, error: io::Error) {
        let reason = self.lost(error);
        self.failed.get_or_insert(reason);
    }

    /// Returns the layer, unless the connection has dropped it.
    pub(super) fn layer(&self) -> Option<&dyn Layer> {
        self.layer.as_deref()
    }

    /// Removes and returns the layer. The caller drops it under the guard, because the destructor of a layer is user
    /// code.
    pub(super) fn take_layer(&mut self) -> Option<Box<dyn Layer>> {
        self.layer.take()
    }

    /// Reports the end of the socket to the layer.
    pub(super) fn socket_ended(&mut self) -> io::Result<()> {
        let Some(layer) = &mut self.layer else { return Ok(()) };
        let ended = layer.incoming_ended(self.held.len());
        self.state = layer.state();
        ended
    }

    pub(super) fn has(&self, state: LayerState) -> bool {
        self.state.contains(state)
    }

    /// Whether the layer is open and neither end has begun to end.
    pub(super) fn is_steady(&self) -> bool {
        self.state == LayerState::OPEN && self.failed.is_none() && self.truncated.is_none() && !self.has_socket_ended
    }

    /// Whether the layer is steady, and neither the socket nor the layer nor the protocol waits for bytes or a call.
    pub(super) fn is_settled(&self) -> bool {
        self.is_steady() && self.is_reported_open && !self.is_held_new && !self.has_closed && self.wire.is_none()
    }

    pub(super) fn queued(&self) -> usize {
        self.wire.as_ref().map_or(0, |wire| wire.len())
    }

    /// Calls the layer with its held bytes and its queue.
    pub(super) fn ask<R>(
        &mut self,
        kernel: &Kernel,
        ask: impl FnOnce(&mut dyn Layer, &mut [u8], &mut Outbox) -> R,
    ) -> Option<R> {
        let mut held = std::mem::take(&mut self.held);
        let answer = self.ask_with(kernel, &mut held, ask);
        self.held = held;
        answer
    }

    fn ask_with<R>(
        &mut self,
        kernel: &Kernel,
        held: &mut [u8],
        ask: impl FnOnce(&mut dyn Layer, &mut [u8], &mut Outbox) -> R,
    ) -> Option<R> {
        let mut wire = self.wire.take().unwrap_or_else(|| kernel.spare_outboxes.take());
        let answer = self.layer.as_mut().map(|layer| ask(&mut **layer, held, &mut wire));
        match wire.is_empty() {
            true => kernel.spare_outboxes.keep(wire),
            false => self.wire = Some(wire),
        }
        self.state = self.layer.as_ref().map_or(self.state, |layer| layer.state());
        answer
    }

    /// Returns the place in a buffer of `length` bytes from which on bytes should be received. The held bytes fit in
    /// front of it, unless they are very many.
    pub(super) fn room_for_held(&self, length: usize) -> usize {
        let room = self.held.len().next_multiple_of(PAGE);
        if room <= length / 2 { room } else { 0 }
    }

    /// Passes the held bytes and `arrived` to the layer as one slice, and holds the bytes that the layer does not take.
    ///
    /// Usually nothing is held, and no received byte is copied. Otherwise the held bytes are copied in front of the
    /// received ones, because they are fewer.
    pub(super) fn take_in(&mut self, kernel: &Kernel, arrived: Arrived<'_>, plain: &mut Outbox) -> io::Result<()> {
        self.is_held_new = false;
        let Arrived { buffer, start } = arrived;
        let mut held = std::mem::take(&mut self.held);
        let outcome = match start.checked_sub(held.len()) {
            Some(begin) => {
                buffer[begin..start].copy_from_slice(&held);
                let all = &mut buffer[begin..];
                let outcome = self.show(kernel, all, plain);
                held.clear();
                held.extend_from_slice(&all[taken(&outcome)..]);
                outcome
            }
            None => {
                held.extend_from_slice(&buffer[start..]);
                let outcome = self.show(kernel, &mut held, plain);
                held.drain(..taken(&outcome));
                outcome
            }
        };
        self.held = held;
        if outcome? == 0 && self.held.len() > HELD_MOST {
            return Err(io::Error::other(format!("the layer took none of {} bytes", self.held.len())));
        }
        if self.has(LayerState::PEER_ENDED) || self.held.is_empty() {
            // The buffer is dropped, so that an idle connection holds no memory.
            self.held = Vec::new();
        }
        Ok(())
    }

    /// Shows received bytes to the layer. Returns the number of bytes that it has taken.
    fn show(&mut self, kernel: &Kernel, received: &mut [u8], plain: &mut Outbox) -> io::Result<usize> {
        let length = received.len();
        let taken = self.ask_with(kernel, received, |layer, received, wire| layer.incoming(received, plain, wire));
        match taken.unwrap_or(Ok(0))? {
            taken if taken > length => Err(io::Error::other("the layer took more bytes than it was given")),
            taken => Ok(taken),
        }
    }
}

/// Returns the number of bytes that are done with. A layer that fails takes none.
fn taken(outcome: &io::Result<usize>) -> usize {
    *outcome.as_ref().unwrap_or(&0)
}
