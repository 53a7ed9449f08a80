//! The state machine of one stream connection, without its bytes.
//!
//! ```text
//!  reading:  on <-> paused            -> ended (end of file)
//!  writing:  open -> finishing        -> ended            (lose_write_connection: flush, then shut down)
//!  whole:    open -> losing           -> lost             (lose_connection: flush, then close)
//!                 -> ending           -> lost             (end: close without a flush)
//!                 -> aborting         -> lost             (abort_connection: reset)
//! ```
//!
//! The transport requests transitions at any time. After each callback the reactor calls [`StreamState::next_step`] to
//! learn which system call comes next.

// The state is three enums and not a set of flag bits, because each part is in exactly one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    On,
    Paused,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Open,
    Finishing,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Open,
    Losing,
    Ending,
    Aborting,
    Lost,
}

/// The system call that a connection needs next.
///
/// ```
/// use ropewalk_proto::{Step, StreamState};
///
/// let mut state = StreamState::new();
/// state.lose_write();
/// let outbox_is_empty = true;
/// assert_eq!(state.next_step(outbox_is_empty, false), Step::ShutdownWrite);
/// state.write_ended();
/// assert_eq!(state.next_step(outbox_is_empty, false), Step::Stay); // the peer may still send
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No call: the connection stays as it is.
    Stay,
    /// Reset the connection.
    Abort,
    /// Close the connection. Bytes that are queued are dropped.
    End,
    /// Shut down the sending direction.
    ShutdownWrite,
    /// Close the connection. Nothing is left to send.
    Close,
}

/// One step of the end of a connection: an object that is notified, or released. [`EndStep::ORDER`] has all of them.
///
/// ```
/// use ropewalk_proto::EndStep;
///
/// let place = |step| EndStep::ORDER.iter().position(|&other| other == step);
/// assert!(place(EndStep::Producer) < place(EndStep::Protocol)); // a producer stops before `connection_lost`
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndStep {
    /// The reactor drops further events of the connection.
    Events,
    /// The event provider closes the socket, resets it, or shuts it down and lingers.
    Socket,
    /// Queued bytes are dropped.
    Queue,
    /// The registered producer is stopped.
    Producer,
    /// The connections for which this one is the producer are settled, because their close may have waited for it.
    Consumers,
    /// Observers, kept objects and the layer are dropped.
    Attachments,
    /// The protocol's `connection_lost` is called, and after that the connector is notified. If a callback of the
    /// protocol is running, both wait until it returns.
    Protocol,
    /// Ports that ran out of descriptors accept again.
    Descriptor,
}

impl EndStep {
    /// The steps in the order in which they happen.
    pub const ORDER: [EndStep; 8] = [
        EndStep::Events,
        EndStep::Socket,
        EndStep::Queue,
        EndStep::Producer,
        EndStep::Consumers,
        EndStep::Attachments,
        EndStep::Protocol,
        EndStep::Descriptor,
    ];

    /// Returns whether the step concerns the users of the connection, and needs no socket.
    ///
    /// ```
    /// use ropewalk_proto::EndStep;
    ///
    /// assert!(EndStep::Producer.is_for_users() && EndStep::Protocol.is_for_users());
    /// assert!(!EndStep::Socket.is_for_users() && !EndStep::Descriptor.is_for_users());
    /// ```
    pub const fn is_for_users(self) -> bool {
        matches!(self, EndStep::Producer | EndStep::Consumers | EndStep::Attachments | EndStep::Protocol)
    }
}

/// The state of one stream connection.
///
/// A plain value, which calls no callbacks: [`next_step`](StreamState::next_step) says what to do.
///
/// ```
/// use ropewalk_proto::{Step, StreamState};
///
/// let mut state = StreamState::new();
/// assert!(state.is_open() && state.wants_reading() && state.accepts_writes(false));
/// state.pause();
/// assert!(!state.wants_reading());
/// state.resume();
/// assert!(state.end_of_file() && state.is_read_ended()); // the peer sends no more
/// state.lose();
/// assert!(state.is_losing() && state.may_send());
/// assert_eq!(state.next_step(false, false), Step::Stay); // something is queued
/// assert_eq!(state.next_step(true, false), Step::Close);
/// assert!(state.lost() && state.is_lost());
/// assert!(!state.lost()); // only the first call returns true
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    reading: Reading,
    writing: Writing,
    whole: Whole,
}

impl Default for StreamState {
    fn default() -> Self {
        StreamState::new()
    }
}

impl StreamState {
    /// Returns the state of a new connection, which reads and writes.
    pub const fn new() -> StreamState {
        StreamState { reading: Reading::On, writing: Writing::Open, whole: Whole::Open }
    }

    /// Stops reading until [`resume`](StreamState::resume).
    pub fn pause(&mut self) {
        if self.reading == Reading::On {
            self.reading = Reading::Paused;
        }
    }

    /// Resumes reading after [`pause`](StreamState::pause).
    pub fn resume(&mut self) {
        if self.reading == Reading::Paused {
            self.reading = Reading::On;
        }
    }

    /// Records that the peer has closed its sending direction. Returns false if this was recorded before.
    pub fn end_of_file(&mut self) -> bool {
        std::mem::replace(&mut self.reading, Reading::Ended) != Reading::Ended
    }

    /// Requests that the sending direction be shut down after everything queued has been sent.
    pub fn lose_write(&mut self) {
        if self.writing == Writing::Open {
            self.writing = Writing::Finishing;
        }
    }

    /// Records that the sending direction was shut down.
    pub fn write_ended(&mut self) {
        self.writing = Writing::Ended;
    }

    /// Requests that the connection be closed after everything queued has been sent.
    pub fn lose(&mut self) {
        if self.whole == Whole::Open {
            self.whole = Whole::Losing;
        }
    }

    /// Requests that the connection be closed without sending what is queued. Overrules [`lose`](StreamState::lose).
    ///
    /// ```
    /// use ropewalk_proto::{Step, StreamState};
    ///
    /// let mut state = StreamState::new();
    /// state.end();
    /// let outbox_is_empty = false;
    /// assert!(state.is_ending());
    /// assert_eq!(state.next_step(outbox_is_empty, false), Step::End);
    /// ```
    pub fn end(&mut self) {
        if matches!(self.whole, Whole::Open | Whole::Losing) {
            self.whole = Whole::Ending;
        }
    }

    /// Requests a reset. The reset overrules every earlier request.
    ///
    /// ```
    /// use ropewalk_proto::{Step, StreamState};
    ///
    /// let mut state = StreamState::new();
    /// state.lose();
    /// state.abort(); // overrules `lose`
    /// assert!(state.is_aborting() && !state.is_losing());
    /// assert_eq!(state.next_step(false, true), Step::Abort);
    /// ```
    pub fn abort(&mut self) {
        if self.whole != Whole::Lost {
            self.whole = Whole::Aborting;
        }
    }

    /// Records the end of the connection. Returns false if that was recorded before.
    pub fn lost(&mut self) -> bool {
        std::mem::replace(&mut self.whole, Whole::Lost) != Whole::Lost
    }

    /// Returns the next system call. `producing` says whether a registered producer still has data to write.
    pub fn next_step(&self, outbox_is_empty: bool, producing: bool) -> Step {
        match self.whole {
            Whole::Lost => Step::Stay,
            Whole::Aborting => Step::Abort,
            Whole::Ending => Step::End,
            _ if !outbox_is_empty || producing => Step::Stay,
            Whole::Losing => Step::Close,
            Whole::Open if self.writing == Writing::Finishing => Step::ShutdownWrite,
            Whole::Open if self.writing == Writing::Ended && self.reading == Reading::Ended => Step::Close,
            Whole::Open => Step::Stay,
        }
    }

    /// Returns whether arriving bytes should be delivered.
    pub fn wants_reading(&self) -> bool {
        self.reading == Reading::On && self.whole == Whole::Open
    }

    /// Returns whether a write is accepted. A write that is not accepted is dropped.
    ///
    /// After [`lose_write`](StreamState::lose_write) only a producer may write: the shutdown waits for it.
    pub fn accepts_writes(&self, producing: bool) -> bool {
        let open = self.writing == Writing::Open || self.writing == Writing::Finishing && producing;
        open && matches!(self.whole, Whole::Open | Whole::Losing)
    }

    /// Returns whether queued bytes may still be handed to the operating system.
    pub fn may_send(&self) -> bool {
        self.writing != Writing::Ended && matches!(self.whole, Whole::Open | Whole::Losing)
    }

    /// Returns whether no close, end or reset has been requested.
    pub fn is_open(&self) -> bool {
        self.whole == Whole::Open
    }

    /// Returns whether [`lose`](StreamState::lose) was requested and is still pending: Twisted's
    /// `transport.disconnecting`.
    pub fn is_losing(&self) -> bool {
        self.whole == Whole::Losing
    }

    /// Returns whether [`end`](StreamState::end) was requested and is still pending.
    pub fn is_ending(&self) -> bool {
        self.whole == Whole::Ending
    }

    /// Returns whether a reset was requested by [`abort`](StreamState::abort) and is still pending.
    pub fn is_aborting(&self) -> bool {
        self.whole == Whole::Aborting
    }

    /// Returns whether the connection has ended.
    pub fn is_lost(&self) -> bool {
        self.whole == Whole::Lost
    }

    /// Returns whether the peer has shut down its sending direction.
    pub fn is_read_ended(&self) -> bool {
        self.reading == Reading::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lose_waits_for_queued_bytes_or_a_producer() {
        let mut state = StreamState::new();
        state.lose();
        assert_eq!(state.next_step(false, false), Step::Stay);
        assert_eq!(state.next_step(true, true), Step::Stay);
        assert_eq!(state.next_step(true, false), Step::Close);
        assert!(state.accepts_writes(false), "a write after lose_connection is still sent");
        assert!(!state.wants_reading(), "lose_connection stops reading at once");
    }

    #[test]
    fn abort_overrules_lose_without_waiting() {
        let mut state = StreamState::new();
        state.lose();
        state.abort();
        assert_eq!(state.next_step(false, true), Step::Abort);
        assert!(!state.accepts_writes(true));
        state.lose();
        assert_eq!(state.next_step(true, false), Step::Abort);
    }

    #[test]
    fn end_overrules_lose_but_not_abort() {
        let mut state = StreamState::new();
        state.lose();
        state.end();
        assert_eq!(state.next_step(false, true), Step::End);
        assert!(!state.accepts_writes(true) && !state.may_send() && !state.wants_reading());
        state.abort();
        state.end();
        assert_eq!(state.next_step(false, true), Step::Abort);
    }

    #[test]
    fn a_half_closed_connection_closes_when_the_peer_ends() {
        let mut state = StreamState::new();
        state.lose_write();
        assert!(!state.accepts_writes(false));
        assert!(state.accepts_writes(true), "the shutdown waits for the producer");
        assert_eq!(state.next_step(false, false), Step::Stay);
        assert_eq!(state.next_step(true, false), Step::ShutdownWrite);
        state.write_ended();
        assert!(!state.accepts_writes(true));
        assert_eq!(state.next_step(true, false), Step::Stay);
        assert!(state.wants_reading());
        assert!(state.end_of_file());
        assert_eq!(state.next_step(true, false), Step::Close);
    }

    #[test]
    fn resume_does_not_undo_the_end_of_file() {
        let mut state = StreamState::new();
        state.pause();
        assert!(!state.wants_reading());
        state.end_of_file();
        state.resume();
        assert!(!state.wants_reading());
    }

    #[test]
    fn the_end_of_a_connection_is_final() {
        let mut state = StreamState::new();
        assert!(state.lost());
        assert!(!state.lost());
        state.abort();
        assert!(state.is_lost());
        assert_eq!(state.next_step(true, false), Step::Stay);
    }
}
