//! Settling: what was written to a connection, and asked of it, reaches the provider.
//!
//! It happens after each callback of that connection, when the provider says that more can be sent, and before the loop
//! waits for what was asked from elsewhere; never in the stack of a transport's method.

use std::rc::Rc;

use ropewalk_proto::Step;
use ropewalk_sys::Sent;

use super::Transport;
use super::producer::Producer;
use super::stream::Stream;
use crate::error::Error;
use crate::reactor::{Inner, guard};

/// How often a producer is asked for more within one settling; then the other connections have their turn.
const PIECES_PER_TURN: usize = 16;

impl Stream {
    /// Settles a connection that was queued for it.
    pub(crate) fn settle_queued(self: &Rc<Stream>, inner: &Rc<Inner>) {
        self.update(|flags| flags.queued = false);
        // A callback that runs the loop is followed by settling.
        if !self.flags.get().in_callback {
            self.settle(inner);
        }
    }

    /// Brings the provider up to date.
    pub(super) fn settle(&self, inner: &Rc<Inner>) {
        for _ in 0..PIECES_PER_TURN {
            if !self.flush(inner) || self.is_settled() {
                return;
            }
            if self.producer.borrow().is_none() || !self.balance_producer(inner) {
                return self.take_step(inner);
            }
        }
        // The producer still has more and the peer still takes it.
        if let Some(stream) = self.itself(inner) {
            stream.settle_soon(inner);
        }
    }

    /// Hands the outbox over. Returns whether the connection lives.
    fn flush(&self, inner: &Rc<Inner>) -> bool {
        if !self.sends() || !self.state().may_send() {
            return !self.state().is_lost();
        }
        let Some(mut outbox) = self.outbox.borrow_mut().take() else { return true };
        match inner.provider(|provider| provider.send(self.key, &mut outbox)) {
            Ok(Ok(Sent::All)) => inner.keep_outbox(outbox),
            Ok(Ok(Sent::Some | Sent::InFlight)) => {
                self.update(|flags| flags.blocked = true);
                *self.outbox.borrow_mut() = Some(outbox);
            }
            Ok(Err(error)) => {
                self.end(inner, Error::lost(error));
                return false;
            }
            Err(_away) => *self.outbox.borrow_mut() = Some(outbox),
        }
        true
    }

    /// Pauses or resumes the producer. Returns whether it may have written more that should be flushed.
    fn balance_producer(&self, inner: &Rc<Inner>) -> bool {
        let (buffered, wrote) = (self.buffered(), self.flags.get().wrote);
        let mut slot = self.producer.borrow_mut();
        let Some(registered) = slot.as_mut() else { return false };
        let pull = matches!(registered.producer, Producer::Pull(_));
        // A pull producer that wrote nothing when it was asked is not asked again before something was written and left.
        let (owed, low) = if pull { (registered.paused || wrote, 0) } else { (registered.paused, self.low_water()) };
        let resume = owed && buffered <= low;
        let pause = !pull && !registered.paused && buffered > self.high_water();
        if !resume && !pause {
            return false;
        }
        registered.paused = pause;
        let producer = registered.producer.clone();
        drop(slot);
        // What it writes is flushed by this settling, not queued for another.
        self.update(|flags| (flags.in_callback, flags.wrote) = (true, false));
        let outcome = if pause {
            guard(inner, "pause_producing", move || producer.pause())
        } else {
            guard(inner, "resume_producing", move || producer.resume())
        };
        self.update(|flags| flags.in_callback = false);
        match outcome {
            Ok(()) => resume,
            Err(panicked) => {
                self.end(inner, panicked);
                false
            }
        }
    }

    fn take_step(&self, inner: &Rc<Inner>) {
        let outbox_is_empty = self.outbox.borrow().is_none() && !self.flags.get().blocked;
        let producing = self.producer.borrow().as_ref().is_some_and(|registered| registered.producer.is_producing());
        match self.state().next_step(outbox_is_empty, producing) {
            Step::Stay => self.arm(inner),
            Step::Abort => self.end(inner, Error::ConnectionAborted),
            Step::Close => self.end(inner, Error::ConnectionDone),
            Step::ShutdownWrite => self.shut_down_write(inner),
        }
    }

    fn shut_down_write(&self, inner: &Rc<Inner>) {
        let mut state = self.state();
        state.write_ended();
        self.set_state(state);
        if let Ok(Err(error)) = inner.provider(|provider| provider.shutdown_write(self.key)) {
            return self.end(inner, Error::lost(error));
        }
        if let Some(stream) = self.itself(inner) {
            let transport = Transport(stream);
            transport.0.with_protocol(inner, |protocol| protocol.write_connection_lost(&transport));
            self.settle(inner);
        }
    }

    /// Has the provider report readability exactly while it is wanted.
    fn arm(&self, inner: &Rc<Inner>) {
        let wanted = self.reads();
        if wanted {
            self.deliver_unread_soon(inner);
        }
        if wanted == self.flags.get().armed {
            return;
        }
        match inner.provider(|provider| provider.set_reading(self.key, wanted)) {
            Ok(Ok(())) => self.update(|flags| flags.armed = wanted),
            Ok(Err(error)) => self.end(inner, Error::lost(error)),
            Err(_away) => {}
        }
    }

    pub(super) fn itself(&self, inner: &Inner) -> Option<Rc<Stream>> {
        match inner.sources.borrow().get(self.key) {
            Some(crate::reactor::Source::Stream(stream)) => Some(stream.clone()),
            _ => None,
        }
    }
}
