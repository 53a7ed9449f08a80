//! BOTHER, termios(3): Linux has a number for each usual speed, and one for all others.

use rustix::termios::Termios;

/// The bits of the control modes that hold a standard speed.
const USUAL: u32 = libc::CBAUD;
/// The value of that part if the speed is not a usual one.
const OTHER: u32 = libc::BOTHER;

/// Returns the speed that the device has `taken` instead of the `wanted` one.
///
/// A device that divides its clock seldom has a usual speed exactly. The system keeps the name of the usual speed if the
/// device is within 2 % of it, which every receiver bears. All other speeds must be equal.
pub(super) fn other(wanted: &Termios, taken: &Termios) -> Option<u32> {
    let name = |modes: &Termios| modes.control_modes.bits() & USUAL;
    let has_usual_speed = name(wanted) != OTHER && name(wanted) == name(taken);
    let has_speed = has_usual_speed || wanted.output_speed() == taken.output_speed();
    (!has_speed).then(|| taken.output_speed())
}
