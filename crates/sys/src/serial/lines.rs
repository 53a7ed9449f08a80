//! The lines beside those of the data, and the break.

use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use ropewalk_proto::serial::ModemLines;
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Setter, ioctl};

use super::requests;
use crate::system_error::explained_error;

pub(super) fn read(fd: BorrowedFd<'_>) -> io::Result<ModemLines> {
    // SAFETY: TIOCMGET writes an int to its argument.
    let request = unsafe { Getter::<{ requests::GET_LINES }, c_int>::new() };
    // SAFETY: the request only asks for the state of the lines.
    let bits = unsafe { ioctl(fd, request) }.map_err(no_lines)?;
    Ok(ModemLines {
        clear_to_send: bits & requests::CTS != 0,
        data_set_ready: bits & requests::DSR != 0,
        ring_indicator: bits & requests::RI != 0,
        carrier_detect: bits & requests::CD != 0,
    })
}

pub(super) fn set_dtr(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    switch(fd, requests::DTR, on)
}

pub(super) fn set_rts(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    switch(fd, requests::RTS, on)
}

fn switch(fd: BorrowedFd<'_>, line: c_int, on: bool) -> io::Result<()> {
    let switched = if on {
        // SAFETY: TIOCMBIS reads an int from its argument.
        let request = unsafe { Setter::<{ requests::SWITCH_ON }, c_int>::new(line) };
        // SAFETY: the request changes the lines of the device, and touches no memory of the process.
        unsafe { ioctl(fd, request) }
    } else {
        // SAFETY: TIOCMBIC reads an int from its argument.
        let request = unsafe { Setter::<{ requests::SWITCH_OFF }, c_int>::new(line) };
        // SAFETY: as above.
        unsafe { ioctl(fd, request) }
    };
    switched.map_err(no_lines)
}

pub(super) fn set_break(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let set = if on {
        // SAFETY: TIOCSBRK has no argument.
        let request = unsafe { NoArg::<{ requests::START_BREAK }>::new() };
        // SAFETY: the request changes the data line of the device, and touches no memory of the process.
        unsafe { ioctl(fd, request) }
    } else {
        // SAFETY: TIOCCBRK has no argument.
        let request = unsafe { NoArg::<{ requests::STOP_BREAK }>::new() };
        // SAFETY: as above.
        unsafe { ioctl(fd, request) }
    };
    set.map_err(|error| unsupported(error, "the device cannot send a break"))
}

pub(super) fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: TIOCOUTQ writes an int to its argument.
    let request = unsafe { Getter::<{ requests::COUNT_UNSENT }, c_int>::new() };
    // SAFETY: the request only asks for a number.
    let count = unsafe { ioctl(fd, request) }?;
    Ok(count.try_into().unwrap_or(0))
}

fn no_lines(error: Errno) -> io::Error {
    unsupported(error, "the device has no lines beside those of the data, as a pseudo-terminal has none")
}

/// Explains the error of a device that does not know a request. Drivers answer differently.
fn unsupported(error: Errno, message: &str) -> io::Error {
    match error {
        Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::NODEV => {
            explained_error(ErrorKind::Unsupported, error.into(), message)
        }
        other => other.into(),
    }
}
