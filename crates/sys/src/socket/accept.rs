//! Takes connections off a listening socket's queue.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ropewalk_proto::Address;
use rustix::io::Errno;

use super::creation;

/// Returns the next connection, or `None` when the queue is empty.
pub(crate) fn next(port: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, Address)>> {
    loop {
        match creation::acceptfrom(port) {
            Ok((socket, peer)) => return Ok(Some((socket, peer.decode()))),
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) if concerns_one_connection(error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns whether an error concerns one connection only, so that the next can be accepted: accept(2), "Error
/// handling".
pub(crate) fn concerns_one_connection(error: Errno) -> bool {
    const NETWORK: [Errno; 7] = [
        Errno::NETDOWN,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::TIMEDOUT,
    ];
    // EPERM: a firewall refused the connection.
    matches!(error, Errno::INTR | Errno::CONNABORTED | Errno::PERM) || NETWORK.contains(&error)
}
