//! The body of a response: empty, parts that are in memory, or a part of a file that the thread pool reads piece by
//! piece.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ropewalk::{Deferred, Reactor, Transport};

use super::connections::PendingRequest;
use super::pieces::{LONG_PIECE, Pieces};
use super::root::Metadata;

/// The body as the thread pool makes it.
pub(super) enum Content {
    /// The whole body. Other responses may share its parts.
    Ready(Vec<Bytes>),
    /// The first piece, and the part of the file that follows it.
    File(Bytes, FilePart),
}

impl Content {
    /// The empty body.
    pub(super) const EMPTY: Content = Content::Ready(Vec::new());

    /// Reads the first piece of `part` of `file`. Closes the file if no piece follows.
    pub(super) fn of(mut file: File, part: Range<u64>, pieces: &Arc<Pieces>) -> io::Result<Content> {
        file.seek(SeekFrom::Start(part.start))?;
        Content::beginning(FilePart { file, left: Some(part.end - part.start), pieces: pieces.clone() })
    }

    /// Reads the first piece of `file`, whose length is unknown. Closes the file if no piece follows.
    pub(super) fn until_the_end(file: File, pieces: &Arc<Pieces>) -> io::Result<Content> {
        Content::beginning(FilePart { file, left: None, pieces: pieces.clone() })
    }

    fn beginning(mut rest: FilePart) -> io::Result<Content> {
        let first = rest.read_piece()?;
        Ok(if rest.left == Some(0) { Content::Ready(vec![first]) } else { Content::File(first, rest) })
    }

    /// Returns the length in bytes, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Content::Ready(parts) => Some(parts.iter().map(|part| part.len() as u64).sum()),
            Content::File(first, rest) => rest.left.map(|left| first.len() as u64 + left),
        }
    }
}

/// Returns the length of a file, or `None` if the length in its metadata is wrong.
///
/// A file that the kernel generates states a length of 0 or of a page, whatever its contents.
pub(super) fn length_of(file: &mut File, metadata: &Metadata) -> io::Result<Option<u64>> {
    if metadata.is_stored {
        return Ok(Some(metadata.length));
    }
    let mut beginning = vec![0; LONG_PIECE];
    let found = fill(file, &mut beginning)? as u64;
    file.rewind()?;
    Ok((found == metadata.length.min(LONG_PIECE as u64)).then_some(metadata.length))
}

/// The unread rest of a part of a file.
pub(super) struct FilePart {
    file: File,
    /// The number of bytes. `None` means up to the end of the file.
    left: Option<u64>,
    pieces: Arc<Pieces>,
}

impl FilePart {
    fn read_piece(&mut self) -> io::Result<Bytes> {
        // `read_to_end` would start with small reads.
        let mut piece = self.pieces.allocate(self.left.unwrap_or(u64::MAX));
        let (wanted, count) = (piece.bytes.len(), fill(&mut self.file, &mut piece.bytes)?);
        self.left = match self.left {
            Some(_) if count < wanted => {
                let truncated = "the file was truncated while it was sent";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
            }
            Some(left) => Some(left - count as u64),
            None => (count < wanted).then_some(0),
        };
        piece.bytes.truncate(count);
        Ok(piece.into_bytes())
    }
}

/// Reads until `piece` is full or the file ends, and returns the number of bytes. Files of proc(5) return short reads.
fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

type Reading = Deferred<(FilePart, io::Result<Bytes>)>;

/// The body as hyper sends it.
pub(super) struct ResponseBody {
    reactor: Reactor,
    transport: Transport,
    /// Parts of the body that can be sent at once. None of them is empty.
    ready: VecDeque<Bytes>,
    rest: Rest,
    /// The number of bytes, if it is known.
    unsent: Option<u64>,
    _request: PendingRequest,
}

enum Rest {
    Nothing,
    /// The next piece has to be read.
    Unread(FilePart),
    /// The next piece is being read.
    Reading(Reading),
}

impl ResponseBody {
    /// Sends `content` over `transport`. The thread pool of the reactor reads its pieces.
    pub(super) fn new(transport: Transport, content: Content, request: PendingRequest) -> ResponseBody {
        let unsent = content.length();
        let (ready, rest) = match content {
            Content::Ready(parts) => (parts, Rest::Nothing),
            Content::File(first, rest) => (vec![first], Rest::unread(rest)),
        };
        let ready = ready.into_iter().filter(|part| !part.is_empty()).collect();
        ResponseBody { reactor: transport.reactor(), transport, ready, rest, unsent, _request: request }
    }

    /// Returns at most a piece of what is ready, so that only a piece of it is copied for a slow reader.
    fn next_ready(&mut self) -> Option<Bytes> {
        let part = self.ready.front_mut()?;
        if part.len() > LONG_PIECE {
            return Some(part.split_to(LONG_PIECE));
        }
        self.ready.pop_front()
    }

    fn read_ahead(&mut self) {
        self.rest = match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Unread(mut part) => Rest::Reading(self.reactor.defer_to_thread(move || {
                let piece = part.read_piece();
                (part, piece)
            })),
            other => other,
        };
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.read_ahead();
        let Rest::Reading(reading) = &mut self.rest else { return Poll::Ready(None) };
        let outcome = ready!(Pin::new(reading).poll(context));
        self.rest = Rest::Nothing;
        // The call fails if it panicked in its thread or the reactor has stopped.
        let (part, piece) = outcome.map_err(|failure| io::Error::other(failure.to_string()))?;
        if piece.is_ok() {
            self.rest = Rest::unread(part);
        }
        Poll::Ready(Some(piece))
    }
}

impl Rest {
    fn unread(part: FilePart) -> Rest {
        if part.left == Some(0) { Rest::Nothing } else { Rest::Unread(part) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match self.next_ready() {
            Some(piece) => piece,
            None => match ready!(self.poll_rest(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
        };
        // A slow reader holds no piece that hyper cannot take yet.
        if self.transport.buffered() == 0 {
            self.read_ahead();
        }
        self.unsent = self.unsent.map(|unsent| unsent - piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.unsent.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
