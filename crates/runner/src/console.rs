//! Prints to standard output and standard error. A closed pipe is not an error (`ropewalk --help | head`).

use std::fmt::Write as _;
use std::io::{self, Write};

use ropewalk::proto::escape::Escaped;

/// Prints one or more lines on standard output.
///
/// ```
/// use ropewalk_runner::console;
///
/// if let Err(error) = console::print("listening on 127.0.0.1:8000") {
///     console::print_error("echod", &format!("cannot write to standard output: {error}"));
/// }
/// ```
///
/// # Errors
/// Errors of write(2), such as a full disk. A closed pipe is not an error.
pub fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    ignore_broken_pipe(writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush()))
}

pub(crate) fn ignore_broken_pipe(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Prints one line on standard error, after the name of the program.
///
/// Control characters are escaped, because the text may quote a file from another user.
///
/// ```
/// // echod: port 7 is in use
/// ropewalk_runner::console::print_error("echod", "port 7 is in use");
/// ```
pub fn print_error(program: &str, text: &str) {
    let mut line = format!("{program}: ");
    // Writing to a string does not fail.
    let _ = Escaped(&mut line).write_str(text);
    let _ = writeln!(io::stderr(), "{line}");
}
