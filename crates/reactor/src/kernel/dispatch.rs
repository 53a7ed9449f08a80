//! Third part of a turn: events reach those whose keys they carry.

use ropewalk_sys::Event;

use super::{Reactor, Source};

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
        let count = self.0.events.borrow().len();
        // One by one: a callback that runs the loop is followed by the events behind its own, within that loop. Some are
        // reported only once.
        for _ in 0..count {
            let next = self.0.events.borrow_mut().pop();
            let Some(event) = next else { break };
            self.dispatch_one(event, bytes);
        }
        self.0.scratch.set(scratch);
    }

    fn dispatch_one(&self, event: Event, scratch: &mut [u8]) {
        // To read only; but a mutable borrow costs fewer instructions.
        let sources = self.0.sources.borrow_mut();
        let Some(Source::Stream(stream)) = sources.get(event.key) else {
            drop(sources);
            return self.dispatch_otherwise(event, scratch);
        };
        // Out of the table before it is called.
        let stream = stream.clone();
        drop(sources);
        stream.ready(self, event.ready, scratch);
    }

    /// To whoever is no connection.
    #[inline(never)]
    fn dispatch_otherwise(&self, event: Event, scratch: &mut [u8]) {
        let source = self.0.sources.borrow().get(event.key).cloned();
        match source {
            Some(Source::Stream(stream)) => stream.ready(self, event.ready, scratch),
            Some(Source::Port(port)) => port.ready(self),
            Some(Source::Attempt(connector)) => connector.attempt_ready(self, event.key),
            Some(Source::Watch(watch)) => watch.ready(self, event.ready),
            None => self.0.lingerer_ready(event.key, scratch),
        }
    }
}
