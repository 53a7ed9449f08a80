//! The end that the program gives a reason for, and its choice about lingering.

use std::rc::Rc;

use ropewalk_proto::StreamState;

use super::Transport;
use super::closing::Closing;
use super::flags::Flags;
use super::stream::Stream;
use crate::error::Error;
use crate::kernel::Kernel;

impl Transport {
    /// Closes the connection now, in order. `connection_lost` gets `reason`.
    ///
    /// Bytes that the system has not taken are dropped, and so is what the peer has sent and the protocol has not
    /// received. A registered producer is stopped. The peer sees the end of the stream after the bytes that the system
    /// has taken, not a reset. A layer closes its side if the socket takes its close at once. Like every request, this
    /// one is carried out when the running callback has returned or, outside callbacks, before the loop waits.
    ///
    /// The socket [lingers](super::Linger) as after [`lose_connection`](Transport::lose_connection). A system that
    /// closes a socket with unread bytes resets the connection, so a connection that does not linger may be reset.
    ///
    /// `reason` may be any error. `Error::ConnectionLost` with an `io::Error::other` around it carries an error of your
    /// own type. The request overrules `lose_connection`, and [`abort_connection`](Transport::abort_connection)
    /// overrules it. The reason of the first call counts. May be called from any callback.
    ///
    /// ```
    /// use ropewalk::Error;
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// server.transport().expect("it is connected").end(Error::Failed("the user has left".into()));
    /// net.settle();
    /// assert_eq!(server.lost().expect("it has ended").to_string(), "the user has left");
    /// assert!(client.is_eof() && !client.is_reset());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn end(&self, reason: Error) {
        let before = self.0.state();
        self.0.change(StreamState::end);
        if self.0.state() != before {
            self.0.rare(|rare| rare.ending = Some(reason));
        }
    }

    /// Sets whether the socket lingers after `lose_connection`, within the bounds of [`Linger`](super::Linger). The
    /// default is that of the port ([`Port::set_lingering`](super::Port::set_lingering)), or else that of the reactor
    /// ([`Linger::by_default`](super::Linger::by_default)).
    ///
    /// Without lingering the socket is closed at once. Choose `false` for peers that send nothing more, and for sockets
    /// from which another process reads: a lingering connection discards the bytes that arrive.
    ///
    /// ```
    /// use ropewalk::prelude::*;
    ///
    /// /// A greeting, to which the peer sends no answer.
    /// struct Greeting;
    ///
    /// impl Protocol for Greeting {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.set_lingering(false);
    ///         transport.write(b"good morning");
    ///         transport.lose_connection();
    ///     }
    ///
    ///     fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    /// }
    /// ```
    pub fn set_lingering(&self, on: bool) {
        self.0.mark(Flags::LINGERS, on);
        self.0.mark(Flags::PROMPT, !on);
    }
}

impl Stream {
    /// Closes a connection for which the program has called `end`.
    #[cold]
    pub(super) fn end_as_asked(self: &Rc<Stream>, kernel: &Rc<Kernel>) {
        let reason = self.rare(|rare| rare.ending.take());
        self.end_by(kernel, Closing::InOrder, reason.unwrap_or(Error::ConnectionDone));
    }
}
