//! Names are Unicode, and some characters mean something to the system: drives, streams, separators.

use std::ffi::OsString;

/// The name that these bytes are, if they are one.
pub(in super::super) fn from_bytes(bytes: Vec<u8>) -> Option<OsString> {
    let name = String::from_utf8(bytes).ok()?;
    (!name.contains(['\\', ':'])).then(|| name.into())
}
