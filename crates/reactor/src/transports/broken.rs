//! The end of a connection that is found to be lost otherwise than by a read: a write has failed, or the provider
//! reports the loss of a connection that is not read. Everything received is delivered, then the loss is reported.
//!
//! ```text
//!   it is lost    -> the queue is dropped, the producer is stopped, reports of readability are off
//!                 -> receive a piece, deliver it in a later turn, receive the next one ... until none is there
//!                 -> connection_lost
//! ```
//!
//! The system may still hold bytes of a peer that has reset the connection: an answer, or the final bytes of its layer.
//! The connection receives one piece at a time and keeps it as unread bytes. So a paused protocol delays the end only
//! if there are bytes for it to read.

use std::rc::Rc;

use ropewalk_sys::{Ready, Received};

use super::closing::Closing;
use super::flags::Flags;
use super::producer::Producer;
use super::share::BYTES_PER_TURN;
use super::stream::Stream;
use crate::error::Error;
use crate::kernel::{CallbackKind, Kernel};

/// The maximum number of bytes in a piece.
const PIECE: usize = 64 * 1024;

/// The outcome of an attempt to receive one more piece.
enum Piece {
    Bytes(Vec<u8>),
    /// There are no bytes, or the stream has ended.
    Nothing,
    /// The provider waits in another thread.
    Away,
}

impl Stream {
    /// Returns whether an event reports the loss of a connection that is not read. A connection that reads or sends
    /// finds the loss itself. A hang-up is only a loss if no bytes are wanted any more, because some may be unread.
    pub(super) fn is_lost_unread(&self, ready: Ready) -> bool {
        // The output of a pair stays open after the last writer of its input.
        let has_hung_up = || ready.contains(Ready::HANGUP) && !self.is_producing() && !self.is_pair();
        let finds_it = self.flags.get().intersects(Flags::ARMED | Flags::BLOCKED | Flags::BROKEN);
        !finds_it && (ready.contains(Ready::ERROR) || has_hung_up())
    }

    /// Keeps the reason of a loss that the provider has reported. The connection settles afterwards.
    pub(super) fn note_loss(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let reason = match kernel.streams(|streams| streams.send_slice(self.send_key, &[])) {
            Ok(Err(error)) => Error::lost(error),
            // A hang-up need not be an error. The reads that follow may find one.
            Ok(Ok(_)) | Err(_) => Error::ConnectionLost(None),
        };
        if self.buffered() == 0 {
            self.outbound.loses_nothing();
        }
        self.lose_because(kernel, reason);
    }

    /// Keeps the reason of a loss. The connection settles afterwards.
    pub(super) fn lose_because(self: &Rc<Stream>, kernel: &Rc<Kernel>, reason: Error) {
        match self.has(Flags::LAYERED) {
            true => self.lose_layered(kernel, reason),
            false => self.outbound.broke(reason, &self.flags),
        }
    }

    /// Settles a connection that is lost.
    #[cold]
    pub(super) fn settle_broken(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        self.drop_queue(kernel);
        self.drop_wire();
        if self.has(Flags::PACED) {
            self.pace();
        }
        self.mark(Flags::BLOCKED, false);
        self.disarm(kernel);
        self.stop_producer_early(kernel);
        let state = self.state();
        if state.is_aborting() {
            return self.end_by(kernel, Closing::Reset, Error::ConnectionAborted);
        }
        if state.is_ending() {
            return self.end_as_asked(kernel);
        }
        if !state.is_open() || state.is_read_ended() {
            return self.end_broken(kernel);
        }
        self.limit_rest(kernel);
        if !self.is_layer_delivering() {
            self.receive_rest(kernel);
        }
    }

    /// Receives until there are bytes for the protocol. Closes the connection if no bytes are left.
    fn receive_rest(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        for _ in 0..BYTES_PER_TURN / PIECE {
            if self.state().is_lost() {
                return;
            }
            if self.has_unreported_layer() || self.has(Flags::UNREAD) && self.reads() {
                return self.deliver_soon(kernel);
            }
            if self.has(Flags::UNREAD) {
                // Wait: the connection settles again when the protocol resumes reading.
                return;
            }
            if self.remove_done_layer(kernel) || self.pass_held_to_layer(kernel) {
                continue;
            }
            if self.has_layer_ended() {
                return self.end_broken(kernel);
            }
            match self.receive_piece(kernel) {
                Piece::Bytes(mut bytes) if self.has(Flags::LAYERED) => self.pass_to_layer(kernel, &mut bytes),
                Piece::Bytes(bytes) => self.keep_received(&bytes),
                Piece::Nothing => return self.end_broken(kernel),
                Piece::Away => break,
            }
        }
        self.settle_soon(kernel);
    }

    fn receive_piece(&self, kernel: &Kernel) -> Piece {
        let mut piece = vec![0; self.rest_left().min(PIECE)];
        if piece.is_empty() {
            return Piece::Nothing;
        }
        match self.receive_keeping(kernel, &mut piece) {
            Ok(Ok(Received::Filled(count) | Received::Drained(count))) => {
                self.use_rest(count);
                piece.truncate(count);
                Piece::Bytes(piece)
            }
            Ok(Ok(Received::Lent(chunk))) => Piece::Bytes(chunk.to_vec()),
            Ok(Ok(Received::Empty | Received::Eof)) => Piece::Nothing,
            Ok(Err(error)) => {
                self.outbound.explain(error);
                Piece::Nothing
            }
            Err(_away) => Piece::Away,
        }
    }

    /// Keeps received bytes for the protocol, behind those that it has not read yet.
    pub(super) fn keep_received(&self, bytes: &[u8]) {
        self.observe_received(bytes);
        if !self.state().is_lost() {
            self.inbound.keep(bytes, &self.flags);
        }
    }

    /// Stops the producer before the end of the connection, because nothing that it writes is sent.
    fn stop_producer_early(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        match self.take_producer() {
            // The connection forwards to itself: stopping the producer would close the connection before all bytes are
            // delivered.
            Some(Producer::Transport(transport)) if Rc::ptr_eq(&transport.0, self) => {}
            Some(producer) => {
                self.mark(Flags::IN_CALLBACK, true);
                let _ = kernel.guard(CallbackKind::Producer, "stop_producing", move || producer.stop());
                self.mark(Flags::IN_CALLBACK, false);
            }
            None => {}
        }
    }

    pub(super) fn end_broken(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        self.note_end_of_socket();
        // A layer that both ends have closed needs the socket no more.
        let is_clean = self.has_peer_ended_layer() && self.outbound.has_lost_nothing() || self.has_exited_in_order();
        let done = is_clean.then_some(Error::ConnectionDone);
        let reason = self.layer_failure().or(done).or_else(|| self.outbound.failure());
        self.end(kernel, reason.unwrap_or(Error::ConnectionLost(None)));
    }
}
