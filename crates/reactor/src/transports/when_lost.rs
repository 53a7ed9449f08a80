//! Code outside the protocol that waits for the end of a connection, or asks for its reason.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::Resolver;

use super::stream::Stream;
use crate::error::Error;
use crate::kernel::{Kernel, Reactor};

impl Stream {
    /// Resolves with the reason of the end, in a turn after `connection_lost`.
    pub(super) fn resolve_when_lost(self: &Rc<Stream>, resolver: Resolver<Error>) {
        let Some(reason) = self.reason_of_end() else {
            return self.rare(|rare| rare.waiting_for_end.push(resolver));
        };
        if let Some(kernel) = self.reactor.upgrade() {
            resolve_later(&kernel, resolver, reason);
        }
    }

    /// Returns the reason of a loss, also before the end of the connection.
    pub(super) fn reason_of_loss(&self) -> Option<Error> {
        self.reason_of_end().or_else(|| self.outbound.failure())
    }

    /// Returns the reason of the end of a connection that has ended.
    fn reason_of_end(&self) -> Option<Error> {
        let reason = || self.rare_if_any(|rare| rare.lost.clone()).flatten();
        self.state().is_lost().then(|| reason().unwrap_or(Error::ConnectionDone))
    }

    /// Notifies the code that waits, and keeps the reason for code that asks later.
    pub(super) fn announce_end(&self, kernel: &Rc<Kernel>, reason: &Error) {
        let waiting = self.rare_if_any(|rare| std::mem::take(&mut rare.waiting_for_end)).unwrap_or_default();
        for resolver in waiting {
            resolve_later(kernel, resolver, reason.clone());
        }
        // Most connections end in order, and then this allocates nothing.
        if !reason.is_done() {
            self.rare(|rare| rare.lost = Some(reason.clone()));
        }
    }
}

/// Resolves in a later turn, because no user code may run while a connection ends.
fn resolve_later(kernel: &Rc<Kernel>, resolver: Resolver<Error>, reason: Error) {
    Reactor(kernel.clone()).call_later(Duration::ZERO, move |_| {
        let _ = resolver.callback(reason);
    });
}
