//! Third part of a turn: events reach those whose keys they carry.

use super::Reactor;
use super::inbox::Next;

impl Reactor {
    /// Third part of a turn: handles what [`wait`](Reactor::wait) collected.
    ///
    /// An event whose source was closed by an earlier callback of the same batch is dropped: its key is stale.
    ///
    /// While a [`DetachedWait`](super::DetachedWait) is out, the events wait for the next call.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// let server = AccumulatingProtocol::new();
    /// net.listen_tcp("10.0.0.1:80", server.factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.prepare()?;
    /// net.wait(None)?; // there is an event
    /// assert_eq!(server.made(), 0);
    /// net.dispatch();
    /// assert_eq!(server.made(), 1);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn dispatch(&self) {
        if self.0.provider(|_| ()).is_err() {
            return;
        }
        // The next `prepare` sees what is woken from here on.
        self.0.set_sleeping(false);
        // Taken: when a callback runs the loop again through `iterate`, that inner loop needs a buffer of its own.
        let mut scratch = self.0.scratch.take();
        let bytes = scratch.bytes();
        let count = self.0.inbox.borrow().events.len();
        // One by one: a callback that runs the loop is followed by the events behind its own, within that loop. Some are
        // reported only once.
        for _ in 0..count {
            // Out of the table before it is called.
            let next = self.0.inbox.borrow_mut().next();
            match next {
                Next::Event(event, source) => source.ready(self, event.key, event.ready, bytes),
                Next::Stale => {}
                Next::None => break,
            }
        }
        self.0.scratch.set(scratch);
    }
}
