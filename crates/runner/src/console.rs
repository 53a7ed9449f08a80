//! Prints to standard output and standard error. A closed pipe is not an error (`ropewalk --help | head`).

use std::io::{self, Write};

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
    let _ = writeln!(io::stderr(), "{program}: {}", escape_control(text));
}

fn escape_control(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // Unicode's bidirectional formatting reorders the rest of the line.
        let reorders = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match character.is_control() || reorders {
            true => escaped.extend(character.escape_default()),
            false => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape_control;

    #[test]
    fn only_control_characters_are_escaped() {
        let text = "the service '\u{1b}[31mred\nERROR forged\u{202e}\0': größer als „5“ \\ 'x'";
        let escaped = r"the service '\u{1b}[31mred\nERROR forged\u{202e}\u{0}': größer als „5“ \ 'x'";
        assert_eq!(escape_control(text), escaped);
    }
}
