//! Protocols, which handle one connection each, and factories, which build them: the code that you write.

mod back_off;
pub mod basic;
mod datagram;
mod factory;
mod file_sender;
pub(crate) mod forward;
mod paced;
pub mod policies;
mod reconnecting;
#[cfg(feature = "tls")]
mod tls;

pub use back_off::{BackOff, RetryPolicy};
pub use datagram::DatagramProtocol;
pub use factory::{ClientFactory, Factory};
pub use file_sender::FileSender;
pub use paced::{Paced, paced};
pub use reconnecting::ReconnectingClientFactory;
#[cfg(feature = "tls")]
pub use tls::{TlsClientFactory, TlsServerFactory};

use bytes::Bytes;
use ropewalk_sys::OwnedWaitable;

use crate::error::Error;
use crate::transports::Transport;

/// The behaviour of one connection: IProtocol and IHalfCloseableProtocol.
///
/// Callbacks come in this order: `connection_made` once, `data_received` or `chunk_received` any number of times, at
/// most one `read_connection_lost` and one `write_connection_lost`. `connection_lost` comes last and exactly once.
///
/// All callbacks run on the reactor's thread, and never while another callback of the same protocol is on the stack. A
/// panic in a callback is logged with [`log_prefix`](Protocol::log_prefix), and ends only this connection, with
/// [`Error::Panicked`].
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
#[diagnostic::on_unimplemented(note = "`LineReceiver::new` makes a `Protocol` of a `LineProtocol`")]
pub trait Protocol {
    /// Called when the connection has been made. Reading starts when this method returns, unless the transport was
    /// paused.
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

    /// Called when a layer has opened ([`Transport::start_layer`]), before the first bytes from the layer are
    /// delivered. Bytes that the protocol has written since it started the layer are sent now.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// /// Greets when the connection is encrypted, not before.
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn layer_opened(&mut self, transport: &Transport) {
    ///         transport.write(b"220 ready\r\n");
    ///     }
    ///
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    /// }
    /// ```
    fn layer_opened(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Called when bytes have arrived: at least one, and at most 128 KiB.
    ///
    /// The bytes of one send of the peer may arrive in several calls, and the bytes of several sends in one call.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// Called instead of [`data_received`](Protocol::data_received) when the bytes lie in a buffer that the event
    /// provider lends. The default calls `data_received`.
    ///
    /// The bytes are not copied. Override both methods to forward the chunk ([`write_bytes`](Transport::write_bytes))
    /// or keep it. While chunks are kept, the provider lends fewer buffers and copies more bytes, but never waits for a
    /// chunk.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// /// Forwards everything to another connection.
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

    /// Returns this protocol if it receives into memory of its own. The default returns `None`, so that the protocol
    /// gets its bytes through [`data_received`](Protocol::data_received).
    ///
    /// The connection asks once when the protocol takes its place. After `None` it never asks again, so other protocols
    /// cost nothing. After `Some` it asks before each attempt to receive. `None` then means that the next bytes go to
    /// `data_received` or `chunk_received`, as for a protocol that parses headers there and receives bodies into a
    /// buffer.
    ///
    /// Must not use the transport. [`BufferedProtocol`] has an example.
    fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
        None
    }

    /// Returns this protocol if it takes the descriptors that the peer of a UNIX connection sends. The default returns
    /// `None`.
    ///
    /// The connection asks once when the protocol takes its place, and again for each message with descriptors. After
    /// `None` it does not ask again, and receives as other connections do. The system then closes the descriptors, and
    /// they never become open in this process. Connections of other kinds do not ask.
    ///
    /// Must not use the transport. [`FileDescriptorReceiver`] has an example.
    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        None
    }

    /// Called when the peer has finished sending. The peer may still read.
    ///
    /// The default sends the queued data and closes the connection. Override this method to continue sending.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Counts the bytes received, and replies with the number at the end.
    /// #[derive(Default)]
    /// struct Count(usize);
    ///
    /// impl Protocol for Count {
    ///     fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
    ///         self.0 += data.len();
    ///     }
    ///
    ///     fn read_connection_lost(&mut self, transport: &Transport) {
    ///         transport.write(self.0.to_string().as_bytes()); // the peer still reads
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

    /// Called when all bytes written before `lose_write_connection` have been sent. No more bytes can be sent.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// /// Sends its message, and ignores any reply.
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
    ///         transport.lose_connection(); // everything has been sent
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
    /// assert_eq!((client.received(), net.open_sources()), (b"hear ye".to_vec(), 1)); // only the port is left
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Called when the connection has ended. No callback follows, and methods of the transport have no effect any more.
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

    /// Returns the name of this protocol in log lines. The default is the name of its type.
    fn log_prefix(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// A protocol that receives into memory of its own: asyncio's `BufferedProtocol`.
///
/// [`Protocol::buffered`] returns it. The select, poll and epoll reactors receive straight into that memory. With
/// io_uring the bytes of small messages are copied into it once, because the system has received them before.
///
/// The connection calls the methods on the reactor's thread, as callbacks of the protocol.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::BufferedProtocol;
/// use ropewalk::testing::MemoryReactor;
///
/// /// Receives records of 8 bytes, and confirms each.
/// #[derive(Default)]
/// struct Records {
///     record: [u8; 8],
///     filled: usize,
/// }
///
/// impl Protocol for Records {
///     fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
///         Some(self)
///     }
///
///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {
///         unreachable!("`buffered` always returns the protocol");
///     }
/// }
///
/// impl BufferedProtocol for Records {
///     fn buffer(&mut self, _transport: &Transport) -> &mut [u8] {
///         &mut self.record[self.filled..]
///     }
///
///     fn buffer_filled(&mut self, transport: &Transport, count: usize) {
///         self.filled += count;
///         if self.filled == self.record.len() {
///             self.filled = 0;
///             transport.write(&self.record[..1]);
///         }
///     }
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", Records::default)?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"a1234567b1234567c");
/// net.settle();
/// assert_eq!(client.received(), b"ab");
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait BufferedProtocol {
    /// Returns the memory for the bytes that are received next, and is called before each attempt to receive. If
    /// nothing has arrived, [`buffer_filled`](BufferedProtocol::buffer_filled) does not follow.
    ///
    /// # Panics
    /// The connection ends with [`Error::Panicked`] if the memory is empty.
    fn buffer(&mut self, transport: &Transport) -> &mut [u8];

    /// Called when the first `count` bytes of that memory have been filled.
    fn buffer_filled(&mut self, transport: &Transport, count: usize);
}

/// A protocol that receives the descriptors that the peer of a UNIX connection sends.
///
/// [`Protocol::file_descriptor_receiver`] returns it. The connection calls the methods on the reactor's thread, as
/// callbacks of the protocol.
///
/// ```
/// # #[cfg(unix)] {
/// use std::fs::File;
/// use std::io::Write;
/// use std::os::fd::OwnedFd;
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::FileDescriptorReceiver;
///
/// /// Writes what it receives to the file that it received last.
/// #[derive(Default)]
/// struct Log(Option<File>);
///
/// impl Protocol for Log {
///     fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
///         Some(self)
///     }
///
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         let written = self.0.as_mut().is_some_and(|file| file.write_all(data).is_ok());
///         if !written {
///             transport.abort_connection();
///         }
///     }
/// }
///
/// impl FileDescriptorReceiver for Log {
///     fn file_descriptor_received(&mut self, _transport: &Transport, descriptor: OwnedFd) {
///         self.0 = Some(descriptor.into());
///     }
/// }
/// # }
/// ```
pub trait FileDescriptorReceiver {
    /// Called with each received descriptor, in the order in which the peer sent them, and before
    /// [`data_received`](Protocol::data_received) gets the byte that carried it. Bytes that the peer wrote
    /// before that byte may follow as well, because the system joins them.
    ///
    /// The descriptor is yours, and dropping it closes it. exec(2) closes it, so a child process does not inherit it.
    /// Its kind, its flags and its other users are the peer's choice. Check them before you use it.
    ///
    /// One message of the peer may carry up to 253 descriptors, and all of them are delivered together. A pause within
    /// this method takes effect before the bytes. After a close or an abort within this method, the other descriptors
    /// are closed without a call, and no bytes follow.
    fn file_descriptor_received(&mut self, transport: &Transport, descriptor: OwnedWaitable);

    /// Called when the peer has sent further descriptors that the system could not open here, usually because the
    /// process has too many open descriptors. The descriptors that it could open precede this call, and the bytes that
    /// carried them follow. Later messages have their own descriptors.
    ///
    /// The default closes the connection with [`Error::FileDescriptorsLost`], because a protocol that counts descriptors
    /// would mistake a later one for the lost one.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::fd::OwnedFd;
    /// use ropewalk::Transport;
    /// use ropewalk::protocols::FileDescriptorReceiver;
    ///
    /// /// Counts descriptors, and does not mind lost ones.
    /// struct Counter(usize);
    ///
    /// impl FileDescriptorReceiver for Counter {
    ///     fn file_descriptor_received(&mut self, _transport: &Transport, _descriptor: OwnedFd) {
    ///         self.0 += 1;
    ///     }
    ///
    ///     fn file_descriptors_lost(&mut self, _transport: &Transport) {}
    /// }
    /// # }
    /// ```
    fn file_descriptors_lost(&mut self, transport: &Transport) {
        transport.end(Error::FileDescriptorsLost);
    }
}

impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn connection_made(&mut self, transport: &Transport) {
        (**self).connection_made(transport);
    }

    fn layer_opened(&mut self, transport: &Transport) {
        (**self).layer_opened(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        (**self).data_received(transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        (**self).chunk_received(transport, chunk);
    }

    fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
        (**self).buffered()
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        (**self).file_descriptor_receiver()
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
