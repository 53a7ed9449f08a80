//! The device behind a serial connection, from its opening to its close.
//!
//! ```text
//!   open -> the connection has ended -> (in order, bytes unsent) draining -> closed, earlier settings restored
//!                                    -> (lost or aborted)                 -> closed
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_proto::{Deferred, succeed};
use ropewalk_sys::SerialDevice;

use super::drain::drain;
use crate::error::Error;
use crate::interfaces::core::{Phase, TriggerId};
use crate::interfaces::pipes::{SHUTDOWN_GRACE, finish_sending};
use crate::kernel::Reactor;
use crate::task::AddTimeout;
use crate::transports::{Origin, Transport, WeakTransport};

/// Closes the device after its connection has ended. Delays the end of a run for as long as the device sends.
pub(super) struct SerialOrigin {
    /// `None` when the device is closed.
    device: RefCell<Option<Rc<SerialDevice>>>,
    has_ended: Cell<bool>,
    at_shutdown: RefCell<Option<TriggerId>>,
}

impl SerialOrigin {
    pub(super) fn new(device: SerialDevice) -> SerialOrigin {
        SerialOrigin {
            device: RefCell::new(Some(Rc::new(device))),
            has_ended: Cell::default(),
            at_shutdown: RefCell::default(),
        }
    }

    /// Returns the device of a connection that has not ended.
    pub(super) fn device(&self) -> Option<Rc<SerialDevice>> {
        self.device.borrow().clone().filter(|_| !self.has_ended.get())
    }

    /// Returns the number of bytes that the device has still to send.
    fn unsent(&self) -> usize {
        self.device.borrow().as_ref().map_or(0, |device| device.unsent().unwrap_or(0))
    }

    /// Closes the device. Discards unsent bytes, because the system's close would wait for them.
    fn close(&self, reactor: &Reactor) {
        let is_sending = self.unsent() > 0;
        if let Some(device) = self.device.take().filter(|_| is_sending) {
            // Fails if the device has vanished, and its bytes with it.
            let _ = device.discard_output();
        }
        if let Some(trigger) = self.at_shutdown.take() {
            // Removing the trigger fails while it runs.
            let _ = reactor.remove_system_event_trigger(&trigger);
        }
    }

    /// Waits until everything is sent, within the time that a stopped reactor gives.
    fn finish(self: Rc<SerialOrigin>, reactor: &Reactor, connection: &WeakTransport) -> Deferred<()> {
        let (origin, weak) = (self.clone(), reactor.downgrade());
        let sent = finish_sending(reactor, connection).then(move |_| match weak.upgrade() {
            Some(reactor) => drain(&reactor, move || origin.unsent()),
            None => succeed(()),
        });
        let weak = reactor.downgrade();
        sent.add_timeout(SHUTDOWN_GRACE, reactor).add_both(move |_| {
            if let Some(reactor) = weak.upgrade().filter(|_| self.has_ended.get()) {
                // No timer runs after the end of the run.
                self.close(&reactor);
            }
        })
    }
}

impl Origin for SerialOrigin {
    fn connected(self: Rc<Self>, transport: &Transport) {
        let (origin, connection) = (self.clone(), transport.downgrade());
        let finish = move |reactor: &Reactor| origin.finish(reactor, &connection);
        let trigger = transport.reactor().add_system_event_trigger(Phase::Before, "shutdown", finish);
        self.at_shutdown.replace(Some(trigger));
    }

    fn closed(self: Rc<Self>, reactor: &Reactor, reason: &Error) {
        self.has_ended.set(true);
        let is_in_order = !matches!(reason, Error::ConnectionLost(_) | Error::ConnectionAborted);
        if !is_in_order || self.unsent() == 0 {
            return self.close(reactor);
        }
        let (origin, weak) = (self.clone(), reactor.downgrade());
        drain(reactor, move || origin.unsent()).add_callback(move |()| {
            if let Some(reactor) = weak.upgrade() {
                self.close(&reactor);
            }
        });
    }

    fn connection_lost(self: Rc<Self>, _reactor: &Reactor, _reason: &Error) {}

    fn forget(&self) {
        self.device.take();
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}
