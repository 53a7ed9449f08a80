//! Back-pressure of a connection on itself: a paced connection is read only while little is queued towards the same peer.
//!
//! ```text
//!            queued > high-water mark
//!   reading ------------------------> waiting
//!           <------------------------
//!            queued <= low-water mark
//! ```
//!
//! The queue is checked when the connection settles and bytes are left. So a message whose answer is sent at once costs
//! nothing more.

use std::rc::Rc;

use super::Transport;
use super::flags::Flags;
use super::stream::Stream;

impl Transport {
    /// Sets whether this connection is paced: reading waits while more than the high-water mark is queued towards the peer,
    /// and resumes when the queue has drained to the low-water mark. Connections are not paced unless their factory is
    /// [`paced`](crate::protocols::paced).
    ///
    /// A paced connection never queues more than the high-water mark and the answers to one delivery, even if its peer
    /// sends forever and reads nothing. Receivers of lines and strings stop within a delivery, after the answer that
    /// exceeds the mark. [`set_watermarks`](Transport::set_watermarks) sets the marks. Neither a callback nor
    /// [`is_paused`](Transport::is_paused) reports that reading waits.
    ///
    /// If both sides of a connection are paced and queue more than their high-water marks, the sides wait for each
    /// other forever: neither side reads until the other side reads. Leave one side unpaced, or write only in answer to
    /// received data.
    ///
    /// May be called from any callback. Does nothing after the end of the connection.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.pause_reading();
    /// net.settle();
    /// let transport = server.transport().expect("it is connected");
    /// transport.set_paced(true);
    /// transport.write(&[0; 1_000_000]);
    /// net.settle();
    /// client.write(b"next");
    /// net.settle();
    /// assert_eq!(server.data(), b""); // not before the client reads
    /// client.resume_reading();
    /// net.settle();
    /// assert_eq!(server.data(), b"next");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_paced(&self, on: bool) {
        self.0.set_paced(on);
    }

    /// Returns whether reading waits while much is queued. After the end of the connection, the last setting is still
    /// returned.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// assert!(!transport.is_paced());
    /// transport.set_paced(true);
    /// assert!(transport.is_paced());
    /// ```
    pub fn is_paced(&self) -> bool {
        self.0.has(Flags::PACED)
    }
}

impl Stream {
    fn set_paced(self: &Rc<Stream>, on: bool) {
        if self.state().is_lost() {
            return;
        }
        self.inbound.set_paced(on, &self.flags);
        if let Some(kernel) = self.reactor.upgrade() {
            self.settle_soon(&kernel);
        }
    }

    /// Whether the connection is paced and more than the high-water mark is queued. If so, the rest of a delivery
    /// should wait.
    pub(super) fn is_ahead(&self) -> bool {
        self.has(Flags::PACED) && self.buffered() > self.outbound.watermarks().0
    }

    /// Holds reading above the high-water mark, until the queue has drained to the low-water mark.
    #[cold]
    pub(super) fn pace(&self) {
        self.inbound.pace(self.buffered(), self.outbound.watermarks(), &self.flags);
    }
}
