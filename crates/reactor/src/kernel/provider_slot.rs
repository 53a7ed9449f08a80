//! The event provider in its slot, which is empty while a [`DetachedWait`](super::DetachedWait) owns the provider.

use std::cell::RefMut;
use std::io;

use ropewalk_proto::Key;
use ropewalk_sys::{EventProvider, Received, Sockets, Streams, Watches};

use super::Kernel;
use crate::error::{Error, Result};

impl Kernel {
    /// Calls `ask` with the event provider. Returns [`Error::Waiting`] while the provider waits in another thread.
    ///
    /// A kind without a method here is reached this way: `kernel.provider(|provider| provider.adoption().map(ask))`.
    #[inline]
    pub(crate) fn provider<R>(&self, ask: impl FnOnce(&mut (dyn EventProvider + 'static)) -> R) -> Result<R> {
        match self.provider_slot().as_deref_mut() {
            Some(provider) => Ok(ask(provider)),
            None => Err(Error::Waiting),
        }
    }

    /// Calls `ask` with the provider's streams.
    #[inline]
    pub(crate) fn streams<R>(&self, ask: impl FnOnce(&mut dyn Streams) -> R) -> Result<R> {
        self.provider(|provider| provider.streams().map(ask))?.ok_or_else(|| self.lacks("streams"))
    }

    /// Calls `ask` with the provider's sockets.
    pub(crate) fn sockets<R>(&self, ask: impl FnOnce(&mut dyn Sockets) -> R) -> Result<R> {
        self.provider(|provider| provider.sockets().map(ask))?.ok_or_else(|| self.lacks("sockets"))
    }

    /// Calls `ask` with the provider's watches.
    pub(crate) fn watches<R>(&self, ask: impl FnOnce(&mut dyn Watches) -> R) -> Result<R> {
        self.provider(|provider| provider.watches().map(ask))?.ok_or_else(|| self.lacks("watches"))
    }

    #[cold]
    fn lacks(&self, interface: &'static str) -> Error {
        Error::Unsupported { interface, provider: self.name }
    }

    /// Receives bytes that have arrived. Returns [`Received::Empty`] while the provider waits in another thread.
    #[inline(always)]
    pub(crate) fn receive(&self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        // This does not use `provider`, which would copy the answer: every received message takes this path.
        match self.provider_slot().as_deref_mut() {
            Some(provider) => provider.receive_on_stream(key, scratch),
            None => Ok(Received::Empty),
        }
    }

    /// Borrows the provider's slot. Fetches the provider back first, if its detached wait is over.
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

    /// Calls `tell` with the event provider: now, or once the provider is back from a wait in another thread.
    pub(crate) fn tell_provider(&self, tell: impl FnOnce(&mut dyn EventProvider) + 'static) {
        let mut tell = Some(tell);
        let told = self.provider(|provider| tell.take().map(|tell| tell(provider)));
        if let (Err(_away), Some(tell)) = (told, tell) {
            self.detached.postpone(Box::new(tell));
        }
    }

    /// Calls `tell` with the provider's streams: now, or once the provider is back from a wait in another thread.
    pub(crate) fn tell_streams(&self, tell: impl FnOnce(&mut dyn Streams) + 'static) {
        self.tell_provider(move |provider| {
            if let Some(streams) = provider.streams() {
                tell(streams);
            }
        });
    }

    /// Calls `tell` with the provider's watches: now, or once the provider is back from a wait in another thread.
    pub(crate) fn tell_watches(&self, tell: impl FnOnce(&mut dyn Watches) + 'static) {
        self.tell_provider(move |provider| {
            if let Some(watches) = provider.watches() {
                tell(watches);
            }
        });
    }

    /// Returns whether this process is a child of the process that opened the provider's descriptors.
    pub(crate) fn is_forked(&self) -> bool {
        self.forks.get() != ropewalk_sys::forks()
    }

    /// Reopens the provider if this process inherited it in a fork.
    pub(crate) fn reopen_if_forked(&self) -> Result<()> {
        if self.is_forked() {
            let reopened = self.provider(ropewalk_sys::EventProvider::reopen_after_fork)?;
            reopened.map_err(Error::io("cannot reopen the event provider after a fork"))?;
            self.forks.set(ropewalk_sys::forks());
        }
        Ok(())
    }
}
