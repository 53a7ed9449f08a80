//! A layer between the bytes of a connection and its protocol: encryption, compression, a header in front.
//!
//! ```text
//!   socket -> received -> incoming -> plain bytes -> protocol
//!   socket <- queue    <- outgoing <- plain bytes <- protocol
//!
//!   opening -- the layers of both ends agree --> open -- the peer's close --> peer ended
//!                                                 |
//!                                                 +-- nothing left to do ----> done: the layer is removed
//! ```
//!
//! A layer does no I/O. The connection calls it with bytes, and it answers with bytes. Order of calls: `outgoing` at
//! the start, then `incoming` and `outgoing` in any order, `incoming_ended` and `close` at most once each.
//!
//! Four rules keep a layer simple:
//!
//! 1. The connection keeps the received bytes that a layer did not take, and passes them to every call.
//! 2. A separate call reports the end of the socket, and may fail: truncation is an error of the layer.
//! 3. A layer that fails queues its final bytes for the peer, such as a TLS alert, before it returns the error. The
//!    connection sends these bytes, and no bytes after them.
//! 4. A layer calls no user code, and does not use the transport of its own connection. A write to that transport
//!    panics.

use std::any::Any;
use std::io;

use bitflags::bitflags;

use crate::Outbox;

bitflags! {
    /// The progress of a [`Layer`].
    ///
    /// ```
    /// use ropewalk_proto::LayerState;
    ///
    /// let state = LayerState::OPEN | LayerState::PEER_ENDED;
    /// assert!(state.contains(LayerState::OPEN) && !state.contains(LayerState::DONE));
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LayerState: u8 {
        /// Plain bytes may pass. Before the layer is open, the connection keeps the bytes that the protocol writes.
        const OPEN = 1 << 0;
        /// The peer has ended its plain bytes in order. The protocol is notified as at the end of a stream. Bytes
        /// received after the peer's end are ignored, also if the layer is done.
        const PEER_ENDED = 1 << 1;
        /// The layer has nothing left to do. Once the layer is open and its own bytes have been sent, the connection
        /// removes it. Received bytes that the layer did not take are plain. Use this state for a layer that transforms
        /// only the start of a connection.
        const DONE = 1 << 2;
    }
}

/// Transforms the bytes of one connection, in both directions.
///
/// An error of a layer closes the connection. The reason that the protocol gets has the error's kind, begins with the
/// [`name`](Layer::name) of the layer, and has the error as its source.
///
/// The reactor calls the methods on its own thread, one at a time, with the bytes as arguments. A method may use other
/// objects as any callback may, but not the transport of its own connection.
///
/// ```
/// use std::any::Any;
/// use std::io;
/// use ropewalk_proto::{Layer, LayerState, Outbox};
///
/// /// Inverts each bit.
/// struct Inverter(LayerState);
///
/// impl Layer for Inverter {
///     fn incoming(&mut self, received: &mut [u8], plain: &mut Outbox, _queue: &mut Outbox) -> io::Result<usize> {
///         received.iter_mut().for_each(|byte| *byte = !*byte);
///         plain.write(received);
///         Ok(received.len())
///     }
///
///     fn incoming_ended(&mut self, _held: usize) -> io::Result<()> {
///         self.0 |= LayerState::PEER_ENDED;
///         Ok(())
///     }
///
///     fn outgoing(
///         &mut self,
///         _held: &mut [u8],
///         plain: &mut Outbox,
///         queue: &mut Outbox,
///         most: usize,
///     ) -> io::Result<()> {
///         while !plain.is_empty() && queue.len() < most {
///             let inverted: Vec<u8> = plain.front().iter().map(|byte| !byte).collect();
///             plain.advance(inverted.len());
///             queue.write(&inverted);
///         }
///         Ok(())
///     }
///
///     fn close(&mut self, _held: &mut [u8], _queue: &mut Outbox) {}
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
/// let mut layer = Inverter(LayerState::OPEN);
/// let (mut plain, mut queue) = (Outbox::new(), Outbox::new());
/// plain.write(&[0, 1]);
/// layer.outgoing(&mut [], &mut plain, &mut queue, 1024)?;
/// assert_eq!(queue.front(), [255, 254]);
/// assert_eq!(layer.name(), "Inverter");
/// # Ok::<(), io::Error>(())
/// ```
pub trait Layer {
    /// Takes complete units from the front of `received`, and returns the number of bytes taken.
    ///
    /// Appends the plain bytes of these units to `plain`, and answers for the peer to `queue`. The connection keeps the
    /// other bytes, and passes them again with the bytes that follow them. The layer may decode in place.
    ///
    /// # Errors
    /// If the bytes are not valid for the layer. Before the layer returns an error, it must have put its final bytes
    /// for the peer into `queue`.
    fn incoming(&mut self, received: &mut [u8], plain: &mut Outbox, queue: &mut Outbox) -> io::Result<usize>;

    /// Handles the end of the socket. `held` are the received bytes that the layer has not taken.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the peer has not ended in order.
    fn incoming_ended(&mut self, held: usize) -> io::Result<()>;

    /// Moves plain bytes to `queue` until at least `most` bytes are queued there, and appends the layer's own bytes: a
    /// greeting, an answer, new keys.
    ///
    /// A layer must not write to the transport of its own connection: such a write panics and so closes the connection.
    ///
    /// `plain` is empty until the layer is [`OPEN`](LayerState::OPEN). `held` are the received bytes that were not
    /// taken.
    ///
    /// # Errors
    /// If the layer cannot continue. Before the layer returns an error, it must have put its final bytes for the peer
    /// into `queue`.
    fn outgoing(&mut self, held: &mut [u8], plain: &mut Outbox, queue: &mut Outbox, most: usize) -> io::Result<()>;

    /// Appends the bytes that end this side in order. Called at most once, after the last plain byte.
    fn close(&mut self, held: &mut [u8], queue: &mut Outbox);

    /// Returns the progress of the layer.
    fn state(&self) -> LayerState;

    /// Returns the name that precedes the layer's errors. The default is the name of the layer's type, without the
    /// path.
    fn name(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        let without_parameters = name.split('<').next().unwrap_or(name);
        without_parameters.rsplit("::").next().unwrap_or(name)
    }

    /// Returns the layer itself, so that a caller that knows its type can ask it for details.
    fn as_any(&self) -> &dyn Any;
}
