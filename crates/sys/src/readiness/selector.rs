//! A readiness mechanism. epoll.rs, poll.rs and select.rs have these methods in this order.
//!
//! A selector watches descriptors under keys and never knows what a descriptor means. The selector knows descriptors
//! that it does not watch, but does not report them, not even a hang-up. A source that is not read must not make the
//! loop spin.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use bitflags::bitflags;
use ropewalk_proto::Key;

use crate::seam::{Event, Events, Interest, Ready};

bitflags! {
    /// The readiness that a selector reports about a descriptor. A watched descriptor also reports errors and hang-ups.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Watch: u8 {
        /// Reading would not block.
        const READ = Ready::READ.bits();
        /// Writing would not block.
        const WRITE = Ready::WRITE.bits();
        /// Nothing but an error or a hang-up. Has no effect beside the others.
        const LOSS = Ready::ERROR.bits();
    }
}

impl Watch {
    /// Returns whether a descriptor that is watched for `self` reports everything in `wanted`.
    pub(crate) fn covers(self, wanted: Watch) -> bool {
        self.contains(wanted - Watch::LOSS) && (!self.is_empty() || wanted.is_empty())
    }

    /// Returns the readiness that was asked for.
    pub(crate) fn ready(self) -> Ready {
        Ready::from_bits_truncate((self - Watch::LOSS).bits())
    }
}

impl From<Interest> for Watch {
    fn from(interest: Interest) -> Watch {
        Watch::from_bits_truncate(interest.bits())
    }
}

/// When a ready descriptor is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Reported by each wait for as long as the descriptor is ready.
    Level,
    /// Reported when bytes arrive or can be sent again, and after each `modify`.
    Edge,
}

pub(crate) trait Selector: Sized + Send + 'static {
    /// The name by which a user chooses the selector.
    const NAME: &'static str;

    /// One line for a list of providers.
    const DESCRIPTION: &'static str;

    /// Whether the selector supports [`Trigger::Edge`]. If not, it is never passed to the selector.
    const EDGES: bool = false;

    fn new() -> io::Result<Self>;

    /// Accepts a descriptor, which is not watched yet.
    ///
    /// # Errors
    /// If the selector cannot watch `fd` for anything.
    fn add(&mut self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()>;

    /// Watches the bell. Returns whether the bell is edge-triggered, so that it need not be emptied.
    fn add_bell(&mut self, fd: BorrowedFd<'_>, key: Key) -> io::Result<bool> {
        self.add(fd, key)?;
        self.modify(fd, key, Watch::empty(), Watch::READ, Trigger::Level)?;
        Ok(false)
    }

    /// Changes what a descriptor is watched for.
    ///
    /// `fd` and `key` are the arguments of `add`, and `from` is the interest that the last successful `modify` set.
    fn modify(&mut self, fd: BorrowedFd<'_>, key: Key, from: Watch, to: Watch, trigger: Trigger) -> io::Result<()>;

    /// Forgets a descriptor. The descriptor is still open, unless the owner of a watched descriptor closed it.
    fn remove(&mut self, fd: BorrowedFd<'_>, key: Key, from: Watch);

    /// Forgets every descriptor, including those whose number was closed.
    fn forget_all(&mut self) -> io::Result<()>;

    /// Blocks until something is ready or `timeout` is over, and appends the events. Calls `seen` for each event as it
    /// is appended, which saves a second loop.
    ///
    /// An interrupted wait appends nothing.
    ///
    /// # Errors
    /// Errors after which waiting is not possible at all.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events, seen: impl FnMut(&Event)) -> io::Result<()>;

    /// Returns a descriptor that is readable when `wait` would report an event.
    fn host_fd(&mut self) -> Option<RawFd>;

    /// Undoes `host_fd`.
    fn release_host_fd(&mut self);
}
