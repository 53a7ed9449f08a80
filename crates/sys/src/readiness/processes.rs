//! Child processes.

use std::io;
use std::os::fd::BorrowedFd;

use ropewalk_proto::Key;

use super::Readiness;
use super::selector::Selector;
use crate::process::{Children, HasChildren};
use crate::socket::table::stale;

impl<S: Selector> HasChildren for Readiness<S> {
    fn children(&mut self) -> &mut Children {
        &mut self.children
    }

    fn pipe_descriptor(&mut self, key: Key) -> io::Result<BorrowedFd<'_>> {
        let (fd, _) = self.sources.get(key).ok_or_else(stale)?.as_pipe()?;
        Ok(fd)
    }
}
