//! What a user writes: protocols, which handle one connection, and factories, which make them.

pub mod basic;
mod factory;
mod file_sender;
pub(crate) mod forward;
pub mod policies;
mod reconnecting;

pub use factory::{ClientFactory, Factory};
pub use file_sender::FileSender;
pub use reconnecting::ReconnectingClientFactory;

use bytes::Bytes;

use crate::error::Error;
use crate::transports::Transport;

/// The behaviour of one connection: IProtocol and IHalfCloseableProtocol.
///
/// Callbacks come in this order: `connection_made` once, `data_received` or `chunk_received` any number of times, at most one
/// `read_connection_lost` and `write_connection_lost`, and `connection_lost` exactly once and last. All run on the
/// reactor's thread, and none while another callback of the same protocol is on the stack. A callback that panics is
/// logged with [`log_prefix`](Protocol::log_prefix) and ends its connection with [`Error::Panicked`]; the loop lives.
///
/// ```
/// use ropewalk::prelude::*;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
/// ```
pub trait Protocol {
    /// The connection is there. Reading begins when this returns, unless the transport was paused.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::StringTransport;
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"220 ready\r\n");
    ///     }
    ///
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    /// }
    ///
    /// let transport = StringTransport::new();
    /// Greeter.connection_made(&transport);
    /// assert_eq!(transport.value(), b"220 ready\r\n");
    /// ```
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Bytes have arrived: at least one, and never more than 128 KiB at once. Where one call ends and the next begins
    /// says nothing about how they were sent.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// Bytes have arrived that the provider holds in memory of its own and lends: they come here instead of to
    /// [`data_received`](Protocol::data_received), which is what is called by default. Nothing is copied; who forwards them
    /// ([`write_bytes`](Transport::write_bytes)) or keeps them overrides both. A provider whose chunks are kept lends fewer
    /// and copies more; it never waits for one.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// /// Sends everything on to another connection.
    /// struct Forward(Transport);
    ///
    /// impl Protocol for Forward {
    ///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
    ///         self.0.write(data);
    ///     }
    ///
    ///     fn chunk_received(&mut self, _: &Transport, chunk: ropewalk::Bytes) {
    ///         self.0.write_bytes(chunk);
    ///     }
    /// }
    /// ```
    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.data_received(transport, &chunk);
    }

    /// The other side will send no more, and may still read. By default what is queued is sent and the connection is
    /// closed; a protocol that wants to go on sending overrides this.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Counts what comes, and tells how much it was when it ends.
    /// #[derive(Default)]
    /// struct Count(usize);
    ///
    /// impl Protocol for Count {
    ///     fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
    ///         self.0 += data.len();
    ///     }
    ///
    ///     fn read_connection_lost(&mut self, transport: &Transport) {
    ///         transport.write(self.0.to_string().as_bytes()); // the other side still reads
    ///         transport.lose_connection();
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", Count::default)?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// client.write(b"hello");
    /// client.finish();
    /// net.settle();
    /// assert_eq!(client.received(), b"5");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_connection();
    }

    /// Everything up to `lose_write_connection` has been sent, and this side can send no more.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Says its piece, and then listens to no answer.
    /// struct Herald;
    ///
    /// impl Protocol for Herald {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"hear ye");
    ///         transport.lose_write_connection();
    ///     }
    ///
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    ///
    ///     fn write_connection_lost(&mut self, transport: &Transport) {
    ///         transport.lose_connection(); // everything was sent
    ///     }
    ///
    ///     fn log_prefix(&self) -> &'static str {
    ///         "herald"
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", || Herald)?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!((client.received(), net.open_sources()), (b"hear ye".to_vec(), 1)); // the port alone
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// The connection is over; no callback follows. Methods of the transport do nothing from here on.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// struct Diary(Rc<RefCell<String>>);
    ///
    /// impl Protocol for Diary {
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    ///
    ///     fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
    ///         *self.0.borrow_mut() = reason.to_string();
    ///     }
    /// }
    ///
    /// let net = MemoryReactor::new();
    /// let entry = Rc::new(RefCell::default());
    /// let diary = entry.clone();
    /// net.listen_tcp("10.0.0.1:80", move || Diary(diary.clone()))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// client.close();
    /// net.settle();
    /// assert_eq!(*entry.borrow(), "connection was closed cleanly");
    /// # Ok::<(), Error>(())
    /// ```
    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        let _ = (transport, reason);
    }

    /// How log lines name this protocol; its type by default.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn connection_made(&mut self, transport: &Transport) {
        (**self).connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        (**self).data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        (**self).chunk_received(transport, chunk);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        (**self).read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        (**self).write_connection_lost(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        (**self).connection_lost(transport, reason);
    }

    fn log_prefix(&self) -> &'static str {
        (**self).log_prefix()
    }
}
