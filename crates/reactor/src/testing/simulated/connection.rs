//! One end of a stream.
//!
//! ```text
//!   Connecting --Answered--> Established --close/abort--> (gone from the network)
//!             \-Answered--> Failed
//! ```
//!
//! Each end keeps the pipe that comes in to it; what it sends goes into its peer's. An end whose peer is gone learns of
//! it as from a kernel: by the end of the stream that the peer sent, and by a reset when it sends something itself.

use std::io;

use ropewalk_proto::{Address, Key, Moment};
use ropewalk_sys::{Ready, SocketOption};

use super::pipe::Pipe;
use super::test_end::TestEnd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Failed(io::ErrorKind),
    Established,
}

/// One end of a stream, as far as a kernel knows it.
pub(super) struct Connection {
    pub(super) local: Address,
    pub(super) remote: Address,
    /// The other end; nobody until the listening side has been reached, stale when that end is gone.
    pub(super) peer: Option<Key>,
    pub(super) phase: Phase,
    pub(super) incoming: Pipe,
    pub(super) reading: bool,
    pub(super) write_wanted: bool,
    /// Whether its local address is its own, and not that of the listener that it came from.
    pub(super) owns_name: bool,
    /// Whether the sending direction has been shut down.
    pub(super) finished: bool,
    /// Bytes sent to a peer that is gone, which nobody acknowledges.
    pub(super) unheard: usize,
    /// What makes it a test's end, and not the reactor's.
    pub(super) test: Option<TestEnd>,
    no_delay: bool,
    keep_alive: bool,
}

impl Connection {
    /// The end that connects.
    pub(super) fn connecting(local: Address, remote: Address, buffer: usize) -> Connection {
        Connection {
            local,
            remote,
            peer: None,
            phase: Phase::Connecting,
            incoming: Pipe::new(buffer, Moment::ZERO),
            reading: false,
            write_wanted: true,
            owns_name: true,
            finished: false,
            unheard: 0,
            test: None,
            no_delay: false,
            keep_alive: false,
        }
    }

    /// The end that will be accepted.
    pub(super) fn accepted(local: Address, remote: Address, buffer: usize, client: Key) -> Connection {
        Connection {
            peer: Some(client),
            phase: Phase::Established,
            write_wanted: false,
            owns_name: false,
            ..Connection::connecting(local, remote, buffer)
        }
    }

    /// The outcome of the connection attempt.
    pub(super) fn outcome(&self) -> io::Result<()> {
        match self.phase {
            Phase::Connecting => Err(io::ErrorKind::WouldBlock.into()),
            Phase::Failed(kind) => Err(kind.into()),
            Phase::Established => self.check(),
        }
    }

    /// That it is connected and not broken.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.phase {
            Phase::Established if self.incoming.is_broken() => Err(io::ErrorKind::ConnectionReset.into()),
            Phase::Established => Ok(()),
            Phase::Connecting | Phase::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// What there is to report when its peer has `room` for so many bytes.
    pub(super) fn ready(&self, room: usize) -> Ready {
        match self.phase {
            Phase::Connecting => Ready::empty(),
            Phase::Failed(_) if self.write_wanted => Ready::WRITE | Ready::ERROR | Ready::HANGUP,
            Phase::Failed(_) => Ready::empty(),
            Phase::Established => self.established_ready(room),
        }
    }

    fn established_ready(&self, room: usize) -> Ready {
        let broken = self.incoming.is_broken();
        let mut ready = Ready::empty();
        ready.set(Ready::READ, self.reading && self.incoming.is_readable());
        // A third, as sk_stream_is_writeable of Linux asks: a sender is not woken for every byte that its peer reads.
        ready.set(Ready::WRITE, self.write_wanted && (broken || room.saturating_mul(3) >= self.incoming.capacity()));
        if !ready.is_empty() {
            ready.set(Ready::ERROR, broken);
            ready.set(Ready::HANGUP, broken || self.incoming.is_ended() && self.finished);
        }
        ready
    }

    /// Whether an option is on.
    pub(super) fn option(&self, option: SocketOption) -> io::Result<bool> {
        match option {
            SocketOption::NoDelay => self.local.inet().map(|_| self.no_delay).ok_or(io::ErrorKind::Unsupported.into()),
            SocketOption::KeepAlive => Ok(self.keep_alive),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Remembers that an option is on or off.
    pub(super) fn set_option(&mut self, option: SocketOption, on: bool) -> io::Result<()> {
        self.option(option)?;
        match option {
            SocketOption::NoDelay => self.no_delay = on,
            _ => self.keep_alive = on,
        }
        Ok(())
    }
}
