//! Systems other than Unix, where no call is known that stays below a directory.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use super::Metadata;

/// Never created, because no directory can be served.
pub(in super::super) struct Root(Infallible);

impl Root {
    pub(in super::super) fn open(_directory: &Path) -> io::Result<Root> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "serving files is not supported on this system"))
    }

    pub(in super::super) fn metadata(&self, _path: &Path) -> io::Result<Metadata> {
        match self.0 {}
    }

    pub(in super::super) fn open_file(&self, _path: &Path) -> io::Result<(File, Metadata)> {
        match self.0 {}
    }

    pub(in super::super) fn names(&self, _path: &Path) -> io::Result<std::iter::Empty<OsString>> {
        match self.0 {}
    }

    pub(in super::super) fn check_search_permission(&self) -> io::Result<()> {
        match self.0 {}
    }
}

/// Converts the bytes of a decoded URL into a name. Names are Unicode, without separators of drives, streams and paths.
pub(in super::super) fn name_from_bytes(bytes: Vec<u8>) -> Option<OsString> {
    let name = String::from_utf8(bytes).ok()?;
    (!name.contains(['\\', ':'])).then(|| name.into())
}

/// Returns `false`: no error code is known.
pub(in super::super) fn is_link_loop(_error: &io::Error) -> bool {
    false
}
