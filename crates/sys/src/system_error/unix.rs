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
pub(super) const MESSAGE_TOO_LONG: i32 = libc::EMSGSIZE;
pub(super) const NO_BUFFERS: [i32; 2] = [libc::ENOBUFS, libc::ENOMEM];
