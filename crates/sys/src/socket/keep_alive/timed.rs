//! TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT, tcp(7).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

use crate::seam::KeepAliveTimes;

pub(in crate::socket) fn times(socket: BorrowedFd<'_>) -> io::Result<KeepAliveTimes> {
    Ok(KeepAliveTimes {
        idle: sockopt::tcp_keepidle(socket)?,
        interval: sockopt::tcp_keepintvl(socket)?,
        count: sockopt::tcp_keepcnt(socket)?,
    })
}

pub(in crate::socket) fn set_times(socket: BorrowedFd<'_>, times: KeepAliveTimes) -> io::Result<()> {
    sockopt::set_tcp_keepidle(socket, times.idle)?;
    sockopt::set_tcp_keepintvl(socket, times.interval)?;
    Ok(sockopt::set_tcp_keepcnt(socket, times.count)?)
}
