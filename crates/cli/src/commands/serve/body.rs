//! The body of a response: empty, a text, or a part of a file that the thread pool reads piece by piece.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ropewalk::{Deferred, Reactor};

use super::connections::PendingRequest;

/// The number of bytes that are read from a file at once. Smaller pieces cost more turns. Larger pieces cost more
/// memory for each slow reader: a response holds the piece in flight and the next one, which is read ahead.
const PIECE: u64 = 128 * 1024;

/// The body as the thread pool makes it.
pub(super) enum Content {
    /// The whole body.
    Ready(Bytes),
    /// The first piece, and the part of the file that follows it.
    File(Bytes, FilePart),
}

impl Content {
    /// The empty body.
    pub(super) const EMPTY: Content = Content::Ready(Bytes::new());

    /// Reads the first piece of `part` of `file`. Closes the file if that is all.
    pub(super) fn of(mut file: File, part: Range<u64>) -> io::Result<Content> {
        file.seek(SeekFrom::Start(part.start))?;
        let mut rest = FilePart { file, left: part.end - part.start };
        let first = rest.read_piece()?;
        Ok(if rest.left == 0 { Content::Ready(first) } else { Content::File(first, rest) })
    }

    /// Returns the length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Content::Ready(bytes) => bytes.len() as u64,
            Content::File(first, rest) => first.len() as u64 + rest.left,
        }
    }
}

/// The unread rest of a part of a file.
pub(super) struct FilePart {
    file: File,
    left: u64,
}

impl FilePart {
    fn read_piece(&mut self) -> io::Result<Bytes> {
        let size = self.left.min(PIECE);
        // `read_to_end` would start with small reads.
        let mut piece = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.file.read_exact(&mut piece).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the file was truncated while it was sent"),
            _ => error,
        })?;
        self.left -= size;
        Ok(piece.into())
    }
}

type Reading = Deferred<(FilePart, io::Result<Bytes>)>;

/// The body as hyper sends it.
pub(super) struct ResponseBody {
    reactor: Reactor,
    ready: Option<Bytes>,
    rest: Rest,
    unsent: u64,
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
    /// Sends `content`. The thread pool of `reactor` reads its pieces.
    pub(super) fn new(reactor: Reactor, content: Content, request: PendingRequest) -> ResponseBody {
        let unsent = content.length();
        let (ready, rest) = match content {
            Content::Ready(bytes) => (bytes, Rest::Nothing),
            Content::File(first, rest) => (first, Rest::unread(rest)),
        };
        ResponseBody { reactor, ready: (!ready.is_empty()).then_some(ready), rest, unsent, _request: request }
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
        // The failure is a panic in the thread, or the reactor has stopped.
        let (part, piece) = outcome.map_err(|failure| io::Error::other(failure.to_string()))?;
        if piece.is_ok() {
            self.rest = Rest::unread(part);
        }
        Poll::Ready(Some(piece))
    }
}

impl Rest {
    fn unread(part: FilePart) -> Rest {
        if part.left == 0 { Rest::Nothing } else { Rest::Unread(part) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match self.ready.take() {
            Some(piece) => piece,
            None => match ready!(self.poll_rest(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
        };
        self.read_ahead();
        self.unsent -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent)
    }
}
