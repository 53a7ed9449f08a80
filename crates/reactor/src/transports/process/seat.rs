//! The place of the protocol of a child process.
//!
//! Invariant: events are delivered one after another, in their order. An event that comes while a callback runs the loop
//! is queued, and delivered when that callback has returned. A pipe with a queued event is not read, so each pipe has at
//! most one chunk in the queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use ropewalk_sys::ExitStatus;

use super::Process;
use crate::processes::ProcessProtocol;
use crate::transports::Hold;

/// One call of the protocol.
pub(super) enum Event<'a> {
    Data(u32, &'a [u8]),
    Lost(u32),
    Exited(ExitStatus),
    Ended(ExitStatus),
}

enum Queued {
    Data(u32, Box<[u8]>, Option<Hold>),
    Lost(u32),
    Exited(ExitStatus),
    Ended(ExitStatus),
}

pub(super) struct Seat {
    protocol: RefCell<Option<Box<dyn ProcessProtocol>>>,
    queue: RefCell<VecDeque<Queued>>,
    /// Whether `connection_made` has been called. Earlier events are queued.
    has_begun: Cell<bool>,
}

impl Seat {
    pub(super) fn new(protocol: Box<dyn ProcessProtocol>) -> Seat {
        Seat { protocol: RefCell::new(Some(protocol)), queue: RefCell::default(), has_begun: Cell::default() }
    }

    /// Removes the protocol, unless it is being called.
    pub(super) fn take(&self) -> Option<Box<dyn ProcessProtocol>> {
        self.protocol.try_borrow_mut().ok()?.take()
    }

    /// Calls the protocol with `event` and with everything that its callback has queued. The caller is inside a guard.
    pub(super) fn deliver(&self, process: &Process, event: Event<'_>) {
        let is_first = self.queue.borrow().is_empty();
        if is_first && self.call(process, &event) {
            return self.deliver_queued(process);
        }
        self.queue.borrow_mut().push_back(queued(process, event));
        self.deliver_queued(process);
    }

    pub(super) fn deliver_queued(&self, process: &Process) {
        while self.has_begun.get() && self.protocol.try_borrow_mut().is_ok() {
            let Some(next) = self.queue.borrow_mut().pop_front() else { return };
            match &next {
                Queued::Data(fd, data, _hold) => self.call(process, &Event::Data(*fd, data)),
                Queued::Lost(fd) => self.call(process, &Event::Lost(*fd)),
                Queued::Exited(status) => self.call(process, &Event::Exited(*status)),
                Queued::Ended(status) => self.call(process, &Event::Ended(*status)),
            };
        }
    }

    /// Calls `connection_made`.
    pub(super) fn begin(&self, process: &Process) {
        self.has_begun.set(true);
        if let Some(protocol) = &mut *self.protocol.borrow_mut() {
            protocol.connection_made(process);
        }
        self.deliver_queued(process);
    }

    /// Returns false, without a call, while another callback runs and before `connection_made`.
    fn call(&self, process: &Process, event: &Event<'_>) -> bool {
        if !self.has_begun.get() {
            return false;
        }
        let Ok(mut seat) = self.protocol.try_borrow_mut() else { return false };
        let Some(protocol) = &mut *seat else { return true };
        match *event {
            Event::Data(fd, data) => protocol.child_data_received(process, fd, data),
            Event::Lost(fd) => protocol.child_connection_lost(process, fd),
            Event::Exited(status) => protocol.process_exited(process, status),
            Event::Ended(status) => {
                // Taken before the call, so that the protocol is dropped if it panics as well.
                let mut last = seat.take();
                drop(seat);
                if let Some(protocol) = &mut last {
                    protocol.process_ended(process, status);
                }
            }
        }
        true
    }
}

fn queued(process: &Process, event: Event<'_>) -> Queued {
    match event {
        Event::Data(fd, data) => {
            let hold = process.receiving(fd).map(|pipe| pipe.hold_reading());
            Queued::Data(fd, data.into(), hold)
        }
        Event::Lost(fd) => Queued::Lost(fd),
        Event::Exited(status) => Queued::Exited(status),
        Event::Ended(status) => Queued::Ended(status),
    }
}
