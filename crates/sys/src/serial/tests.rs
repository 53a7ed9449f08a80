use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use ropewalk_proto::serial::{DataBits, FlowControl, Parity, StopBits};
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::*;

/// A pseudo-terminal: its slave is the device, and its master is the other end of the line.
struct Line {
    other_end: OwnedFd,
    device: PathBuf,
}

impl Line {
    fn new() -> Line {
        let other_end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&other_end).unwrap();
        unlockpt(&other_end).unwrap();
        let name = ptsname(&other_end, Vec::new()).unwrap();
        Line { other_end, device: name.to_str().unwrap().into() }
    }

    fn open(&self, settings: &SerialSettings) -> io::Result<SerialDevice> {
        SerialDevice::open(&self.device, settings)
    }

    /// The modes of the device, as its other users see them.
    fn modes(&self) -> Termios {
        tcgetattr(&self.other_end).unwrap()
    }
}

fn refused(settings: &SerialSettings) -> String {
    let line = Line::new();
    let error = line.open(settings).unwrap_err();
    assert!(line.modes().local_modes.contains(LocalModes::ECHO), "the earlier settings are back");
    error.to_string()
}

#[test]
fn each_speed_is_read_back_as_it_was_set() {
    for speed in [9600, 115_200, 250_000, 10_000, 1, 3_000_000, 31_250] {
        let line = Line::new();
        let device = line.open(&SerialSettings::new(speed)).unwrap();
        assert_eq!(line.modes().output_speed(), speed);
        device.apply(&SerialSettings::new(speed + 1)).unwrap();
        assert_eq!(line.modes().output_speed(), speed + 1);
    }
}

#[test]
fn a_speed_of_zero_is_refused() {
    assert_eq!(refused(&SerialSettings::new(0)), "a speed of 0 would hang up: choose one above 0, in bits a second");
}

/// pty(7): a pseudo-terminal always has eight bits without parity. tcsetattr(3) reports success all the same.
#[test]
fn a_setting_that_the_device_drops_is_an_error() {
    let seven = SerialSettings { data_bits: DataBits::Seven, ..SerialSettings::default() };
    assert_eq!(refused(&seven), "the device does not take 7 data bits");
    let even = SerialSettings { parity: Parity::Even, ..SerialSettings::default() };
    assert_eq!(refused(&even), "the device does not take the parity 'even'");
}

#[test]
fn the_earlier_settings_are_back_after_the_close() {
    let line = Line::new();
    let other = File::options().read(true).write(true).open(&line.device).unwrap();
    let mut before = tcgetattr(&other).unwrap();
    before.local_modes -= LocalModes::ECHOE;
    before.set_speed(1200).unwrap();
    tcsetattr(&other, OptionalActions::Now, &before).unwrap();
    let before = format!("{:?}", line.modes());
    let device = line.open(&SerialSettings { stop_bits: StopBits::Two, ..SerialSettings::new(250_000) }).unwrap();
    assert_ne!(format!("{:?}", line.modes()), before);
    drop(device);
    assert_eq!(format!("{:?}", line.modes()), before);
}

#[test]
fn software_flow_control_works_in_both_directions() {
    let line = Line::new();
    let settings = SerialSettings { flow_control: FlowControl::Software, ..SerialSettings::default() };
    let device = line.open(&settings).unwrap();
    assert!(line.modes().input_modes.contains(InputModes::IXON | InputModes::IXOFF));
    device.apply(&SerialSettings::default()).unwrap();
    assert!(!line.modes().input_modes.intersects(InputModes::IXON | InputModes::IXOFF));
}

/// TIOCEXCL alone does nothing against root, and the tests may run as root.
#[test]
fn a_device_is_for_one_program_at_a_time() {
    let line = Line::new();
    let first = line.open(&SerialSettings::default()).unwrap();
    let error = line.open(&SerialSettings::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    let device = line.device.display();
    assert_eq!(error.to_string(), format!("another program uses {device}: close that program first"));
    drop(first);
    drop(line.open(&SerialSettings::default()).unwrap());
}

/// Such a program asks for no lock.
#[cfg(linux_like)]
#[test]
fn the_claim_of_another_program_is_respected() {
    let line = Line::new();
    let other = File::options().read(true).write(true).open(&line.device).unwrap();
    rustix::termios::ioctl_tiocexcl(&other).unwrap();
    for _attempt in ["the first", "the claim is not given up by an attempt"] {
        assert_eq!(line.open(&SerialSettings::default()).unwrap_err().kind(), ErrorKind::ResourceBusy);
    }
    rustix::termios::ioctl_tiocnxcl(&other).unwrap();
    assert!(line.open(&SerialSettings::default()).is_ok());
}

#[test]
fn errors_name_the_device_with_a_remedy() {
    let open = |path: &str| SerialDevice::open(Path::new(path), &SerialSettings::default()).unwrap_err();
    let missing = open("/dev/no-such-port");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(missing.to_string(), "there is no device /dev/no-such-port: check that it is plugged in");
    let null = open("/dev/null");
    assert_eq!((null.kind(), null.to_string().as_str()), (ErrorKind::InvalidInput, "/dev/null is not a serial port"));
}

/// tty_ioctl(4): ENOTTY.
#[test]
fn a_device_without_lines_says_so() {
    let line = Line::new();
    let device = line.open(&SerialSettings::default()).unwrap();
    for error in
        [device.set_dtr(true).unwrap_err(), device.set_rts(false).unwrap_err(), device.modem_lines().unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with("the device has no lines"), "{error}");
    }
    drop(device);
    assert!(refused(&SerialSettings { dtr: Some(false), ..SerialSettings::default() }).contains("has no lines"));
}

#[test]
fn old_input_is_discarded_when_a_port_opens() {
    let line = Line::new();
    let mut other_end = File::from(line.other_end.try_clone().unwrap());
    other_end.write_all(b"from before\n").unwrap();
    let device = line.open(&SerialSettings::default()).unwrap();
    other_end.write_all(b"now").unwrap();
    let mut stream = File::from(device.stream().unwrap());
    let mut received = [0; 16];
    let count = stream.read(&mut received).unwrap();
    assert_eq!(&received[..count], b"now");
    other_end.write_all(b"unwanted").unwrap();
    device.discard_input().unwrap();
    assert_eq!(stream.read(&mut received).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_break_starts_or_stops_without_an_error() {
    let line = Line::new();
    let device = line.open(&SerialSettings::default()).unwrap();
    device.set_break(true).unwrap();
    device.set_break(false).unwrap();
    device.discard_output().unwrap();
    assert_eq!(device.unsent().unwrap(), 0);
}
