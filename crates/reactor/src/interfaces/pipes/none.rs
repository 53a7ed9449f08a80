//! Systems that cannot watch pipes.

use ropewalk_sys::OwnedWaitable;

use crate::error::{Error, Result};
use crate::kernel::Reactor;
use crate::protocols::Factory;
use crate::transports::Transport;

pub(super) fn adopt_pipes(
    reactor: &Reactor,
    _input: OwnedWaitable,
    _output: OwnedWaitable,
    _factory: &dyn Factory,
) -> Result<Transport> {
    Err(Error::Unsupported { interface: "pipes", provider: reactor.name() })
}
