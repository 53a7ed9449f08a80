//! What the program says by itself. Nobody may be listening: a closed pipe or a full disk is no reason to fail.

use std::io::{self, Write};

/// A line, or several, on standard output.
pub(crate) fn say(text: &str) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush());
}

/// One line on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "ropewalk: {text}");
}
