//! Observers of a connection, and other objects of the user that a connection keeps.

use std::any::Any;
use std::rc::{Rc, Weak};

use crate::kernel::{CallbackKind, Kernel, drop_logged};

/// Counts or logs the bytes of a connection, for a policy or a meter. The connection keeps the observer even if the
/// protocol is switched, and drops the observer at the end.
///
/// The methods are called on the reactor's thread, in the middle of a write or before a delivery. They must not block
/// and must not write. They may use the reactor, and hold or close connections. A panic in a method is logged.
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
    /// Called when `data` has arrived, before it is delivered. The default calls
    /// [`bytes_received`](Observer::bytes_received).
    ///
    /// ```
    /// use ropewalk::transports::Observer;
    ///
    /// struct Log;
    ///
    /// impl Observer for Log {
    ///     fn data_received(&self, data: &[u8]) {
    ///         println!("received {}", data.escape_ascii());
    ///     }
    ///
    ///     fn data_written(&self, data: &[u8]) {
    ///         println!("wrote {}", data.escape_ascii());
    ///     }
    /// }
    /// ```
    fn data_received(&self, data: &[u8]) {
        self.bytes_received(data.len());
    }

    /// Called when `data` has been accepted for sending, before it is sent. The default calls
    /// [`bytes_written`](Observer::bytes_written).
    fn data_written(&self, data: &[u8]) {
        self.bytes_written(data.len());
    }

    /// Called when `count` bytes have arrived, before they are delivered.
    fn bytes_received(&self, count: usize) {
        let _ = count;
    }

    /// Called when `count` bytes have been accepted for sending, before they are sent.
    fn bytes_written(&self, count: usize) {
        let _ = count;
    }
}

/// The objects of the user that a connection keeps until it ends.
#[derive(Default)]
pub(super) struct Attachments {
    observers: Vec<Kept<Rc<dyn Observer>>>,
    tokens: Vec<Kept<Box<dyn Any>>>,
}

impl Attachments {
    pub(super) fn observe(&mut self, observer: Rc<dyn Observer>, reactor: &Weak<Kernel>) {
        self.observers.push(Kept::new(observer, reactor));
    }

    pub(super) fn keep(&mut self, object: Box<dyn Any>, reactor: &Weak<Kernel>) {
        self.tokens.push(Kept::new(object, reactor));
    }

    pub(super) fn observers(&self) -> Vec<Rc<dyn Observer>> {
        self.observers.iter().filter_map(|kept| kept.object.clone()).collect()
    }
}

/// An object of the user that a connection keeps. Its destructor runs through the guard.
struct Kept<T> {
    object: Option<T>,
    reactor: Weak<Kernel>,
}

impl<T> Kept<T> {
    fn new(object: T, reactor: &Weak<Kernel>) -> Kept<T> {
        Kept { object: Some(object), reactor: reactor.clone() }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let (object, name) = (self.object.take(), std::any::type_name::<T>());
        match self.reactor.upgrade() {
            Some(kernel) => drop(kernel.guard(CallbackKind::Observer, name, || drop(object))),
            None => drop_logged(name, object),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::kernel::PanicPolicy;
    use crate::testing::{MemoryReactor, connected};

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
    fn an_observer_counts_all_bytes_until_the_end() {
        let net = MemoryReactor::new();
        let (server, client) = connected(&net);
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
        net.set_panic_policy(PanicPolicy::Log);
        let (server, client) = connected(&net);
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
