//! Reports to the protocol that have to wait until no callback runs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_proto::Address;

use super::port::DatagramPortInner;
use crate::error::Error;
use crate::kernel::{Kernel, Reactor};

/// The most failures that wait to be reported. Later ones are only counted.
const FAILURES_MOST: usize = 64;

#[derive(Default)]
pub(super) struct Notices {
    failures: RefCell<Vec<(Option<Address>, Error)>>,
    is_refused: Cell<bool>,
    /// Whether the port is queued to be settled.
    is_queued: Cell<bool>,
}

impl Notices {
    pub(super) fn begin_settling(&self) {
        self.is_queued.set(false);
    }
}

impl DatagramPortInner {
    /// Reports later that the peer has no port.
    pub(super) fn refused_later(self: &Rc<DatagramPortInner>, kernel: &Kernel) {
        self.notices.is_refused.set(true);
        self.settle_later(kernel);
    }

    /// Reports later that a datagram was not sent.
    pub(super) fn failed_later(self: &Rc<DatagramPortInner>, kernel: &Kernel, to: Option<&Address>, error: Error) {
        let mut failures = self.notices.failures.borrow_mut();
        if failures.len() < FAILURES_MOST {
            failures.push((to.cloned(), error));
            self.settle_later(kernel);
        } else {
            self.counts.add(|counters| counters.unsent += 1);
        }
    }

    pub(super) fn settle_later(self: &Rc<DatagramPortInner>, kernel: &Kernel) {
        if !self.notices.is_queued.replace(true) {
            kernel.settle_later(self.clone());
        }
    }

    /// Makes the reports that wait.
    pub(super) fn report(self: &Rc<DatagramPortInner>, reactor: &Reactor) {
        if self.notices.is_refused.take() {
            self.call(reactor, |protocol, port| protocol.connection_refused(port));
        }
        for (to, error) in self.notices.failures.take() {
            self.call(reactor, |protocol, port| protocol.send_failed(port, to.as_ref(), &error));
        }
    }
}
