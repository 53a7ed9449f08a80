//! The state of a datagram port, its callbacks and its end.
//!
//! Invariant: the protocol is in its cell except while one of its callbacks runs. So a callback may do anything, even
//! run the loop: events of the same port are left to the system meanwhile.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

use ropewalk_proto::{Address, Failure, Key, Resolver, report};
use ropewalk_sys::Ready;

use super::arrived::Delivery;
use super::buffers::Buffers;
use super::cork::Cork;
use super::counters::Counts;
use super::handle::DatagramPort;
use super::notices::Notices;
use super::pace::Pace;
use super::receiving::Held;
use super::sending::plain;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Kernel, Label, Reactor, Source, drop_logged, name_of};
use crate::protocols::DatagramProtocol;

/// A socket that the provider has opened for a port.
pub(crate) struct Opened {
    pub(crate) key: Key,
    pub(crate) host: Address,
    pub(crate) peer: Option<Address>,
    /// The length of the longest datagram.
    pub(crate) most: usize,
}

pub(crate) struct DatagramPortInner {
    reactor: Weak<Kernel>,
    /// The name under which the protocol's callbacks run.
    label: OnceCell<Label>,
    /// Empty while a callback runs, and after the end.
    protocol: Cell<Option<Box<dyn DatagramProtocol>>>,
    /// `None` after the socket was closed.
    key: Cell<Option<Key>>,
    pub(super) host: RefCell<Address>,
    pub(super) peer: RefCell<Option<Address>>,
    pub(super) most: usize,
    pub(super) is_paused: Cell<bool>,
    is_stopping: Cell<bool>,
    /// Whether a callback runs.
    is_calling: Cell<bool>,
    /// Whether an event came while a callback ran the loop.
    is_nested: Cell<bool>,
    /// Whether the provider reports arrivals.
    is_armed: Cell<bool>,
    /// Whether the provider will report room.
    pub(super) awaits_room: Cell<bool>,
    pub(super) pace: Pace,
    pub(super) delivery: Delivery,
    pub(super) held: RefCell<Option<Held>>,
    pub(super) counts: Counts,
    pub(super) notices: Notices,
    pub(super) buffers: Rc<Buffers>,
    pub(super) cork: Cell<Option<Box<Cork>>>,
    pub(super) stopped: RefCell<Vec<Resolver<()>>>,
}

impl DatagramPort {
    /// Begins a port on an open socket.
    pub(crate) fn begin(
        reactor: &Reactor,
        opened: Opened,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort> {
        let key = opened.key;
        let inner = Rc::new(DatagramPortInner {
            reactor: Rc::downgrade(&reactor.0),
            label: OnceCell::new(),
            protocol: Cell::new(Some(protocol)),
            key: Cell::new(Some(key)),
            host: RefCell::new(opened.host),
            peer: RefCell::new(opened.peer.as_ref().map(plain)),
            most: opened.most,
            is_paused: Cell::default(),
            is_stopping: Cell::default(),
            is_calling: Cell::default(),
            is_nested: Cell::default(),
            is_armed: Cell::default(),
            awaits_room: Cell::default(),
            pace: Pace::default(),
            delivery: Delivery::default(),
            held: RefCell::default(),
            counts: Counts::default(),
            notices: Notices::default(),
            buffers: reactor.feature(),
            cork: Cell::default(),
            stopped: RefCell::default(),
        });
        inner.log("datagram port opened");
        reactor.0.add_source(key, inner.clone());
        let _entered = reactor.0.enter();
        inner.call(reactor, |protocol, port| protocol.start_protocol(port));
        inner.arm(&reactor.0);
        Ok(DatagramPort(inner))
    }
}

impl DatagramPortInner {
    pub(super) fn kernel(&self) -> Result<Rc<Kernel>> {
        // An error that is made before it is needed must be dropped, for each datagram.
        let Some(kernel) = self.reactor.upgrade() else { return Err(Error::Closed) };
        Ok(kernel)
    }

    /// Returns the key of the open socket.
    pub(super) fn key(&self) -> Result<Key> {
        let Some(key) = self.key.get() else { return Err(Error::Closed) };
        Ok(key)
    }

    pub(super) fn is_open(&self) -> bool {
        self.key.get().is_some() && !self.is_stopping.get() && self.reactor.strong_count() > 0
    }

    /// Whether a callback of this port's protocol runs.
    pub(super) fn is_calling(&self) -> bool {
        self.is_calling.get()
    }

    /// Whether datagrams may be delivered now.
    pub(super) fn receives(&self) -> bool {
        self.key.get().is_some() && !self.is_stopping.get() && !self.is_paused.get()
    }

    /// Makes the provider report arrivals, or stop reporting them.
    pub(super) fn arm(&self, kernel: &Kernel) {
        let Some(key) = self.key.get() else { return };
        let on = self.receives() && !self.is_nested.get() && self.held.borrow().is_none();
        if self.is_armed.replace(on) != on {
            kernel.tell_streams(move |streams| {
                if let Err(error) = streams.set_reading(key, on) {
                    report!(ERROR, error = error, "cannot watch a datagram port");
                }
            });
        }
    }

    /// Calls the protocol through the guard, and sends what it has written. Returns `None`, without a call, while a
    /// callback runs and after the end.
    pub(super) fn call(
        self: &Rc<DatagramPortInner>,
        reactor: &Reactor,
        callback: impl FnOnce(&mut dyn DatagramProtocol, &DatagramPort),
    ) -> Option<Result<()>> {
        let mut protocol = self.protocol.take()?;
        let label = *self.label.get_or_init(|| label_of(&reactor.0, &*protocol));
        let port = DatagramPort(self.clone());
        self.is_calling.set(true);
        let outcome = reactor.0.guard_labelled(label, || None, || callback(&mut *protocol, &port));
        self.is_calling.set(false);
        self.protocol.set(Some(protocol));
        self.flush(&reactor.0);
        if self.is_nested.take() {
            self.settle_later(&reactor.0);
        }
        if self.key.get().is_none() {
            // The socket was closed while the callback ran.
            self.end_protocol(reactor);
        }
        Some(outcome)
    }

    /// Logs the beginning or the end of the port. A program may open connected ports at the pace of its clients.
    fn log(&self, line: &'static str) {
        let address = self.host.borrow();
        match &*self.peer.borrow() {
            Some(peer) => tracing::debug!(%address, %peer, "{line}"),
            None => tracing::info!(%address, "{line}"),
        }
    }

    /// Stops receiving, and closes the socket in a later turn.
    pub(super) fn stop(self: &Rc<DatagramPortInner>, reactor: &Reactor) {
        if !self.is_stopping.replace(true) {
            self.delivery.is_halted.set(true);
            self.arm(&reactor.0);
            let port = self.clone();
            reactor.call_later(std::time::Duration::ZERO, move |reactor| port.close(reactor));
        }
    }

    /// Closes the socket, and then stops the protocol, when no callback runs.
    fn close(self: &Rc<DatagramPortInner>, reactor: &Reactor) {
        let Some(key) = self.key.take() else { return };
        self.delivery.is_halted.set(true);
        drop(self.held.take());
        let source = reactor.0.remove_source(key);
        reactor.0.close_stream(key);
        self.log("datagram port closed");
        self.end_protocol(reactor);
        drop(source);
    }

    /// Calls `stop_protocol`, drops the protocol, and fires the Deferreds of `stop_listening`.
    fn end_protocol(self: &Rc<DatagramPortInner>, reactor: &Reactor) {
        let Some(mut protocol) = self.protocol.take() else { return };
        let label = *self.label.get_or_init(|| label_of(&reactor.0, &*protocol));
        let outcome = reactor.0.guard_labelled(
            label,
            || None,
            || {
                protocol.stop_protocol();
                drop(protocol);
            },
        );
        for resolver in self.stopped.take() {
            // The guard has logged the panic.
            let _ = resolver.fire(outcome.clone().map_err(|error| Failure::from(error).logged()));
        }
    }
}

fn label_of(kernel: &Kernel, protocol: &dyn DatagramProtocol) -> Label {
    kernel.label(CallbackKind::Protocol, name_of(|| protocol.log_prefix()))
}

impl Source for DatagramPortInner {
    fn ready(self: Rc<DatagramPortInner>, reactor: &Reactor, _key: Key, ready: Ready, scratch: &mut [u8]) {
        if ready.contains(Ready::GONE) {
            return self.close(reactor);
        }
        if self.is_calling() {
            self.is_nested.set(true);
            return self.arm(&reactor.0);
        }
        if ready.contains(Ready::WRITE) && self.awaits_room.take() {
            self.call(reactor, |protocol, port| protocol.ready_to_send(port));
        }
        if ready.intersects(Ready::READ | Ready::ERROR) {
            self.receive_ready(reactor, scratch);
        }
    }

    fn settle(self: Rc<DatagramPortInner>, reactor: &Reactor) {
        self.notices.begin_settling();
        if self.is_calling() {
            // The callback that runs the loop settles this port when it returns.
            return self.is_nested.set(true);
        }
        self.report(reactor);
        self.deliver_held(reactor);
        self.arm(&reactor.0);
    }

    fn shut_down(self: Rc<DatagramPortInner>, reactor: &Reactor) {
        self.close(reactor);
    }

    fn forget(&self) {
        drop_logged("a datagram protocol", self.protocol.take());
        drop_logged("a stop of a datagram port", self.stopped.take());
    }
}
