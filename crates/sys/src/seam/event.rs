//! Events, and the readiness that a source is watched for.

use bitflags::bitflags;
use ropewalk_proto::Key;

bitflags! {
    /// The readiness for which a handle is watched. The bits are those of poll(2).
    ///
    /// ```
    /// use ropewalk_sys::{Interest, Ready};
    ///
    /// assert_eq!(Ready::from(Interest::READ | Interest::WRITE), Ready::READ | Ready::WRITE);
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Interest: u8 {
        /// Reading would not block.
        const READ = 1 << 0;
        /// Writing would not block.
        const WRITE = 1 << 2;
    }
}

bitflags! {
    /// The operations that became possible. The bits are those of poll(2).
    ///
    /// ```
    /// use ropewalk_sys::Ready;
    ///
    /// /// Whether a read can make progress.
    /// fn is_worth_a_read(ready: Ready) -> bool {
    ///     ready.intersects(Ready::READ | Ready::HANGUP | Ready::ERROR)
    /// }
    ///
    /// assert!(is_worth_a_read(Ready::READ | Ready::WRITE) && !is_worth_a_read(Ready::WRITE));
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Ready: u8 {
        /// Bytes, a connection or the end of the stream can be taken.
        const READ = 1 << 0;
        /// The stream contains urgent data, where a read stops short. Never reported to the owner of a key.
        const URGENT = 1 << 1;
        /// More can be sent, or the outcome of a connection attempt is known.
        const WRITE = 1 << 2;
        /// The source has an error, which the next operation on it returns.
        const ERROR = 1 << 3;
        /// The other end hung up, or at least sends no more. Unread bytes may still be there and are received first.
        const HANGUP = 1 << 4;
        /// The descriptor is not open any more: ConnectionFdescWentAway.
        const GONE = 1 << 5;
    }
}

impl From<Interest> for Ready {
    /// Returns the readiness that satisfies the interest.
    fn from(interest: Interest) -> Ready {
        Ready::from_bits_truncate(interest.bits())
    }
}

/// One event. It is an owned value, so the provider is not borrowed while callbacks run.
///
/// ```
/// use ropewalk_proto::Key;
/// use ropewalk_sys::{Event, Events, Ready};
///
/// let events: Events = vec![Event { key: Key::new(3, 1), ready: Ready::READ }];
/// assert!(events.iter().any(|event| event.key.index() == 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The source of the event. The key is stale if the source has ended since.
    pub key: Key,
    /// The operations that became possible.
    pub ready: Ready,
}

/// The number of events after which a wait may leave further ones to the next wait. Events that the provider keeps for
/// itself, such as those of its waker, count as well.
pub const EVENTS_PER_WAIT: usize = 1024;

/// The events of one `wait`.
pub type Events = Vec<Event>;
