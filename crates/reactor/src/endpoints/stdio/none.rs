//! Systems that cannot watch pipes.

use ropewalk_sys::OwnedIo;

use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Transport;

pub(super) fn adopt_pipes(
    reactor: &Reactor,
    _input: OwnedIo,
    _output: OwnedIo,
    _factory: &dyn Factory,
) -> Result<Transport> {
    Err(Error::Unsupported { interface: "pipes", provider: reactor.name() })
}
