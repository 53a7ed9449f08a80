//! Serial ports: the settings of a device and its lines. Its bytes are those of a pipe: [`PipeEnd::Device`].
//!
//! ```text
//!   open  ->  stream, for `adopt_pipe`  ->  apply, set_dtr, modem_lines ...  ->  drop: the earlier settings are back
//! ```
//!
//! [`PipeEnd::Device`]: crate::PipeEnd::Device

use std::io;
use std::path::Path;

use ropewalk_proto::serial::{ModemLines, SerialSettings};

use crate::io_handle::OwnedWaitable;

#[cfg(unix)]
mod exclusive;
#[cfg(unix)]
mod lines;
#[cfg(unix)]
mod modes;
#[cfg(unix)]
#[cfg_attr(linux_like, path = "requests/linux.rs")]
#[cfg_attr(not(linux_like), path = "requests/bsd.rs")]
mod requests;
#[cfg(unix)]
#[cfg_attr(linux_like, path = "speed/linux.rs")]
#[cfg_attr(not(linux_like), path = "speed/other.rs")]
mod speed;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod system;

#[cfg(all(test, unix))]
mod tests;

/// A serial port that this process has opened, for questions and requests beside its bytes.
///
/// Dropping it restores the settings that the device had before. The device itself closes when the handle of its bytes
/// is closed too. A device that still sends makes the system wait in that close: see
/// [`unsent`](SerialDevice::unsent).
///
/// The methods do not block, and may be called from any thread. When the device has vanished, they return the errors of
/// the system.
///
/// ```no_run
/// use std::path::Path;
/// use ropewalk_proto::serial::SerialSettings;
/// use ropewalk_sys::{PipeEnd, SerialDevice, Sharing, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let device = SerialDevice::open(Path::new("/dev/ttyUSB0"), &SerialSettings::new(115_200))?;
/// let key = provider.pipes().unwrap().adopt_pipe(device.stream()?, PipeEnd::Device, Sharing::Owned)?;
/// device.set_dtr(true)?;
/// device.set_rts(true)?;
/// if device.modem_lines()?.clear_to_send {
///     provider.streams().unwrap().send_slice(key, b"AT\r")?;
/// }
/// if device.unsent()? > 0 {
///     device.discard_output()?;
/// }
/// device.set_break(true)?; // the other end notices, whatever its speed
/// device.set_break(false)?;
/// device.apply(&SerialSettings::new(9600))?;
/// device.discard_input()?; // it was received at the earlier speed
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SerialDevice(system::Device);

impl SerialDevice {
    /// Opens the device at `path` for this process alone, and applies `settings`.
    ///
    /// Bytes pass unchanged in both directions, without echo, and no byte is a signal. Bytes that arrived before are
    /// discarded. The carrier line is ignored. Opening may take some milliseconds.
    ///
    /// # Errors
    /// `ResourceBusy` when another program uses the device, `InvalidInput` when it is not a serial port or a setting is
    /// not valid, `Unsupported` when the device refuses a setting or has no lines to set, and on systems other than
    /// Unix. The other errors of the system, with a message that names the device.
    pub fn open(path: &Path, settings: &SerialSettings) -> io::Result<SerialDevice> {
        system::Device::open(path, settings).map(SerialDevice)
    }

    /// Returns a handle of the device's bytes.
    ///
    /// # Errors
    /// The errors of dup(2).
    pub fn stream(&self) -> io::Result<OwnedWaitable> {
        self.0.stream()
    }

    /// Applies `settings`, at once and also to bytes that are queued for sending.
    ///
    /// # Errors
    /// As [`open`](SerialDevice::open). After an error the device may have taken a part of the settings.
    pub fn apply(&self, settings: &SerialSettings) -> io::Result<()> {
        self.0.apply(settings)
    }

    /// Switches the line DTR (data terminal ready).
    ///
    /// # Errors
    /// `Unsupported` when the device has no such line, as a pseudo-terminal.
    pub fn set_dtr(&self, on: bool) -> io::Result<()> {
        self.0.set_dtr(on)
    }

    /// Switches the line RTS (request to send). With hardware flow control the system itself switches it.
    ///
    /// # Errors
    /// `Unsupported` when the device has no such line, as a pseudo-terminal.
    pub fn set_rts(&self, on: bool) -> io::Result<()> {
        self.0.set_rts(on)
    }

    /// Returns the lines that the other end switches.
    ///
    /// # Errors
    /// `Unsupported` when the device has no such lines, as a pseudo-terminal.
    pub fn modem_lines(&self) -> io::Result<ModemLines> {
        self.0.modem_lines()
    }

    /// Starts or stops a break: the line is held in the state of a start bit.
    ///
    /// # Errors
    /// `Unsupported` when the device cannot send a break. A pseudo-terminal ignores the request.
    pub fn set_break(&self, on: bool) -> io::Result<()> {
        self.0.set_break(on)
    }

    /// Discards the bytes that have arrived and were not received.
    ///
    /// # Errors
    /// The errors of tcflush(3).
    pub fn discard_input(&self) -> io::Result<()> {
        self.0.discard_input()
    }

    /// Discards the bytes that the system has taken and the device has not sent.
    ///
    /// # Errors
    /// The errors of tcflush(3).
    pub fn discard_output(&self) -> io::Result<()> {
        self.0.discard_output()
    }

    /// Returns the number of bytes that the system has taken and the device has not sent.
    ///
    /// The close of the device waits for these bytes, for as long as the system lets it: 30 seconds on Linux.
    ///
    /// # Errors
    /// The errors of ioctl(2).
    pub fn unsent(&self) -> io::Result<usize> {
        self.0.unsent()
    }
}
