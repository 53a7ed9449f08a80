//! A listening end: the connections that wait to be accepted, and those that wait to wait.

use std::collections::VecDeque;

use ropewalk_proto::{Address, Key};

/// What listen(2) makes of a socket.
pub(super) struct Listener {
    pub(super) address: Address,
    /// Ends that are connected and that nobody has accepted yet.
    pub(super) queue: VecDeque<Key>,
    /// Clients whose attempt found the queue full. They ask again when there is room, as a kernel sends its SYN again.
    pub(super) waiting: VecDeque<Key>,
    pub(super) reading: bool,
    /// Whether a test listens here, and not the reactor.
    pub(super) is_test: bool,
    backlog: usize,
}

impl Listener {
    /// Nobody waits yet, and nothing is reported.
    pub(super) fn new(address: Address, backlog: u32, is_test: bool) -> Listener {
        let (queue, waiting) = (VecDeque::new(), VecDeque::new());
        Listener { address, queue, waiting, reading: false, is_test, backlog: backlog as usize }
    }

    /// Whether one more has to wait. Linux lets one more in than the backlog says (sk_acceptq_is_full), so this does.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() > self.backlog
    }
}
