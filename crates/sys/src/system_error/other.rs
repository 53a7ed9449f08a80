//! Windows Sockets Error Codes

use std::io::ErrorKind;

pub(super) const BY_KIND: &[(ErrorKind, i32)] = &[
    (ErrorKind::AddrInUse, 10048),
    (ErrorKind::AddrNotAvailable, 10049),
    (ErrorKind::ConnectionRefused, 10061),
    (ErrorKind::ConnectionReset, 10054),
    (ErrorKind::HostUnreachable, 10065),
    (ErrorKind::InvalidInput, 10022),
    (ErrorKind::NetworkUnreachable, 10051),
    (ErrorKind::NotConnected, 10057),
    (ErrorKind::TimedOut, 10060),
    (ErrorKind::WouldBlock, 10035),
];

/// WSAEMFILE
pub(super) const TOO_MANY_DESCRIPTORS: i32 = 10024;

/// WSAEMSGSIZE
pub(super) const MESSAGE_TOO_LONG: i32 = 10040;

/// WSAENOBUFS, and ERROR_NOT_ENOUGH_MEMORY
pub(super) const NO_BUFFERS: [i32; 2] = [10055, 8];
