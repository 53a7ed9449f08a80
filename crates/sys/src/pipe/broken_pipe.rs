//! A write to a pipe without a reader is an error, and not the end of the process.

use std::mem::MaybeUninit;
use std::ptr::null;
use std::sync::Once;

/// Ignores SIGPIPE, unless the program has a handler for it. Rust's runtime and Python do so at their start, but other
/// programs that hold this library may not. write(2) has no flag against the signal that every kernel knows.
pub(super) fn survive() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut present = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: sigaction(2) only fills `present`.
        if unsafe { libc::sigaction(libc::SIGPIPE, null(), present.as_mut_ptr()) } != 0 {
            return;
        }
        // SAFETY: the call has succeeded, so it has filled `present`.
        if unsafe { present.assume_init() }.sa_sigaction == libc::SIG_DFL {
            // SAFETY: a signal that is ignored runs no code.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        }
    });
}
