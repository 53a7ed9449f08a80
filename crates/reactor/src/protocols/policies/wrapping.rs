//! A factory whose protocols are wrapped: WrappingFactory and ProtocolWrapper.
//!
//! This is for code that changes or delays what a protocol gets. To count or log bytes, an
//! [`Observer`](crate::transports::Observer) is enough, and it stays when the connection switches its protocol.

use bytes::Bytes;
use ropewalk_proto::Address;

use crate::error::Error;
use crate::protocols::forward::{forward_client_factory, forward_factory};
use crate::protocols::{BufferedProtocol, ClientFactory, Factory, FileDescriptorReceiver, Protocol};
use crate::transports::{Connector, Transport};

/// A wrapper between a connection and its protocol. The wrapper gets each callback first, and decides what `inner`
/// gets.
///
/// Each method has a default that forwards the callback to `inner` unchanged, so a wrapper implements the methods that
/// interest it. The callbacks follow the rules of [`Protocol`].
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::policies::{ProtocolWrapper, WrappingFactory};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// /// Passes capitals to the protocol, and keeps a diary.
/// struct Shouting(Rc<RefCell<Vec<&'static str>>>);
///
/// impl ProtocolWrapper for Shouting {
///     fn connection_made(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
///         self.0.borrow_mut().push("made");
///         inner.connection_made(transport);
///     }
///
///     fn data_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, data: &[u8]) {
///         inner.data_received(transport, &data.to_ascii_uppercase());
///     }
///
///     fn connection_lost(&mut self, inner: &mut dyn Protocol, transport: &Transport, reason: &Error) {
///         inner.connection_lost(transport, reason);
///         self.0.borrow_mut().push("lost");
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let (server, diary) = (AccumulatingProtocol::new(), Rc::new(RefCell::default()));
/// let entries: Rc<RefCell<Vec<&str>>> = diary.clone();
/// let factory = WrappingFactory::new(server.factory(), move |_peer| Shouting(entries.clone()));
/// net.listen_tcp("10.0.0.1:80", factory)?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"quietly");
/// client.finish();
/// net.settle();
/// assert_eq!(server.data(), b"QUIETLY");
/// assert_eq!(*diary.borrow(), ["made", "lost"]);
/// # Ok::<(), Error>(())
/// ```
pub trait ProtocolWrapper {
    /// Called for [`Protocol::connection_made`].
    fn connection_made(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
        inner.connection_made(transport);
    }

    /// Called for [`Protocol::layer_opened`].
    fn layer_opened(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
        inner.layer_opened(transport);
    }

    /// Called for [`Protocol::data_received`].
    fn data_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, data: &[u8]) {
        inner.data_received(transport, data);
    }

    /// Called for [`Protocol::chunk_received`]. The default calls [`data_received`](ProtocolWrapper::data_received) of
    /// this wrapper, so that no byte passes it.
    ///
    /// A wrapper that does not look at the bytes forwards the chunk, which saves a copy:
    ///
    /// ```
    /// use ropewalk::Bytes;
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::policies::ProtocolWrapper;
    ///
    /// /// Allows one request: the connection is closed when the peer has finished sending.
    /// struct OneRequest;
    ///
    /// impl ProtocolWrapper for OneRequest {
    ///     fn chunk_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, chunk: Bytes) {
    ///         inner.chunk_received(transport, chunk);
    ///     }
    ///
    ///     fn layer_opened(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
    ///         inner.layer_opened(transport);
    ///     }
    ///
    ///     fn read_connection_lost(&mut self, _inner: &mut dyn Protocol, transport: &Transport) {
    ///         transport.lose_connection();
    ///     }
    ///
    ///     fn write_connection_lost(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
    ///         inner.write_connection_lost(transport);
    ///     }
    /// }
    /// ```
    fn chunk_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, chunk: Bytes) {
        self.data_received(inner, transport, &chunk);
    }

    /// Called for [`Protocol::buffered`]. The default returns `inner.buffered()`, so the bytes that a buffered protocol
    /// receives do not pass this wrapper.
    ///
    /// A wrapper that must see all bytes returns `None`. Then `inner` must be able to receive them in `data_received`.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::BufferedProtocol;
    /// use ropewalk::protocols::policies::ProtocolWrapper;
    ///
    /// struct Filter;
    ///
    /// impl ProtocolWrapper for Filter {
    ///     fn buffered<'a>(&mut self, _inner: &'a mut dyn Protocol) -> Option<&'a mut dyn BufferedProtocol> {
    ///         None
    ///     }
    ///
    ///     fn data_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, data: &[u8]) {
    ///         if data.is_ascii() {
    ///             inner.data_received(transport, data);
    ///         }
    ///     }
    /// }
    /// ```
    fn buffered<'a>(&mut self, inner: &'a mut dyn Protocol) -> Option<&'a mut dyn BufferedProtocol> {
        inner.buffered()
    }

    /// Called for [`Protocol::file_descriptor_receiver`]. The default returns `inner.file_descriptor_receiver()`, so
    /// the descriptors do not pass this wrapper.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::FileDescriptorReceiver;
    /// use ropewalk::protocols::policies::ProtocolWrapper;
    ///
    /// /// Has the system close all descriptors.
    /// struct BytesOnly;
    ///
    /// impl ProtocolWrapper for BytesOnly {
    ///     fn file_descriptor_receiver<'a>(
    ///         &mut self,
    ///         _inner: &'a mut dyn Protocol,
    ///     ) -> Option<&'a mut dyn FileDescriptorReceiver> {
    ///         None
    ///     }
    /// }
    /// ```
    fn file_descriptor_receiver<'a>(
        &mut self,
        inner: &'a mut dyn Protocol,
    ) -> Option<&'a mut dyn FileDescriptorReceiver> {
        inner.file_descriptor_receiver()
    }

    /// Called for [`Protocol::read_connection_lost`].
    fn read_connection_lost(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
        inner.read_connection_lost(transport);
    }

    /// Called for [`Protocol::write_connection_lost`].
    fn write_connection_lost(&mut self, inner: &mut dyn Protocol, transport: &Transport) {
        inner.write_connection_lost(transport);
    }

    /// Called for [`Protocol::connection_lost`].
    fn connection_lost(&mut self, inner: &mut dyn Protocol, transport: &Transport, reason: &Error) {
        inner.connection_lost(transport, reason);
    }
}

type Wrap = dyn Fn(&Address, Box<dyn Protocol>) -> Box<dyn Protocol>;

/// A factory that wraps each protocol of another factory in a [`ProtocolWrapper`].
///
/// The wrapper is dropped with its protocol. A connection that [switches](Transport::switch_protocol) to another
/// protocol is not wrapped any more.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::protocols::policies::{ProtocolWrapper, WrappingFactory};
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
///
/// /// Drops the bytes of an untrusted peer.
/// struct Filter(bool);
///
/// impl ProtocolWrapper for Filter {
///     fn data_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, data: &[u8]) {
///         if self.0 {
///             inner.data_received(transport, data);
///         }
///     }
/// }
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// let factory = WrappingFactory::new(server.factory(), |peer| Filter(peer.inet().is_none()));
/// net.listen_tcp("10.0.0.1:80", factory)?;
/// net.connect_stream("10.0.0.1:80").write(b"dropped");
/// net.settle();
/// assert_eq!(server.data(), b"");
/// # Ok::<(), Error>(())
/// ```
pub struct WrappingFactory<F> {
    factory: F,
    wrap: Box<Wrap>,
}

impl<F: Factory> WrappingFactory<F> {
    /// Wraps `factory`. `build` builds the wrapper of each connection from the peer's address.
    pub fn new<W>(factory: F, build: impl Fn(&Address) -> W + 'static) -> WrappingFactory<F>
    where
        W: ProtocolWrapper + 'static,
    {
        let wrap =
            move |peer: &Address, inner| -> Box<dyn Protocol> { Box::new(Wrapped { wrapper: build(peer), inner }) };
        WrappingFactory { factory, wrap: Box::new(wrap) }
    }
}

impl<F: Factory> Factory for WrappingFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let inner = self.factory.build_protocol(peer)?;
        Some((self.wrap)(peer, inner))
    }

    forward_factory!();
}

forward_client_factory!(WrappingFactory);

struct Wrapped<W> {
    wrapper: W,
    inner: Box<dyn Protocol>,
}

impl<W: ProtocolWrapper> Protocol for Wrapped<W> {
    fn connection_made(&mut self, transport: &Transport) {
        self.wrapper.connection_made(&mut *self.inner, transport);
    }

    fn layer_opened(&mut self, transport: &Transport) {
        self.wrapper.layer_opened(&mut *self.inner, transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.wrapper.data_received(&mut *self.inner, transport, data);
    }

    fn chunk_received(&mut self, transport: &Transport, chunk: Bytes) {
        self.wrapper.chunk_received(&mut *self.inner, transport, chunk);
    }

    fn buffered(&mut self) -> Option<&mut dyn BufferedProtocol> {
        self.wrapper.buffered(&mut *self.inner)
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        self.wrapper.file_descriptor_receiver(&mut *self.inner)
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.wrapper.read_connection_lost(&mut *self.inner, transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.wrapper.write_connection_lost(&mut *self.inner, transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: &Error) {
        self.wrapper.connection_lost(&mut *self.inner, transport, reason);
    }

    fn log_prefix(&self) -> &'static str {
        self.inner.log_prefix()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::testing::{Faults, MemoryReactor};

    #[derive(Clone, Default)]
    struct Notes(Rc<RefCell<Vec<String>>>);

    impl Notes {
        fn note(&self, text: &str) {
            self.0.borrow_mut().push(text.to_owned());
        }
    }

    impl Protocol for Notes {
        fn connection_made(&mut self, _transport: &Transport) {
            self.note("made");
        }

        fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
            self.note(&data.escape_ascii().to_string());
        }

        fn read_connection_lost(&mut self, transport: &Transport) {
            self.note("read lost");
            transport.lose_write_connection();
        }

        fn write_connection_lost(&mut self, transport: &Transport) {
            self.note("write lost");
            transport.lose_connection();
        }

        fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
            self.note(reason.name());
        }
    }

    struct Plain;

    impl ProtocolWrapper for Plain {}

    struct Doubling;

    impl ProtocolWrapper for Doubling {
        fn data_received(&mut self, inner: &mut dyn Protocol, transport: &Transport, data: &[u8]) {
            inner.data_received(transport, &data.repeat(2));
        }
    }

    fn notes_of<W: ProtocolWrapper + 'static>(net: &MemoryReactor, build: fn(&Address) -> W) -> Vec<String> {
        let notes = Notes::default();
        let server = notes.clone();
        net.listen_tcp("10.0.0.1:80", WrappingFactory::new(move || server.clone(), build)).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        client.write(b"ab");
        client.finish();
        net.settle();
        notes.0.take()
    }

    #[test]
    fn a_wrapper_without_methods_forwards_every_callback() {
        let notes = notes_of(&MemoryReactor::new(), |_| Plain);
        assert_eq!(notes, ["made", "ab", "read lost", "write lost", "ConnectionDone"]);
    }

    #[test]
    fn lent_chunks_pass_the_method_for_data() {
        let net = MemoryReactor::seeded(1).with_faults(Faults::none().lent_reads());
        let notes = notes_of(&net, |_| Doubling);
        assert_eq!(notes[..2], ["made", "abab"]);
    }
}
