//! pthread_atfork(3).

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);
static REGISTER: Once = Once::new();

pub(super) fn forks() -> u64 {
    REGISTER.call_once(|| {
        // SAFETY: `in_child` is a function without captures that lives as long as the program, and only adds to an
        // atomic, which is async-signal-safe. If the registration fails for lack of memory, forks are not counted.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
