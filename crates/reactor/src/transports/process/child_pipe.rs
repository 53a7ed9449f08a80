//! The protocol of one pipe to a child: it passes everything on to the protocol of the process.

use std::rc::Rc;

use super::seat::Event;
use super::{Process, Running};
use crate::error::Error;
use crate::protocols::Protocol;
use crate::transports::Transport;

pub(super) struct ChildPipe {
    process: Rc<Running>,
    fd: u32,
    /// The name under which the protocol of the process logs.
    name: &'static str,
}

impl ChildPipe {
    pub(super) fn new(process: &Rc<Running>, fd: u32, name: &'static str) -> ChildPipe {
        ChildPipe { process: process.clone(), fd, name }
    }
}

impl Protocol for ChildPipe {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.process.seat.deliver(&Process(self.process.clone()), Event::Data(self.fd, data));
    }

    fn connection_lost(&mut self, _transport: &Transport, _reason: &Error) {
        self.process.pipe_lost(self.fd);
    }

    fn log_prefix(&self) -> &'static str {
        self.name
    }
}
