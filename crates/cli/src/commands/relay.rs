//! Passing bytes on from one connection to another one.

use std::cell::RefCell;

use ropewalk::Transport;

use crate::idle::IdleTimer;

/// One of the two connections, while it exists.
pub(crate) type Side = RefCell<Option<Transport>>;

/// Passes bytes on to a side, if it still exists, and restarts the timer of the pair.
pub(crate) fn forward(to: &Side, idle: &RefCell<IdleTimer>, write: impl FnOnce(&Transport)) {
    if let Some(to) = &*to.borrow() {
        write(to);
    }
    idle.borrow().touch();
}

/// Half-closes a side, after the other one has done so.
pub(crate) fn finish(to: &Side) {
    if let Some(to) = &*to.borrow() {
        to.unregister_producer();
        to.lose_write_connection();
    }
}
