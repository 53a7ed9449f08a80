//! The layer of one connection and the bytes that it holds. It knows no connection.

use std::fmt;
use std::io;

use ropewalk_proto::{Layer, LayerState, Outbox};

use crate::error::Error;
use crate::interfaces::time::DelayedCall;
use crate::kernel::Kernel;

/// The number of bytes that a layer may leave untaken. More than any unit of a usual layer.
const HELD_MOST: usize = 1024 * 1024;

/// The layer of one connection.
pub(super) struct Layered {
    name: &'static str,
    /// Absent once the connection has dropped it.
    layer: Option<Box<dyn Layer>>,
    /// Transformed bytes for the socket. Absent while there are none.
    pub(super) wire: Option<Box<Outbox>>,
    /// Received bytes that the layer has not taken.
    pub(super) held: Vec<u8>,
    /// The layer has not seen all of `held`.
    pub(super) is_held_new: bool,
    /// The callback that started the layer has not returned: bytes given back are the layer's.
    pub(super) is_fresh: bool,
    /// The protocol knows that the layer is open.
    pub(super) is_reported_open: bool,
    /// The layer's state after its last call, which ran under the guard.
    pub(super) state: LayerState,
    /// The socket has reached its end.
    pub(super) has_socket_ended: bool,
    /// The layer has closed this side.
    pub(super) has_closed: bool,
    /// The layer did not open within its limit.
    pub(super) is_late: bool,
    /// Bytes that the layer has just taken in are being delivered: a failed connection ends behind them.
    pub(super) is_delivering: bool,
    /// The error of an end without a close. The connection ends when the protocol has read everything.
    pub(super) truncated: Option<Error>,
    /// The error of the layer. The connection is closed when the last words have left.
    pub(super) failed: Option<Error>,
    /// Closes the connection if the layer does not open, or its last words do not leave, in time.
    pub(super) timer: Option<DelayedCall>,
}

/// An error and the name of the layer that made it.
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
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
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
    /// Makes the state of a layer that was just started.
    pub(super) fn new(layer: Box<dyn Layer>, held: Vec<u8>, wire: Option<Box<Outbox>>, timer: DelayedCall) -> Layered {
        Layered {
            name: layer.name(),
            layer: Some(layer),
            wire,
            is_held_new: !held.is_empty(),
            held,
            is_fresh: true,
            is_reported_open: false,
            state: LayerState::empty(),
            has_socket_ended: false,
            has_closed: false,
            is_late: false,
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

    /// Returns the layer, unless the connection has dropped it.
    pub(super) fn layer(&self) -> Option<&dyn Layer> {
        self.layer.as_deref()
    }

    /// Takes the layer out, to drop it under the guard: its destructor is user code.
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

    /// Shows the layer `received` behind the held bytes, and keeps what it does not take.
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
            // An idle connection holds nothing.
            self.held = Vec::new();
        }
        Ok(())
    }
}
