//! Pipes, terminals and files as streams of bytes.

use std::io;

use ropewalk_proto::Key;

use crate::io_handle::OwnedWaitable;

/// Takes over handles that carry bytes and are not sockets of a network: pipes, terminals, files.
///
/// From there on the key is that of a stream: [`Streams`](super::Streams) receives, sends and closes. A pipe has no
/// options of sockets, and its addresses are [unnamed](ropewalk_proto::Address::Unnamed).
/// [`Streams::shutdown_write`](super::Streams::shutdown_write) is `InvalidInput`: the end of a writer is its close.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_proto::Outbox;
/// use ropewalk_sys::{PipeEnd, Sent, Sharing, providers};
/// use std::io::Read;
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let (reader, writer) = rustix::pipe::pipe()?;
/// let key = provider.pipes().unwrap().adopt_pipe(writer, PipeEnd::Writer, Sharing::Owned)?;
/// let mut outbox = Outbox::new();
/// outbox.write(b"hello");
/// assert_eq!(provider.streams().unwrap().send(key, &mut outbox)?, Sent::All);
/// provider.streams().unwrap().close(key);
/// let mut received = String::new();
/// std::fs::File::from(reader).read_to_string(&mut received)?;
/// assert_eq!(received, "hello");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Pipes {
    /// Takes over one end of a pipe, a terminal or a file.
    ///
    /// A key of a [`PipeEnd::Writer`] never reports [`Ready::READ`](super::Ready). While its reports are off, it
    /// reports the loss of its last reader as a connection reports its loss: see
    /// [`Streams::set_reading`](super::Streams::set_reading). A file has no reader, so it reports no loss.
    ///
    /// # Errors
    /// The errors of the system. The handle is closed.
    fn adopt_pipe(&mut self, handle: OwnedWaitable, end: PipeEnd, sharing: Sharing) -> io::Result<Key>;
}

/// The directions in which a pipe is used.
///
/// ```
/// use ropewalk_sys::PipeEnd;
///
/// assert!(PipeEnd::Both.reads() && PipeEnd::Both.writes());
/// assert!(!PipeEnd::Writer.reads());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeEnd {
    /// Bytes are received.
    Reader,
    /// Bytes are sent.
    Writer,
    /// Bytes are received and sent under one key, as with the master of a pseudo-terminal.
    Both,
    /// Bytes are received and sent by a device, as with a serial port. A read that returns nothing is not the end of a
    /// stream: the device is gone, and calls fail with `NotConnected`.
    Device,
}

impl PipeEnd {
    /// Returns whether bytes are received.
    pub const fn reads(self) -> bool {
        matches!(self, PipeEnd::Reader | PipeEnd::Both | PipeEnd::Device)
    }

    /// Returns whether bytes are sent.
    pub const fn writes(self) -> bool {
        matches!(self, PipeEnd::Writer | PipeEnd::Both | PipeEnd::Device)
    }
}

/// Whether other programs use the same open pipe, terminal or file.
///
/// A shell shares its terminal with the programs that it starts. All of them share the flag O_NONBLOCK as well, and
/// most do not expect it.
///
/// ```
/// use ropewalk_sys::Sharing;
///
/// // A pipe that this program made, and standard output.
/// assert_ne!(Sharing::Owned, Sharing::Shared);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// No other program uses it. It becomes non-blocking.
    Owned,
    /// Others may use it. Its flags stay as they are, and each call costs more. A terminal is opened again.
    Shared,
}
