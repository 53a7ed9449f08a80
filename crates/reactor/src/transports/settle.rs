//! Settling: the writes and requests of a connection reach the provider.
//!
//! A connection settles after each of its callbacks, and when the provider reports that more can be sent. If methods of
//! its transport were called outside its callbacks, the connection settles before the loop waits. A connection never
//! settles inside a method of a transport.

use std::io;
use std::rc::Rc;

use ropewalk_proto::{Outbox, Step};
use ropewalk_sys::Sent;

use super::Transport;
use super::closing::Closing;
use super::flags::Flags;
use super::outbound::Due;
use super::share::PIECES_PER_TURN;
use super::stream::Stream;
use crate::error::Error;
use crate::kernel::{CallbackKind, Kernel};

impl Stream {
    /// Settles a connection that was queued for settling.
    pub(crate) fn settle_queued(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        self.mark(Flags::QUEUED, false);
        // If a callback of this connection runs the loop, the connection settles when that callback returns.
        if !self.has(Flags::IN_CALLBACK) {
            self.settle(kernel);
        }
    }

    /// Brings the provider up to date when a callback has returned.
    #[inline(always)]
    pub(super) fn settle_after_callback(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        // In the usual case, everything that the callback wrote is sent, and no other work is left.
        if self.flags.get().are_settled() {
            match self.outbound.take_outbox() {
                Some(outbox) if outbox.is_empty() => return kernel.spare_outboxes.keep(outbox),
                Some(outbox) => {
                    if self.send(kernel, outbox) {
                        return;
                    }
                }
                None => return,
            }
        }
        self.settle(kernel);
    }

    /// Brings the provider up to date.
    #[inline(never)]
    pub(super) fn settle(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        self.outbound.take_outbox_back(kernel);
        self.settle_protocol(kernel);
        self.assert_flags();
        if self.has(Flags::LAYERED) {
            return self.settle_layered(kernel);
        }
        for _ in 0..PIECES_PER_TURN {
            if !self.flush(kernel) || self.flags.get().are_settled() {
                return;
            }
            if !self.has(Flags::PRODUCER) || !self.balance_producer(kernel) {
                return self.take_step(kernel);
            }
        }
        // The producer has more to write, and more can be sent now.
        self.settle_soon(kernel);
    }

    /// Sends the queue as far as possible. Returns whether the connection is open and may still send.
    fn flush(self: &Rc<Stream>, kernel: &Rc<Kernel>) -> bool {
        let flags = self.flags.get();
        if flags.send() && (!flags.contains(Flags::CHANGED) || self.state().may_send()) {
            if let Some(outbox) = self.outbound.take_outbox() {
                match flags.contains(Flags::DESCRIPTORS) {
                    true => self.send_with_descriptors(kernel, outbox),
                    false => drop(self.send(kernel, outbox)),
                }
            }
        }
        self.finish_flush(kernel)
    }

    /// Handles the outcome of a flush. Returns whether the connection is open and may still send.
    pub(super) fn finish_flush(self: &Rc<Stream>, kernel: &Rc<Kernel>) -> bool {
        if self.has(Flags::PACED) {
            self.pace();
        }
        if self.has(Flags::BROKEN) {
            self.settle_broken(kernel);
            return false;
        }
        !self.state().is_lost()
    }

    /// Hands the outbox to the provider. Returns whether all bytes were sent.
    #[inline(always)]
    fn send(self: &Rc<Stream>, kernel: &Rc<Kernel>, mut outbox: Box<Outbox>) -> bool {
        match kernel.send_all(self.send_key, &mut outbox) {
            Ok(()) => {
                kernel.spare_outboxes.keep(outbox);
                true
            }
            Err(Some(sent)) => {
                self.keep_unsent(outbox, sent);
                false
            }
            Err(None) => self.keep_until_back(kernel, outbox),
        }
    }

    /// Keeps the bytes while the provider waits in another thread. The first turn after that settles the connection.
    #[cold]
    pub(super) fn keep_until_back(self: &Rc<Stream>, kernel: &Kernel, outbox: Box<Outbox>) -> bool {
        self.outbound.put_outbox(outbox);
        self.mark(Flags::BLOCKED, false);
        self.settle_soon(kernel);
        false
    }

    #[inline(never)]
    pub(super) fn keep_unsent(&self, outbox: Box<Outbox>, sent: io::Result<Sent>) {
        match sent {
            Ok(_) => {
                self.outbound.put_outbox(outbox);
                self.mark(Flags::BLOCKED, true);
            }
            Err(error) => {
                self.count_unsent(outbox.len());
                self.outbound.broke(Error::lost(error), &self.flags);
            }
        }
    }

    /// Pauses or resumes the producer. Returns whether the producer was called: it may have written bytes, or released
    /// a hold, so there may be more to flush.
    pub(super) fn balance_producer(self: &Rc<Stream>, kernel: &Rc<Kernel>) -> bool {
        let Some(due) = self.outbound.take_due(self.buffered(), &self.flags) else { return false };
        // The present settling flushes the producer's writes, so they must not queue the connection for another one.
        self.mark(Flags::WROTE, false);
        self.mark(Flags::IN_CALLBACK, true);
        let outcome = match due {
            Due::Pause(producer) => kernel.guard(CallbackKind::Producer, "pause_producing", move || producer.pause()),
            Due::Resume(producer) => {
                kernel.guard(CallbackKind::Producer, "resume_producing", move || producer.resume())
            }
        };
        self.mark(Flags::IN_CALLBACK, false);
        match outcome {
            Ok(()) => true,
            Err(panicked) => {
                self.end(kernel, panicked);
                false
            }
        }
    }

    fn take_step(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        match self.next_step() {
            Step::Stay => self.arm(kernel),
            Step::Abort => self.end_by(kernel, Closing::Reset, Error::ConnectionAborted),
            Step::End => self.end_as_asked(kernel),
            Step::Close => self.end_by(kernel, Closing::InOrder, self.reason_of_close()),
            Step::ShutdownWrite => self.shut_down_write(kernel),
        }
    }

    /// Returns the system call that the connection needs now.
    pub(super) fn next_step(&self) -> Step {
        let outbox_is_empty = self.buffered() == 0 && !self.has(Flags::BLOCKED);
        self.state().next_step(outbox_is_empty, self.waits_for_producer())
    }

    /// Whether the end of writing waits, because the producer may write more.
    ///
    /// A close does not wait in a ring of connections, each the producer of another one. They would wait for each
    /// other.
    fn waits_for_producer(&self) -> bool {
        let is_producing = self.outbound.producer().is_some_and(|producer| producer.is_producing());
        is_producing && !(self.state().is_losing() && self.is_in_a_ring())
    }

    fn shut_down_write(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        if self.has(Flags::DESCRIPTORS) {
            return self.end_by(kernel, Closing::InOrder, self.reason_of_close());
        }
        let mut state = self.state();
        state.write_ended();
        self.set_state(state);
        if let Some(Err(error)) = self.end_output(kernel) {
            self.outbound.broke(Error::lost(error), &self.flags);
            return self.settle_broken(kernel);
        }
        let transport = Transport(self.clone());
        self.call(kernel, |protocol| protocol.write_connection_lost(&transport));
    }

    /// Makes the provider report readability exactly while the connection reads.
    fn arm(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let wanted = self.reads();
        if wanted {
            self.deliver_unread_soon(kernel);
        }
        self.set_armed(kernel, wanted);
    }

    pub(super) fn set_armed(self: &Rc<Stream>, kernel: &Rc<Kernel>, wanted: bool) {
        if wanted == self.has(Flags::ARMED) && !self.has(Flags::UNARMED) {
            return;
        }
        match kernel.streams(|streams| streams.set_reading(self.key, wanted)) {
            Ok(Ok(())) => {
                self.mark(Flags::ARMED, wanted);
                self.mark(Flags::UNARMED, false);
            }
            Ok(Err(error)) => self.end(kernel, Error::lost(error)),
            Err(_away) => self.settle_soon(kernel),
        }
    }
}
