//! Closures that wait for a turn of the loop, with the names under which they are logged.

use super::Reactor;

/// A call on the reactor's own thread.
pub(crate) trait Call {
    fn call(self: Box<Self>, reactor: &Reactor);
    fn name(&self) -> &'static str;

    /// Whether [`get_delayed_calls`](Reactor::get_delayed_calls) leaves the call out.
    fn is_internal(&self) -> bool {
        false
    }
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

/// A delayed call that [`get_delayed_calls`](Reactor::get_delayed_calls) leaves out.
pub(crate) struct Internal<F>(pub(crate) F);

impl<F: FnOnce(&Reactor)> Call for Internal<F> {
    fn call(self: Box<Self>, reactor: &Reactor) {
        (self.0)(reactor);
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<F>()
    }

    fn is_internal(&self) -> bool {
        true
    }
}
