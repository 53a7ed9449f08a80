//! Holds: a policy uses them to stop the reading or the sending of a connection for a time.

use std::rc::Rc;

use super::stream::Stream;
use super::{Transport, WeakTransport};

impl Transport {
    /// Stops reading until the returned [`Hold`] is dropped, even if the user resumes the transport. May be called from any
    /// callback.
    ///
    /// Holds are counted: reading continues when no hold is left and the user has not paused the transport.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// let hold = server.transport().unwrap().hold_reading();
    /// client.write(b"patience");
    /// net.settle();
    /// assert_eq!(server.data(), b"");
    /// drop(hold);
    /// net.settle();
    /// assert_eq!(server.data(), b"patience");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn hold_reading(&self) -> Hold {
        Hold::new(self, |stream, on| stream.inbound.hold(on, &stream.flags))
    }

    /// Queues written bytes until the returned [`Hold`] is dropped. May be called from any callback.
    ///
    /// A registered producer is paused at the high-water mark, as usual. Holds are counted: sending continues when no
    /// hold is left.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// let hold = transport.hold_writing();
    /// transport.write(b"patience");
    /// assert_eq!(transport.value(), b"");
    /// drop(hold);
    /// assert_eq!(transport.value(), b"patience");
    /// ```
    pub fn hold_writing(&self) -> Hold {
        Hold::new(self, |stream, on| stream.outbound.hold(on, &stream.flags))
    }
}

/// Keeps a connection from reading or sending until the hold is dropped.
///
/// A hold does not keep the connection alive, and has no effect on a connection that has ended.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::transports::{Hold, Transport};
///
/// fn wait_a_second(transport: &Transport) {
///     let hold: Hold = transport.hold_reading();
///     transport.reactor().call_later(Duration::from_secs(1), move |_| drop(hold));
/// }
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", server.factory())?;
/// let client = net.connect_stream("10.0.0.1:80");
/// net.settle();
/// wait_a_second(&server.transport().unwrap());
/// client.write(b"late");
/// net.settle();
/// assert_eq!(server.data(), b"");
/// net.advance(Duration::from_secs(1));
/// assert_eq!(server.data(), b"late");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[must_use]
pub struct Hold {
    transport: WeakTransport,
    /// Adds a hold to one direction of the connection, or removes a hold.
    change: fn(&Stream, bool),
}

impl Hold {
    fn new(transport: &Transport, change: fn(&Stream, bool)) -> Hold {
        transport.0.hold(change, true);
        Hold { transport: transport.downgrade(), change }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(transport) = self.transport.upgrade() {
            transport.0.hold(self.change, false);
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.transport.upgrade()).finish()
    }
}

impl Stream {
    fn hold(self: &Rc<Stream>, change: fn(&Stream, bool), on: bool) {
        // A connection has no holds after its end or after its reactor was dropped.
        if let Some(kernel) = self.reactor.upgrade().filter(|_| !self.state().is_lost()) {
            change(self, on);
            self.settle_soon(&kernel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor, connected};

    #[test]
    fn holds_are_counted() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
        let transport = server.transport().unwrap();
        let holds = [transport.hold_reading(), transport.hold_reading()];
        client.write(b"x");
        for hold in holds {
            net.settle();
            assert_eq!(server.data(), b"");
            drop(hold);
        }
        net.settle();
        assert_eq!(server.data(), b"x");
        let hold = transport.hold_reading();
        transport.pause_producing();
        drop(hold);
        client.write(b"y");
        net.settle();
        assert_eq!(server.data(), b"x");
    }

    #[test]
    fn a_hold_may_outlive_its_connection() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
        let [lost, _forgotten] = [net.connect_stream("10.0.0.1:80"), net.connect_stream("10.0.0.1:80")];
        let held = Rc::new(Cell::new(None));
        let keep = held.clone();
        net.settle();
        let transport = server.transport().unwrap();
        keep.set(Some((transport.hold_reading(), transport.hold_writing(), transport)));
        lost.abort();
        drop(net);
        drop(held.take());
    }
}
