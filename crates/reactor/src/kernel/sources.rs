//! What a key stands for above the seam.

use std::rc::Rc;

use crate::interfaces::fd_set::Watch;
use crate::transports::{ConnectorInner, PortInner, Stream};

/// The receiver of a key's events.
#[derive(Clone)]
pub(crate) enum Source {
    Stream(Rc<Stream>),
    Port(Rc<PortInner>),
    /// A connection attempt under way.
    Attempt(Rc<ConnectorInner>),
    Watch(Rc<Watch>),
}

impl Source {
    /// Lets go of user objects, without telling them: the reactor is gone.
    pub(super) fn forget(&self) {
        match self {
            Source::Stream(stream) => stream.forget(),
            Source::Port(_) | Source::Attempt(_) | Source::Watch(_) => {}
        }
    }
}
