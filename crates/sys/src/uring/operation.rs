//! What the kernel is doing for us.
//!
//! An operation stays in its slab until its last completion, whatever becomes of its source: a cancel that was asked for
//! frees nothing. So a late completion finds an operation whose source is gone, and then only the buffer that it brings is
//! given back to the ring.

use std::os::fd::OwnedFd;

use ropewalk_proto::Key;

use super::source::Unsent;

pub(super) struct Operation {
    pub(super) source: Key,
    pub(super) verb: Verb,
    /// A cancel was asked for.
    pub(super) cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Goes on until it is cancelled, the stream ends or buffers lack.
    Receive,
    /// A poll that goes on, and says each time that more has arrived: for a connection that is busy.
    Arrival,
    /// Once.
    Poll,
    /// A poll, once, for the hang-up of a connection.
    ///
    /// A receive that goes on is not told of a hang-up or reset that came before it had read the last bytes, if the kernel
    /// believes that it knows that nothing is left: seen on Linux 6.18 behind more than 32 buffers at once, over UNIX
    /// sockets for the end of the stream and over TCP for a reset. Then nothing would ever come.
    Hangup,
    /// A poll for a connection that was closed while the system had no room for its last bytes.
    Linger,
}

/// What is left of a closed connection.
pub(super) struct Linger {
    pub(super) fd: OwnedFd,
    pub(super) unsent: Unsent,
}
