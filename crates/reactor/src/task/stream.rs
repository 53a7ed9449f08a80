//! A connection as a pair of byte streams for async code, with back-pressure both ways.
//!
//! ```text
//!  data_received -> received (pauses the transport above 64 KiB) -> poll_read
//!  poll_write -> transport (pending above its high-water mark)   -> peer
//! ```

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use ropewalk_proto::Address;

use crate::error::Error;
use crate::protocols::{ClientFactory, Factory, Protocol};
use crate::transports::{Producer, PushProducer, Transport};

/// More than this unread pauses the transport.
const RECEIVE_LIMIT: usize = 64 * 1024;

/// A connection to read and write from async code.
///
/// Dropping it closes the connection after what was written has been sent.
pub struct AsyncStream {
    transport: Transport,
    shared: Rc<Shared>,
}

/// What the protocol, the producer and the stream share.
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
    /// Reads into `buffer`; 0 bytes are the end of the stream.
    ///
    /// # Errors
    /// Why the connection was lost.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.0.borrow_mut();
        if state.received.is_empty() {
            return state.poll_nothing_to_read(context);
        }
        let count = buffer.len().min(state.received.len());
        buffer[..count].copy_from_slice(&state.received[..count]);
        state.received.advance(count);
        let resume = state.received.is_empty() && !state.read_ended;
        drop(state);
        if resume {
            self.transport.resume_producing();
        }
        Poll::Ready(Ok(count))
    }

    /// Writes all of `data`, or nothing while the peer is slow.
    ///
    /// # Errors
    /// `BrokenPipe` after the connection was lost.
    pub fn poll_write(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.0.borrow_mut();
        if let Some(reason) = &state.lost {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, reason.clone())));
        }
        if state.write_paused {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.transport.write(data);
        Poll::Ready(Ok(data.len()))
    }

    /// Ready when the peer has taken enough that more may be written.
    ///
    /// # Errors
    /// `BrokenPipe` after the connection was lost.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write(context, &[]).map_ok(|_| ())
    }

    /// Ends the sending direction after what was written.
    pub fn shut_down_write(&mut self) {
        self.transport.lose_write_connection();
    }

    /// The connection's transport, for its addresses and options.
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

/// A factory that hands each connection to async code.
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
    /// Calls `serve` with each connection as it is made.
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
    /// Reads into `buffer`; 0 bytes are the end of the stream.
    ///
    /// # Errors
    /// As [`poll_read`](AsyncStream::poll_read).
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Writes all of `data`, waiting while the peer is slow.
    ///
    /// # Errors
    /// As [`poll_write`](AsyncStream::poll_write).
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_write(context, data)).await.map(|_| ())
    }
}
