//! The settings of a device as termios(3) has them. A setting that the device does not take is an error.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use ropewalk_proto::serial::{DataBits, FlowControl, Parity, SerialSettings, StopBits};
use rustix::termios::{ControlModes, InputModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::speed;

/// Sets the modes of `settings`, and reads back what the device has made of them. Everything else is as in `before`.
///
/// # Errors
/// `InvalidInput` if a setting is not valid, and `Unsupported` if the device does not take it.
pub(super) fn apply(fd: BorrowedFd<'_>, before: &Termios, settings: &SerialSettings) -> io::Result<()> {
    let wanted = modes(before, settings)?;
    // tcsetattr(3) succeeds if the device takes any of the settings.
    tcsetattr(fd, OptionalActions::Now, &wanted)?;
    match refused(&wanted, &tcgetattr(fd)?, settings) {
        Some(refused) => Err(io::Error::new(ErrorKind::Unsupported, refused)),
        None => Ok(()),
    }
}

/// Returns the modes of a line that changes no byte.
fn modes(before: &Termios, settings: &SerialSettings) -> io::Result<Termios> {
    if settings.speed == 0 {
        let message = "a speed of 0 would hang up: choose one above 0, in bits a second";
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    let mut modes = before.clone();
    modes.make_raw();
    modes.input_modes -= InputModes::IXOFF | InputModes::IXANY | InputModes::INPCK | InputModes::IGNPAR;
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    modes.control_modes -= FORM;
    modes.control_modes |= form(settings) | ControlModes::CREAD | ControlModes::CLOCAL;
    if settings.flow_control == FlowControl::Software {
        modes.input_modes |= InputModes::IXON | InputModes::IXOFF;
    }
    modes.set_speed(settings.speed)?;
    Ok(modes)
}

/// The modes of a character and of hardware flow control.
const FORM: ControlModes = ControlModes::CSIZE
    .union(ControlModes::PARENB)
    .union(ControlModes::PARODD)
    .union(ControlModes::CSTOPB)
    .union(ControlModes::CRTSCTS);

fn form(settings: &SerialSettings) -> ControlModes {
    let data_bits = match settings.data_bits {
        DataBits::Five => ControlModes::CS5,
        DataBits::Six => ControlModes::CS6,
        DataBits::Seven => ControlModes::CS7,
        DataBits::Eight => ControlModes::CS8,
    };
    let parity = match settings.parity {
        Parity::None => ControlModes::empty(),
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        Parity::Even => ControlModes::PARENB,
    };
    let stop_bits = match settings.stop_bits {
        StopBits::One => ControlModes::empty(),
        StopBits::Two => ControlModes::CSTOPB,
    };
    let flow_control = match settings.flow_control {
        FlowControl::Hardware => ControlModes::CRTSCTS,
        FlowControl::None | FlowControl::Software => ControlModes::empty(),
    };
    data_bits | parity | stop_bits | flow_control
}

/// Names the setting that the device has not taken.
fn refused(wanted: &Termios, taken: &Termios, settings: &SerialSettings) -> Option<String> {
    let differs = |modes: ControlModes| (wanted.control_modes ^ taken.control_modes).intersects(modes);
    if let Some(other) = speed::other(wanted, taken) {
        let asked = settings.speed;
        return Some(format!(
            "the device runs at {other} bits a second instead of {asked}: choose a speed that it has"
        ));
    }
    if differs(ControlModes::CSIZE) {
        let count = settings.data_bits.count();
        return Some(format!("the device does not take {count} data bits"));
    }
    if differs(ControlModes::PARENB | ControlModes::PARODD) {
        return Some(format!("the device does not take the parity '{}'", parity_name(settings.parity)));
    }
    if differs(ControlModes::CSTOPB) {
        return Some("the device does not take this number of stop bits".to_owned());
    }
    let flow = InputModes::IXON | InputModes::IXOFF;
    let differs_in_software = (wanted.input_modes ^ taken.input_modes).intersects(flow);
    (differs(ControlModes::CRTSCTS) || differs_in_software)
        .then(|| "the device does not take this flow control".to_owned())
}

fn parity_name(parity: Parity) -> &'static str {
    match parity {
        Parity::None => "none",
        Parity::Odd => "odd",
        Parity::Even => "even",
    }
}
