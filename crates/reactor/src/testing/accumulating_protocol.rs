//! A protocol that records its calls.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::error::Error;
use crate::protocols::Protocol;
use crate::transports::{Transport, WeakTransport};

/// A protocol that records its calls: `AccumulatingProtocol`.
///
/// Clones share the record, so a test holds one clone and the reactor another.
///
/// Its methods may be called from any callback. They call nothing.
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
pub struct AccumulatingProtocol(Rc<RefCell<Record>>);

#[derive(Default)]
struct Record {
    made: usize,
    data: Vec<u8>,
    read_lost: bool,
    write_lost: bool,
    lost: Option<Error>,
    transport: Option<WeakTransport>,
}

impl AccumulatingProtocol {
    /// Returns a protocol with an empty record.
    pub fn new() -> AccumulatingProtocol {
        AccumulatingProtocol::default()
    }

    /// Returns a factory that builds clones of this protocol.
    pub fn factory(&self) -> impl Fn() -> AccumulatingProtocol + 'static {
        let protocol = self.clone();
        move || protocol.clone()
    }

    /// Returns the number of calls of `connection_made`, over all connections of its factory.
    pub fn made(&self) -> usize {
        self.0.borrow().made
    }

    /// Returns a copy of all bytes received.
    pub fn data(&self) -> Vec<u8> {
        self.0.borrow().data.clone()
    }

    /// Removes and returns all bytes received.
    pub fn take_data(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().data)
    }

    /// Returns whether `read_connection_lost` was called.
    pub fn is_read_lost(&self) -> bool {
        self.0.borrow().read_lost
    }

    /// Returns whether `write_connection_lost` was called.
    pub fn is_write_lost(&self) -> bool {
        self.0.borrow().write_lost
    }

    /// Returns the reason of the last `connection_lost`, if there was any.
    pub fn lost(&self) -> Option<Error> {
        self.0.borrow().lost.clone()
    }

    /// Returns the transport of the last connection while it is connected.
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

impl fmt::Debug for AccumulatingProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0.borrow();
        let data = record.data.escape_ascii();
        let shown = &mut f.debug_struct("AccumulatingProtocol");
        shown.field("made", &record.made).field("data", &format_args!("\"{data}\"")).field("lost", &record.lost);
        shown.finish_non_exhaustive()
    }
}

impl Protocol for AccumulatingProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        let mut record = self.0.borrow_mut();
        record.made += 1;
        record.transport = Some(transport.downgrade());
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
