//! Serial ports as descriptions.

use std::fmt;
use std::path::{Path, PathBuf};

use super::arguments::{Arguments, Shape, number, switch};
use super::{DescriptionError, quote_string_argument};
use crate::serial::{DataBits, FlowControl, Parity, SerialSettings, StopBits};

/// The arguments of a `serial:` description.
///
/// ```
/// use ropewalk_proto::description::{ClientDescription, SerialDescription};
/// use ropewalk_proto::serial::SerialSettings;
///
/// let mut serial = SerialDescription::new("/dev/ttyUSB0");
/// serial.settings = SerialSettings::new(115_200);
/// assert_eq!("serial:/dev/ttyUSB0:115200".parse(), Ok(ClientDescription::Serial(serial)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SerialDescription {
    /// The path of the device. Never empty.
    pub device: PathBuf,
    /// The settings of the device.
    pub settings: SerialSettings,
}

impl SerialDescription {
    /// Describes the port `device` with 9600 bits a second and the other default settings.
    pub fn new(device: impl AsRef<Path>) -> SerialDescription {
        SerialDescription { device: device.as_ref().to_owned(), settings: SerialSettings::default() }
    }
}

pub(super) const SHAPE: Shape = Shape {
    name: "serial",
    usage: "serial:DEVICE[:speed=9600][:data_bits=8][:parity=none][:stop_bits=1][:flow_control=none][:dtr=0|1][:rts=0|1]",
    parameters: &["device", "speed", "data_bits", "parity", "stop_bits", "flow_control", "dtr", "rts"],
    positional_max: 2,
};

pub(super) fn read(arguments: &Arguments<'_>) -> Result<SerialDescription, DescriptionError> {
    let default = SerialSettings::default();
    let speed = |value: &str| number(value).filter(|&speed| speed > 0);
    let data_bits = |value: &str| value.parse().ok().and_then(DataBits::of);
    let settings = SerialSettings {
        speed: arguments.optional("speed", "a number of bits a second above 0", speed)?.unwrap_or(default.speed),
        data_bits: arguments.optional("data_bits", "5, 6, 7 or 8", data_bits)?.unwrap_or_default(),
        parity: arguments.optional("parity", "none, odd or even", parity)?.unwrap_or_default(),
        stop_bits: arguments.optional("stop_bits", "1 or 2", stop_bits)?.unwrap_or_default(),
        flow_control: arguments
            .optional("flow_control", "none, software or hardware", flow_control)?
            .unwrap_or_default(),
        dtr: arguments.optional("dtr", "0 or 1", switch)?,
        rts: arguments.optional("rts", "0 or 1", switch)?,
    };
    Ok(SerialDescription { device: arguments.required("device", "the path of a device", device)?, settings })
}

fn device(value: &str) -> Option<PathBuf> {
    (!value.is_empty() && !value.contains('\0')).then(|| value.into())
}

fn parity(value: &str) -> Option<Parity> {
    match value {
        "none" => Some(Parity::None),
        "odd" => Some(Parity::Odd),
        "even" => Some(Parity::Even),
        _ => None,
    }
}

fn stop_bits(value: &str) -> Option<StopBits> {
    match value {
        "1" => Some(StopBits::One),
        "2" => Some(StopBits::Two),
        _ => None,
    }
}

fn flow_control(value: &str) -> Option<FlowControl> {
    match value {
        "none" => Some(FlowControl::None),
        "software" => Some(FlowControl::Software),
        "hardware" => Some(FlowControl::Hardware),
        _ => None,
    }
}

impl fmt::Display for SerialDescription {
    /// Formats the description without the arguments that have their default values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SerialSettings { speed, data_bits, parity, stop_bits, flow_control, dtr, rts } = self.settings;
        write!(f, "serial:{}", quote_string_argument(&self.device.to_string_lossy()))?;
        if speed != SerialSettings::default().speed {
            write!(f, ":speed={speed}")?;
        }
        if data_bits != DataBits::default() {
            write!(f, ":data_bits={}", data_bits.count())?;
        }
        f.write_str(match parity {
            Parity::None => "",
            Parity::Odd => ":parity=odd",
            Parity::Even => ":parity=even",
        })?;
        f.write_str(if stop_bits == StopBits::Two { ":stop_bits=2" } else { "" })?;
        f.write_str(match flow_control {
            FlowControl::None => "",
            FlowControl::Software => ":flow_control=software",
            FlowControl::Hardware => ":flow_control=hardware",
        })?;
        for (line, state) in [("dtr", dtr), ("rts", rts)] {
            if let Some(on) = state {
                write!(f, ":{line}={}", u8::from(on))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ClientDescription;
    use super::*;

    fn parse(text: &str) -> SerialDescription {
        match text.parse() {
            Ok(ClientDescription::Serial(serial)) => serial,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_serial_port_has_default_settings() {
        assert_eq!(parse("serial:/dev/ttyS0"), SerialDescription::new("/dev/ttyS0"));
        assert_eq!(parse("serial:/dev/ttyS0:250000").settings, SerialSettings::new(250_000));
    }

    #[test]
    fn each_setting_has_its_key() {
        let text = "serial:/dev/ttyS0:speed=1200:data_bits=7:parity=even:stop_bits=2:flow_control=hardware:dtr=0:rts=1";
        let settings = SerialSettings {
            data_bits: DataBits::Seven,
            parity: Parity::Even,
            stop_bits: StopBits::Two,
            flow_control: FlowControl::Hardware,
            dtr: Some(false),
            rts: Some(true),
            ..SerialSettings::new(1200)
        };
        assert_eq!(parse(text).settings, settings);
        assert_eq!(parse(text).to_string(), text);
    }

    #[test]
    fn an_error_names_the_valid_values() {
        let fails = |text: &str| text.parse::<ClientDescription>().unwrap_err().to_string();
        let cases = [
            ("serial:/dev/ttyS0:0", "invalid speed '0' in", "a number of bits a second above 0"),
            ("serial:/dev/ttyS0:speed=fast", "invalid speed 'fast' in", "a number of bits a second above 0"),
            ("serial:/dev/ttyS0:data_bits=9", "invalid data_bits '9' in", "5, 6, 7 or 8"),
            ("serial:/dev/ttyS0:parity=mark", "invalid parity 'mark' in", "none, odd or even"),
            ("serial:/dev/ttyS0:stop_bits=1.5", "invalid stop_bits '1.5' in", "1 or 2"),
            ("serial:/dev/ttyS0:flow_control=yes", "invalid flow_control 'yes' in", "none, software or hardware"),
        ];
        for (text, fault, expected) in cases {
            assert_eq!(fails(text), format!("{fault} '{text}': expected {expected}"));
        }
        assert!(fails("serial:").starts_with("missing device in 'serial:': expected serial:DEVICE"));
    }

    fn settings() -> impl Strategy<Value = SerialSettings> {
        let data_bits = (5_u8..=8).prop_map(|count| DataBits::of(count).unwrap());
        let parity = prop_oneof![Just(Parity::None), Just(Parity::Odd), Just(Parity::Even)];
        let stop_bits = prop_oneof![Just(StopBits::One), Just(StopBits::Two)];
        let flow = prop_oneof![Just(FlowControl::None), Just(FlowControl::Software), Just(FlowControl::Hardware)];
        (1..=u32::MAX, data_bits, parity, stop_bits, flow, any::<[Option<bool>; 2]>()).prop_map(
            |(speed, data_bits, parity, stop_bits, flow_control, [dtr, rts])| SerialSettings {
                speed,
                data_bits,
                parity,
                stop_bits,
                flow_control,
                dtr,
                rts,
            },
        )
    }

    proptest! {
        #[test]
        fn a_shown_description_is_parsed_again(device in "[^\0]+", settings in settings()) {
            let serial = SerialDescription { device: device.into(), settings };
            prop_assert_eq!(parse(&serial.to_string()), serial);
        }
    }
}
