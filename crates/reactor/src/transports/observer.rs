//! Observers of a connection, objects that a connection keeps, and holds that slow a connection down.

use std::any::Any;
use std::rc::{Rc, Weak};

use super::flags::Flags;
use super::stream::{Rare, Stream};
use super::{Transport, WeakTransport};
use crate::kernel::{CallbackKind, Kernel};

/// Counts the bytes of a connection, for a policy or a meter. The connection keeps it through changes of its protocol, and
/// drops it at its end.
///
/// The methods are called on the reactor's thread, in the middle of a write or before a delivery. They must not block and
/// must not write. They may use the reactor, and hold or close connections. A panic in one is logged.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::transports::Observer;
///
/// #[derive(Default)]
/// struct Meter {
///     received: Cell<usize>,
///     written: Cell<usize>,
/// }
///
/// impl Observer for Meter {
///     fn bytes_received(&self, count: usize) {
///         self.received.set(self.received.get() + count);
///     }
///
///     fn bytes_written(&self, count: usize) {
///         self.written.set(self.written.get() + count);
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", server.factory())?;
/// let client = net.connect_stream("10.0.0.1:80");
/// net.settle();
/// let (meter, transport) = (Rc::new(Meter::default()), server.transport().unwrap());
/// transport.observe(meter.clone());
/// client.write(b"question");
/// transport.write(b"42");
/// net.settle();
/// assert_eq!((meter.received.get(), meter.written.get()), (8, 2));
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait Observer {
    /// Called when `count` bytes have arrived, before they are delivered.
    fn bytes_received(&self, count: usize) {
        let _ = count;
    }

    /// Called when `count` bytes have been accepted for sending, before they are sent.
    fn bytes_written(&self, count: usize) {
        let _ = count;
    }
}

impl Transport {
    /// Attaches an observer. On a connection that has ended, it is dropped at once.
    pub fn observe(&self, observer: Rc<dyn Observer>) {
        if self.is_connected() {
            let kept = Kept::new(&self.0, observer);
            self.0.rare(|rare| rare.observers.push(kept));
            self.0.mark(Flags::OBSERVED, true);
        }
    }

    /// Keeps `object` until the connection ends, through changes of its protocol. On a connection that has ended, the object
    /// is dropped at once.
    ///
    /// The destructor of the object can count connections or release what a connection has taken. It runs right before
    /// `connection_lost` of the protocol. A panic in it is logged.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::testing::StringTransport;
    ///
    /// let (transport, seat) = (StringTransport::new(), Rc::new("12A"));
    /// transport.keep_until_lost(seat.clone());
    /// assert_eq!(Rc::strong_count(&seat), 2);
    /// transport.abort_connection();
    /// transport.net().settle();
    /// assert_eq!(Rc::strong_count(&seat), 1);
    /// ```
    pub fn keep_until_lost(&self, object: impl Any) {
        if self.is_connected() {
            let kept = Kept::new(&self.0, Box::new(object) as Box<dyn Any>);
            self.0.rare(|rare| rare.tokens.push(kept));
        }
    }

    /// Stops reading until the returned [`Hold`] is dropped, even if the user resumes the transport. May be called from any
    /// callback.
    ///
    /// Holds count: reading continues when none is left and the user has not paused the transport.
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
        Hold::new(self, |rare| &mut rare.read_holds)
    }

    /// Queues written bytes until the returned [`Hold`] is dropped. May be called from any callback.
    ///
    /// A registered producer is paused at the high-water mark, as usual. Holds count: sending continues when none is left.
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
        Hold::new(self, |rare| &mut rare.write_holds)
    }
}

/// Keeps a connection from reading or sending until it is dropped.
///
/// It does not keep the connection, and has no effect on one that has ended.
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
    count: fn(&mut Rare) -> &mut u32,
}

impl Hold {
    fn new(transport: &Transport, count: fn(&mut Rare) -> &mut u32) -> Hold {
        transport.0.hold(|rare| *count(rare) += 1);
        Hold { transport: transport.downgrade(), count }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(transport) = self.transport.upgrade() {
            transport.0.hold(|rare| *(self.count)(rare) -= 1);
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.transport.upgrade()).finish()
    }
}

/// An object of the user that a connection keeps. Its destructor runs through the guard.
pub(super) struct Kept<T> {
    object: Option<T>,
    reactor: Weak<Kernel>,
}

impl<T> Kept<T> {
    fn new(stream: &Stream, object: T) -> Kept<T> {
        Kept { object: Some(object), reactor: stream.reactor.clone() }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let object = self.object.take();
        if let Some(kernel) = self.reactor.upgrade() {
            let _ = kernel.guard(CallbackKind::Observer, std::any::type_name::<T>(), || drop(object));
        }
    }
}

impl Stream {
    fn hold(self: &Rc<Stream>, change: impl FnOnce(&mut Rare)) {
        // A dropped reactor forgets the holds of its connections.
        let Some(kernel) = self.reactor.upgrade().filter(|_| !self.state().is_lost()) else { return };
        let (read_holds, write_holds) = self.rare(|rare| {
            change(rare);
            (rare.read_holds, rare.write_holds)
        });
        self.mark(Flags::READING_HELD, read_holds > 0);
        self.mark(Flags::WRITING_HELD, write_holds > 0);
        self.settle_soon(&kernel);
    }

    #[inline]
    pub(super) fn count_received(&self, count: usize) {
        if self.has(Flags::OBSERVED) {
            self.notify_observers(|observer| observer.bytes_received(count));
        }
    }

    #[inline]
    pub(super) fn count_written(&self, count: usize) {
        if self.has(Flags::OBSERVED) {
            self.notify_observers(|observer| observer.bytes_written(count));
        }
    }

    #[cold]
    fn notify_observers(&self, tell: impl Fn(&dyn Observer)) {
        let Some(kernel) = self.reactor.upgrade() else { return };
        let observers: Vec<_> =
            self.rare(|rare| rare.observers.iter().filter_map(|kept| kept.object.clone()).collect());
        for observer in observers {
            let _ = kernel.guard(CallbackKind::Observer, "Observer", || tell(&*observer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    #[derive(Clone, Default)]
    struct Counts {
        received: Rc<Cell<usize>>,
        written: Rc<Cell<usize>>,
    }

    impl Observer for Counts {
        fn bytes_received(&self, count: usize) {
            self.received.set(self.received.get() + count);
        }

        fn bytes_written(&self, count: usize) {
            self.written.set(self.written.get() + count);
        }
    }

    #[test]
    fn an_observer_counts_all_bytes_and_is_dropped_at_the_end() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        let transport = server.transport().unwrap();
        let counts = Counts::default();
        transport.observe(Rc::new(counts.clone()));
        client.write(&[1; 100_000]);
        transport.write(&[2; 10_000]);
        transport.write(b"x");
        transport.write_bytes(bytes::Bytes::from_static(b"yz"));
        transport.write_sequence([b"1", b"2"]);
        net.settle();
        assert_eq!((counts.received.get(), counts.written.get()), (100_000, 10_005));
        client.close();
        net.settle();
        assert_eq!(Rc::strong_count(&counts.received), 1, "dropped while the test still holds the transport");
        transport.write(b"after the end");
        assert_eq!(counts.written.get(), 10_005);
        transport.observe(Rc::new(counts.clone()));
        assert_eq!(Rc::strong_count(&counts.received), 1);
    }

    #[test]
    fn holds_are_counted() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
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

    #[test]
    fn a_panic_in_an_observer_is_caught() {
        struct Broken;
        impl Observer for Broken {
            fn bytes_received(&self, _count: usize) {
                panic!("a bug in an observer");
            }
        }
        impl Drop for Broken {
            fn drop(&mut self) {
                panic!("a bug in a destructor");
            }
        }
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        server.transport().unwrap().observe(Rc::new(Broken));
        server.transport().unwrap().keep_until_lost(Broken);
        client.write(b"data");
        net.settle();
        assert_eq!(server.data(), b"data");
        client.close();
        net.settle();
        assert!(server.lost().is_some_and(|reason| reason.is_done()));
    }
}
