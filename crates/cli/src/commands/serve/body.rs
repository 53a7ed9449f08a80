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
use super::root::Metadata;

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

    /// Reads the first piece of `part` of `file`. Closes the file if no piece follows.
    pub(super) fn of(mut file: File, part: Range<u64>) -> io::Result<Content> {
        file.seek(SeekFrom::Start(part.start))?;
        Content::beginning(FilePart { file, left: Some(part.end - part.start) })
    }

    /// Reads the first piece of `file`, whose length is unknown. Closes the file if no piece follows.
    pub(super) fn until_the_end(file: File) -> io::Result<Content> {
        Content::beginning(FilePart { file, left: None })
    }

    fn beginning(mut rest: FilePart) -> io::Result<Content> {
        let first = rest.read_piece()?;
        Ok(if rest.left == Some(0) { Content::Ready(first) } else { Content::File(first, rest) })
    }

    /// Returns the length in bytes, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Content::Ready(bytes) => Some(bytes.len() as u64),
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
    let mut beginning = FilePart { file: file.try_clone()?, left: None };
    let found = beginning.read_piece()?.len() as u64;
    file.rewind()?;
    Ok((found == metadata.length.min(PIECE)).then_some(metadata.length))
}

/// The unread rest of a part of a file.
pub(super) struct FilePart {
    file: File,
    /// The number of bytes. `None` means up to the end of the file.
    left: Option<u64>,
}

impl FilePart {
    fn read_piece(&mut self) -> io::Result<Bytes> {
        let size = self.left.map_or(PIECE, |left| left.min(PIECE));
        // `read_to_end` would start with small reads.
        let mut piece = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let count = fill(&mut self.file, &mut piece)?;
        let is_end = count < piece.len();
        self.left = match self.left {
            Some(_) if is_end => {
                let truncated = "the file was truncated while it was sent";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
            }
            Some(left) => Some(left - size),
            None => is_end.then_some(0),
        };
        piece.truncate(count);
        Ok(piece.into())
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
    ready: Option<Bytes>,
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
        let piece = match self.ready.take() {
            Some(piece) => piece,
            None => match ready!(self.poll_rest(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
        };
        self.read_ahead();
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
