//! The trait of the objects that receive the events of a key.
//!
//! ```text
//!  add_source -> ready, settle, ready ... -> remove_source        when the source decides to
//!                                           -> shut_down           at the end of a run
//!                                           -> forget              when the reactor is dropped
//! ```

use std::rc::Rc;

use ropewalk_proto::Key;
use ropewalk_sys::Ready;

use super::{Kernel, Reactor};
use crate::error::Error;

/// A receiver of events: a connection, a port, a connection attempt, a watched descriptor.
///
/// The kernel calls these methods without holding a borrow, so a source may use every method of the reactor.
pub(crate) trait Source {
    /// Handles an event of `key`, one of its keys. `scratch` is the loop's shared receive buffer.
    fn ready(self: Rc<Self>, reactor: &Reactor, key: Key, ready: Ready, scratch: &mut [u8]);

    /// Brings the provider up to date. The kernel calls this before the loop waits if [`Kernel::settle_later`] asked
    /// for it.
    fn settle(self: Rc<Self>, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Closes the source at the end of a run, and notifies its user.
    fn shut_down(self: Rc<Self>, reactor: &Reactor);

    /// Ends because its work panicked with `error`.
    fn panicked(self: Rc<Self>, reactor: &Reactor, error: Error) {
        drop(error);
        self.shut_down(reactor);
    }

    /// Retries the operation that found no free descriptor, because a descriptor has been closed since
    /// [`Kernel::wait_for_descriptor`].
    fn descriptor_freed(self: Rc<Self>, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Drops the user's objects without notifying them, because the reactor is gone.
    fn forget(&self) {}
}

impl Kernel {
    /// Registers `source` as the receiver of the events of `key`.
    pub(crate) fn add_source(&self, key: Key, source: Rc<dyn Source>) {
        self.inbox.borrow_mut().sources.insert(key, source);
    }

    /// Removes the source of `key` and returns it. Later events of `key` are dropped.
    pub(crate) fn remove_source(&self, key: Key) -> Option<Rc<dyn Source>> {
        self.inbox.borrow_mut().sources.remove(key)
    }

    /// Returns the number of keys with a source.
    pub(crate) fn source_count(&self) -> usize {
        self.inbox.borrow().sources.len()
    }

    /// Queues `source` to be settled before the loop waits.
    pub(crate) fn settle_later(&self, source: Rc<dyn Source>) {
        self.unsettled.borrow_mut().push_back(source);
        self.work_changed();
    }

    /// Calls [`Source::descriptor_freed`] of the source of `key` when a descriptor has been closed.
    pub(crate) fn wait_for_descriptor(&self, key: Key) {
        self.starved.borrow_mut().insert(key);
    }

    /// Closes the socket of `key`, now or once the provider is back, and notifies the sources that wait for a
    /// descriptor.
    pub(crate) fn close_stream(self: &Rc<Kernel>, key: Key) {
        self.tell_streams(move |streams| streams.close(key));
        self.descriptor_closed();
    }

    /// Notifies the sources that wait for a descriptor.
    pub(crate) fn descriptor_closed(self: &Rc<Kernel>) {
        if !self.starved.borrow().is_empty() {
            self.feed_starved();
        }
    }

    #[cold]
    fn feed_starved(self: &Rc<Kernel>) {
        for key in self.starved.take() {
            let source = self.inbox.borrow().sources.get(key).cloned();
            if let Some(source) = source {
                source.descriptor_freed(&Reactor(self.clone()));
            }
        }
    }
}

impl Reactor {
    /// Shuts down all sources that exist now.
    pub(crate) fn shut_down_sources(&self) {
        let keys: Vec<_> = self.0.inbox.borrow().sources.iter().map(|(key, _)| key).collect();
        for key in keys {
            // Shutting down one source may have removed or added other sources: a connector has a key for each racing
            // attempt.
            let source = self.0.inbox.borrow().sources.get(key).cloned();
            if let Some(source) = source {
                self.contain(key, || source.shut_down(self));
            }
        }
        // Released connections are no sources any more, and notify their protocols when they settle.
        self.settle_all();
    }
}
