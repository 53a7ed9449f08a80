//! Systems whose speeds are plain numbers.

use rustix::termios::Termios;

/// Returns the speed that the device has `taken` instead of the `wanted` one.
pub(super) fn other(wanted: &Termios, taken: &Termios) -> Option<u32> {
    (wanted.output_speed() != taken.output_speed()).then(|| taken.output_speed())
}
