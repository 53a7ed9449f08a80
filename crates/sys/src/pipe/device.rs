//! A device that can vanish, such as a serial port.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::system_error::explained_error;

/// Returns the error of a device that has vanished. Systems report that as an end, as an error or as a hang-up.
pub(super) fn gone(cause: Errno) -> io::Error {
    explained_error(ErrorKind::NotConnected, cause.into(), "the device is gone")
}
