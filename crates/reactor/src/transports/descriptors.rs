//! Connections that carry descriptors beside their bytes.
//!
//! ```text
//!   send_file_descriptor -> queued with the place of the next byte -> sent in one message with that byte -> closed here
//!   received message     -> descriptors and bytes are kept -> file_descriptor_received -> data_received
//! ```
//!
//! A connection whose protocol takes no descriptors receives as any other: the system closes the descriptors that come
//! with the bytes, and they never become open in this process.

use std::io;
use std::rc::Rc;

use ropewalk_proto::Outbox;
use ropewalk_sys::{OwnedWaitable, PassedDescriptors, Received, Sent};

use super::Transport;
use super::flags::Flags;
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::interfaces::Interface;
use crate::kernel::{Kernel, Reactor};
use crate::protocols::Protocol;

impl Transport {
    /// Sends `descriptor` to the process at the other end of a UNIX connection: IUNIXTransport.sendFileDescriptor.
    ///
    /// The descriptor travels with the next byte that is written. The peer gets it before that byte or together with
    /// it. Several descriptors may travel with one byte. The peer's descriptor refers to the same open file or socket,
    /// and has the same offset and flags. Yours is closed when it has been sent, so clone it first to keep it.
    ///
    /// A descriptor that no byte follows cannot be sent. If the sending direction is closed in order meanwhile, the
    /// connection ends with [`Error::FileDescriptorOverrun`]. May be called from any callback.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::fs::File;
    /// use std::os::unix::net::UnixStream;
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::AccumulatingProtocol;
    ///
    /// let reactor = Reactor::new()?;
    /// let (ours, theirs) = UnixStream::pair().unwrap();
    /// let transport = reactor.adopt_stream_connection(ours, &AccumulatingProtocol::new().factory())?;
    /// transport.send_file_descriptor(File::open("/dev/null").unwrap())?;
    /// transport.write(b"null"); // the byte `n` carries it
    /// reactor.prepare()?;
    /// # drop(theirs);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The descriptor is closed. [`Error::Unsupported`] if the event provider passes no descriptors. [`Error::Io`] with
    /// `InvalidInput` if this is not a UNIX connection, or if it has a layer.
    /// [`Error::Io`] with `WouldBlock` if 253 descriptors are queued already. [`Error::Closed`] after the end of the
    /// connection or of its sending direction.
    pub fn send_file_descriptor(&self, descriptor: impl Into<OwnedWaitable>) -> Result<()> {
        self.0.queue_descriptor(descriptor.into())
    }
}

impl Stream {
    fn queue_descriptor(&self, descriptor: OwnedWaitable) -> Result<()> {
        let kernel = self.reactor.upgrade().filter(|_| !self.state().is_lost()).ok_or(Error::Closed)?;
        Reactor(kernel).require(Interface::DescriptorPassing)?;
        if !self.has(Flags::PASSES) {
            return Err(cannot_send(io::ErrorKind::InvalidInput, "only a UNIX connection carries descriptors"));
        }
        if self.has(Flags::LAYERED) {
            return Err(cannot_send(io::ErrorKind::InvalidInput, "a connection with a layer carries only bytes"));
        }
        if self.has(Flags::BROKEN) || !self.state().accepts_writes(self.has(Flags::PRODUCER)) {
            return Err(Error::Closed);
        }
        let is_queued = self.outbound.queue_descriptor(descriptor, &self.flags);
        is_queued.map_err(|_full| cannot_send(io::ErrorKind::WouldBlock, "too many descriptors are queued already"))
    }

    /// Hands the outbox to the provider, with the descriptors that travel with its bytes.
    pub(super) fn send_with_descriptors(self: &Rc<Stream>, kernel: &Rc<Kernel>, mut outbox: Box<Outbox>) {
        let mut queue = self.outbound.take_descriptors();
        let sent =
            kernel.descriptor_passing(|passing| passing.send_with_descriptors(self.send_key, &mut outbox, &mut queue));
        self.outbound.put_descriptors(queue, &self.flags);
        match sent {
            Ok(Ok(Sent::All)) => kernel.spare_outboxes.keep(outbox),
            Ok(sent) => self.keep_unsent(outbox, sent),
            Err(_away) => drop(self.keep_until_back(kernel, outbox)),
        }
    }

    /// Returns the reason for the end of a connection that closes in order.
    pub(super) fn reason_of_close(&self) -> Error {
        if self.has(Flags::DESCRIPTORS) { Error::FileDescriptorOverrun } else { Error::ConnectionDone }
    }

    /// Receives once, and keeps the descriptors that came with the bytes.
    pub(super) fn receive_keeping(&self, kernel: &Kernel, memory: &mut [u8]) -> Result<io::Result<Received>> {
        let flags = self.flags.get();
        // The bytes of a layer are not those of the protocol, and a layer carries no descriptors.
        if !flags.contains(Flags::TAKES_DESCRIPTORS) || flags.contains(Flags::LAYERED) {
            return kernel.streams(|streams| streams.receive(self.key, memory));
        }
        let mut passed = PassedDescriptors::default();
        let received =
            kernel.descriptor_passing(|passing| passing.receive_with_descriptors(self.key, memory, &mut passed));
        self.inbound.keep_passed(passed);
        received
    }

    /// Receives once with descriptors, and delivers. Returns the number of bytes if more may be there.
    pub(super) fn receive_with_descriptors(
        self: &Rc<Stream>,
        kernel: &Rc<Kernel>,
        transport: &Transport,
        scratch: &mut [u8],
    ) -> Option<usize> {
        let most = self.inbound.read_size().min(scratch.len());
        let received = self.receive_keeping(kernel, &mut scratch[..most]).unwrap_or(Ok(Received::Empty));
        let (bytes, may_have_more) = match &received {
            Ok(Received::Filled(count)) => (&scratch[..*count], true),
            Ok(Received::Drained(count)) => (&scratch[..*count], false),
            Ok(Received::Lent(chunk)) => (&chunk[..], true),
            _ => return self.received_no_bytes(kernel, transport, received),
        };
        if self.has(Flags::BUFFERED) || self.inbound.has_passed() {
            self.keep_received(bytes);
            self.deliver_pieces(kernel, transport);
        } else {
            self.deliver(kernel, transport, bytes);
        }
        may_have_more.then_some(bytes.len())
    }

    /// Delivers the descriptors that came with the unread bytes. Returns whether these bytes may follow now.
    pub(super) fn deliver_passed(self: &Rc<Stream>, kernel: &Rc<Kernel>, transport: &Transport) -> bool {
        let Some(passed) = self.inbound.take_passed() else { return true };
        self.call(kernel, |protocol| self.give(passed, protocol, transport));
        self.reads()
    }

    /// Calls the protocol with each descriptor. The rest is closed if the protocol takes none any more, or asks for the
    /// end of the connection.
    fn give(&self, passed: PassedDescriptors, protocol: &mut dyn Protocol, transport: &Transport) {
        let Some(receiver) = protocol.file_descriptor_receiver() else { return };
        for descriptor in passed.descriptors {
            if self.is_closing() {
                return;
            }
            receiver.file_descriptor_received(transport, descriptor);
        }
        if passed.are_lost && !self.is_closing() {
            receiver.file_descriptors_lost(transport);
        }
    }

    /// Whether the end of the connection was asked for, and is still to come.
    fn is_closing(&self) -> bool {
        let state = self.state();
        state.is_losing() || state.is_ending() || state.is_aborting()
    }
}

fn cannot_send(kind: io::ErrorKind, why: &'static str) -> Error {
    Error::io("cannot send a descriptor")(io::Error::new(kind, why))
}
