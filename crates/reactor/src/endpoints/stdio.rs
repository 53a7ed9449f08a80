//! Standard input and output as one connection.
//!
//! Source: `StandardIOEndpoint` of `twisted.internet.endpoints` and `StandardIO` of `twisted.internet.stdio`.

use std::rc::Rc;

use ropewalk_proto::Deferred;
use ropewalk_sys::take_standard_streams;

use super::StreamServerEndpoint;
use crate::error::{Error, Result};
use crate::interfaces::Interface;
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Port;

/// An endpoint for standard input and output, as one connection: `stdio:`.
///
/// Listening takes both streams from the process and makes the connection at once. Later output of the process to
/// standard output is discarded, and listening again fails. The factory builds one protocol and is neither started nor
/// stopped. The port accepts no other connections. [`Port::only_connection`] returns the connection, which stays open
/// when the port stops.
///
/// ```
/// use ropewalk::Reactor;
/// use ropewalk::endpoints::{StdioServerEndpoint, server_from_string};
///
/// let reactor = Reactor::new()?;
/// let described = server_from_string(&reactor, "stdio:")?; // takes the streams only when it listens
/// let _endpoint = StdioServerEndpoint; // the same endpoint
/// # let _ = described;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StdioServerEndpoint;

impl StreamServerEndpoint for StdioServerEndpoint {
    fn listen(&self, reactor: &Reactor, factory: Rc<dyn Factory>) -> Deferred<Port> {
        let connected = || -> Result<Port> {
            reactor.require(Interface::Pipes)?;
            let [input, output] =
                take_standard_streams().map_err(Error::io("cannot take standard input and output"))?;
            let connection = reactor.adopt_pipes(input, output, &*factory)?;
            Ok(Port::of_one_connection(reactor, connection, factory.clone()))
        };
        connected().map_err(Into::into).into()
    }
}
