//! What a program says by itself. Nobody may be listening: a closed pipe or a full disk is no reason to fail.

use std::io::{self, Write};

/// A line, or several, on standard output.
///
/// ```
/// ropewalk_runner::announce::say("listening on 127.0.0.1:8000");
/// ```
pub fn say(text: &str) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush());
}

/// One line on standard error, which begins with the program's name.
///
/// ```
/// // echod: port 7 is taken
/// ropewalk_runner::announce::complain("echod", "port 7 is taken");
/// ```
pub fn complain(program: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{program}: {text}");
}
