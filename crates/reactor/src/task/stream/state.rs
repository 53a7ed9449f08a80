//! The state of a stream's connection, which its protocol and its halves share.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use ropewalk_proto::framing::LineTooLong;
use ropewalk_sys::OwnedWaitable;

use crate::error::Error;
use crate::transports::{PushProducer, Transport};

/// The number of unread bytes at which the transport is paused.
pub(super) const RECEIVE_LIMIT: usize = 64 * 1024;

/// The number of unsent bytes above which writers wait.
pub(super) const WRITE_LIMIT: usize = 64 * 1024;

/// The number of descriptors that were not taken at which the transport is paused. It exceeds that of one message.
pub(super) const DESCRIPTOR_LIMIT: usize = 256;

/// The state shared by the protocol, the producer and the halves.
#[derive(Default)]
pub(super) struct Shared(pub(super) RefCell<State>);

#[derive(Default)]
pub(super) struct State {
    pub(super) received: BytesMut,
    /// The number of bytes at the beginning of `received` that contain no newline.
    scanned: usize,
    /// Whether a line was too long and its newline has not come.
    skipping: bool,
    /// The descriptors that have arrived beside the bytes.
    pub(super) descriptors: VecDeque<OwnedWaitable>,
    /// Whether the transport was paused, because too much is unread.
    paused: bool,
    /// Whether this is one of two pipes, so that it is closed together with its only direction.
    pub(super) is_pipe: bool,
    pub(super) read_ended: bool,
    pub(super) lost: Option<Error>,
    write_paused: bool,
    pub(super) reader_dropped: bool,
    pub(super) writer_dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    /// Stores received bytes for the reader, and pauses the transport if too many are unread.
    pub(super) fn receive(&mut self, transport: &Transport, data: &[u8]) {
        if self.reader_dropped {
            return;
        }
        self.received.extend_from_slice(data);
        if self.received.len() >= RECEIVE_LIMIT {
            self.pause(transport);
        }
        self.wake_reader();
    }

    /// Stores a received descriptor for the reader, and pauses the transport if too many were not taken.
    pub(super) fn receive_descriptor(&mut self, transport: &Transport, descriptor: OwnedWaitable) {
        if self.reader_dropped {
            return;
        }
        self.descriptors.push_back(descriptor);
        if self.descriptors.len() >= DESCRIPTOR_LIMIT {
            self.pause(transport);
        }
        self.wake_reader();
    }

    fn pause(&mut self, transport: &Transport) {
        self.paused = true;
        transport.pause_producing();
    }

    /// Reads on after a pause, unless too many descriptors were not taken.
    pub(super) fn resume(&mut self, transport: &Transport) {
        if self.descriptors.len() < DESCRIPTOR_LIMIT && std::mem::take(&mut self.paused) {
            transport.resume_producing();
        }
    }

    /// Removes the first descriptor that was not taken.
    pub(super) fn take_descriptor(&mut self, transport: &Transport) -> Option<OwnedWaitable> {
        let taken = self.descriptors.pop_front();
        if self.received.len() < RECEIVE_LIMIT {
            self.resume(transport);
        }
        taken
    }

    /// Removes the first `count` received bytes, which were read.
    pub(super) fn consume(&mut self, count: usize) {
        self.received.advance(count);
        self.scanned = self.scanned.saturating_sub(count);
        self.skipping = false;
        if self.received.is_empty() {
            // An idle connection keeps no buffer.
            self.received = BytesMut::new();
        }
    }

    /// Removes all received bytes.
    pub(super) fn take_all(&mut self) -> Bytes {
        (self.scanned, self.skipping) = (0, false);
        std::mem::take(&mut self.received).freeze()
    }

    /// Removes the next line, without the newline, or returns `None` if its newline has not come. Bytes that were
    /// searched before are not searched again.
    ///
    /// # Errors
    /// The beginning of a line that is longer than `max_length` bytes. The rest of the line will be skipped.
    pub(super) fn take_line(&mut self, max_length: usize) -> Result<Option<Vec<u8>>, LineTooLong> {
        if self.skipping && !self.skip_line() {
            return Ok(None);
        }
        // A line and its "\r\n" must end in this window.
        let window = self.received.len().min(max_length.saturating_add(2));
        let Some(end) = self.find_newline(window) else {
            if window < max_length.saturating_add(2) {
                return Ok(None);
            }
            let beginning = self.received[..max_length].to_vec();
            self.consume(window);
            self.skipping = true;
            return Err(LineTooLong { beginning, max_length });
        };
        let line = &self.received[..end - 1];
        let mut line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.consume(end);
        if line.len() <= max_length {
            return Ok(Some(line));
        }
        line.truncate(max_length);
        Err(LineTooLong { beginning: line, max_length })
    }

    /// Removes the rest of a line that was too long. Returns whether its newline was found.
    fn skip_line(&mut self) -> bool {
        let found = self.find_newline(self.received.len());
        self.consume(found.unwrap_or(self.received.len()));
        self.skipping = found.is_none();
        found.is_some()
    }

    /// Returns the end of the first newline within the first `window` bytes.
    fn find_newline(&mut self, window: usize) -> Option<usize> {
        let mut fresh = self.received.get(self.scanned..window)?;
        // The standard library's only public access to its memchr.
        let count = fresh.skip_until(b'\n').ok()?;
        let end = self.scanned + count;
        if count > 0 && self.received[end - 1] == b'\n' {
            return Some(end);
        }
        self.scanned = end;
        None
    }

    /// Polls for the end of the stream, when no byte is left to read. The output is the number of bytes read: 0.
    ///
    /// A reader that needs bytes would wait for ever while reading pauses because of descriptors, so that is an error.
    pub(super) fn poll_nothing_to_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.descriptors.len() >= DESCRIPTOR_LIMIT {
            let error = "too many descriptors were not taken: call next_file_descriptor";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        self.poll_end(context)
    }

    /// Polls for the end of the stream, when no descriptor is left. The output is the number of bytes read: 0.
    ///
    /// A reader that needs a descriptor would wait for ever while reading pauses because of bytes.
    pub(super) fn poll_no_descriptor(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.len() >= RECEIVE_LIMIT {
            let error = "too many bytes are unread: read those that come before the descriptor";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        self.poll_end(context)
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
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

    /// Polls for permission to write: the connection is not lost, and not too much is unsent.
    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>, transport: &Transport) -> Poll<io::Result<()>> {
        // The transport knows of a loss before `connection_lost`, which may have to wait until the task reads. Until then
        // it drops what is written, so a task that only writes would never wait.
        if let Some(reason) = self.lost.clone().or_else(|| transport.lost()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, reason)));
        }
        if self.write_paused {
            self.wake_writer_with(context);
            return Poll::Pending;
        }
        if transport.buffered() > WRITE_LIMIT {
            // One task wrote this much within a turn. The data is sent at the end of the turn, so the next poll knows
            // whether the peer is slow.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes the task of `context` wake when the connection is lost, or when its peer takes more.
    pub(super) fn wake_writer_with(&mut self, context: &mut Context<'_>) {
        self.writer = Some(context.waker().clone());
    }

    /// Keeps the reason for the end of the connection, and wakes its tasks.
    pub(super) fn lose(&mut self, reason: Error) {
        self.lost = Some(reason);
        self.wake_reader();
        self.wake_writer();
    }

    pub(super) fn wake_reader(&mut self) {
        wake(&mut self.reader);
    }

    pub(super) fn wake_writer(&mut self) {
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl PushProducer for Shared {
    fn pause_producing(&self) {
        self.0.borrow_mut().write_paused = true;
    }

    fn resume_producing(&self) {
        let mut state = self.0.borrow_mut();
        state.write_paused = false;
        state.wake_writer();
    }

    fn stop_producing(&self) {
        self.resume_producing();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(received: &[u8]) -> State {
        State { received: received.into(), ..State::default() }
    }

    fn too_long(beginning: &[u8], max_length: usize) -> Result<Option<Vec<u8>>, LineTooLong> {
        Err(LineTooLong { beginning: beginning.to_vec(), max_length })
    }

    #[test]
    fn a_return_before_the_newline_is_not_part_of_the_line() {
        let mut state = state(b"one\r\ntwo\n\n\r\n\rthree\r\r\nfour");
        for line in [&b"one"[..], b"two", b"", b"", b"\rthree\r"] {
            assert_eq!(state.take_line(10), Ok(Some(line.to_vec())));
        }
        assert_eq!(state.take_line(10), Ok(None));
        assert_eq!(state.received, b"four"[..]);
    }

    #[test]
    fn bytes_without_a_newline_are_searched_once() {
        let mut state = State::default();
        for received in 1..=1000 {
            state.received.extend_from_slice(b"x");
            assert_eq!((state.take_line(2000), state.scanned), (Ok(None), received));
        }
        state.consume(400);
        assert_eq!(state.scanned, 600);
        state.received.extend_from_slice(b"\n");
        assert_eq!(state.take_line(2000), Ok(Some(vec![b'x'; 600])));
        assert_eq!(state.scanned, 0);
    }

    #[test]
    fn the_maximum_length_excludes_the_end_of_the_line() {
        for end in ["\n", "\r\n"] {
            let mut state = state(format!("abcde{end}abcdef{end}abc{end}").as_bytes());
            assert_eq!(state.take_line(5), Ok(Some(b"abcde".to_vec())));
            assert_eq!(state.take_line(5), too_long(b"abcde", 5));
            assert_eq!(state.take_line(5), Ok(Some(b"abc".to_vec())));
        }
    }

    #[test]
    fn the_rest_of_a_line_that_is_too_long_is_skipped() {
        let mut state = state(b"0123456789");
        assert_eq!(state.take_line(4), too_long(b"0123", 4));
        for _ in 0..3 {
            assert_eq!(state.take_line(4), Ok(None));
            assert!(state.received.is_empty());
            state.received.extend_from_slice(b"more of it");
        }
        state.received.extend_from_slice(b"\nnext\n");
        assert_eq!(state.take_line(4), Ok(Some(b"next".to_vec())));
    }

    #[test]
    fn a_line_needs_no_maximum() {
        assert_eq!(state(b"line\n").take_line(usize::MAX), Ok(Some(b"line".to_vec())));
    }
}
