//! The system's errors by their kind, for providers that imitate a system.
//!
//! `io::Error::from(kind)` has no number, so a program that compares numbers would not recognize it.

use std::io::{self, ErrorKind};

mod explained;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod numbers;

pub use explained::explained_error;

/// Returns the error that this system reports for `kind`, with its number and its message. May be called from any
/// thread.
///
/// Kinds that sockets do not report have no number here. Their error is that of [`io::Error::from`].
///
/// ```
/// use std::io::ErrorKind;
/// use ropewalk_sys::system_error;
///
/// let refused = system_error(ErrorKind::ConnectionRefused);
/// assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
/// # #[cfg(target_os = "linux")]
/// assert_eq!(refused.raw_os_error(), Some(111)); // ECONNREFUSED
/// assert_eq!(system_error(ErrorKind::UnexpectedEof).raw_os_error(), None);
/// ```
pub fn system_error(kind: ErrorKind) -> io::Error {
    let known = numbers::BY_KIND.iter().find(|(known, _)| *known == kind);
    known.map_or_else(|| kind.into(), |(_, number)| io::Error::from_raw_os_error(*number))
}

/// Returns the error that this system reports when a process has too many open descriptors: EMFILE. May be called from
/// any thread.
///
/// ```
/// use ropewalk_sys::too_many_descriptors;
///
/// # #[cfg(target_os = "linux")]
/// assert_eq!(too_many_descriptors().raw_os_error(), Some(24));
/// ```
pub fn too_many_descriptors() -> io::Error {
    io::Error::from_raw_os_error(numbers::TOO_MANY_DESCRIPTORS)
}

/// Returns the error that this system reports for a datagram that is too long: EMSGSIZE. May be called from any thread.
///
/// ```
/// use ropewalk_sys::{is_message_too_long, message_too_long};
///
/// assert!(is_message_too_long(&message_too_long()));
/// ```
pub fn message_too_long() -> io::Error {
    io::Error::from_raw_os_error(numbers::MESSAGE_TOO_LONG)
}

/// Returns whether `error` says that a datagram is too long.
///
/// ```
/// use std::net::UdpSocket;
/// use ropewalk_sys::is_message_too_long;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// let error = socket.send_to(&[0; 70_000], socket.local_addr()?).unwrap_err();
/// assert!(is_message_too_long(&error));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_message_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(numbers::MESSAGE_TOO_LONG)
}

/// Returns whether `error` says that the system has no memory or no buffer for a message now: ENOBUFS, ENOMEM.
///
/// ```
/// use std::io::ErrorKind;
/// use ropewalk_sys::is_out_of_buffers;
///
/// assert!(!is_out_of_buffers(&ErrorKind::WouldBlock.into())); // the socket's own buffer is full
/// ```
pub fn is_out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| numbers::NO_BUFFERS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_kind() {
        for (kind, number) in numbers::BY_KIND {
            let error = system_error(*kind);
            assert_eq!((error.kind(), error.raw_os_error()), (*kind, Some(*number)));
        }
    }
}
