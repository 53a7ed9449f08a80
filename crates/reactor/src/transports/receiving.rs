//! Connections that choose where they receive, how much at a time, or with descriptors.
//!
//! ```text
//!   receive -> the protocol's memory -> buffer_filled          the protocol is buffered
//!   receive -> shared buffer, cut to the read size -> data_received
//!   receive with descriptors -> `descriptors.rs`                the protocol takes descriptors
//!   bytes that are here already -> copied, or cut into pieces  given back, lent by the provider, or from a layer
//! ```
//!
//! The part of such bytes that one callback does not take becomes unread before the callback runs. So bytes that the
//! callback gives back precede it, and a layer that the callback starts gets it.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use ropewalk_sys::Received;

use super::Transport;
use super::flags::Flags;
use super::share::PIECES_PER_TURN;
use super::stream::Stream;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::protocols::BufferedProtocol;

impl Transport {
    /// Sets the largest number of bytes that the protocol gets in one call: at least 1, and at most 128 KiB, which is
    /// the default. Other numbers are brought into this range.
    ///
    /// A smaller size gives other connections their turn sooner, and costs more calls for the same number of bytes. May
    /// be called from any callback, and applies from the next call on.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().expect("it is connected").set_read_size(4);
    /// client.write(b"four by four");
    /// net.settle();
    /// assert_eq!(server.data(), b"four by four");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_read_size(&self, most: usize) {
        if self.is_connected() {
            self.0.inbound.set_read_size(most, &self.0.flags);
        }
    }
}

impl Stream {
    /// Receives once, into the protocol's memory or up to the read size, and delivers. Returns the number of bytes if
    /// more may be there.
    #[inline(never)]
    pub(super) fn receive_tailored(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        transport: &Transport,
        scratch: &mut [u8],
    ) -> Option<usize> {
        if self.has(Flags::TAKES_DESCRIPTORS) {
            return self.receive_with_descriptors(kernel, transport, scratch);
        }
        if self.has(Flags::BUFFERED) {
            if let Some(attempt) = self.receive_into_protocol(kernel, transport) {
                return attempt;
            }
        }
        let most = self.inbound.read_size().min(scratch.len());
        match kernel.receive(self.key, &mut scratch[..most]) {
            Ok(Received::Filled(count)) => {
                self.deliver(kernel, transport, &scratch[..count]);
                Some(count)
            }
            Ok(Received::Drained(count)) => {
                self.deliver(kernel, transport, &scratch[..count]);
                None
            }
            Ok(Received::Lent(chunk)) => {
                self.keep_received(&chunk);
                self.deliver_pieces(kernel, transport);
                Some(chunk.len())
            }
            other => self.received_no_bytes(kernel, transport, other),
        }
    }

    pub(super) fn received_no_bytes(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        transport: &Transport,
        received: io::Result<Received>,
    ) -> Option<usize> {
        match received {
            Ok(Received::Eof) => self.end_of_file(kernel, transport),
            Ok(_) => {}
            Err(error) => self.end(kernel, Error::lost(error)),
        }
        None
    }

    /// Receives once into the memory that the protocol returns. Returns `None` if the protocol has none this time, and
    /// otherwise what `receive_tailored` returns.
    fn receive_into_protocol(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) -> Option<Option<usize>> {
        let mut attempt = None;
        let mut nothing = None;
        self.call(kernel, |protocol| {
            let Some(protocol) = protocol.buffered() else { return };
            let memory = self.memory_of(protocol, transport);
            if !self.may_receive_still() {
                attempt = Some(Some(0));
                return;
            }
            let mut kept = Bytes::new();
            // A panic of the provider is not one of the protocol, so the call has a guard of its own.
            let received = kernel.streams(|streams| streams.receive(self.key, memory)).unwrap_or(Ok(Received::Empty));
            let (count, next) = match received {
                Ok(Received::Filled(count)) => (count, Some(count)),
                Ok(Received::Drained(count)) => (count, None),
                Ok(Received::Lent(chunk)) => {
                    let count = chunk.len().min(memory.len());
                    memory[..count].copy_from_slice(&chunk[..count]);
                    self.inbound.keep(&chunk[count..], &self.flags);
                    let length = chunk.len();
                    kept = chunk.slice(count..);
                    (count, Some(length))
                }
                other => return nothing = Some(other),
            };
            attempt = Some(next);
            self.observe_received(&memory[..count]);
            if !kept.is_empty() {
                self.observe_received(&kept);
            }
            protocol.buffer_filled(transport, count);
        });
        match nothing {
            Some(received) => Some(self.received_no_bytes(kernel, transport, received)),
            None => attempt,
        }
    }

    /// Returns the protocol's memory, at most as long as the read size.
    fn memory_of<'a>(&self, protocol: &'a mut dyn BufferedProtocol, transport: &Transport) -> &'a mut [u8] {
        let memory = protocol.buffer(transport);
        assert!(!memory.is_empty(), "`buffer` returned no memory");
        let most = self.inbound.read_size().min(memory.len());
        &mut memory[..most]
    }

    /// Whether the connection still reads from the socket after the protocol has returned its memory. If not, that
    /// callback has given bytes back, started a layer or switched the protocol.
    fn may_receive_still(&self) -> bool {
        const OBSTACLES: Flags = Flags::UNREAD.union(Flags::LAYERED).union(Flags::SWITCHED).union(Flags::BROKEN);
        self.may_deliver_still() && !self.flags.get().intersects(OBSTACLES)
    }

    /// Whether the protocol still wants bytes after it has returned its memory.
    fn may_deliver_still(&self) -> bool {
        self.state().wants_reading() && !self.has(Flags::READING_HELD)
    }

    /// Delivers unread bytes piece by piece. If bytes are left, the connection continues in a later turn.
    pub(super) fn deliver_pieces(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        for _ in 0..PIECES_PER_TURN {
            if !self.has(Flags::UNREAD) || !self.reads() {
                return;
            }
            self.deliver_unread(kernel, transport);
        }
    }

    /// Delivers as many unread bytes as the protocol takes in one call.
    #[inline(never)]
    pub(super) fn deliver_piece(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) {
        if !self.deliver_passed(kernel, transport) {
            return;
        }
        let Some(unread) = self.inbound.take_unread(&self.flags) else { return };
        let keep = |rest: &[u8]| self.inbound.keep(rest, &self.flags);
        self.call(kernel, |protocol| {
            if let Some(protocol) = protocol.buffered() {
                let memory = self.memory_of(protocol, transport);
                if !self.may_deliver_still() {
                    return keep(&unread);
                }
                let count = memory.len().min(unread.len());
                memory[..count].copy_from_slice(&unread[..count]);
                keep(&unread[count..]);
                return protocol.buffer_filled(transport, count);
            }
            let (piece, rest) = unread.split_at(self.inbound.read_size().min(unread.len()));
            keep(rest);
            protocol.data_received(transport, piece);
        });
    }
}
