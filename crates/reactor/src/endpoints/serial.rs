//! Serial ports as endpoints.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::SerialDescription;
use ropewalk_proto::serial::SerialSettings;

use super::StreamClientEndpoint;
use super::connecting::connected_at_once;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Transport;

/// An endpoint that opens a serial port: `serial:`.
///
/// The Deferred of `connect` has fired when `connect` returns. The factory builds one protocol and is neither started
/// nor stopped. Connecting again opens the port again, which fails while it is in use.
///
/// ```
/// use std::rc::Rc;
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::{SerialPortEndpoint, StreamClientEndpoint};
/// use ropewalk::serial::SerialSettings;
/// use ropewalk::testing::AccumulatingProtocol;
///
/// let reactor = Reactor::new()?;
/// let endpoint = SerialPortEndpoint::new("/dev/no-such-port", SerialSettings::new(115_200));
/// let connected = endpoint.connect(&reactor, Rc::new(AccumulatingProtocol::new));
/// let failure = connected.try_result().expect("it fires at once").unwrap_err();
/// println!("{failure}");
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SerialPortEndpoint {
    device: PathBuf,
    settings: SerialSettings,
}

impl SerialPortEndpoint {
    /// Creates an endpoint for the port `device`.
    pub fn new(device: impl AsRef<Path>, settings: SerialSettings) -> SerialPortEndpoint {
        SerialPortEndpoint { device: device.as_ref().to_owned(), settings }
    }
}

impl From<&SerialDescription> for SerialPortEndpoint {
    fn from(serial: &SerialDescription) -> SerialPortEndpoint {
        SerialPortEndpoint::new(&serial.device, serial.settings)
    }
}

impl StreamClientEndpoint for SerialPortEndpoint {
    fn connect(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Transport> {
        connected_at_once(factory, |factory| reactor.open_serial_port(&self.device, &self.settings, factory).map(drop))
    }
}
