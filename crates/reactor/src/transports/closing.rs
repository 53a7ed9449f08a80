//! Ways to close the socket of a connection.

/// The way in which the socket of a connection is closed.
#[derive(Clone, Copy)]
pub(super) enum Closing {
    /// The peer should receive everything that was sent, and then the end of the stream. So the socket may linger.
    InOrder,
    /// The connection is lost, so there is nothing to wait for.
    AtOnce,
    Reset,
}
