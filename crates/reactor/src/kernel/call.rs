//! Closures that wait for their turn, with the name by which they are logged.

use super::Reactor;

/// A call on the reactor's own thread.
pub(crate) trait Call {
    fn call(self: Box<Self>, reactor: &Reactor);
    fn name(&self) -> &'static str;
}

impl<F: FnOnce(&Reactor)> Call for F {
    fn call(self: Box<Self>, reactor: &Reactor) {
        self(reactor);
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<F>()
    }
}

/// A call that comes from another thread.
pub(crate) trait SendCall: Call + Send {}

impl<C: Call + Send> SendCall for C {}
