//! ropewalk beside its peers. `--help` says what it measures.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    ropewalk_bench::main(None)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    panic!("the benchmark reads /proc and drives epoll: it runs on Linux only");
}
