//! A connection as a byte stream for async code, with back-pressure in both directions.
//!
//! ```text
//!  data_received -> received (pauses the transport at 64 KiB) -> poll_read
//!  poll_write -> transport (pending above its high-water mark)   -> peer
//! ```

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use ropewalk_proto::{Address, Deferred};

use crate::endpoints::{StreamClientEndpoint, connect_protocol};
use crate::error::Error;
use crate::kernel::Reactor;
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Producer, PushProducer, Transport};

/// The number of unread bytes at which the transport is paused.
const RECEIVE_LIMIT: usize = 64 * 1024;

/// The number of unsent bytes above which writers wait.
const WRITE_LIMIT: usize = 64 * 1024;

/// A connection to read and write from async code.
///
/// Dropping the stream closes the connection after the written data has been sent. A stream can only be used on the
/// reactor's thread.
///
/// ```
/// use ropewalk::task::StreamFactory;
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut stream, reactor| {
///     reactor.spawn(async move {
///         let mut name = [0; 64];
///         let count = stream.read(&mut name).await?;
///         stream.write_all(b"hello, ").await?;
///         stream.write_all(&name[..count]).await?;
///         stream.shut_down_write();
///         std::io::Result::Ok(())
///     });
/// }))?;
/// let client = net.connect_stream("10.0.0.1:80");
/// client.write(b"Ada");
/// net.settle();
/// assert_eq!(client.received(), b"hello, Ada");
/// assert!(client.is_eof());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub struct AsyncStream {
    transport: Transport,
    shared: Rc<Shared>,
}

/// The state shared by the protocol, the producer and the stream.
#[derive(Default)]
struct Shared(RefCell<State>);

#[derive(Default)]
struct State {
    received: BytesMut,
    read_ended: bool,
    lost: Option<Error>,
    write_paused: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl AsyncStream {
    /// Connects to `endpoint`. The Deferred fails and can be cancelled like that of [`StreamClientEndpoint::connect`].
    ///
    /// ```
    /// use ropewalk::endpoints::TcpClientEndpoint;
    /// use ropewalk::task::AsyncStream;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let server = net.listen_stream("10.0.0.1:80")?;
    /// let connecting = AsyncStream::connect(&net, &TcpClientEndpoint::new("10.0.0.1:80")?);
    /// let peer = net.spawn(async move {
    ///     let mut stream = connecting.await?;
    ///     stream.write_all(b"hello").await?;
    ///     Ok::<_, ropewalk::Failure>(stream.transport().peer().to_string())
    /// });
    /// net.settle();
    /// assert_eq!(peer.try_result().unwrap().unwrap().unwrap(), "10.0.0.1:80");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect(reactor: &Reactor, endpoint: &(impl StreamClientEndpoint + ?Sized)) -> Deferred<AsyncStream> {
        let made = Rc::new(Cell::new(None));
        let keep = made.clone();
        let serve = move |stream, _: &Reactor| keep.set(Some(stream));
        let protocol = StreamProtocol { serve: Rc::new(serve), shared: Rc::default() };
        connect_protocol(reactor, endpoint, protocol).and_then(move |_| made.take().ok_or(Error::Closed))
    }

    /// Reads into `buffer`, and returns the number of bytes. 0 bytes mean the end of the stream.
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:7", StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         let mut buffer = [0; 64];
    ///         let count = poll_fn(|context| stream.poll_read(context, &mut buffer)).await?;
    ///         poll_fn(|context| stream.poll_write(context, &buffer[..count])).await?;
    ///         poll_fn(|context| stream.poll_flush(context)).await
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:7");
    /// client.write(b"echo");
    /// net.settle();
    /// assert_eq!(client.received(), b"echo");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The reason why the connection was lost.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_with(context, buffer.len(), |data| buffer[..data.len()].copy_from_slice(data))
    }

    /// Polls like [`poll_read`](AsyncStream::poll_read), and passes at most `limit` received bytes to `take`.
    pub(super) fn poll_read_with(
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
        state.received.advance(count);
        let resume = state.received.is_empty() && !state.read_ended;
        if state.received.is_empty() {
            // An idle connection keeps no buffer.
            state.received = BytesMut::new();
        }
        drop(state);
        if resume {
            self.transport.resume_producing();
        }
        Poll::Ready(Ok(count))
    }

    /// Writes all of `data`, or waits while more than 64 KiB are unsent.
    ///
    /// # Errors
    /// `BrokenPipe` when the connection has been lost.
    pub fn poll_write(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writable(context).map_ok(|()| {
            self.transport.write(data);
            data.len()
        })
    }

    /// Writes all of `pieces`, or waits while more than 64 KiB are unsent.
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::io::IoSlice;
    /// use ropewalk::task::StreamFactory;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", StreamFactory::new(|mut stream, reactor| {
    ///     reactor.spawn(async move {
    ///         let pieces = [IoSlice::new(b"head, "), IoSlice::new(b"body")];
    ///         poll_fn(|context| stream.poll_write_vectored(context, &pieces)).await
    ///     });
    /// }))?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(client.received(), b"head, body");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`poll_write`](AsyncStream::poll_write).
    pub fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writable(context).map_ok(|()| {
            self.transport.write_sequence(pieces.iter().map(|piece| &**piece));
            pieces.iter().map(|piece| piece.len()).sum()
        })
    }

    /// Completes when [`poll_write`](AsyncStream::poll_write) would accept data.
    ///
    /// # Errors
    /// The errors of [`poll_write`](AsyncStream::poll_write).
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writable(context)
    }

    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.0.borrow_mut();
        if let Some(reason) = &state.lost {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, reason.clone())));
        }
        if state.write_paused {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.transport.buffered() > WRITE_LIMIT {
            // One task wrote this much within a turn. The data is sent at the end of the turn, so the next poll knows
            // whether the peer is slow.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the sending direction after the written data. Data written afterwards is dropped.
    pub fn shut_down_write(&mut self) {
        // Resume first: a pause is pointless after the last write, and closing would wait for a registered producer.
        self.shared.resume_producing();
        self.transport.unregister_producer();
        self.transport.lose_write_connection();
    }

    /// Returns the connection's transport, for its addresses and options.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        self.transport.unregister_producer();
        self.transport.lose_connection();
    }
}

impl State {
    fn poll_nothing_to_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &self.lost {
            Some(Error::ConnectionDone) => Poll::Ready(Ok(0)),
            Some(reason) => Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, reason.clone()))),
            None if self.read_ended => Poll::Ready(Ok(0)),
            None => {
                self.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn wake(waker: &mut Option<Waker>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

impl PushProducer for Shared {
    fn pause_producing(&self) {
        self.0.borrow_mut().write_paused = true;
    }

    fn resume_producing(&self) {
        let mut state = self.0.borrow_mut();
        state.write_paused = false;
        State::wake(&mut state.writer);
    }

    fn stop_producing(&self) {
        self.resume_producing();
    }
}

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
pub struct StreamFactory<F>(Rc<F>);

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> StreamFactory<F> {
    /// Creates a factory that calls `serve` with each new connection.
    pub fn new(serve: F) -> StreamFactory<F> {
        StreamFactory(Rc::new(serve))
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> Factory for StreamFactory<F> {
    fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(StreamProtocol { serve: self.0.clone(), shared: Rc::default() }))
    }
}

impl<F: Fn(AsyncStream, &crate::Reactor) + 'static> ClientFactory for StreamFactory<F> {}

struct StreamProtocol<F> {
    serve: Rc<F>,
    shared: Rc<Shared>,
}

impl<F: Fn(AsyncStream, &crate::Reactor)> Protocol for StreamProtocol<F> {
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport.register_producer(Producer::Push(self.shared.clone()));
        let stream = AsyncStream { transport: transport.clone(), shared: self.shared.clone() };
        (self.serve)(stream, &transport.reactor());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let mut state = self.shared.0.borrow_mut();
        state.received.extend_from_slice(data);
        if state.received.len() >= RECEIVE_LIMIT {
            transport.pause_producing();
        }
        State::wake(&mut state.reader);
    }

    fn read_connection_lost(&mut self, _transport: &Transport) {
        let mut state = self.shared.0.borrow_mut();
        state.read_ended = true;
        State::wake(&mut state.reader);
    }

    fn connection_lost(&mut self, _transport: &Transport, reason: &Error) {
        let mut state = self.shared.0.borrow_mut();
        state.lost = Some(reason.clone());
        State::wake(&mut state.reader);
        State::wake(&mut state.writer);
    }
}

impl AsyncStream {
    /// Reads into `buffer`, and returns the number of bytes. 0 bytes mean the end of the stream.
    ///
    /// # Errors
    /// The errors of [`poll_read`](AsyncStream::poll_read).
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Writes all of `data`, after waiting while more than 64 KiB are unsent.
    ///
    /// # Errors
    /// The errors of [`poll_write`](AsyncStream::poll_write).
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_write(context, data)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryReactor;

    const PIECE: usize = 10_000;
    const PIECES: usize = 500;

    #[test]
    fn a_task_waits_while_its_peer_reads_slowly() {
        let net = MemoryReactor::new();
        let most = Rc::new(std::cell::Cell::new(0));
        let highest = most.clone();
        let serve = StreamFactory::new(move |mut stream: AsyncStream, reactor| {
            let highest = highest.clone();
            reactor.spawn(async move {
                for number in 0..PIECES {
                    stream.write_all(&[number as u8; PIECE]).await.unwrap();
                    highest.set(highest.get().max(stream.transport().buffered()));
                }
            });
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.pause_reading();
        net.settle();
        client.resume_reading();
        net.settle();
        let received = client.received();
        assert!(client.is_eof());
        assert_eq!(received.len(), PIECES * PIECE);
        assert!(
            received.chunks(PIECE).enumerate().all(|(number, piece)| piece.iter().all(|&byte| byte == number as u8))
        );
        assert!((WRITE_LIMIT..WRITE_LIMIT + 2 * PIECE).contains(&most.get()), "{}", most.get());
    }

    #[test]
    fn reading_continues_after_shut_down_write() {
        let net = MemoryReactor::new();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hear = heard.clone();
        let serve = StreamFactory::new(move |mut stream: AsyncStream, reactor| {
            let hear = hear.clone();
            reactor.spawn(async move {
                stream.write_all(&[1; 2 * WRITE_LIMIT]).await.unwrap();
                stream.shut_down_write();
                let mut buffer = [0; 100];
                let count = stream.read(&mut buffer).await.unwrap();
                hear.borrow_mut().extend_from_slice(&buffer[..count]);
            });
        });
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        assert!(client.is_eof());
        assert_eq!(client.received().len(), 2 * WRITE_LIMIT);
        client.write(b"still here");
        net.settle();
        assert_eq!(*heard.borrow(), b"still here");
    }

    #[test]
    fn reading_pauses_while_the_task_reads_slowly() {
        let net = MemoryReactor::new();
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let serve =
            StreamFactory::new(move |stream: AsyncStream, _: &crate::Reactor| *keep.borrow_mut() = Some(stream));
        net.listen_tcp("10.0.0.1:80", serve).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        client.write(&[7; 1_000_000]);
        client.finish();
        net.settle();
        let mut stream = kept.take().unwrap();
        assert!(stream.shared.0.borrow().received.len() < 2 * RECEIVE_LIMIT);
        let read = net.spawn(async move {
            let (mut buffer, mut total) = (vec![0; 50_000], 0);
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => return total,
                    count => total += count,
                }
            }
        });
        net.settle();
        assert_eq!(read.try_result().unwrap().unwrap(), 1_000_000);
    }

    #[test]
    fn connecting_without_a_listener_fails() {
        let net = MemoryReactor::new();
        let endpoint = crate::endpoints::TcpClientEndpoint::new("10.0.0.1:80").unwrap();
        let connecting = AsyncStream::connect(&net, &endpoint);
        net.settle();
        let failure = connecting.try_result().unwrap().err().unwrap();
        assert!(matches!(failure.trap::<Error>().unwrap(), Error::ConnectionRefused(_)));
    }

    #[test]
    fn an_abandoned_connection_is_closed() {
        let net = MemoryReactor::new();
        let server = net.listen_stream("10.0.0.1:80").unwrap();
        let endpoint = crate::endpoints::TcpClientEndpoint::new("10.0.0.1:80").unwrap();
        drop(AsyncStream::connect(&net, &endpoint));
        net.settle();
        assert!(server.accept().expect("a connection").is_eof());
        assert_eq!(net.source_count(), 0);
    }
}
