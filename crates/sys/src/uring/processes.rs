//! Child processes.

use std::io;
use std::os::fd::BorrowedFd;

use ropewalk_proto::Key;

use super::Uring;
use crate::process::{Children, HasChildren};

impl HasChildren for Uring {
    fn children(&mut self) -> &mut Children {
        &mut self.children
    }

    fn pipe_descriptor(&mut self, key: Key) -> io::Result<BorrowedFd<'_>> {
        Ok(self.source_mut(key)?.as_pipe()?.descriptor())
    }
}
