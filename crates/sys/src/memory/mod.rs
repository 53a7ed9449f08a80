//! Returns free memory to the system.

#[cfg_attr(all(target_os = "linux", target_env = "gnu"), path = "glibc.rs")]
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), path = "none.rs")]
mod system;

/// Returns the free memory of the C library's allocator to the system: malloc_trim(3).
///
/// glibc keeps freed memory below the last allocation that is in use. After a peak of load that can be most of the
/// peak. The call takes about a millisecond for 10 MB of free memory, and blocks allocations meanwhile. May be called
/// from any thread. It does nothing elsewhere, and nothing to memory of another global allocator.
///
/// ```
/// let peak = vec![1; 10_000_000];
/// drop(peak);
/// ropewalk_sys::release_free_memory();
/// ```
pub fn release_free_memory() {
    system::release_free();
}
