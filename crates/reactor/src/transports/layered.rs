//! The layer of one connection, and the bytes that wait for the layer. Nothing here uses the connection.

use std::fmt;
use std::io;

use ropewalk_proto::{Layer, LayerState, Outbox};

use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::Kernel;

/// The maximum number of bytes that a layer may leave untaken. The largest unit of a usual layer is smaller.
const HELD_MOST: usize = 1024 * 1024;

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

    pub(super) fn queued(&self) -> usize {
        self.wire.as_ref().map_or(0, |wire| wire.len())
    }

    /// Calls the layer with its held bytes and its queue.
    pub(super) fn ask<R>(
        &mut self,
        kernel: &Kernel,
        ask: impl FnOnce(&mut dyn Layer, &mut [u8], &mut Outbox) -> R,
    ) -> Option<R> {
        let mut wire = self.wire.take().unwrap_or_else(|| kernel.spare_outboxes.take());
        let answer = self.layer.as_mut().map(|layer| ask(&mut **layer, &mut self.held, &mut wire));
        match wire.is_empty() {
            true => kernel.spare_outboxes.keep(wire),
            false => self.wire = Some(wire),
        }
        self.state = self.layer.as_ref().map_or(self.state, |layer| layer.state());
        answer
    }

    /// Passes the held bytes and `received` to the layer, and holds the bytes that the layer does not take.
    pub(super) fn take_in(&mut self, kernel: &Kernel, received: &[u8], plain: &mut Outbox) -> io::Result<()> {
        self.held.extend_from_slice(received);
        self.is_held_new = false;
        let Some(taken) = self.ask(kernel, |layer, held, wire| layer.incoming(held, plain, wire)) else {
            return Ok(());
        };
        let taken = taken?;
        if taken > self.held.len() {
            return Err(io::Error::other("the layer took more bytes than it was given"));
        }
        self.held.drain(..taken);
        if taken == 0 && self.held.len() > HELD_MOST {
            return Err(io::Error::other(format!("the layer took none of {} bytes", self.held.len())));
        }
        if self.has(LayerState::PEER_ENDED) || self.held.is_empty() {
            // The buffer is dropped, so that an idle connection holds no memory.
            self.held = Vec::new();
        }
        Ok(())
    }
}
