//! Escapes control characters in text that may come from another user or a peer. Such text must not begin a line in a
//! log or move the cursor of a terminal.

use std::fmt::{self, Write};

/// Writes text with its control characters escaped. Other characters are unchanged.
///
/// ```
/// use std::fmt::Write;
/// use ropewalk_proto::escape::Escaped;
///
/// let mut line = String::new();
/// Escaped(&mut line).write_str("größe\n\u{1b}[2J")?;
/// assert_eq!(line, r"größe\n\u{1b}[2J");
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub struct Escaped<W>(pub W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        match character.is_control() || reorders(character) {
            true => write!(self.0, "{}", character.escape_default()),
            false => self.0.write_char(character),
        }
    }
}

/// Text that is shown without control characters, and cut to a length that fits on a terminal.
///
/// Backslashes are not doubled, because they belong to the grammar of descriptions.
///
/// ```
/// use ropewalk_proto::escape::Printable;
///
/// assert_eq!(Printable("one\ntwo").to_string(), r"one\ntwo");
/// ```
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        let (shown, more) = match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => (&self.0[..end], "..."),
            None => (self.0, ""),
        };
        Escaped(&mut *f).write_str(shown)?;
        f.write_str(more)
    }
}

/// A [`Printable`] in quotation marks.
///
/// ```
/// use ropewalk_proto::escape::Quoted;
///
/// assert_eq!(Quoted("tpc").to_string(), "'tpc'");
/// ```
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", Printable(self.0))
    }
}

/// Unicode's bidirectional formatting reorders the rest of the line.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        let text = "the service '\u{1b}[31mred\nERROR forged\u{202e}\0': größer als „5“ \\ 'x'";
        let escaped = r"the service '\u{1b}[31mred\nERROR forged\u{202e}\u{0}': größer als „5“ \ 'x'";
        let mut written = String::new();
        Escaped(&mut written).write_str(text).unwrap();
        assert_eq!(written, escaped);
    }
}
