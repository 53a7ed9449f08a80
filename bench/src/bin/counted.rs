//! The same program on an allocator that counts its live bytes.
//!
//! This program serves only the idle-connection scenario, because counting costs time. Every other figure comes from
//! the program that does not count.

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
