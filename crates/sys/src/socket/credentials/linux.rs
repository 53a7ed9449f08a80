//! SO_PEERCRED, unix(7).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt::socket_peercred;

use crate::seam::PeerCredentials;

pub(super) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let found = socket_peercred(socket)?;
    let pid = u32::try_from(found.pid.as_raw_nonzero().get()).ok();
    Ok(PeerCredentials { pid, uid: found.uid.as_raw(), gid: found.gid.as_raw() })
}
