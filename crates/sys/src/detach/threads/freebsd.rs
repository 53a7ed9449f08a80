//! sysctl(3), KERN_PROC_PID.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::ptr::null;

pub(super) fn count() -> io::Result<usize> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, own];
    let mut process = MaybeUninit::<libc::kinfo_proc>::zeroed();
    let mut length = size_of::<libc::kinfo_proc>();
    // SAFETY: `name` has four parts, `length` is the size of `process`, and no new value is passed.
    let code = unsafe { libc::sysctl(name.as_ptr(), 4, process.as_mut_ptr().cast(), &raw mut length, null(), 0) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `process` was zeroed, which is a valid value of its integers, arrays and pointers. Then the system wrote
    // to it.
    let process = unsafe { process.assume_init() };
    usize::try_from(process.ki_numthreads).map_err(io::Error::other)
}
