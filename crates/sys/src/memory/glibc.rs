//! malloc_trim(3) of glibc, which returns whole free pages of every arena.

pub(super) fn release_free() {
    // SAFETY: malloc_trim has no condition, and any thread may call it.
    unsafe { libc::malloc_trim(0) };
}
