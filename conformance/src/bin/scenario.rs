//! Plays a scenario in a process of its own: `scenario NAME PROVIDER`. The specifications start it.

#[cfg(unix)]
fn main() {
    ropewalk_conformance::scenario::play();
}

/// Scenarios need the signals and processes of Unix.
#[cfg(not(unix))]
fn main() {}
