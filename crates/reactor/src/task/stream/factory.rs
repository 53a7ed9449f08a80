//! The factory of streams, and the protocol that moves bytes between a connection and its stream.

use std::rc::Rc;

use ropewalk_proto::Address;
use ropewalk_sys::OwnedWaitable;

use super::AsyncStream;
use super::state::Shared;
use crate::error::Error;
use crate::protocols::{ClientFactory, Factory, FileDescriptorReceiver, Protocol};
use crate::transports::{Producer, Transport};

/// A factory that passes each connection to async code.
///
/// ```
/// use ropewalk::prelude::*;
/// use ropewalk::task::StreamFactory;
///
/// let reactor = Reactor::new()?;
/// reactor.listen_tcp("127.0.0.1:0", StreamFactory::new(|stream, reactor| {
///     reactor.spawn(async move { drop(stream) });
/// }))?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct StreamFactory<F> {
    serve: Rc<F>,
    takes_descriptors: bool,
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> StreamFactory<F> {
    /// Creates a factory that calls `serve` with each new connection.
    pub fn new(serve: F) -> StreamFactory<F> {
        StreamFactory { serve: Rc::new(serve), takes_descriptors: false }
    }

    /// Makes the streams of UNIX connections receive descriptors, for
    /// [`next_file_descriptor`](AsyncStream::next_file_descriptor). Otherwise the system closes the descriptors that
    /// the peer sends.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::fs::File;
    /// use std::os::unix::net::UnixStream;
    /// use ropewalk::prelude::*;
    /// use ropewalk::task::StreamFactory;
    ///
    /// let reactor = Reactor::new()?;
    /// let (ours, theirs) = UnixStream::pair().unwrap(); // usually two processes
    /// let inbox = StreamFactory::new(|mut stream, reactor| {
    ///     let stopping = reactor.clone();
    ///     reactor.spawn(async move {
    ///         let file = stream.next_file_descriptor().await.unwrap();
    ///         assert!(file.is_some());
    ///         stopping.stop().unwrap();
    ///     });
    /// });
    /// let _inbox = reactor.adopt_stream_connection(theirs, &inbox.with_file_descriptors())?;
    /// let outbox = StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         stream.send_file_descriptor(File::open("/dev/null")?)?;
    ///         stream.write_all(b"f").await?; // the byte that carries it
    ///         Ok::<_, ropewalk::Error>(())
    ///     });
    /// });
    /// let _outbox = reactor.adopt_stream_connection(ours, &outbox)?;
    /// reactor.run()?;
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn with_file_descriptors(self) -> StreamFactory<F> {
        StreamFactory { takes_descriptors: true, ..self }
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> Factory for StreamFactory<F> {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(StreamProtocol::new(self.serve.clone(), self.takes_descriptors)))
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> ClientFactory for StreamFactory<F> {}

pub(super) struct StreamProtocol<F> {
    serve: Rc<F>,
    takes_descriptors: bool,
    shared: Rc<Shared>,
}

impl<F> StreamProtocol<F> {
    pub(super) fn new(serve: Rc<F>, takes_descriptors: bool) -> StreamProtocol<F> {
        StreamProtocol { serve, takes_descriptors, shared: Rc::default() }
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor)> Protocol for StreamProtocol<F> {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.register_producer(Producer::Push(self.shared.clone()));
        (self.serve)(AsyncStream::new(transport, &self.shared), &transport.reactor());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.shared.0.borrow_mut().receive(transport, data);
    }

    fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
        if self.takes_descriptors { Some(self) } else { None }
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        let mut state = self.shared.0.borrow_mut();
        state.read_ended = true;
        state.wake_reader();
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        self.shared.0.borrow_mut().lose(reason.clone());
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor)> FileDescriptorReceiver for StreamProtocol<F> {
    fn file_descriptor_received(&mut self, transport: &Transport, descriptor: OwnedWaitable) {
        self.shared.0.borrow_mut().receive_descriptor(transport, descriptor);
    }
}
