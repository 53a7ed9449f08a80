//! Systems where directories are not watched yet.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use super::{FileEntry, FileRecord, Happened};
use crate::io_handle::RawWaitable;

pub(super) const IS_SUPPORTED: bool = false;

/// A queue that cannot exist.
#[derive(Debug)]
pub(super) struct Queue(Infallible);

impl Queue {
    pub(super) fn open() -> io::Result<Queue> {
        Err(unsupported())
    }

    pub(super) fn handle(&self) -> RawWaitable {
        match self.0 {}
    }

    pub(super) fn watch(&self, _directory: &Path, _reported: Happened) -> io::Result<i32> {
        match self.0 {}
    }

    pub(super) fn unwatch(&self, _number: i32) {
        match self.0 {}
    }

    pub(super) fn read(&self, _buffer: &mut [u8], _each: &mut dyn FnMut(FileRecord<'_>)) -> io::Result<bool> {
        match self.0 {}
    }
}

pub(super) fn look_at(_path: &Path) -> io::Result<FileEntry> {
    Err(unsupported())
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system does not report changes of files yet")
}
