//! Back-pressure: producers of the bytes that a transport sends, which are paused and resumed.

use std::rc::Rc;

use super::Transport;

/// A producer that writes until it is paused: IPushProducer.
///
/// The methods are called on the reactor's thread. They may use the reactor and any transport.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use ropewalk::prelude::*;
/// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
/// use ropewalk::transports::{Producer, PushProducer};
///
/// #[derive(Default)]
/// struct Ticker { paused: Cell<bool> }
///
/// impl PushProducer for Ticker {
///     fn pause_producing(&self) { self.paused.set(true) }
///     fn resume_producing(&self) { self.paused.set(false) }
///     fn stop_producing(&self) { self.paused.set(true) }
/// }
///
/// let net = MemoryReactor::new();
/// let server = AccumulatingProtocol::new();
/// net.listen_tcp("10.0.0.1:80", server.factory())?;
/// let slow = net.connect_stream("10.0.0.1:80");
/// slow.pause_reading();
/// net.settle();
/// let (transport, ticker) = (server.transport().unwrap(), Rc::new(Ticker::default()));
/// transport.register_producer(Producer::push(ticker.clone()))?;
/// transport.write(&[0; 200_000]);
/// net.settle();
/// assert!(ticker.paused.get());
/// slow.resume_reading();
/// net.settle();
/// assert!(!ticker.paused.get());
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait PushProducer {
    /// Called when the number of queued bytes exceeds the high-water mark.
    fn pause_producing(&self);

    /// Called when the queue has drained to the low-water mark, but only after a pause.
    fn resume_producing(&self);

    /// Called when the connection has ended. Nothing written will be sent.
    fn stop_producing(&self);
}

/// A producer that writes one piece each time it is asked: IPullProducer.
///
/// The methods are called on the reactor's thread. They may use the reactor and any transport.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use ropewalk::Transport;
/// use ropewalk::testing::StringTransport;
/// use ropewalk::transports::{Producer, PullProducer};
///
/// /// Counts down, a line whenever there is room for one.
/// struct Countdown { left: Cell<u32>, transport: Transport }
///
/// impl PullProducer for Countdown {
///     fn resume_producing(&self) {
///         self.transport.write(format!("{} ", self.left.get()).as_bytes());
///         match self.left.get() {
///             0 => self.transport.unregister_producer(),
///             left => self.left.set(left - 1),
///         }
///     }
///
///     fn stop_producing(&self) {}
/// }
///
/// let transport = StringTransport::new();
/// let countdown = Countdown { left: Cell::new(3), transport: transport.clone() };
/// transport.register_producer(Producer::pull(Rc::new(countdown)))?;
/// assert_eq!(transport.value(), b"3 2 1 0 ");
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait PullProducer {
    /// Called at registration, and then each time the queue is empty. Must write the next piece, or unregister.
    fn resume_producing(&self);

    /// Called when the connection has ended. Nothing written will be sent.
    fn stop_producing(&self);
}

/// A producer that can be registered with a transport.
///
/// User producers are called after the callback that wrote too much has returned, never from within a write. A producer
/// that is a transport is paused at once.
///
/// ```
/// use ropewalk::testing::StringTransport;
/// use ropewalk::transports::Producer;
///
/// let (from, to) = (StringTransport::new(), StringTransport::new());
/// to.register_producer(Producer::Transport(from.clone()))?; // `from.clone()` alone is accepted as well
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub enum Producer {
    /// A producer that is paused and resumed at the watermarks.
    Push(Rc<dyn PushProducer>),
    /// A producer that is asked for one piece at a time.
    Pull(Rc<dyn PullProducer>),
    /// Another connection, whose bytes are forwarded here. Its reading is paused and resumed, and it is closed when
    /// this connection ends.
    ///
    /// `lose_connection` waits for this producer only while the other connection may receive more bytes. It does not
    /// wait if each of the two connections is the producer of the other one. So when one side of a forwarder closes,
    /// the other side is closed as well, after the queued bytes have been sent. The same is true for a longer ring of
    /// connections.
    Transport(Transport),
}

impl Producer {
    /// Wraps a push producer.
    pub fn push(producer: Rc<impl PushProducer + 'static>) -> Producer {
        Producer::Push(producer)
    }

    /// Wraps a pull producer.
    pub fn pull(producer: Rc<impl PullProducer + 'static>) -> Producer {
        Producer::Pull(producer)
    }

    /// Returns the connection that produces, if the producer is one.
    pub(super) fn transport(&self) -> Option<&Transport> {
        match self {
            Producer::Transport(transport) => Some(transport),
            Producer::Push(_) | Producer::Pull(_) => None,
        }
    }

    pub(super) fn pause(&self) {
        match self {
            Producer::Push(producer) => producer.pause_producing(),
            Producer::Transport(transport) => transport.pause_producing(),
            Producer::Pull(_) => {}
        }
    }

    pub(super) fn resume(&self) {
        match self {
            Producer::Push(producer) => producer.resume_producing(),
            Producer::Pull(producer) => producer.resume_producing(),
            Producer::Transport(transport) => transport.resume_producing(),
        }
    }

    /// Whether the producer may write more. A registered producer of the user always may: it unregisters when it is
    /// done. A connection may write more while its state allows more bytes to arrive.
    pub(super) fn is_producing(&self) -> bool {
        match self {
            Producer::Push(_) | Producer::Pull(_) => true,
            Producer::Transport(transport) => transport.0.is_producing(),
        }
    }

    pub(super) fn stop(&self) {
        match self {
            Producer::Push(producer) => producer.stop_producing(),
            Producer::Pull(producer) => producer.stop_producing(),
            Producer::Transport(transport) => transport.lose_connection(),
        }
    }
}

impl From<Transport> for Producer {
    fn from(transport: Transport) -> Producer {
        Producer::Transport(transport)
    }
}
