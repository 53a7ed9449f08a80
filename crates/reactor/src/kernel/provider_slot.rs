//! The event provider in its slot, which is empty while a [`DetachedWait`](super::DetachedWait) owns the provider.

use std::cell::RefMut;
use std::io;
use std::net::IpAddr;

use ropewalk_proto::{Key, Outbox};
use ropewalk_sys::{
    Adoption, Datagrams, DescriptorPassing, EventProvider, Filesystem, Pipes, Processes, Received, Sent, Sockets,
    Streams, Watches,
};

use super::Kernel;
use super::provider_calls::{Answer, Blame, Guarded};
use crate::error::{Error, Result};

/// Defines methods of the kernel that call `ask` with a guarded part of the provider. They return [`Error::Waiting`]
/// while the provider waits in another thread, [`Error::Unsupported`] when it has no such part, and [`Error::Panicked`]
/// when it panics instead of returning the part.
macro_rules! parts {
    ($($name:ident: $part:ident),*) => {
        impl Kernel {
            $(#[inline]
            pub(crate) fn $name<R>(&self, ask: impl FnOnce(&mut dyn $part) -> R) -> Result<R> {
                let mut slot = self.provider_slot();
                let Some(provider) = slot.as_deref_mut() else { return Err(Error::Waiting) };
                let part = self.guard_provider(stringify!($name), || provider.$name());
                let answer = part.map(|part| ask(&mut Guarded { kernel: self, part }));
                drop(slot);
                let panicked = self.apply_owed_policy();
                answer.ok_or_else(|| panicked.unwrap_or_else(|| self.lacks(stringify!($name))))
            })*
        }
    };
}

parts! {
    streams: Streams,
    sockets: Sockets,
    adoption: Adoption,
    pipes: Pipes,
    descriptor_passing: DescriptorPassing,
    processes: Processes,
    datagrams: Datagrams,
    watches: Watches,
    filesystem: Filesystem
}

/// Defines methods of the kernel that call `tell` with a guarded part of the provider: now, or once the provider is
/// back from a wait in another thread.
macro_rules! tells {
    ($($tell_part:ident: $name:ident, $part:ident;)*) => {
        impl Kernel {
            $(pub(crate) fn $tell_part(&self, tell: impl FnOnce(&mut dyn $part) + 'static) {
                let mut tell = Some(tell);
                let told = self.$name(|part| tell.take().map(|tell| tell(part)));
                if let (Err(Error::Waiting), Some(tell)) = (told, tell) {
                    self.detached.postpone(Box::new(move |kernel, provider| {
                        if let Some(part) = kernel.guard_provider(stringify!($name), || provider.$name()) {
                            tell(&mut Guarded { kernel, part });
                        }
                    }));
                }
            })*
        }
    };
}

tells! {
    tell_streams: streams, Streams;
    tell_watches: watches, Watches;
    tell_processes: processes, Processes;
}

impl Kernel {
    /// Returns whether the provider waits in another thread.
    #[inline]
    pub(crate) fn is_away(&self) -> bool {
        self.provider_slot().is_none()
    }

    /// Returns [`Error::Waiting`] while the provider waits in another thread.
    #[inline]
    pub(crate) fn check_present(&self) -> Result<()> {
        if self.is_away() { Err(Error::Waiting) } else { Ok(()) }
    }

    /// Makes the call `name` of the event provider. Returns [`Error::Waiting`] while the provider waits in another
    /// thread.
    #[inline]
    pub(crate) fn provider<R: Answer>(
        &self,
        name: &'static str,
        call: impl FnOnce(&mut (dyn EventProvider + 'static)) -> R,
    ) -> Result<R> {
        let mut slot = self.provider_slot();
        let provider = slot.as_deref_mut().ok_or(Error::Waiting)?;
        let answer = self.guard_provider(name, || call(provider));
        drop(slot);
        self.apply_owed_policy();
        Ok(answer)
    }

    /// Looks `host` up in the provider's own network. Returns `None` if the operating system looks names up.
    pub(crate) fn look_up(&self, host: &str) -> Option<io::Result<Vec<IpAddr>>> {
        let names = self.names.as_ref()?;
        let found = self.guard_provider("names", || names(host));
        self.apply_owed_policy();
        Some(found)
    }

    /// Returns whether the provider has the host names of its own network.
    pub(crate) fn has_names(&self) -> bool {
        self.names.is_some()
    }

    /// Returns a seed of the provider, or `None` if the system's random numbers are to be used.
    #[cfg(any(feature = "hickory", feature = "tls"))]
    pub(crate) fn random_seed(&self) -> Option<u64> {
        self.provider("random_seed", |provider| provider.random_seed()).ok().flatten()
    }

    #[cold]
    fn lacks(&self, interface: &'static str) -> Error {
        Error::Unsupported { interface, provider: self.name }
    }

    /// Receives bytes that have arrived. Returns [`Received::Empty`] while the provider waits in another thread.
    ///
    /// A panic in the provider leaves this method.
    #[inline(always)]
    pub(crate) fn receive(&self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        self.receive_all(key, scratch).map_or_else(|other| other, |count| Ok(Received::Drained(count)))
    }

    /// Receives as [`receive`](Kernel::receive), and returns the number of bytes if these are all that have arrived.
    ///
    /// Nearly every message takes this path. A number is returned in a register, but any other answer in memory.
    #[inline(always)]
    pub(crate) fn receive_all(&self, key: Key, scratch: &mut [u8]) -> Result<usize, io::Result<Received>> {
        let blame = Blame::new(self, "receive", key);
        let mut slot = self.provider_slot();
        let received = match slot.as_deref_mut() {
            Some(provider) => provider.receive_on_stream(key, scratch),
            None => Ok(Received::Empty),
        };
        drop(slot);
        blame.lift();
        match received {
            Ok(Received::Drained(count)) => Ok(count),
            other => Err(other),
        }
    }

    /// Sends the bytes in the outbox. Returns any answer but [`Sent::All`] as an error, and `None` as the error while
    /// the provider waits in another thread.
    ///
    /// A panic in the provider leaves this method.
    #[inline(always)]
    pub(crate) fn send_all(&self, key: Key, outbox: &mut Outbox) -> Result<(), Option<io::Result<Sent>>> {
        let blame = Blame::new(self, "send", key);
        let mut slot = self.provider_slot();
        let Some(provider) = slot.as_deref_mut() else {
            blame.lift();
            return Err(None);
        };
        let sent = provider.send_on_stream(key, outbox);
        drop(slot);
        blame.lift();
        match sent {
            Ok(Sent::All) => Ok(()),
            other => Err(Some(other)),
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
        *slot = self.detached.take_back(self);
        if slot.is_some() {
            self.inbox.borrow_mut().events.prepend(&mut self.detached.take_events());
        }
    }

    /// Returns whether this process is a child of the process that opened the provider's descriptors.
    pub(crate) fn is_forked(&self) -> bool {
        self.forks.get() != ropewalk_sys::forks()
    }

    /// Reopens the provider if this process inherited it in a fork.
    pub(crate) fn reopen_if_forked(&self) -> Result<()> {
        if self.is_forked() {
            // The thread that waits, or the host loop, has stayed in the parent.
            if self.hosted().is_some() {
                return Err(Error::Forked);
            }
            let reopened = self.provider("reopen_after_fork", EventProvider::reopen_after_fork)?;
            reopened.map_err(Error::io("cannot reopen the event provider after a fork"))?;
            self.forks.set(ropewalk_sys::forks());
        }
        Ok(())
    }
}
