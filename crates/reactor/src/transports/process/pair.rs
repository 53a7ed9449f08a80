//! Standard input and output of a child as one connection, or its terminal.

use std::any::Any;
use std::rc::Rc;

use ropewalk_proto::Address;
use ropewalk_proto::Key;
use ropewalk_sys::{PipeEnd, Spawned};

use super::{PIPE_SETTINGS, Running, TERMINAL};
use crate::error::Error;
use crate::kernel::{CallbackKind, Reactor};
use crate::protocols::Protocol;
use crate::transports::stream::{Origin, Stream};
use crate::transports::{Keys, Transport};

/// Takes the keys of standard input and output, or of the terminal, out of what was started.
///
/// # Panics
/// When the child has neither, which `connect_process` checks before it starts the child.
pub(super) fn take(spawned: &mut Spawned) -> Keys {
    if let Some(keys) = spawned.terminal {
        return terminal(keys);
    }
    let mut key_of = |number| {
        let place = spawned.pipes.iter().position(|pipe| pipe.number == number).expect("the plan has this pipe");
        spawned.pipes.swap_remove(place).key
    };
    let (send, receive) = (key_of(0), key_of(1));
    Keys::Pair { receive, send }
}

pub(super) fn terminal([receive, send]: [Key; 2]) -> Keys {
    if receive == send { Keys::Pipe(receive, PipeEnd::Both) } else { Keys::Pair { receive, send } }
}

impl Running {
    /// Adds the connection of both directions, which is known under both numbers.
    pub(super) fn add_pair(self: &Rc<Running>, reactor: &Reactor, keys: Keys, protocol: Box<dyn Protocol>) {
        let origin = Rc::new(OfProcess(self.clone()));
        let pair = Stream::begin(reactor, keys, Address::Unnamed, protocol, Some(origin), PIPE_SETTINGS);
        let both = (PipeEnd::Both, pair);
        self.pipes.borrow_mut().extend([(0, both.clone()), (TERMINAL, both)]);
    }
}

/// Counts the loss of the connection as that of a pipe.
struct OfProcess(Rc<Running>);

impl Origin for OfProcess {
    fn connected(self: Rc<Self>, _transport: &Transport) {}

    fn connection_lost(self: Rc<Self>, reactor: &Reactor, _reason: &Error) {
        let process = &self.0;
        let _ = reactor.0.guard(CallbackKind::Protocol, process.name, || process.pipe_lost(TERMINAL));
    }

    fn exits_in_order(&self) -> bool {
        true
    }

    fn forget(&self) {}

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}
