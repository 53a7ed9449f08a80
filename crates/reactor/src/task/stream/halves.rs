//! The halves of a stream, which two tasks can use independently.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use ropewalk_sys::OwnedWaitable;

use super::state::Shared;
use crate::error::Result;
use crate::transports::{PushProducer, Transport};

/// The receiving half of a stream, made by [`AsyncStream::into_split`](super::AsyncStream::into_split).
///
/// If this half is dropped first, later bytes of the peer are discarded. When both halves are dropped, the connection
/// is closed like that of a dropped stream. The half can only be used on the reactor's thread.
///
/// ```
/// use ropewalk::task::{ReadHalf, StreamFactory, WriteHalf};
/// use ropewalk::testing::MemoryReactor;
///
/// async fn dictate(mut from: ReadHalf, mut to: WriteHalf) -> std::io::Result<()> {
///     while let Some(line) = from.next_line(1000).await? {
///         to.write_all(&line).await?;
///     }
///     let mut rest = [0; 100];
///     assert_eq!(from.read(&mut rest).await?, 0); // no line means the end
///     to.shut_down_write();
///     Ok(())
/// }
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|stream, reactor| {
///     let (from, to) = stream.into_split();
///     reactor.spawn(dictate(from, to));
/// }))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"dear \r\nAda");
/// client.finish();
/// net.settle();
/// assert_eq!(client.received(), b"dear Ada");
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// The halves of a UNIX connection carry descriptors as well:
///
/// ```
/// use ropewalk::task::{ReadHalf, WriteHalf};
///
/// /// Returns each descriptor to its sender.
/// async fn give_back(mut from: ReadHalf, mut to: WriteHalf) -> ropewalk::Result<()> {
///     while let Some(descriptor) = from.next_file_descriptor().await? {
///         to.send_file_descriptor(descriptor)?;
///         to.write_all(b"d").await?; // the byte that carries it
///     }
///     Ok(())
/// }
/// ```
pub struct ReadHalf {
    transport: Transport,
    shared: Rc<Shared>,
}

/// The sending half of a stream, made by [`AsyncStream::into_split`](super::AsyncStream::into_split).
///
/// Dropping this half closes the sending direction after the written data. When both halves are dropped, the connection
/// is closed like that of a dropped stream. The half can only be used on the reactor's thread.
///
/// ```
/// use std::future::poll_fn;
/// use ropewalk::task::StreamFactory;
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|stream, reactor| {
///     let (mut from, mut to) = stream.into_split();
///     reactor.spawn(async move {
///         let mut name = [0; 3];
///         from.read_exact(&mut name).await?;
///         poll_fn(|context| to.poll_write(context, &name)).await?;
///         let end = poll_fn(|context| from.poll_read(context, &mut name)).await?;
///         assert_eq!(end, 0);
///         to.write_all(format!(" at {}", to.transport().peer().inet().unwrap().ip()).as_bytes()).await
///     });
/// }))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"Ada");
/// client.finish();
/// net.settle();
/// assert!(client.received().starts_with(b"Ada at "));
/// assert!(client.is_eof());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct WriteHalf {
    transport: Transport,
    shared: Rc<Shared>,
}

pub(super) fn halves(transport: &Transport, shared: &Rc<Shared>) -> (ReadHalf, WriteHalf) {
    (ReadHalf::new(transport, shared), WriteHalf::new(transport, shared))
}

impl ReadHalf {
    pub(super) fn new(transport: &Transport, shared: &Rc<Shared>) -> ReadHalf {
        ReadHalf { transport: transport.clone(), shared: shared.clone() }
    }

    /// Reads into `buffer`, and returns the number of bytes. 0 bytes mean the end of the stream.
    ///
    /// # Errors
    /// The reason why the connection was lost.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_with(context, buffer.len(), |data| buffer[..data.len()].copy_from_slice(data))
    }

    /// Polls like [`poll_read`](ReadHalf::poll_read), and passes at most `limit` received bytes to `take`.
    pub(in crate::task) fn poll_read_with(
        &mut self,
        context: &mut Context<'_>,
        limit: usize,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.0.borrow_mut();
        if state.received.is_empty() {
            return state.poll_nothing_to_read(context);
        }
        let count = limit.min(state.received.len());
        take(&state.received[..count]);
        state.consume(count);
        if state.received.is_empty() {
            state.resume(&self.transport);
        }
        Poll::Ready(Ok(count))
    }

    /// Polls like [`poll_read`](ReadHalf::poll_read), and returns all received bytes without a copy.
    pub(super) fn poll_read_all(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut state = self.shared.0.borrow_mut();
        if state.received.is_empty() {
            return state.poll_nothing_to_read(context).map_ok(|_| Bytes::new());
        }
        let received = state.take_all();
        state.resume(&self.transport);
        Poll::Ready(Ok(received))
    }

    fn poll_next_line(&mut self, context: &mut Context<'_>, max_length: usize) -> Poll<io::Result<Option<Vec<u8>>>> {
        let mut state = self.shared.0.borrow_mut();
        match state.take_line(max_length) {
            Ok(Some(line)) => return Poll::Ready(Ok(Some(line))),
            Err(error) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
            Ok(None) => {}
        }
        // The rest of the line must be received, although the line may be longer than the limit of unread bytes.
        state.resume(&self.transport);
        state.poll_nothing_to_read(context).map_ok(|_| {
            let last = state.take_all();
            (!last.is_empty()).then(|| last.to_vec())
        })
    }

    /// Reads like [`AsyncStream::read`](super::AsyncStream::read).
    ///
    /// # Errors
    /// The reason why the connection was lost.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Fills `buffer` like [`AsyncStream::read_exact`](super::AsyncStream::read_exact).
    ///
    /// # Errors
    /// The errors of [`AsyncStream::read_exact`](super::AsyncStream::read_exact).
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            filled += match self.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            };
        }
        Ok(())
    }

    /// Reads a line like [`AsyncStream::next_line`](super::AsyncStream::next_line).
    ///
    /// # Errors
    /// The errors of [`AsyncStream::next_line`](super::AsyncStream::next_line).
    pub async fn next_line(&mut self, max_length: usize) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|context| self.poll_next_line(context, max_length)).await
    }

    /// Polls like [`next_file_descriptor`](ReadHalf::next_file_descriptor).
    fn poll_next_descriptor(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<OwnedWaitable>>> {
        let mut state = self.shared.0.borrow_mut();
        match state.take_descriptor(&self.transport) {
            Some(descriptor) => Poll::Ready(Ok(Some(descriptor))),
            None => state.poll_no_descriptor(context).map_ok(|_| None),
        }
    }

    /// Takes a descriptor like [`AsyncStream::next_file_descriptor`](super::AsyncStream::next_file_descriptor).
    ///
    /// # Errors
    /// The errors of [`AsyncStream::next_file_descriptor`](super::AsyncStream::next_file_descriptor).
    pub async fn next_file_descriptor(&mut self) -> io::Result<Option<OwnedWaitable>> {
        poll_fn(|context| self.poll_next_descriptor(context)).await
    }

    /// Gives the unread bytes back to the transport.
    pub(super) fn give_back(&mut self) {
        let unread = {
            let mut state = self.shared.0.borrow_mut();
            let unread = state.take_all();
            state.resume(&self.transport);
            unread
        };
        self.transport.unread(&unread);
    }

    /// Returns the number of unread bytes.
    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.shared.0.borrow().received.len()
    }

    /// Returns the connection's transport, for its addresses and options.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl WriteHalf {
    pub(super) fn new(transport: &Transport, shared: &Rc<Shared>) -> WriteHalf {
        WriteHalf { transport: transport.clone(), shared: shared.clone() }
    }

    /// Writes all of `data`, or waits while more than 64 KiB are unsent.
    ///
    /// # Errors
    /// `BrokenPipe` when the connection has been lost.
    pub fn poll_write(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_flush(context).map_ok(|()| {
            self.transport.write(data);
            data.len()
        })
    }

    pub(in crate::task) fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_flush(context).map_ok(|()| {
            self.transport.write_sequence(pieces.iter().map(|piece| &**piece));
            pieces.iter().map(|piece| piece.len()).sum()
        })
    }

    /// Completes when [`poll_write`](WriteHalf::poll_write) would accept data.
    pub(in crate::task) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.0.borrow_mut().poll_writable(context, &self.transport)
    }

    /// Makes the task of `context` wake when the connection is lost.
    pub(super) fn wake_when_lost(&self, context: &mut Context<'_>) {
        self.shared.0.borrow_mut().wake_writer_with(context);
    }

    /// Writes like [`AsyncStream::write_all`](super::AsyncStream::write_all).
    ///
    /// # Errors
    /// `BrokenPipe` when the connection has been lost.
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        poll_fn(|context| self.poll_write(context, data)).await.map(|_| ())
    }

    /// Closes the sending direction after the written data. Data written afterwards is dropped.
    pub fn shut_down_write(&mut self) {
        // Resume first: a pause is pointless after the last write, and closing would wait for a registered producer.
        self.shared.resume_producing();
        self.transport.unregister_producer();
        close_writing(&self.transport, &self.shared);
    }

    /// Sends a descriptor like [`AsyncStream::send_file_descriptor`](super::AsyncStream::send_file_descriptor).
    ///
    /// # Errors
    /// The errors of [`Transport::send_file_descriptor`].
    pub fn send_file_descriptor(&mut self, descriptor: impl Into<OwnedWaitable>) -> Result<()> {
        self.transport.send_file_descriptor(descriptor)
    }

    /// Returns the connection's transport, for its addresses and options.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

/// Closes the sending direction. A pipe has no other one.
fn close_writing(transport: &Transport, shared: &Shared) {
    if shared.0.borrow().is_pipe {
        transport.lose_connection();
    } else {
        transport.lose_write_connection();
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        let mut state = self.shared.0.borrow_mut();
        state.reader_dropped = true;
        drop((state.take_all(), std::mem::take(&mut state.descriptors)));
        if state.writer_dropped {
            drop(state);
            self.transport.lose_connection();
        } else {
            state.resume(&self.transport);
        }
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.transport.unregister_producer();
        let mut state = self.shared.0.borrow_mut();
        state.writer_dropped = true;
        let reader_dropped = state.reader_dropped;
        drop(state);
        if reader_dropped {
            self.transport.lose_connection();
        } else {
            close_writing(&self.transport, &self.shared);
        }
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadHalf").field(&self.transport).finish()
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteHalf").field(&self.transport).finish()
    }
}
