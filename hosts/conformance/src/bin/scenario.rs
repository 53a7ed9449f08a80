//! Plays a scenario in a process of its own: `scenario NAME PROVIDER`. The specifications start it.

fn main() {
    ropewalk_conformance::scenario::play();
}
