//! proc_pidinfo, PROC_PIDTASKINFO: `libproc.h`.

use std::io;
use std::mem::{MaybeUninit, size_of};

pub(super) fn count() -> io::Result<usize> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let length = i32::try_from(size_of::<libc::proc_taskinfo>()).map_err(io::Error::other)?;
    let mut task = MaybeUninit::<libc::proc_taskinfo>::zeroed();
    // SAFETY: `length` is the size of `task`.
    let written = unsafe { libc::proc_pidinfo(own, libc::PROC_PIDTASKINFO, 0, task.as_mut_ptr().cast(), length) };
    if written != length {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `task` was zeroed, and the system has written all of it.
    let task = unsafe { task.assume_init() };
    usize::try_from(task.pti_threadnum).map_err(io::Error::other)
}
