//! Serial ports: connections through a device such as `/dev/ttyUSB0`.
//!
//! ```text
//!   open  ->  the bytes are those of a connection of pipes   ->  lost or closed: the protocol is notified
//!         ->  settings, lines and breaks through `SerialPort` ->  drained, earlier settings restored, device closed
//! ```
//!
//! Source: `SerialPort` of `twisted.internet.serialport`.

mod drain;
mod origin;

use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::serial::{ModemLines, SerialSettings};
use ropewalk_proto::{Address, Deferred};
use ropewalk_sys::{PipeEnd, SerialDevice, Sharing};

use super::Interface;
use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Keys, Transport};
use origin::SerialOrigin;

impl Reactor {
    /// Opens the serial port `device` for this program alone, and applies `settings`. `factory` builds the protocol.
    ///
    /// All bytes pass unchanged in both directions, without echo. Bytes that arrived before are discarded. The
    /// addresses of the transport are [unnamed](Address::Unnamed), and the factory is neither started nor stopped. May
    /// be called from any callback. The system may take some milliseconds to open a device.
    ///
    /// - When the device vanishes, `connection_lost` gets [`Error::ConnectionLost`] with an error of the kind
    ///   `NotConnected`. The device is closed by then, so its name is free for a device that is plugged in again.
    /// - After [`lose_connection`](Transport::lose_connection), the device sends what the system has taken. Then it gets
    ///   the settings that it had before, and is closed. If it sends nothing for two seconds, because its flow control
    ///   stops it, the rest is discarded. That all follows `connection_lost`.
    /// - After [`abort_connection`](Transport::abort_connection), unsent bytes are discarded.
    /// - A serial line has no end of a direction, so `lose_write_connection` only refuses later writes.
    /// - A reactor that stops waits for unsent bytes, for two seconds at most.
    ///
    /// ```no_run
    /// use ropewalk::prelude::*;
    /// use ropewalk::serial::SerialSettings;
    ///
    /// /// Prints what a device says.
    /// struct Print;
    ///
    /// impl Protocol for Print {
    ///     fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
    ///         println!("{}", data.escape_ascii());
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.open_serial_port("/dev/ttyUSB0", &SerialSettings::new(115_200), &|| Print)?;
    /// port.write(b"AT\r");
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the event provider has no serial ports, and [`Error::Io`] if the device cannot be used.
    /// The cause then names the device. Its kind is `ResourceBusy` when another program uses the device, `Unsupported`
    /// when the device does not take a setting, such as its speed, and `InvalidInput` when it is not a serial port.
    /// [`Error::Closed`] if the factory builds no protocol, [`Error::Panicked`] if it panics, and [`Error::Waiting`]
    /// while the provider waits in another thread.
    pub fn open_serial_port(
        &self,
        device: impl AsRef<Path>,
        settings: &SerialSettings,
        factory: &dyn Factory,
    ) -> Result<SerialPort> {
        self.require(Interface::SerialPorts)?;
        let cannot_open = || Error::io("cannot open the serial port");
        let device = SerialDevice::open(device.as_ref(), settings).map_err(cannot_open())?;
        let stream = device.stream().map_err(cannot_open())?;
        let adopted = self.0.pipes(|pipes| pipes.adopt_pipe(stream, PipeEnd::Device, Sharing::Owned))?;
        let keys = Keys::Pipe(adopted.map_err(cannot_open())?, PipeEnd::Device);
        let origin = Rc::new(SerialOrigin::new(device));
        let transport = self.begin_adopted(keys, Address::Unnamed, factory, Some(origin.clone()))?;
        Ok(SerialPort { transport, origin })
    }
}

impl Transport {
    /// Returns the serial port of this connection, or `None` if the connection is of another kind. May be called from
    /// any callback.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// /// Restarts an Arduino, whose reset pin is connected to DTR.
    /// struct Restart;
    ///
    /// impl Protocol for Restart {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         let Some(port) = transport.serial_port() else { return };
    ///         if let Err(error) = port.set_dtr(false).and_then(|()| port.set_dtr(true)) {
    ///             eprintln!("{error}");
    ///         }
    ///     }
    ///
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    /// }
    /// # let transport = ropewalk::testing::StringTransport::new();
    /// # assert!(transport.serial_port().is_none());
    /// ```
    pub fn serial_port(&self) -> Option<SerialPort> {
        self.origin().map(|origin| SerialPort { transport: self.clone(), origin })
    }
}

/// A handle of an open serial port: its transport, its settings and its lines.
///
/// It derefs to the [`Transport`]. Clones refer to the same port, and may be kept after the port has been closed: their
/// methods then return [`Error::Closed`]. All methods may be called from any callback on the reactor's thread.
///
/// ```no_run
/// use std::time::Duration;
/// use ropewalk::prelude::*;
/// use ropewalk::serial::{FlowControl, Parity, SerialSettings};
/// # use ropewalk::testing::AccumulatingProtocol;
///
/// let reactor = Reactor::new()?;
/// let settings = SerialSettings {
///     parity: Parity::Even,
///     flow_control: FlowControl::Hardware,
///     dtr: Some(false),
///     ..SerialSettings::new(9600)
/// };
/// let port = reactor.open_serial_port("/dev/ttyS0", &settings, &AccumulatingProtocol::new().factory())?;
/// println!("the device is switched on: {}", port.modem_lines()?.data_set_ready);
/// port.set_rts(true)?;
/// port.transport().write(b"hello");
/// let (later, faster) = (port.clone(), SerialSettings::new(115_200));
/// port.send_break(Duration::from_millis(250)).and_then(move |()| {
///     println!("{} bytes are not sent yet", later.unsent()?);
///     later.discard_output()?;
///     later.set_settings(&faster)?;
///     later.discard_input() // it was received at the earlier speed
/// });
/// port.set_break(false)?; // or end the break early
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct SerialPort {
    transport: Transport,
    origin: Rc<SerialOrigin>,
}

impl SerialPort {
    /// Changes the settings, at once and also for bytes that the device has not sent yet.
    ///
    /// # Errors
    /// [`Error::Io`] as for [`Reactor::open_serial_port`]. The device may then have taken a part of the settings.
    /// [`Error::Closed`] after the end of the connection.
    pub fn set_settings(&self, settings: &SerialSettings) -> Result<()> {
        self.ask("cannot change the settings of the serial port", |device| device.apply(settings))
    }

    /// Switches the line DTR (data terminal ready).
    ///
    /// # Errors
    /// [`Error::Io`] with the kind `Unsupported` when the device has no such line, as a pseudo-terminal.
    /// [`Error::Closed`] after the end of the connection.
    pub fn set_dtr(&self, on: bool) -> Result<()> {
        self.ask("cannot switch DTR", |device| device.set_dtr(on))
    }

    /// Switches the line RTS (request to send). With hardware flow control the system itself switches it.
    ///
    /// # Errors
    /// As [`set_dtr`](SerialPort::set_dtr).
    pub fn set_rts(&self, on: bool) -> Result<()> {
        self.ask("cannot switch RTS", |device| device.set_rts(on))
    }

    /// Returns the lines that the other end switches: CTS, DSR, RI and CD.
    ///
    /// # Errors
    /// As [`set_dtr`](SerialPort::set_dtr).
    pub fn modem_lines(&self) -> Result<ModemLines> {
        self.ask("cannot read the modem lines", SerialDevice::modem_lines)
    }

    /// Holds the line in the state of a start bit for `duration`, which receivers recognize as a break.
    ///
    /// Bytes that are sent meanwhile may be lost. The Deferred fires when the break is over.
    ///
    /// # Errors
    /// The Deferred fails with [`Error::Io`] if the device cannot send a break, and with [`Error::Closed`] if the
    /// connection ends before.
    pub fn send_break(&self, duration: Duration) -> Deferred<()> {
        let outcome = self.set_break(true).map(|()| {
            let (deferred, resolver) = Deferred::new();
            let port = self.clone();
            self.transport.reactor().call_later(duration, move |_| {
                let _ = resolver.fire(port.set_break(false).map_err(Into::into));
            });
            deferred
        });
        outcome.unwrap_or_else(|error| Err(error.into()).into())
    }

    /// Starts or stops a break, for a break whose length another event decides.
    ///
    /// # Errors
    /// [`Error::Io`] if the device cannot send a break, and [`Error::Closed`] after the end of the connection.
    pub fn set_break(&self, on: bool) -> Result<()> {
        self.ask("cannot send a break", |device| device.set_break(on))
    }

    /// Discards bytes that have arrived and that the protocol has not got.
    ///
    /// # Errors
    /// [`Error::Io`] when the system fails, and [`Error::Closed`] after the end of the connection.
    pub fn discard_input(&self) -> Result<()> {
        self.ask("cannot discard the input", SerialDevice::discard_input)
    }

    /// Discards bytes that the system has taken and that the device has not sent. Bytes that are queued in the transport
    /// ([`buffered`](Transport::buffered)) are still sent.
    ///
    /// # Errors
    /// As [`discard_input`](SerialPort::discard_input).
    pub fn discard_output(&self) -> Result<()> {
        self.ask("cannot discard the output", SerialDevice::discard_output)
    }

    /// Returns the number of bytes that the system has taken and that the device has not sent. Bytes that are queued in
    /// the transport ([`buffered`](Transport::buffered)) are not counted.
    ///
    /// # Errors
    /// As [`discard_input`](SerialPort::discard_input).
    pub fn unsent(&self) -> Result<usize> {
        self.ask("cannot ask for the unsent bytes", SerialDevice::unsent)
    }

    /// Returns the transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    fn ask<R>(&self, doing: &'static str, ask: impl FnOnce(&SerialDevice) -> std::io::Result<R>) -> Result<R> {
        let device = self.origin.device().ok_or(Error::Closed)?;
        ask(&device).map_err(Error::io(doing))
    }
}

impl Deref for SerialPort {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

impl std::fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SerialPort").field(&self.transport).finish()
    }
}
