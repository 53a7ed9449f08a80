//! The settings and the lines of a serial port.

/// The settings of a serial port: the speed, the form of a character, the flow control, and the lines at the start.
///
/// The default is 9600 bits a second, eight data bits, no parity, one stop bit and no flow control. A plain value, which
/// any thread may use.
///
/// ```
/// use ropewalk_proto::serial::{Parity, SerialSettings};
///
/// let settings = SerialSettings { parity: Parity::Even, ..SerialSettings::new(115_200) };
/// assert_eq!(settings.to_string(), "115200 8E1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialSettings {
    /// The speed of both directions, in bits a second. Any number above 0 that the device accepts.
    pub speed: u32,
    /// The number of bits in a character.
    pub data_bits: DataBits,
    /// The bit that guards a character.
    pub parity: Parity,
    /// The length of the pause after a character.
    pub stop_bits: StopBits,
    /// The way in which each side pauses the other one.
    pub flow_control: FlowControl,
    /// The state of the line DTR (data terminal ready) from the start. `None` leaves it to the system, which raises it
    /// when the port is opened. Some devices restart when it rises.
    pub dtr: Option<bool>,
    /// The state of the line RTS (request to send) from the start. `None` leaves it to the system, which raises it when
    /// the port is opened.
    pub rts: Option<bool>,
}

/// The number of bits in a character.
///
/// ```
/// use ropewalk_proto::serial::DataBits;
///
/// assert_eq!(DataBits::Seven.count(), 7);
/// assert_eq!(DataBits::of(8), Some(DataBits::Eight));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataBits {
    /// Five bits.
    Five,
    /// Six bits.
    Six,
    /// Seven bits.
    Seven,
    /// Eight bits: every byte arrives unchanged.
    #[default]
    Eight,
}

/// The bit that guards a character. The system sends it, and does not report a received character that violates it.
///
/// ```
/// use ropewalk_proto::serial::Parity;
///
/// assert_eq!(Parity::default(), Parity::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// No such bit.
    #[default]
    None,
    /// The number of bits that are set is odd.
    Odd,
    /// The number of bits that are set is even.
    Even,
}

/// The length of the pause after a character.
///
/// ```
/// use ropewalk_proto::serial::StopBits;
///
/// assert_eq!(StopBits::default(), StopBits::One);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopBits {
    /// One bit.
    #[default]
    One,
    /// Two bits.
    Two,
}

/// The way in which each side of a serial line pauses the other one.
///
/// ```
/// use ropewalk_proto::serial::FlowControl;
///
/// assert_eq!(FlowControl::default(), FlowControl::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowControl {
    /// No side pauses the other one. A receiver that is too slow loses bytes.
    #[default]
    None,
    /// The bytes 0x11 (XON) and 0x13 (XOFF) resume and pause the other side. The program receives neither of them.
    Software,
    /// The lines RTS and CTS resume and pause the other side.
    Hardware,
}

/// The lines by which the device at the other end reports its state. A line is `true` while it is on.
///
/// ```
/// use ropewalk_proto::serial::ModemLines;
///
/// /// Whether the device is switched on, and takes bytes.
/// fn is_ready(lines: ModemLines) -> bool {
///     lines.data_set_ready && lines.clear_to_send
/// }
/// assert!(!is_ready(ModemLines::default()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModemLines {
    /// CTS: the device takes bytes.
    pub clear_to_send: bool,
    /// DSR: the device is switched on.
    pub data_set_ready: bool,
    /// RI: a modem receives a call.
    pub ring_indicator: bool,
    /// CD: a modem is connected to another one.
    pub carrier_detect: bool,
}

impl SerialSettings {
    /// Returns settings with `speed` in bits a second. Everything else has its default.
    ///
    /// ```
    /// use ropewalk_proto::serial::SerialSettings;
    ///
    /// assert_eq!(SerialSettings::new(250_000).to_string(), "250000 8N1");
    /// ```
    pub const fn new(speed: u32) -> SerialSettings {
        SerialSettings {
            speed,
            data_bits: DataBits::Eight,
            parity: Parity::None,
            stop_bits: StopBits::One,
            flow_control: FlowControl::None,
            dtr: None,
            rts: None,
        }
    }
}

impl Default for SerialSettings {
    fn default() -> SerialSettings {
        SerialSettings::new(9600)
    }
}

impl DataBits {
    /// Returns the variant with `count` bits, for 5 to 8 bits.
    pub const fn of(count: u8) -> Option<DataBits> {
        match count {
            5 => Some(DataBits::Five),
            6 => Some(DataBits::Six),
            7 => Some(DataBits::Seven),
            8 => Some(DataBits::Eight),
            _ => None,
        }
    }

    /// Returns the number of bits.
    pub const fn count(self) -> u8 {
        match self {
            DataBits::Five => 5,
            DataBits::Six => 6,
            DataBits::Seven => 7,
            DataBits::Eight => 8,
        }
    }
}

impl std::fmt::Display for SerialSettings {
    /// Formats the speed and the form of a character, as in `9600 8N1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Odd => 'O',
            Parity::Even => 'E',
        };
        let stop_bits = match self.stop_bits {
            StopBits::One => 1,
            StopBits::Two => 2,
        };
        write!(f, "{} {}{parity}{stop_bits}", self.speed, self.data_bits.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_data_bits_has_its_variant() {
        for count in 0..=9 {
            let expected = (5..=8).contains(&count).then_some(count);
            assert_eq!(DataBits::of(count).map(DataBits::count), expected);
        }
    }

    #[test]
    fn settings_are_shown_in_the_usual_short_form() {
        let settings = SerialSettings {
            data_bits: DataBits::Seven,
            parity: Parity::Odd,
            stop_bits: StopBits::Two,
            ..SerialSettings::default()
        };
        assert_eq!(settings.to_string(), "9600 7O2");
    }
}
