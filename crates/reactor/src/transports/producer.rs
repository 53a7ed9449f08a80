//! Back-pressure: who produces what a transport sends, and is told when to pause.

use std::rc::Rc;

use super::Transport;

/// Produces until it is told to pause: IPushProducer.
pub trait PushProducer {
    /// More is queued than the high-water mark allows.
    fn pause_producing(&self);

    /// The queue has drained to the low-water mark. Comes only after a pause.
    fn resume_producing(&self);

    /// The connection is over; nothing written will be sent.
    fn stop_producing(&self);
}

/// Produces once each time it is asked: IPullProducer.
pub trait PullProducer {
    /// Write the next piece, or unregister. Asked once at registration and once each time the queue is empty.
    fn resume_producing(&self);

    /// The connection is over; nothing written will be sent.
    fn stop_producing(&self);
}

/// What can be registered as the producer of a transport.
///
/// User producers are called after the callback that wrote too much has returned, never from within a write. A transport
/// as producer is paused at once.
#[derive(Clone)]
pub enum Producer {
    /// Paused and resumed around the watermarks.
    Push(Rc<dyn PushProducer>),
    /// Asked for one piece at a time.
    Pull(Rc<dyn PullProducer>),
    /// Another connection, whose bytes are forwarded here: its reading is paused and resumed, and it is lost when this
    /// one is. Closing waits for it only while more may arrive there.
    Transport(Transport),
}

impl Producer {
    /// A push producer.
    pub fn push(producer: Rc<impl PushProducer + 'static>) -> Producer {
        Producer::Push(producer)
    }

    /// A pull producer.
    pub fn pull(producer: Rc<impl PullProducer + 'static>) -> Producer {
        Producer::Pull(producer)
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

    /// Whether it may write more. A user's says so by unregistering; of a connection it is known.
    pub(super) fn is_producing(&self) -> bool {
        match self {
            Producer::Push(_) | Producer::Pull(_) => true,
            Producer::Transport(transport) => transport.is_producing(),
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

/// A registered producer and whether it has been paused.
pub(super) struct Registered {
    pub(super) producer: Producer,
    pub(super) paused: bool,
}
