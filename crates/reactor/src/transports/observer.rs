//! What a policy sees of a connection, and how it slows one down.

use std::any::Any;
use std::rc::Rc;

use super::Transport;
use super::flags::Flags;
use super::stream::{Rare, Stream};

/// Told how many bytes go through a connection, whichever protocol it has at the time. Dropped at the connection's end.
///
/// It is called in the stack of a write, so it calls no user code.
pub(crate) trait Observer {
    /// Bytes have arrived, and are about to be delivered.
    fn bytes_received(&self, count: usize) {
        let _ = count;
    }

    /// Bytes were accepted for sending, and have not been sent yet.
    fn bytes_written(&self, count: usize) {
        let _ = count;
    }
}

impl Transport {
    /// Has `observer` told from here on. It is dropped at once if the connection is over.
    pub(crate) fn observe(&self, observer: Rc<dyn Observer>) {
        if self.is_connected() {
            self.0.rare(|rare| rare.observers.push(observer));
            self.0.mark(Flags::OBSERVED, true);
        }
    }

    /// Drops `token` when the connection ends, whichever protocol it has then; at once if it is over.
    pub(crate) fn keep_until_lost(&self, token: impl Any) {
        if self.is_connected() {
            self.0.rare(|rare| rare.tokens.push(Box::new(token)));
        }
    }

    /// Holds reading back, whatever the user asks for, until as many calls of `release_reading` have come.
    pub(crate) fn hold_reading(&self) {
        self.0.hold(|rare| rare.read_holds += 1);
    }

    /// Undoes one `hold_reading`.
    pub(crate) fn release_reading(&self) {
        self.0.hold(|rare| rare.read_holds -= 1);
    }

    /// Holds back what is written, until as many calls of `release_writing` have come. It is queued meanwhile, so a
    /// producer is paused at the high-water mark.
    pub(crate) fn hold_writing(&self) {
        self.0.hold(|rare| rare.write_holds += 1);
    }

    /// Undoes one `hold_writing`.
    pub(crate) fn release_writing(&self) {
        self.0.hold(|rare| rare.write_holds -= 1);
    }
}

impl Stream {
    fn hold(self: &Rc<Stream>, change: impl FnOnce(&mut Rare)) {
        if self.state().is_lost() {
            return;
        }
        let (read_holds, write_holds) = self.rare(|rare| {
            change(rare);
            (rare.read_holds, rare.write_holds)
        });
        self.mark(Flags::READING_HELD, read_holds > 0);
        self.mark(Flags::WRITING_HELD, write_holds > 0);
        if let Some(inner) = self.reactor.upgrade() {
            self.settle_soon(&inner);
        }
    }

    #[inline]
    pub(super) fn tell_received(&self, count: usize) {
        if self.has(Flags::OBSERVED) {
            self.tell_observers(|observer| observer.bytes_received(count));
        }
    }

    #[inline]
    pub(super) fn tell_written(&self, count: usize) {
        if self.has(Flags::OBSERVED) {
            self.tell_observers(|observer| observer.bytes_written(count));
        }
    }

    #[cold]
    fn tell_observers(&self, tell: impl Fn(&dyn Observer)) {
        let observers = self.rare(|rare| rare.observers.clone());
        observers.iter().for_each(|observer| tell(&**observer));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::testing::{AccumulatingProtocol, MemoryReactor};

    #[derive(Clone, Default)]
    struct Counts {
        received: Rc<Cell<usize>>,
        written: Rc<Cell<usize>>,
    }

    impl Observer for Counts {
        fn bytes_received(&self, count: usize) {
            self.received.set(self.received.get() + count);
        }

        fn bytes_written(&self, count: usize) {
            self.written.set(self.written.get() + count);
        }
    }

    #[test]
    fn an_observer_counts_all_bytes_and_is_dropped_at_the_end() {
        let net = MemoryReactor::new();
        let server = AccumulatingProtocol::new();
        net.listen_tcp("10.0.0.1:80", server.factory()).unwrap();
        let client = net.connect_stream("10.0.0.1:80");
        net.settle();
        let transport = server.transport().unwrap();
        let counts = Counts::default();
        transport.observe(Rc::new(counts.clone()));
        client.write(&[1; 100_000]);
        transport.write(&[2; 10_000]);
        transport.write(b"x");
        transport.write_bytes(bytes::Bytes::from_static(b"yz"));
        transport.write_sequence([b"1", b"2"]);
        net.settle();
        assert_eq!((counts.received.get(), counts.written.get()), (100_000, 10_005));
        client.close();
        net.settle();
        assert_eq!(Rc::strong_count(&counts.received), 1, "dropped while the test still holds the transport");
        transport.write(b"after the end");
        assert_eq!(counts.written.get(), 10_005);
        transport.observe(Rc::new(counts.clone()));
        assert_eq!(Rc::strong_count(&counts.received), 1);
    }
}
