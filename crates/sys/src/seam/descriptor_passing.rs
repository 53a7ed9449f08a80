//! Descriptors that travel with the bytes of a UNIX connection: SCM_RIGHTS of unix(7).
//!
//! ```text
//!   bytes        A  A  B  C  C  D           written
//!   descriptors        1        2  3        1 travels with B, 2 and 3 with D
//! ```
//!
//! A descriptor arrives before the byte that it travels with, or together with it, but never after it. The system may
//! join plain bytes with the message that follows, so a receiver of the picture may get `AAB` and 1, then `CCD`, 2 and 3.

use std::collections::VecDeque;
use std::io;

use ropewalk_proto::{Key, Outbox};

use super::{Received, Sent};
use crate::io_handle::OwnedWaitable;

/// Sends and receives descriptors on UNIX connections: IUNIXTransport.sendFileDescriptor.
///
/// [`Streams::receive`](super::Streams::receive) also takes the bytes of such messages. The system then closes the
/// descriptors, and they never become open in this process.
///
/// ```
/// # #[cfg(unix)] {
/// use std::fs::File;
/// use std::os::unix::net::UnixStream;
/// use ropewalk_proto::Outbox;
/// use ropewalk_sys::{DescriptorQueue, Kind, PassedDescriptors, Received, Sent, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let (ours, theirs) = UnixStream::pair()?;
/// let adoption = provider.adoption().unwrap();
/// let sender = adoption.adopt(ours.into(), Kind::StreamConnection)?;
/// let receiver = adoption.adopt(theirs.into(), Kind::StreamConnection)?;
///
/// let (mut outbox, mut queue) = (Outbox::new(), DescriptorQueue::default());
/// queue.push(0, File::open("/dev/null")?.into()).expect("the queue is empty");
/// outbox.write(b"x"); // carries it
/// let passing = provider.descriptor_passing().unwrap();
/// assert_eq!(passing.send_with_descriptors(sender, &mut outbox, &mut queue)?, Sent::All);
///
/// let (mut scratch, mut passed) = ([0; 8], PassedDescriptors::default());
/// let received = passing.receive_with_descriptors(receiver, &mut scratch, &mut passed)?;
/// assert!(matches!(received, Received::Filled(1)));
/// assert_eq!((passed.descriptors.len(), passed.are_lost), (1, false));
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait DescriptorPassing {
    /// Sends as [`Streams::send`](super::Streams::send). Each descriptor of `queue` travels with its byte of the
    /// outbox, and is closed here once it has been sent. A descriptor without a byte stays in the queue.
    ///
    /// # Errors
    /// `InvalidInput` if the key is not that of a UNIX connection, which stays as it was. The reason why the connection
    /// broke, or why the system takes no more descriptors, such as ETOOMANYREFS of sendmsg(2).
    fn send_with_descriptors(&mut self, key: Key, outbox: &mut Outbox, queue: &mut DescriptorQueue)
    -> io::Result<Sent>;

    /// Takes bytes that have arrived, as [`Streams::receive`](super::Streams::receive), and appends the descriptors
    /// that came with them to `passed`. They are closed by exec(2) from the first moment, where the system can do that.
    /// On a connection that is not a UNIX connection there are only bytes.
    ///
    /// # Errors
    /// The reason why the connection broke.
    fn receive_with_descriptors(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        passed: &mut PassedDescriptors,
    ) -> io::Result<Received>;
}

/// The descriptors that came with received bytes, in order.
///
/// ```
/// use ropewalk_sys::PassedDescriptors;
///
/// assert!(PassedDescriptors::default().is_empty());
/// assert!(!PassedDescriptors { descriptors: Vec::new(), are_lost: true }.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct PassedDescriptors {
    /// The descriptors. Dropping them closes them.
    pub descriptors: Vec<OwnedWaitable>,
    /// Whether the peer sent further descriptors, which the system could not open in this process: MSG_CTRUNC of
    /// recvmsg(2). Usually the process has too many open descriptors.
    pub are_lost: bool,
}

impl PassedDescriptors {
    /// Returns whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.descriptors.is_empty() && !self.are_lost
    }
}

/// Descriptors that wait to be sent, each with the place of the byte that it travels with.
///
/// ```
/// # #[cfg(unix)] {
/// use ropewalk_sys::DescriptorQueue;
///
/// let mut queue = DescriptorQueue::default();
/// let null = || std::fs::File::open("/dev/null").unwrap();
/// queue.push(0, null().into()).unwrap();
/// queue.push(2, null().into()).unwrap();
/// assert_eq!((queue.with_next_byte().count(), queue.bytes_until_next()), (1, Some(2)));
/// queue.sent(2);
/// assert_eq!((queue.with_next_byte().count(), queue.bytes_until_next()), (1, None));
/// # }
/// ```
#[derive(Debug, Default)]
pub struct DescriptorQueue(VecDeque<(usize, OwnedWaitable)>);

impl DescriptorQueue {
    /// The greatest number of queued descriptors. One message can carry as many: SCM_MAX_FD of unix(7).
    pub const MOST: usize = 253;

    /// Queues `descriptor`. It travels with the byte that `bytes_before` unsent bytes precede.
    ///
    /// # Errors
    /// Returns the descriptor if the queue is full.
    pub fn push(&mut self, bytes_before: usize, descriptor: OwnedWaitable) -> Result<(), OwnedWaitable> {
        if self.0.len() >= DescriptorQueue::MOST {
            return Err(descriptor);
        }
        self.0.push_back((bytes_before, descriptor));
        Ok(())
    }

    /// Returns the descriptors that travel with the next byte.
    pub fn with_next_byte(&self) -> impl Iterator<Item = &OwnedWaitable> {
        self.0.iter().take_while(|(bytes_before, _)| *bytes_before == 0).map(|(_, descriptor)| descriptor)
    }

    /// Returns the number of bytes that one message may have, because the byte after them has descriptors of its own.
    /// Returns `None` if there is no such byte.
    pub fn bytes_until_next(&self) -> Option<usize> {
        self.0.iter().map(|(bytes_before, _)| *bytes_before).find(|bytes_before| *bytes_before > 0)
    }

    /// Records that one message with `count` bytes was sent. Closes the descriptors that it carried.
    pub fn sent(&mut self, count: usize) {
        if count > 0 {
            self.0.retain(|(bytes_before, _)| *bytes_before > 0);
        }
        for (bytes_before, _) in &mut self.0 {
            *bytes_before -= count;
        }
    }

    /// Returns whether no descriptors are queued.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
