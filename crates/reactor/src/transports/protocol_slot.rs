//! The place of the protocol in its connection.
//!
//! Invariant: the protocol is borrowed exactly while one of its callbacks runs (`PROTOCOL_OUT`), so no callback is
//! called within another. After `connection_lost` there is no protocol. A successor (`SWITCHED`) waits until the
//! connection settles. If the connection ends during a callback, the end is handled when that callback returns.

use std::cell::{Cell, RefCell};

use ropewalk_proto::Address;

use super::flags::{Flags, Word};
use super::slot::Slot;
use crate::error::Error;
use crate::kernel::{CallbackKind, Kernel, Label, name_of};
use crate::protocols::Protocol;

pub(super) struct ProtocolSlot {
    protocol: RefCell<Option<Box<dyn Protocol>>>,
    /// The name under which the protocol's callbacks run.
    label: Cell<Label>,
    waiting: Slot<Waiting>,
}

/// Changes that wait for the running callback to return.
#[derive(Default)]
struct Waiting {
    /// The protocol that the callback switched to.
    successor: Option<Box<dyn Protocol>>,
    /// Whether the successor's `connection_made` must be called.
    is_successor_new: bool,
    /// The reason why the connection ended during the callback.
    end: Option<Error>,
}

fn label_of(kernel: &Kernel, protocol: &dyn Protocol) -> Label {
    kernel.label(CallbackKind::Protocol, name_of(|| protocol.log_prefix()))
}

impl ProtocolSlot {
    pub(super) fn new(kernel: &Kernel, protocol: Box<dyn Protocol>) -> ProtocolSlot {
        let label = Cell::new(label_of(kernel, &*protocol));
        ProtocolSlot { protocol: RefCell::new(Some(protocol)), label, waiting: Slot::default() }
    }

    pub(super) fn label(&self) -> Label {
        self.label.get()
    }

    /// Calls `prepare` and then the protocol, through the guard. Calls `panicked` if the protocol panics. Returns
    /// false, without a call, while a callback runs and after `connection_lost`.
    ///
    /// The error goes to `panicked` and is not returned, because a returned result would be copied for each message.
    #[inline(always)]
    pub(super) fn call<'a>(
        &self,
        kernel: &Kernel,
        flags: &Word,
        peer: impl FnOnce() -> &'a Address,
        prepare: impl FnOnce(),
        callback: impl FnOnce(&mut dyn Protocol),
        panicked: impl FnOnce(Error),
    ) -> bool {
        let Ok(mut protocol) = self.protocol.try_borrow_mut() else { return false };
        let Some(present) = &mut *protocol else { return false };
        prepare();
        flags.mark(Flags::IN_CALLBACK | Flags::PROTOCOL_OUT, true);
        let outcome = kernel.guard_labelled(self.label.get(), || Some(peer()), || callback(&mut **present));
        flags.mark(Flags::IN_CALLBACK | Flags::PROTOCOL_OUT, false);
        drop(protocol);
        if let Err(panic) = outcome {
            panicked(panic);
        }
        true
    }

    /// Removes and returns the protocol.
    pub(super) fn take(&self) -> Option<Box<dyn Protocol>> {
        self.protocol.take()
    }

    /// Installs `protocol`, at once or when the running callback returns. Returns the protocol that was replaced: the
    /// current one, or a successor that had not been installed yet.
    pub(super) fn switch(
        &self,
        kernel: Option<&Kernel>,
        protocol: Box<dyn Protocol>,
        flags: &Word,
    ) -> Option<Box<dyn Protocol>> {
        if flags.get().intersects(Flags::PROTOCOL_OUT | Flags::SWITCHED) {
            return self.succeed(protocol, false, flags);
        }
        if let Some(kernel) = kernel {
            self.label.set(label_of(kernel, &*protocol));
        }
        let old = self.protocol.replace(Some(protocol));
        if let Some(kernel) = kernel {
            self.ask_how_it_receives(kernel, flags);
        }
        old
    }

    /// Asks the protocol whether it receives into memory of its own, and whether it takes descriptors.
    pub(super) fn ask_how_it_receives(&self, kernel: &Kernel, flags: &Word) {
        let mut protocol = self.protocol.borrow_mut();
        let (mut is_buffered, mut takes_descriptors) = (false, false);
        let _ = kernel.guard_labelled(
            self.label.get(),
            || None,
            || {
                let Some(protocol) = &mut *protocol else { return };
                is_buffered = protocol.buffered().is_some();
                takes_descriptors = flags.has(Flags::PASSES) && protocol.file_descriptor_receiver().is_some();
            },
        );
        flags.mark(Flags::BUFFERED, is_buffered);
        flags.mark(Flags::TAKES_DESCRIPTORS, takes_descriptors);
    }

    /// Installs `protocol` when the connection settles. Its `connection_made` is called then. Returns a successor that
    /// had not been installed yet.
    pub(super) fn hand_over(&self, protocol: Box<dyn Protocol>, flags: &Word) -> Option<Box<dyn Protocol>> {
        self.succeed(protocol, true, flags)
    }

    fn succeed(&self, protocol: Box<dyn Protocol>, is_new: bool, flags: &Word) -> Option<Box<dyn Protocol>> {
        flags.mark(Flags::SWITCHED, true);
        self.waiting.with(|waiting| {
            waiting.is_successor_new = is_new;
            waiting.successor.replace(protocol)
        })
    }

    /// Installs the successor, and drops the old protocol under the name of the old one. Returns whether
    /// `connection_made` of the successor must be called.
    pub(super) fn install_successor(&self, kernel: &Kernel, flags: &Word) -> bool {
        if !flags.has(Flags::SWITCHED) {
            return false;
        }
        flags.mark(Flags::SWITCHED, false);
        let label = self.label.get();
        let (successor, is_new) =
            self.waiting.with(|waiting| (waiting.successor.take(), std::mem::take(&mut waiting.is_successor_new)));
        if let Some(successor) = successor {
            let old = self.switch(Some(kernel), successor, flags);
            let _ = kernel.guard_labelled(label, || None, || drop(old));
        }
        is_new
    }

    /// Keeps the reason why the connection ended during a callback.
    pub(super) fn defer_end(&self, reason: Error) {
        self.waiting.with(|waiting| waiting.end = Some(reason));
    }

    pub(super) fn take_deferred_end(&self) -> Option<Error> {
        self.waiting.take().and_then(|waiting| waiting.end)
    }

    /// Asserts that the flags summarize the facts of this part.
    #[cfg(debug_assertions)]
    pub(super) fn assert_flags(&self, flags: &Word) {
        let has_successor = self.waiting.peek(|waiting| waiting.successor.is_some()).unwrap_or(false);
        flags.assert_is(Flags::SWITCHED, has_successor);
        let is_present = self.protocol.try_borrow().is_ok_and(|protocol| protocol.is_some());
        flags.assert_is(Flags::PROTOCOL_OUT, !is_present);
    }
}
