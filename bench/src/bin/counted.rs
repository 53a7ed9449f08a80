//! The same program on an allocator that counts its live bytes.
//!
//! It serves only the idle-connection scenario: counting costs time, so every other figure comes from the program
//! without it.

#[cfg(target_os = "linux")]
#[global_allocator]
static COUNTED: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    ropewalk_bench::main(Some(live_bytes))
}

#[cfg(target_os = "linux")]
fn live_bytes() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[cfg(not(target_os = "linux"))]
fn main() {
    panic!("the benchmark reads /proc and drives epoll: it runs on Linux only");
}
