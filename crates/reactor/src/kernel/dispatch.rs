//! The third part of a turn: each event reaches the source of its key.

use ropewalk_proto::Key;
use ropewalk_proto::panics::catch;

use super::Reactor;
use super::inbox::Next;
use super::scratch::Scratch;

impl Reactor {
    /// Handles the events that [`wait`](Reactor::wait) collected: the third part of a turn.
    ///
    /// Leaves the rest of the events to the next call when the [budget](Reactor::set_budget) is used up. Drops an event
    /// whose source was closed by an earlier callback of the same batch, because its key is stale.
    ///
    /// While a [`DetachedWait`](super::DetachedWait) owns the provider, the events stay queued for the next call.
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
        if self.0.is_away() {
            return;
        }
        let _entered = self.0.enter();
        // The host loop need not be notified of tasks that wake from here on, because it calls `prepare` next.
        self.0.attention.set_asleep(false);
        self.0.begin_part();
        // The receive buffer is taken out for this dispatch, because a callback that runs the loop through `iterate`
        // needs another buffer.
        let mut scratch = self.0.scratch.take().unwrap_or_else(Scratch::new);
        let bytes = scratch.bytes();
        let mut current = Key::from_u64(u64::MAX);
        // After a panic the rest of the batch is dispatched.
        while let Err(panic) = catch(|| self.dispatch_queued(&mut current, bytes)) {
            self.end_culprit(Some(current), panic);
        }
        self.0.scratch.set(Some(scratch));
        if !self.0.has_events() {
            self.0.looked.set(self.0.asked.get());
        }
    }

    /// Dispatches the events that are queued now. Sets `current` to the key of the event that is being handled.
    #[inline(always)]
    fn dispatch_queued(&self, current: &mut Key, bytes: &mut [u8]) {
        let count = self.0.inbox.borrow().events.len();
        let share = self.0.rest_of_part();
        // The events are taken one by one: if a callback runs the loop, that inner loop dispatches the remaining ones.
        // No event may be lost, because an edge-triggered provider reports each event only once.
        for _ in 0..count.min(share.calls) {
            // The borrow ends before the source is called.
            let next = self.0.inbox.borrow_mut().next();
            match next {
                Next::Event(event, source) => {
                    *current = event.key;
                    source.ready(self, event.key, event.ready, bytes);
                    if share.is_over(&self.0) {
                        return;
                    }
                }
                Next::Stale => {}
                Next::None => return,
            }
        }
    }
}
