//! What a program says by itself. Nobody may be listening: a closed pipe is no reason to fail.

use std::io::{self, Write};

/// A line, or several, on standard output.
///
/// ```
/// use ropewalk_runner::announce;
///
/// if let Err(error) = announce::say("listening on 127.0.0.1:8000") {
///     announce::complain("echod", &format!("cannot write to standard output: {error}"));
/// }
/// ```
///
/// # Errors
/// What write(2) answers where it was not taken: the disk is full, say. That a reader has closed its end is none: `head`
/// has read enough.
pub fn say(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    heard(writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush()))
}

/// A reader who has gone has had what he wanted.
pub(crate) fn heard(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
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
