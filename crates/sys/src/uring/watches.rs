//! Watches on descriptors of the user.

use std::{io, mem};

use ropewalk_proto::Key;

use super::Uring;
use super::operation::Verbs;
use super::slot::{Resource, Slot};
use crate::io_handle::RawWaitable;
use crate::raw_descriptor::borrow_open;
use crate::seam::{Interest, Watches};

impl Watches for Uring {
    fn watch(&mut self, handle: RawWaitable, interest: Interest) -> io::Result<Key> {
        let mut source = Slot::watched(borrow_open(handle)?);
        source.wanted = interest;
        let key = self.sources.insert(source);
        self.arm(key);
        self.submit_for_host()?;
        Ok(key)
    }

    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let source = self.source_mut(key)?;
        let Resource::Watched(_) = source.resource else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "interest is for watched descriptors"));
        };
        if mem::replace(&mut source.wanted, interest) == interest {
            return Ok(());
        }
        let polled = source.under_way.contains(Verbs::POLL);
        self.cancel(key, Verbs::POLL);
        self.mark_due(key);
        if polled && interest.is_empty() {
            // The owner may close the descriptor after this call, so the kernel must not use it any more.
            self.enter(None)?;
        }
        self.submit_for_host()
    }

    fn unwatch(&mut self, key: Key) {
        self.end(key);
    }
}
