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

/// One line on standard error, which begins with the program's name. What a terminal would obey stands there escaped: the text
/// may quote a file that somebody else wrote.
///
/// ```
/// // echod: port 7 is taken
/// ropewalk_runner::announce::complain("echod", "port 7 is taken");
/// ```
pub fn complain(program: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{program}: {}", harmless(text));
}

fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // Unicode's bidirectional formatting turns a line around.
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match character.is_control() || turns {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_all_else_is_said_as_it_is() {
        let text = "the service '\u{1b}[31mred\nERROR forged\u{202e}\0': größer als „5“ \\ 'x'";
        let shown = r"the service '\u{1b}[31mred\nERROR forged\u{202e}\u{0}': größer als „5“ \ 'x'";
        assert_eq!(harmless(text), shown);
    }
}
