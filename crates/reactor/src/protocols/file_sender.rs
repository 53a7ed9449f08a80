//! FileSender: sends the contents of a reader at the pace of the peer.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};
use std::rc::Rc;

use ropewalk_proto::{Deferred, Resolver, fail};

use crate::error::{Error, Result};
use crate::transports::{Producer, PullProducer, Transport};

/// The number of bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A pull producer that sends a file, or anything else that implements `Read`.
///
/// Each read of 16 KiB blocks the loop. That is negligible for a file, but wrong for a pipe or a socket.
///
/// ```
/// use ropewalk::protocols::FileSender;
/// use ropewalk::testing::StringTransport;
///
/// let transport = StringTransport::new();
/// let sent = FileSender::begin(&b"anything that can be read"[..], &transport)?;
/// assert_eq!(transport.value(), b"anything that can be read");
/// assert_eq!(sent.try_result().unwrap().unwrap(), 25);
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct FileSender {
    transport: Transport,
    /// `None` once the transfer is over.
    transfer: RefCell<Option<Transfer>>,
}

struct Transfer {
    reader: Box<dyn Read>,
    chunk: Box<[u8]>,
    sent: u64,
    resolver: Resolver<u64>,
}

impl FileSender {
    /// Starts to send the contents of `reader`, up to its end. The transport stays open.
    ///
    /// The Deferred fires with the number of bytes when the last byte has been written. The Deferred fails with the
    /// reader's error, or with [`Error::Closed`] when the connection ends first. Cancelling the Deferred stops the
    /// transfer. Bytes that were already written are still sent.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    /// use ropewalk::protocols::FileSender;
    ///
    /// struct SendLicence;
    ///
    /// impl Protocol for SendLicence {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         let Ok(file) = std::fs::File::open("LICENSE-MIT") else { return transport.lose_connection() };
    ///         FileSender::begin(file, transport).expect("no other producer");
    ///         transport.lose_connection(); // once everything is sent
    ///     }
    ///
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::ProducerRegistered`] when the transport already has a producer.
    pub fn begin(reader: impl Read + 'static, transport: &Transport) -> Result<Deferred<u64>> {
        let sender = Rc::new(FileSender { transport: transport.clone(), transfer: RefCell::default() });
        transport.register_producer(Producer::pull(sender.clone()))?;
        if !transport.is_connected() {
            return Ok(fail(Error::Closed));
        }
        let (deferred, resolver) = Deferred::new();
        let weak = Rc::downgrade(&sender);
        resolver.set_canceller(move |_| {
            if let Some(sender) = weak.upgrade() {
                sender.finish();
            }
        });
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        *sender.transfer.borrow_mut() = Some(Transfer { reader: Box::new(reader), chunk, sent: 0, resolver });
        Ok(deferred)
    }

    /// Releases the transport and the reader.
    fn finish(&self) -> Option<Transfer> {
        let transfer = self.transfer.take();
        if transfer.is_some() {
            self.transport.unregister_producer();
        }
        transfer
    }

    fn send_chunk(&self) -> std::io::Result<bool> {
        let mut slot = self.transfer.borrow_mut();
        let Some(transfer) = slot.as_mut() else { return Ok(true) };
        let count = read(&mut *transfer.reader, &mut transfer.chunk)?;
        transfer.sent += count as u64;
        self.transport.write(&transfer.chunk[..count]);
        Ok(count > 0)
    }
}

impl PullProducer for FileSender {
    fn resume_producing(&self) {
        let outcome = match self.send_chunk() {
            Ok(true) => return,
            outcome => outcome,
        };
        let Some(Transfer { sent, resolver, .. }) = self.finish() else { return };
        // This fails if the Deferred was cancelled, because it has already fired.
        let _ = match outcome {
            Ok(_) => resolver.callback(sent),
            Err(error) => resolver.errback(error),
        };
    }

    fn stop_producing(&self) {
        if let Some(transfer) = self.transfer.take() {
            let _ = transfer.resolver.errback(Error::Closed);
        }
    }
}

fn read(reader: &mut dyn Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;
    use crate::protocols::Protocol;
    use crate::testing::{MemoryReactor, TestStream};
    use crate::transports::WeakTransport;

    type Outcome = Rc<RefCell<Option<std::result::Result<u64, String>>>>;

    /// Starts a transfer when the connection is made, and stores its outcome.
    struct Sender {
        reader: Option<Box<dyn Read>>,
        outcome: Outcome,
        transport: Rc<RefCell<Option<WeakTransport>>>,
        loses: bool,
    }

    impl Protocol for Sender {
        fn connection_made(&mut self, transport: &Transport) {
            *self.transport.borrow_mut() = Some(transport.downgrade());
            let outcome = self.outcome.clone();
            let deferred = FileSender::begin(self.reader.take().unwrap(), transport).unwrap();
            deferred
                .add_both(move |result| *outcome.borrow_mut() = Some(result.map_err(|failure| failure.to_string())));
            if self.loses {
                transport.lose_connection();
            }
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    }

    struct Case {
        net: MemoryReactor,
        client: TestStream,
        outcome: Outcome,
        transport: Rc<RefCell<Option<WeakTransport>>>,
    }

    impl Case {
        fn new(reader: impl Read + 'static, loses: bool) -> Case {
            let net = MemoryReactor::new();
            let (outcome, transport) = (Outcome::default(), Rc::<RefCell<_>>::default());
            let (result, slot) = (outcome.clone(), transport.clone());
            let reader = Cell::new(Some(Box::new(reader) as Box<dyn Read>));
            let build =
                move || Sender { reader: reader.take(), outcome: result.clone(), transport: slot.clone(), loses };
            net.listen_tcp("10.0.0.1:80", build).unwrap();
            let client = net.connect_stream("10.0.0.1:80");
            Case { net, client, outcome, transport }
        }

        fn transport(&self) -> Transport {
            self.transport.borrow().as_ref().and_then(WeakTransport::upgrade).unwrap()
        }
    }

    /// A reader of `size` bytes that depend on their position. It returns them in pieces of irregular sizes, with
    /// interruptions.
    struct Pattern {
        at: usize,
        size: usize,
        interrupted: bool,
    }

    impl Read for Pattern {
        fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = chunk.len().min(self.size - self.at).min(10_007);
            chunk[..count].iter_mut().enumerate().for_each(|(index, byte)| *byte = ((self.at + index) % 251) as u8);
            self.at += count;
            Ok(count)
        }
    }

    fn pattern(size: usize) -> Pattern {
        Pattern { at: 0, size, interrupted: false }
    }

    #[test]
    fn a_slow_peer_gets_all_bytes_while_few_are_queued() {
        let size = 1_000_000;
        let case = Case::new(pattern(size), false);
        case.client.pause_reading();
        case.net.settle();
        assert!(case.transport().buffered() <= CHUNK_BYTES, "{} bytes queued", case.transport().buffered());
        assert!(case.outcome.borrow().is_none());
        case.client.resume_reading();
        case.net.settle();
        assert!(case.client.received() == (0..size).map(|index| (index % 251) as u8).collect::<Vec<_>>());
        assert_eq!(*case.outcome.borrow(), Some(Ok(size as u64)));
        assert!(case.client.is_connected() && !case.client.is_eof());
        assert!(FileSender::begin(io::empty(), &case.transport()).is_ok(), "the producer was unregistered");
    }

    #[test]
    fn lose_connection_closes_after_the_last_byte() {
        let case = Case::new(pattern(200_000), true);
        case.net.settle();
        assert_eq!(case.client.received().len(), 200_000);
        assert!(case.client.is_eof());
    }

    #[test]
    fn a_read_error_only_fails_the_transfer() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _chunk: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let case = Case::new(Broken, false);
        case.net.settle();
        assert_eq!(*case.outcome.borrow(), Some(Err("bad sector".into())));
        assert!(case.client.is_connected() && !case.client.is_eof());
    }

    #[test]
    fn a_connection_that_ends_early_fails_the_transfer() {
        let case = Case::new(io::repeat(1), false);
        case.client.pause_reading();
        case.net.settle();
        case.client.abort();
        case.net.settle();
        assert_eq!(*case.outcome.borrow(), Some(Err(Error::Closed.to_string())));
    }

    #[test]
    fn a_transfer_over_a_closed_connection_fails_at_once() {
        let case = Case::new(io::empty(), false);
        case.net.settle();
        let transport = case.transport();
        case.client.close();
        case.net.settle();
        let deferred = FileSender::begin(io::repeat(1), &transport).unwrap();
        assert_eq!(deferred.try_result().unwrap().unwrap_err().to_string(), Error::Closed.to_string());
    }

    #[test]
    fn a_cancelled_transfer_frees_the_transport() {
        let case = Case::new(io::empty(), false);
        case.net.settle();
        let transport = case.transport();
        case.client.pause_reading();
        let deferred = FileSender::begin(io::repeat(1), &transport).unwrap();
        case.net.settle();
        assert!(matches!(FileSender::begin(io::empty(), &transport), Err(Error::ProducerRegistered)));
        deferred.cancel();
        assert!(deferred.try_result().unwrap().is_err());
        case.client.resume_reading();
        case.net.settle();
        let sent = case.client.take_received().len();
        assert!(sent > 0 && transport.buffered() == 0);
        transport.write(b"next");
        case.net.settle();
        assert_eq!(case.client.received(), b"next");
    }
}
