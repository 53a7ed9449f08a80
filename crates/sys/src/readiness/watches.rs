//! Watches on descriptors of the user.

use std::io;

use ropewalk_proto::Key;

use super::registration::Registration;
use super::selector::Selector;
use super::{Readiness, arm};
use crate::io_handle::RawWaitable;
use crate::raw_descriptor::borrow_open;
use crate::seam::{Interest, Watches};
use crate::socket::table::stale;

impl<S: Selector> Watches for Readiness<S> {
    fn watch(&mut self, handle: RawWaitable, interest: Interest) -> io::Result<Key> {
        self.insert(Registration::watched(borrow_open(handle)?), interest.into())
    }

    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let source = self.sources.get_mut(key).ok_or_else(stale)?;
        source.wanted = interest.into();
        arm(&mut self.selector, source, key)
    }

    fn unwatch(&mut self, key: Key) {
        drop(self.remove(key));
    }
}
