//! The event provider in its slot, which is empty while a [`DetachedWait`](super::DetachedWait) owns the provider.

use std::cell::RefMut;
use std::io;

use ropewalk_proto::Key;
use ropewalk_sys::{EventProvider, Received};

use super::Kernel;
use crate::error::{Error, Result};

impl Kernel {
    /// Asks the event provider, unless it is away waiting in another thread.
    #[inline]
    pub(crate) fn provider<R>(&self, ask: impl FnOnce(&mut (dyn EventProvider + 'static)) -> R) -> Result<R> {
        match self.provider_slot().as_deref_mut() {
            Some(provider) => Ok(ask(provider)),
            None => Err(Error::Waiting),
        }
    }

    /// Takes bytes that have arrived. None have while the provider is away.
    #[inline(always)]
    pub(crate) fn receive(&self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        // Not through `provider`: each message passes here, and the answer would be copied.
        match self.provider_slot().as_deref_mut() {
            Some(provider) => provider.receive(key, scratch),
            None => Ok(Received::Empty),
        }
    }

    /// Where the event provider stands, unless it is away.
    #[inline(always)]
    pub(crate) fn provider_slot(&self) -> RefMut<'_, Option<Box<dyn EventProvider>>> {
        let mut slot = self.provider.borrow_mut();
        if slot.is_none() {
            self.fetch_back(&mut slot);
        }
        slot
    }

    #[cold]
    fn fetch_back(&self, slot: &mut Option<Box<dyn EventProvider>>) {
        *slot = self.detached.take_back();
        if slot.is_some() {
            self.inbox.borrow_mut().events.prepend(&mut self.detached.take_events());
        }
    }

    /// Tells the event provider: now, or when it is back from waiting in another thread.
    pub(crate) fn tell_provider(&self, tell: impl FnOnce(&mut dyn EventProvider) + 'static) {
        let mut tell = Some(tell);
        let told = self.provider(|provider| tell.take().map(|tell| tell(provider)));
        if let (Err(_away), Some(tell)) = (told, tell) {
            self.detached.postpone(Box::new(tell));
        }
    }

    /// Whether this process is a child of the one that the provider's descriptors belong to.
    pub(crate) fn is_forked(&self) -> bool {
        self.forks.get() != ropewalk_sys::forks()
    }

    /// Makes the provider this process's own, if it was inherited by a fork.
    pub(crate) fn reopen_if_forked(&self) -> Result<()> {
        if self.is_forked() {
            let reopened = self.provider(ropewalk_sys::EventProvider::reopen_after_fork)?;
            reopened.map_err(Error::io("cannot reopen the event provider after a fork"))?;
            self.forks.set(ropewalk_sys::forks());
        }
        Ok(())
    }
}
