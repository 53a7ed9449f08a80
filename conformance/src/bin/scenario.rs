//! Plays a scenario in a process of its own: `scenario NAME PROVIDER`. The specifications start it.

#[cfg(unix)]
fn main() {
    ropewalk_conformance::scenario::play();
}

/// Scenarios are about signals and processes.
#[cfg(not(unix))]
fn main() {}
