//! A connection with observers and attached objects: it notifies the observers, and drops both at its end.

use std::any::Any;
use std::rc::Rc;

use super::Transport;
use super::flags::Flags;
use super::observer::Observer;
use super::stream::Stream;
use crate::kernel::CallbackKind;

impl Transport {
    /// Attaches an observer. On a connection that has ended, the observer is dropped at once.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::testing::StringTransport;
    /// use ropewalk::transports::Observer;
    ///
    /// struct Prints;
    ///
    /// impl Observer for Prints {
    ///     fn bytes_written(&self, count: usize) {
    ///         println!("{count} bytes written");
    ///     }
    /// }
    ///
    /// let (transport, observer) = (StringTransport::new(), Rc::new(Prints));
    /// transport.observe(observer.clone());
    /// transport.write(b"counted");
    /// assert_eq!(Rc::strong_count(&observer), 2);
    /// ```
    pub fn observe(&self, observer: Rc<dyn Observer>) {
        if self.is_connected() {
            self.0.rare(|rare| rare.attachments.observe(observer, &self.0.reactor));
            self.0.mark(Flags::OBSERVED, true);
        }
    }

    /// Keeps `object` until the connection ends, even if the protocol is switched. On a connection that has ended, the
    /// object is dropped at once.
    ///
    /// The destructor of the object can count connections or release what a connection has taken. The destructor runs
    /// right before `connection_lost` of the protocol. A panic in the destructor is logged.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::testing::StringTransport;
    ///
    /// let (transport, seat) = (StringTransport::new(), Rc::new("12A"));
    /// transport.keep_until_lost(seat.clone());
    /// assert_eq!(Rc::strong_count(&seat), 2);
    /// transport.abort_connection();
    /// transport.net().settle();
    /// assert_eq!(Rc::strong_count(&seat), 1);
    /// ```
    pub fn keep_until_lost(&self, object: impl Any) {
        if self.is_connected() {
            self.0.rare(|rare| rare.attachments.keep(Box::new(object), &self.0.reactor));
        }
    }
}

impl Stream {
    #[inline]
    pub(super) fn observe_received(&self, data: &[u8]) {
        if self.has(Flags::OBSERVED) {
            // An observer may run turns of the loop. The flag makes newer bytes wait until the present bytes are
            // delivered.
            let was_in_callback = self.has(Flags::IN_CALLBACK);
            self.mark(Flags::IN_CALLBACK, true);
            self.notify_observers(|observer| observer.data_received(data));
            self.mark(Flags::IN_CALLBACK, was_in_callback);
        }
    }

    #[inline]
    pub(super) fn observe_written(&self, data: &[u8]) {
        if self.has(Flags::OBSERVED) {
            self.notify_observers(|observer| observer.data_written(data));
        }
    }

    #[cold]
    fn notify_observers(&self, notify: impl Fn(&dyn Observer)) {
        let Some(kernel) = self.reactor.upgrade() else { return };
        for observer in self.rare(|rare| rare.attachments.observers()) {
            let _ = kernel.guard(CallbackKind::Observer, "Observer", || notify(&*observer));
        }
    }
}
