//! The scenario's side of the dialogue with its specification: it prints lines, and reads lines from standard input.

use std::io::{self, BufRead, Write};

use ropewalk::Reactor;

/// Prints a line for the specification.
pub(super) fn say(line: &str) {
    writeln!(io::stdout(), "{line}").expect("the parent reads the pipe");
}

/// Returns a call that prints `line`.
pub(super) fn saying(line: &'static str) -> impl Fn(&Reactor) + Send + Clone + 'static {
    move |_| say(line)
}

/// Waits for the next line of the specification. Returns an empty line at the end of the input.
pub(super) fn hear() -> String {
    io::stdin().lock().lines().next().and_then(Result::ok).unwrap_or_default()
}
