//! The object behind a key, and its multishot operations.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use bytes::Bytes;
use ropewalk_proto::Address;
use rustix::io::Errno;

use super::batch::Place;
use super::buffers::{BYTES, Chain};
use super::datagrams::DatagramSlot;
use super::operation::Verbs;
use super::pipes::PipeSlot;
use super::polling::Polling;
use crate::pipe::Pipe;
use crate::seam::{Interest, Ready};
use crate::socket::datagrams::DatagramSocket;
use crate::socket::file::SocketFile;
use crate::socket::table::{HasSocket, no_socket_but_a_pipe, not_a_connection, not_a_socket};

pub(super) struct Slot {
    pub(super) resource: Resource,
    /// The owner's interest. The WRITE interest of a connection is in [`Connection`].
    pub(super) wanted: Interest,
    /// Operations in flight.
    pub(super) under_way: Verbs,
    /// Operations in flight that are being cancelled.
    pub(super) cancelled: Verbs,
    /// Whether the peer has closed its sending direction, so that each new poll completes at once (`arming.rs`).
    pub(super) half_closed: bool,
    /// True while this source is queued for the next wait.
    pub(super) due: bool,
}

pub(super) enum Resource {
    Connection(Connection),
    Port(Box<Port>),
    Pipe(Box<PipeSlot>),
    Datagrams(Box<DatagramSlot>),
    Watched(Watched),
}

/// Data held back because one end is slow. Few connections have such data.
#[derive(Default)]
struct Kept {
    /// Bytes that arrived while reading was off. They precede the chain.
    held: VecDeque<u8>,
    /// Bytes from an outbox that the system did not take.
    unsent: Option<Unsent>,
}

pub(super) struct Connection {
    pub(super) fd: OwnedFd,
    kept: Option<Box<Kept>>,
    pub(super) chain: Chain,
    pub(super) end: End,
    /// The error of a failed send, which is reported after the received bytes.
    send_error: Option<Errno>,
    pub(super) pace: Pace,
    /// Whether a poll reported bytes that have not all been taken.
    pub(super) arrived: bool,
    /// Whether the other end hung up. The multishot receive may miss a hang-up (`operation.rs`), so from now on
    /// `receive` asks the system.
    pub(super) hung_up: bool,
    /// The error or hang-up that a poll has seen.
    pub(super) loss: Ready,
    /// Whether the owner waits for the loss of the connection, because it does not read.
    awaits_loss: bool,
    /// Whether a read may stop although more is available: a UNIX socket stops at passed descriptors. Such a connection
    /// stays busy, because the kernel's own receive waits there for new data.
    pub(super) stops_short: bool,
    /// Whether the owner waits for WRITE.
    pub(super) awaits_write: bool,
    /// Whether a poll reported room, or the outcome of the attempt.
    pub(super) writable: bool,
    pub(super) batched: Place,
}

/// The way to receive bytes. For bulk, one call into a buffer in the cache costs half as much as letting the kernel
/// fill many small ones. For small messages, a multishot receive saves one call for each message.
///
/// A connection begins with a one-shot poll. A multishot receive does not pay off for a few messages. Many buffers at
/// the beginning would make the system treat the connection as a slow reader, with a small TCP window from then on. A
/// one-shot poll is over at the end of the stream, so closing needs no call to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// A one-shot poll reports bytes, and `receive` takes them. The value is the number of small takes in a row.
    New(u8),
    /// The kernel fills buffers of the ring.
    Calm,
    /// A multishot poll reports bytes, and `receive` takes them. The value is the number of small takes in a row.
    Busy(u8),
}

/// A connection with this many filled buffers that were not taken becomes busy.
pub(super) const BUSY_BUFFERS: u16 = 3;

/// After this many takes in a row that each fit into one buffer, a connection is calm again.
const SMALL_TAKES: u8 = 4;

/// The state of the receiving direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Eof,
    Broken(Errno),
}

/// Bytes that wait for room in the send buffer.
pub(super) struct Unsent {
    pub(super) bytes: Bytes,
    /// Whether the sending direction is shut down after these bytes.
    pub(super) shutdown: bool,
}

pub(super) struct Port {
    /// The file of a UNIX port. It must be removed before the descriptor is closed, because afterwards another port may
    /// bind the path.
    file: Option<Box<SocketFile>>,
    fd: OwnedFd,
    /// Whether a poll reported a waiting connection that `ready` has not reported yet.
    pub(super) arrived: bool,
    /// The error that prevents polls, until `accept` has returned it.
    pub(super) error: Option<i32>,
}

pub(super) struct Watched {
    fd: RawFd,
    /// The result of the last poll, until it is reported.
    pub(super) fired: Ready,
}

impl Slot {
    /// Creates a connection. `end` is the address of one of its ends.
    pub(super) fn connection(fd: OwnedFd, end: &Address) -> Slot {
        Slot::new(Resource::Connection(Connection {
            fd,
            kept: None,
            chain: Chain::default(),
            end: End::Open,
            send_error: None,
            pace: Pace::New(0),
            arrived: false,
            hung_up: false,
            loss: Ready::empty(),
            awaits_loss: false,
            stops_short: !matches!(end, Address::Inet(_)),
            awaits_write: false,
            writable: false,
            batched: Place::default(),
        }))
    }

    pub(super) fn port(fd: OwnedFd, file: Option<Box<SocketFile>>) -> Slot {
        Slot::new(Resource::Port(Box::new(Port { file, fd, arrived: false, error: None })))
    }

    pub(super) fn pipe(fd: OwnedFd, io: Pipe) -> Slot {
        Slot::new(Resource::Pipe(Box::new(PipeSlot::new(fd, io))))
    }

    pub(super) fn datagrams(socket: DatagramSocket) -> Slot {
        Slot::new(Resource::Datagrams(Box::new(DatagramSlot { socket, polling: Polling::default() })))
    }

    pub(super) fn watched(fd: BorrowedFd<'_>) -> Slot {
        Slot::new(Resource::Watched(Watched { fd: fd.as_raw_fd(), fired: Ready::empty() }))
    }

    fn new(resource: Resource) -> Slot {
        Slot {
            resource,
            wanted: Interest::empty(),
            under_way: Verbs::empty(),
            cancelled: Verbs::empty(),
            half_closed: false,
            due: false,
        }
    }

    /// Makes this process the one that removes the file of a socket.
    pub(super) fn claim_file(&self) {
        match &self.resource {
            Resource::Port(port) => port.file.iter().for_each(|file| file.claim()),
            Resource::Datagrams(datagrams) => datagrams.socket.claim_file(),
            _ => {}
        }
    }

    /// Returns the state of the one-shot poll, if the source has one of its own.
    pub(super) fn polling(&mut self) -> Option<&mut Polling> {
        match &mut self.resource {
            Resource::Pipe(pipe) => Some(&mut pipe.polling),
            Resource::Datagrams(datagrams) => Some(&mut datagrams.polling),
            _ => None,
        }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        match &self.resource {
            Resource::Connection(connection) => connection.fd.as_raw_fd(),
            Resource::Port(port) => port.fd.as_raw_fd(),
            Resource::Pipe(pipe) => pipe.raw_fd(),
            Resource::Datagrams(datagrams) => datagrams.socket.fd().as_raw_fd(),
            Resource::Watched(watched) => watched.fd,
        }
    }

    pub(super) fn as_connection(&mut self) -> io::Result<&mut Connection> {
        match &mut self.resource {
            Resource::Connection(connection) => Ok(connection),
            Resource::Port(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a port neither receives nor sends bytes"))
            }
            Resource::Pipe(_) => Err(no_socket_but_a_pipe()),
            Resource::Datagrams(_) => Err(not_a_connection()),
            Resource::Watched(_) => Err(not_a_socket()),
        }
    }

    pub(super) fn as_port(&mut self) -> io::Result<&mut Port> {
        match &mut self.resource {
            Resource::Port(port) => Ok(port),
            Resource::Connection(_) | Resource::Datagrams(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "only a port accepts connections"))
            }
            Resource::Pipe(_) => Err(no_socket_but_a_pipe()),
            Resource::Watched(_) => Err(not_a_socket()),
        }
    }

    /// Returns whether a multishot receive is in flight, so that no call may take bytes from the system.
    pub(super) fn receives(&self) -> bool {
        self.under_way.contains(Verbs::RECEIVE)
    }

    pub(super) fn reads(&self) -> bool {
        self.wanted.contains(Interest::READ)
    }

    /// Returns whether a receive or a poll for bytes should be in flight.
    pub(super) fn wants_stream(&self) -> bool {
        self.reads()
            && match &self.resource {
                Resource::Connection(connection) => {
                    // The bytes that a one-shot poll would report have been reported already.
                    let is_known = connection.arrived && connection.is_new();
                    connection.end == End::Open && !connection.hung_up && !is_known
                }
                _ => false,
            }
    }

    /// Returns whether the wrong operation is in flight: after a hang-up `receive` asks the system, or the pace has
    /// changed.
    pub(super) fn has_the_wrong_stream(&self) -> bool {
        match &self.resource {
            Resource::Connection(connection) => {
                let wrong = match connection.hung_up {
                    true => Verbs::STREAM,
                    false if connection.is_busy() => Verbs::RECEIVE,
                    false => Verbs::ARRIVAL,
                };
                self.under_way.intersects(wrong)
            }
            _ => false,
        }
    }

    /// Returns whether a hang-up should be polled for.
    pub(super) fn wants_hangup(&self) -> bool {
        match &self.resource {
            Resource::Connection(connection) => {
                connection.looks_for_loss() || !connection.is_busy() && self.wants_stream()
            }
            Resource::Pipe(pipe) => pipe.looks_for_loss(),
            _ => false,
        }
    }

    /// Returns the interest that should be polled for.
    pub(super) fn wants_poll(&self) -> Interest {
        match &self.resource {
            Resource::Connection(connection) if connection.waits_for_room() => Interest::WRITE,
            Resource::Port(port) if !port.arrived && port.error.is_none() => self.wanted,
            Resource::Pipe(pipe) => pipe.polling.wanted(self.reads()),
            Resource::Datagrams(datagrams) => datagrams.polling.wanted(self.reads()),
            Resource::Watched(watched) if watched.fired.is_empty() => self.wanted,
            _ => Interest::empty(),
        }
    }

    /// Records the last completion of an operation.
    pub(super) fn ended(&mut self, verb: Verbs) {
        self.under_way -= verb;
        self.cancelled -= verb;
    }

    /// Returns the readiness to report.
    pub(super) fn ready(&self) -> Ready {
        match &self.resource {
            Resource::Connection(connection) => {
                let mut ready = Ready::empty();
                let ended = connection.hung_up && !self.under_way.intersects(Verbs::STREAM);
                let may_take = connection.arrived && !self.receives();
                ready.set(Ready::READ, self.reads() && (connection.has_news() || may_take || ended));
                ready.set(Ready::WRITE, connection.awaits_write && connection.may_write());
                if connection.awaits_loss {
                    ready |= connection.known_loss();
                }
                ready
            }
            Resource::Port(port) => {
                let mut ready = Ready::empty();
                ready.set(Ready::READ, self.reads() && (port.error.is_some() || port.arrived));
                ready
            }
            Resource::Pipe(pipe) => pipe.ready(self.reads()),
            Resource::Datagrams(datagrams) => datagrams.polling.ready(self.reads()),
            Resource::Watched(watched) => {
                let ready = watched.fired - Ready::from(!self.wanted);
                let matters = ready.intersects(Ready::READ | Ready::WRITE | Ready::GONE);
                if matters { ready } else { Ready::empty() }
            }
        }
    }

    /// Clears the readiness that has been reported.
    pub(super) fn reported(&mut self) {
        match &mut self.resource {
            Resource::Connection(connection) => {
                if connection.may_write() {
                    connection.awaits_write = false;
                }
                connection.awaits_loss = connection.looks_for_loss();
            }
            Resource::Port(port) => port.arrived = false,
            Resource::Pipe(pipe) => pipe.reported(),
            Resource::Datagrams(datagrams) => datagrams.polling.reported(),
            Resource::Watched(watched) => {
                if watched.fired.contains(Ready::GONE) {
                    self.wanted = Interest::empty();
                }
                watched.fired = Ready::empty();
            }
        }
    }
}

impl Connection {
    /// Returns whether no received bytes are waiting for the owner.
    pub(super) fn is_drained(&self) -> bool {
        !self.holds() && self.chain.is_empty()
    }

    fn has_news(&self) -> bool {
        !self.is_drained() || self.end != End::Open
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.pace, Pace::New(_))
    }

    /// Returns whether `receive` takes bytes from the system.
    pub(super) fn is_busy(&self) -> bool {
        self.pace != Pace::Calm
    }

    /// Records that `receive` got `count` bytes from the system. `all` is true if no more bytes were left to read.
    /// Returns whether to arm an operation.
    pub(super) fn took(&mut self, count: usize, all: bool) -> bool {
        self.arrived &= !all;
        let was_new = self.is_new();
        let (Pace::New(small) | Pace::Busy(small)) = self.pace else { return false };
        self.pace = match small + 1 {
            _ if count > BYTES || self.stops_short => Pace::Busy(0),
            SMALL_TAKES => Pace::Calm,
            more if was_new => Pace::New(more),
            more => Pace::Busy(more),
        };
        was_new || !self.is_busy()
    }

    /// Sets whether the owner waits for the loss. A known loss is reported once for each time that it waits.
    pub(super) fn await_loss(&mut self, on: bool) {
        self.awaits_loss = on;
    }

    /// Returns whether the loss is awaited and not known yet.
    pub(super) fn looks_for_loss(&self) -> bool {
        self.awaits_loss && self.known_loss().is_empty()
    }

    fn known_loss(&self) -> Ready {
        if self.check().is_err() { self.loss | Ready::ERROR } else { self.loss }
    }

    fn may_write(&self) -> bool {
        (self.writable && self.unsent().is_none()) || self.check().is_err()
    }

    fn waits_for_room(&self) -> bool {
        !self.writable && (self.awaits_write || self.unsent().is_some())
    }

    /// Returns whether bytes are held that arrived while reading was off.
    pub(super) fn holds(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.held.is_empty())
    }

    /// Returns the bytes that arrived while reading was off.
    pub(super) fn held(&mut self) -> &mut VecDeque<u8> {
        &mut self.kept.get_or_insert_default().held
    }

    /// Moves held bytes out, and returns their number.
    pub(super) fn take_held(&mut self, target: &mut [u8]) -> usize {
        let Some(kept) = &mut self.kept else { return 0 };
        let count = kept.held.len().min(target.len());
        for (place, byte) in target.iter_mut().zip(kept.held.drain(..count)) {
            *place = byte;
        }
        if kept.held.is_empty() {
            kept.held = VecDeque::new();
        }
        self.forget_empty();
        count
    }

    pub(super) fn unsent(&self) -> Option<&Unsent> {
        self.kept.as_ref()?.unsent.as_ref()
    }

    pub(super) fn unsent_mut(&mut self) -> Option<&mut Unsent> {
        self.kept.as_mut()?.unsent.as_mut()
    }

    pub(super) fn keep_unsent(&mut self, unsent: Unsent) {
        self.kept.get_or_insert_default().unsent = Some(unsent);
    }

    pub(super) fn take_unsent(&mut self) -> Option<Unsent> {
        let unsent = self.kept.as_mut()?.unsent.take();
        self.forget_empty();
        unsent
    }

    /// Frees the allocation when it is empty.
    fn forget_empty(&mut self) {
        self.kept.take_if(|kept| kept.held.is_empty() && kept.unsent.is_none());
    }

    /// Fails if nothing can be sent any more.
    ///
    /// # Errors
    /// The error that broke the connection.
    pub(super) fn check(&self) -> io::Result<()> {
        match (self.send_error, self.end) {
            (Some(error), _) | (None, End::Broken(error)) => Err(error.into()),
            (None, End::Open | End::Eof) => Ok(()),
        }
    }

    /// Records that a send failed. From now on `receive` asks the system, because only the system knows whether more
    /// received bytes are left.
    pub(super) fn send_failed(&mut self, error: Errno) {
        self.send_error.get_or_insert(error);
        self.hung_up = true;
    }

    pub(super) fn has_failed_send(&self) -> bool {
        self.send_error.is_some()
    }
}

impl HasSocket for Slot {
    fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.resource {
            Resource::Connection(connection) => Ok(connection.fd.as_fd()),
            Resource::Port(port) => Ok(port.fd.as_fd()),
            Resource::Datagrams(datagrams) => Ok(datagrams.socket.fd()),
            Resource::Pipe(_) => Err(no_socket_but_a_pipe()),
            Resource::Watched(_) => Err(not_a_socket()),
        }
    }

    #[inline]
    fn is_pipe(&self) -> bool {
        matches!(self.resource, Resource::Pipe(_))
    }
}

/// Returns the number of a system call's error.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
