//! One end of a stream.
//!
//! ```text
//!   Connecting --Answered--> Established --close/abort--> (removed from the network)
//!             \-Answered--> Failed
//! ```
//!
//! Each end owns its incoming pipe. Bytes that an end sends go into its peer's pipe. An end is notified of a missing
//! peer as by a kernel: by the end of the stream, or by a reset after bytes were sent to the peer.

use std::io;
use std::time::Duration;

use ropewalk_proto::{Address, Key, Moment};
use ropewalk_sys::{KeepAliveTimes, Ready, SocketOption, system_error};

use super::carrier::Carrier;
use super::machines::MachineId;
use super::pipe::Pipe;

/// The times of a new socket on Linux, tcp(7).
const USUAL_TIMES: KeepAliveTimes =
    KeepAliveTimes { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), count: 9 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Failed(io::ErrorKind),
    Established,
}

/// The owner of one end of a stream, and the machines and addresses of both ends.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) owner: Key,
    pub(super) machine: MachineId,
    pub(super) local: Address,
    pub(super) remote_machine: MachineId,
    pub(super) remote: Address,
}

/// One end of a stream, as a kernel knows it.
pub(super) struct Connection {
    pub(super) place: Place,
    pub(super) carrier: Carrier,
    /// The key of the other end. `None` until the listening side has been reached, and stale once the other end is
    /// gone.
    pub(super) peer: Option<Key>,
    pub(super) phase: Phase,
    pub(super) began: Moment,
    pub(super) incoming: Pipe,
    pub(super) reading: bool,
    pub(super) write_wanted: bool,
    /// Whether the owner waits for the loss of the connection, because it does not read.
    pub(super) loss_wanted: bool,
    /// Whether the local address was reserved for this end. An accepted end uses its listener's address.
    pub(super) owns_name: bool,
    /// Whether the sending direction has been shut down.
    pub(super) finished: bool,
    /// The bytes sent to a peer that is gone. These bytes are never acknowledged.
    pub(super) strayed: usize,
    no_delay: bool,
    keep_alive: bool,
    keep_alive_times: KeepAliveTimes,
}

impl Connection {
    /// Returns an end that began to connect at `began`.
    pub(super) fn connecting(place: Place, buffer: usize, began: Moment) -> Connection {
        Connection {
            place,
            carrier: Carrier::Network,
            peer: None,
            phase: Phase::Connecting,
            began,
            incoming: Pipe::new(buffer, Moment::ZERO),
            reading: false,
            write_wanted: true,
            loss_wanted: false,
            owns_name: true,
            finished: false,
            strayed: 0,
            no_delay: false,
            keep_alive: false,
            keep_alive_times: USUAL_TIMES,
        }
    }

    /// Returns the end that a listener will accept.
    pub(super) fn accepted(place: Place, buffer: usize, client: Key, began: Moment) -> Connection {
        Connection {
            peer: Some(client),
            phase: Phase::Established,
            write_wanted: false,
            owns_name: false,
            ..Connection::connecting(place, buffer, began)
        }
    }

    /// Returns one end of a pipe, socket pair or terminal inside a machine. Its other end becomes `peer` later.
    pub(super) fn inside(place: Place, carrier: Carrier, buffer: usize, peer: Option<Key>) -> Connection {
        Connection {
            carrier,
            peer,
            phase: Phase::Established,
            write_wanted: false,
            owns_name: false,
            ..Connection::connecting(place, buffer, Moment::ZERO)
        }
    }

    /// Whether this is one end of a UNIX stream, or of a pipe.
    pub(super) fn is_unix(&self) -> bool {
        self.place.local.inet().is_none() && self.place.remote.inet().is_none()
    }

    /// Returns the outcome of the connection attempt.
    pub(super) fn outcome(&self) -> io::Result<()> {
        match self.phase {
            Phase::Connecting => Err(system_error(io::ErrorKind::WouldBlock)),
            Phase::Failed(kind) => Err(system_error(kind)),
            Phase::Established => self.check(),
        }
    }

    /// Checks that the connection is established and not broken.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.phase {
            Phase::Established => self.broken().map_or(Ok(()), |kind| Err(system_error(kind))),
            Phase::Connecting | Phase::Failed(_) => Err(system_error(io::ErrorKind::NotConnected)),
        }
    }

    /// Returns the error of a broken connection. A reset that follows the peer's end is a broken pipe, unless this end
    /// has been shut down as well: `tcp_reset` of Linux.
    fn broken(&self) -> Option<io::ErrorKind> {
        let is_half_closed = self.incoming.is_ended() && !self.finished && !self.is_unix();
        match self.incoming.broken()? {
            io::ErrorKind::ConnectionReset if is_half_closed => Some(io::ErrorKind::BrokenPipe),
            kind => Some(kind),
        }
    }

    /// Whether a read returns the end of the stream once all bytes have been read. TCP returns an end that precedes a
    /// reset, and a UNIX socket returns the reset: `tcp_recvmsg` and `unix_stream_recvmsg` of Linux.
    pub(super) fn reads_end(&self) -> bool {
        self.incoming.is_ended() && (self.incoming.broken().is_none() || !self.is_unix())
    }

    /// Returns the readiness to report while the peer has room for `room` bytes. `peer_is_gone` says whether the other
    /// end has been closed.
    pub(super) fn ready(&self, room: usize, peer_is_gone: bool) -> Ready {
        match self.phase {
            Phase::Connecting => Ready::empty(),
            Phase::Failed(_) if self.write_wanted => Ready::WRITE | Ready::ERROR | Ready::HANGUP,
            Phase::Failed(_) => Ready::empty(),
            Phase::Established => self.established_ready(room) | self.loss(peer_is_gone),
        }
    }

    /// Returns the loss to report. A UNIX socket hangs up when the other end is closed, and a TCP socket does not know.
    fn loss(&self, peer_is_gone: bool) -> Ready {
        let broken = self.incoming.broken().is_some();
        let is_over = self.incoming.is_ended() && (self.finished || self.is_unix() && peer_is_gone);
        let mut ready = Ready::empty();
        // poll(2): a pipe without a reader is an error of its writer.
        let is_unread = is_over && self.carrier.only_sends();
        ready.set(Ready::ERROR, self.loss_wanted && (broken || is_unread));
        ready.set(Ready::HANGUP, self.loss_wanted && (broken || is_over));
        ready
    }

    fn established_ready(&self, room: usize) -> Ready {
        let broken = self.incoming.broken().is_some();
        let mut ready = Ready::empty();
        ready.set(Ready::READ, self.reading && self.carrier.receives() && self.incoming.is_readable());
        // A sender wakes when a third of the buffer is free, not for each byte read, like sk_stream_is_writeable of
        // Linux.
        ready.set(Ready::WRITE, self.write_wanted && (broken || room.saturating_mul(3) >= self.incoming.capacity()));
        if !ready.is_empty() {
            ready.set(Ready::ERROR, broken);
            ready.set(Ready::HANGUP, broken || self.incoming.is_ended() && self.finished);
        }
        ready
    }

    /// Returns whether `option` is on.
    pub(super) fn option(&self, option: SocketOption) -> io::Result<bool> {
        match option {
            SocketOption::NoDelay => {
                self.place.local.inet().map(|_| self.no_delay).ok_or(io::ErrorKind::Unsupported.into())
            }
            SocketOption::KeepAlive => Ok(self.keep_alive),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sets `option`. The option has no effect on the stream.
    pub(super) fn set_option(&mut self, option: SocketOption, on: bool) -> io::Result<()> {
        self.option(option)?;
        match option {
            SocketOption::NoDelay => self.no_delay = on,
            _ => self.keep_alive = on,
        }
        Ok(())
    }

    pub(super) fn keep_alive_times(&self) -> io::Result<KeepAliveTimes> {
        self.place.local.inet().map(|_| self.keep_alive_times).ok_or(io::ErrorKind::Unsupported.into())
    }

    /// Sets the times of keep-alive probes. No probes are sent.
    pub(super) fn set_keep_alive_times(&mut self, times: KeepAliveTimes) -> io::Result<()> {
        self.keep_alive_times()?;
        self.keep_alive_times = times;
        Ok(())
    }
}
