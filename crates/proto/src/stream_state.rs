//! What one stream connection may still do: a state machine without bytes.
//!
//! ```text
//!  reading:  on <-> paused            -> ended (end of file)
//!  writing:  open -> finishing        -> ended            (lose_write_connection: flush, then shut down)
//!  whole:    open -> losing           -> lost             (lose_connection: flush, then close)
//!                 -> aborting         -> lost             (abort_connection: reset)
//! ```
//!
//! The transport asks for transitions at any time; the reactor, after each callback, asks [`StreamState::next_step`] what
//! the operating system should be told.

/// Where one direction or the whole of a connection is; eight flags in one byte would say the same, less plainly.
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
    Aborting,
    Lost,
}

/// What the operating system should be told next.
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
    /// Nothing: the connection goes on.
    Stay,
    /// Reset the connection.
    Abort,
    /// End the sending direction.
    ShutdownWrite,
    /// Close the connection: nothing is left to send.
    Close,
}

/// The state of one stream connection.
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
/// assert!(!state.lost()); // once
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
    /// A connection that reads and writes.
    pub const fn new() -> StreamState {
        StreamState { reading: Reading::On, writing: Writing::Open, whole: Whole::Open }
    }

    /// Stops reading until [`resume`](StreamState::resume).
    pub fn pause(&mut self) {
        if self.reading == Reading::On {
            self.reading = Reading::Paused;
        }
    }

    /// Reads again after [`pause`](StreamState::pause).
    pub fn resume(&mut self) {
        if self.reading == Reading::Paused {
            self.reading = Reading::On;
        }
    }

    /// The peer will send no more. Returns whether that is news.
    pub fn end_of_file(&mut self) -> bool {
        std::mem::replace(&mut self.reading, Reading::Ended) != Reading::Ended
    }

    /// Flush, then end the sending direction.
    pub fn lose_write(&mut self) {
        if self.writing == Writing::Open {
            self.writing = Writing::Finishing;
        }
    }

    /// The sending direction has been ended.
    pub fn write_ended(&mut self) {
        self.writing = Writing::Ended;
    }

    /// Flush, then close.
    pub fn lose(&mut self) {
        if self.whole == Whole::Open {
            self.whole = Whole::Losing;
        }
    }

    /// Reset, whatever was asked before.
    ///
    /// ```
    /// use ropewalk_proto::{Step, StreamState};
    ///
    /// let mut state = StreamState::new();
    /// state.lose();
    /// state.abort(); // whatever was asked before
    /// assert_eq!(state.next_step(false, true), Step::Abort);
    /// ```
    pub fn abort(&mut self) {
        if self.whole != Whole::Lost {
            self.whole = Whole::Aborting;
        }
    }

    /// The connection is over. Returns whether that is news.
    pub fn lost(&mut self) -> bool {
        std::mem::replace(&mut self.whole, Whole::Lost) != Whole::Lost
    }

    /// What to do, given that the outbox is empty or not, and whether a producer still wants to write.
    pub fn next_step(&self, outbox_is_empty: bool, producing: bool) -> Step {
        match self.whole {
            Whole::Lost => Step::Stay,
            Whole::Aborting => Step::Abort,
            _ if !outbox_is_empty || producing => Step::Stay,
            Whole::Losing => Step::Close,
            Whole::Open if self.writing == Writing::Finishing => Step::ShutdownWrite,
            Whole::Open if self.writing == Writing::Ended && self.reading == Reading::Ended => Step::Close,
            Whole::Open => Step::Stay,
        }
    }

    /// Whether bytes that arrive should be delivered.
    pub fn wants_reading(&self) -> bool {
        self.reading == Reading::On && self.whole == Whole::Open
    }

    /// Whether a write is accepted; if not, it is dropped.
    ///
    /// After [`lose_write`](StreamState::lose_write) only that of a producer is, which the end waits for.
    pub fn accepts_writes(&self, producing: bool) -> bool {
        let open = self.writing == Writing::Open || self.writing == Writing::Finishing && producing;
        open && matches!(self.whole, Whole::Open | Whole::Losing)
    }

    /// Whether the outbox may still be handed to the operating system.
    pub fn may_send(&self) -> bool {
        self.writing != Writing::Ended && matches!(self.whole, Whole::Open | Whole::Losing)
    }

    /// Whether neither closing nor aborting has been asked for.
    pub fn is_open(&self) -> bool {
        self.whole == Whole::Open
    }

    /// Whether `lose` has been asked for and not happened: `transport.disconnecting`.
    pub fn is_losing(&self) -> bool {
        self.whole == Whole::Losing
    }

    /// Whether the connection is over.
    pub fn is_lost(&self) -> bool {
        self.whole == Whole::Lost
    }

    /// Whether the peer has ended its sending direction.
    pub fn is_read_ended(&self) -> bool {
        self.reading == Reading::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_waits_for_the_outbox_and_for_the_producer() {
        let mut state = StreamState::new();
        state.lose();
        assert_eq!(state.next_step(false, false), Step::Stay);
        assert_eq!(state.next_step(true, true), Step::Stay);
        assert_eq!(state.next_step(true, false), Step::Close);
        assert!(state.accepts_writes(false), "a write after lose_connection is still sent");
        assert!(!state.wants_reading(), "lose_connection stops reading at once");
    }

    #[test]
    fn aborting_waits_for_nothing_and_overrules_losing() {
        let mut state = StreamState::new();
        state.lose();
        state.abort();
        assert_eq!(state.next_step(false, true), Step::Abort);
        assert!(!state.accepts_writes(true));
        state.lose();
        assert_eq!(state.next_step(true, false), Step::Abort);
    }

    #[test]
    fn a_half_closed_connection_lives_until_the_other_half_ends() {
        let mut state = StreamState::new();
        state.lose_write();
        assert!(!state.accepts_writes(false));
        assert!(state.accepts_writes(true), "its end waits for the producer");
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
    fn pausing_survives_the_end_of_the_file_and_losing_is_final() {
        let mut state = StreamState::new();
        state.pause();
        assert!(!state.wants_reading());
        state.end_of_file();
        state.resume();
        assert!(!state.wants_reading());
        assert!(state.lost());
        assert!(!state.lost());
        state.abort();
        assert!(state.is_lost());
        assert_eq!(state.next_step(true, false), Step::Stay);
    }
}
