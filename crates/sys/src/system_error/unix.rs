//! errno(3)

use std::io::ErrorKind;

pub(super) const BY_KIND: &[(ErrorKind, i32)] = &[
    (ErrorKind::AddrInUse, libc::EADDRINUSE),
    (ErrorKind::AddrNotAvailable, libc::EADDRNOTAVAIL),
    (ErrorKind::BrokenPipe, libc::EPIPE),
    (ErrorKind::ConnectionRefused, libc::ECONNREFUSED),
    (ErrorKind::ConnectionReset, libc::ECONNRESET),
    (ErrorKind::HostUnreachable, libc::EHOSTUNREACH),
    (ErrorKind::InvalidInput, libc::EINVAL),
    (ErrorKind::NetworkUnreachable, libc::ENETUNREACH),
    (ErrorKind::NotConnected, libc::ENOTCONN),
    (ErrorKind::NotFound, libc::ENOENT),
    (ErrorKind::TimedOut, libc::ETIMEDOUT),
    (ErrorKind::WouldBlock, libc::EAGAIN),
];

pub(super) const TOO_MANY_DESCRIPTORS: i32 = libc::EMFILE;
