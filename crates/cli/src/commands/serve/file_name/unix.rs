//! Any bytes are a name, except those that were excluded already: NUL and the slash.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The name that these bytes are.
pub(in super::super) fn from_bytes(bytes: Vec<u8>) -> Option<OsString> {
    Some(OsString::from_vec(bytes))
}
