//! The keys under which a connection receives and sends.

use ropewalk_proto::{Address, Key, StreamState};
use ropewalk_sys::{Capabilities, PipeEnd};

use super::flags::Flags;

/// The keys of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// A socket.
    Socket(Key),
    /// One pipe, terminal or file.
    Pipe(Key, PipeEnd),
    /// A reader and a writer.
    Pair { receive: Key, send: Key },
}

impl From<Key> for Keys {
    fn from(key: Key) -> Keys {
        Keys::Socket(key)
    }
}

impl Keys {
    /// The key of received bytes, and the key of sent bytes.
    pub(super) fn of_directions(self) -> (Key, Key) {
        match self {
            Keys::Socket(key) | Keys::Pipe(key, _) => (key, key),
            Keys::Pair { receive, send } => (receive, send),
        }
    }

    /// Calls `act` with each key.
    pub(crate) fn each(self, mut act: impl FnMut(Key)) {
        let (receive, send) = self.of_directions();
        act(receive);
        if send != receive {
            act(send);
        }
    }

    /// The flags that say which kind of connection it is.
    pub(super) fn flags(self, peer: &Address, offered: Capabilities) -> Flags {
        match (self, peer) {
            (Keys::Pipe(..) | Keys::Pair { .. }, _) => Flags::PIPE,
            (Keys::Socket(_), Address::Inet(_)) => Flags::empty(),
            (Keys::Socket(_), _) if offered.contains(Capabilities::DESCRIPTOR_PASSING) => Flags::PASSES,
            (Keys::Socket(_), _) => Flags::empty(),
        }
    }

    /// The state in which the connection begins: a direction that does not exist has ended.
    pub(super) fn state(self) -> StreamState {
        let mut state = StreamState::new();
        if let Keys::Pipe(_, end) = self {
            if !end.reads() {
                state.end_of_file();
            }
            if !end.writes() {
                state.write_ended();
            }
        }
        state
    }
}
