//! Without the feature `idna`, a name with letters beyond ASCII is refused.

use std::borrow::Cow;
use std::io;

pub(super) fn ascii_form(_host: &str) -> io::Result<Cow<'_, str>> {
    let message = "the name has letters beyond ASCII: use its ASCII form, in which such labels begin with xn--, or the \
                   feature `idna` of ropewalk";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}
