//! The release program under load: memory, lateness and losses, each figure with its bar. `--help` lists the scenarios.

#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod figure;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod spawning;
#[cfg(target_os = "linux")]
mod subject;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    panic!("the load tests read /proc: they run on Linux only");
}
