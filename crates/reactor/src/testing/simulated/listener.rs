//! A listening end: connections that are ready to be accepted, and clients for which there is no room yet.

use std::collections::VecDeque;

use ropewalk_proto::{Address, Key};

use super::machines::MachineId;

/// The state behind a listening socket.
pub(super) struct Listener {
    pub(super) owner: Key,
    pub(super) machine: MachineId,
    pub(super) address: Address,
    /// Connections that wait to be accepted.
    pub(super) queue: VecDeque<Key>,
    /// Clients that found the queue full. These clients try again when the queue has room, as a kernel retransmits its
    /// SYN.
    pub(super) waiting: VecDeque<Key>,
    pub(super) reading: bool,
    backlog: usize,
}

impl Listener {
    /// Returns a listener with an empty queue. No connection is reported until reading is on.
    pub(super) fn new(owner: Key, machine: MachineId, address: Address, backlog: u32) -> Listener {
        let (queue, waiting) = (VecDeque::new(), VecDeque::new());
        Listener { owner, machine, address, queue, waiting, reading: false, backlog: backlog as usize }
    }

    /// Whether the next client has to wait. As on Linux, the queue holds one connection more than the backlog
    /// (sk_acceptq_is_full).
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() > self.backlog
    }
}
