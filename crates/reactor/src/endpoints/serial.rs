//! Serial ports as endpoints, to connect to and to listen on: either way, the device is the only connection.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_proto::description::SerialDescription;
use ropewalk_proto::serial::SerialSettings;

use super::connecting::connected_at_once;
use super::{StreamClientEndpoint, StreamServerEndpoint};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::{Port, Transport};

/// An endpoint that opens a serial port: `serial:`.
///
/// The Deferreds of `connect` and `listen` have fired when the method returns. The factory builds one protocol and is
/// neither started nor stopped. Connecting or listening again opens the port again, which fails while it is in use.
///
/// A server that listens on a serial port serves the device as its only connection. The [`Port`] accepts no other one,
/// [`Port::only_connection`] returns the connection, and the connection stays open when the port stops.
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

impl StreamServerEndpoint for SerialPortEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        let opened = reactor.open_serial_port(&self.device, &self.settings, &*factory);
        let port = opened.map(|serial| Port::of_one_connection(reactor, serial.transport().clone(), factory.clone()));
        port.map_err(Into::into).into()
    }
}
