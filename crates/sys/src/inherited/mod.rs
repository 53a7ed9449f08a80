//! Descriptors that this process was started with.

use std::io;

use crate::io_handle::{OwnedSocket, OwnedWaitable};

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

#[cfg(unix)]
pub(crate) use system::input_terminal;

/// Returns a copy of the descriptor `number`, which was open when this process began. From this call on, exec(2) closes
/// both.
///
/// May be called from any thread.
///
/// ```
/// # #[cfg(unix)]
/// assert!(ropewalk_sys::inherited(2).is_ok()); // standard error
/// assert!(ropewalk_sys::inherited(9999).is_err()); // not open
/// ```
///
/// # Errors
/// EBADF when no such descriptor is open. `Unsupported` where descriptors have no numbers.
pub fn inherited(number: u32) -> io::Result<OwnedSocket> {
    system::inherited(number)
}

/// Takes standard input and standard output from the process, and returns them. Later output of `println!` is
/// discarded, so it does not mix with bytes that the caller writes.
///
/// May be called from any thread.
///
/// ```
/// # #[cfg(unix)] {
/// let [_input, output] = ropewalk_sys::take_standard_streams()?;
/// println!("this goes nowhere");
/// let error = ropewalk_sys::take_standard_streams().unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists); // they can be taken once
/// # drop(output);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `AlreadyExists` when they have been taken before. `Unsupported` in a process that has gone into the background by
/// [`detach`](crate::detach()), and on systems other than Unix. The errors of the system calls.
pub fn take_standard_streams() -> io::Result<[OwnedWaitable; 2]> {
    system::take_standard_streams()
}

/// The descriptors that this process was started with, beside the standard streams: open files of the calling program,
/// with their locks and pipes.
///
/// A daemon closes them, because the calling program may wait for their end: daemon(7).
///
/// ```
/// use ropewalk_sys::InheritedDescriptors;
///
/// let inherited = InheritedDescriptors::find(); // first of all
/// // ... take the sockets that the program needs, with `inherited` ...
/// # if false {
/// inherited.close_unused();
/// # }
/// ```
#[derive(Debug)]
pub struct InheritedDescriptors(system::Found);

impl InheritedDescriptors {
    /// Finds the open descriptors that exec(2) would not close, beginning with number 3.
    ///
    /// Call this before any library opens a descriptor without FD_CLOEXEC. The Rust standard library and this crate
    /// open none.
    pub fn find() -> InheritedDescriptors {
        InheritedDescriptors(system::Found::new())
    }

    /// Closes the descriptors that are still as they were found. One whose copy was taken by [`inherited`](inherited())
    /// stays open, and so does one that exec(2) would close by now.
    ///
    /// No part of the program may own one of these descriptors under its number. May be called from any thread.
    pub fn close_unused(self) {
        self.0.close_unused();
    }
}
