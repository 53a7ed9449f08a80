//! No place speaks TLS, because its cryptography has parts in C, which a check for another system cannot compile.

use std::rc::Rc;

use ropewalk::{ClientFactory, Error, Factory, Transport};

pub(crate) const SEALED: [&str; 0] = [];

pub(crate) struct Sealing;

impl Sealing {
    pub(crate) fn new() -> Sealing {
        Sealing
    }

    pub(crate) fn server(&self, _place: &str, factory: impl Factory + 'static) -> Rc<dyn Factory> {
        Rc::new(factory)
    }

    pub(crate) fn client(&self, _place: &str, factory: impl ClientFactory + 'static) -> Rc<dyn ClientFactory> {
        Rc::new(factory)
    }

    pub(crate) fn handshakes(&self) -> usize {
        0
    }
}

pub(crate) fn is_truncated(_reason: &Error) -> bool {
    false
}

pub(crate) fn is_sealed(_transport: &Transport) -> bool {
    false
}
