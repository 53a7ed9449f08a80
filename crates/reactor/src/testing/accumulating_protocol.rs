//! A protocol that keeps what it is told.

use std::cell::RefCell;
use std::rc::Rc;

use crate::error::Error;
use crate::protocols::Protocol;
use crate::transports::{Transport, WeakTransport};

/// Keeps what it is told: `AccumulatingProtocol`. Clones share what they keep, so the test holds one and the reactor
/// another.
///
/// ```
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", server.factory())?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"hello");
/// client.close();
/// net.settle();
/// assert_eq!(server.data(), b"hello");
/// assert!(server.lost().is_some_and(|reason| reason.is_done()));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct AccumulatingProtocol(Rc<RefCell<Told>>);

#[derive(Default)]
struct Told {
    made: usize,
    data: Vec<u8>,
    read_lost: bool,
    write_lost: bool,
    lost: Option<Error>,
    transport: Option<WeakTransport>,
}

impl AccumulatingProtocol {
    /// One that has been told nothing.
    pub fn new() -> AccumulatingProtocol {
        AccumulatingProtocol::default()
    }

    /// A factory that builds clones of this one.
    pub fn factory(&self) -> impl Fn() -> AccumulatingProtocol + 'static {
        let protocol = self.clone();
        move || protocol.clone()
    }

    /// How often `connection_made` came: more than once when the factory built for several connections.
    pub fn made(&self) -> usize {
        self.0.borrow().made
    }

    /// A copy of everything received.
    pub fn data(&self) -> Vec<u8> {
        self.0.borrow().data.clone()
    }

    /// Forgets what was received, and returns it.
    pub fn take_data(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().data)
    }

    /// Whether `read_connection_lost` came.
    pub fn is_read_lost(&self) -> bool {
        self.0.borrow().read_lost
    }

    /// Whether `write_connection_lost` came.
    pub fn is_write_lost(&self) -> bool {
        self.0.borrow().write_lost
    }

    /// Why the last connection that ended did; `None` before.
    pub fn lost(&self) -> Option<Error> {
        self.0.borrow().lost.clone()
    }

    /// The last connection that was made, while it is there.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"how are you?");
    /// net.settle();
    /// assert_eq!((server.made(), server.take_data()), (1, b"how are you?".to_vec()));
    /// server.transport().expect("it is connected").lose_write_connection();
    /// client.finish();
    /// net.settle();
    /// assert!(server.is_write_lost() && server.is_read_lost() && server.transport().is_none());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn transport(&self) -> Option<Transport> {
        self.0.borrow().transport.as_ref()?.upgrade().filter(Transport::is_connected)
    }
}

impl Protocol for AccumulatingProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        let mut told = self.0.borrow_mut();
        told.made += 1;
        told.transport = Some(transport.downgrade());
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.0.borrow_mut().data.extend_from_slice(data);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.0.borrow_mut().read_lost = true;
        transport.lose_connection();
    }

    fn write_connection_lost(&mut self, _transport: &Transport) {
        self.0.borrow_mut().write_lost = true;
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        self.0.borrow_mut().lost = Some(reason.clone());
    }
}
