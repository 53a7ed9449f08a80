//! Cuts Rust sources into code, comments and string literals, so that a test can read each kind separately.

/// The kind of a piece of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    /// A `//` line, without its newline, or a `/* */` block.
    Comment,
    /// The inside of a string literal, escapes as written.
    Text,
}

/// A piece of source and the line that it begins on, counted from one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// Cuts a source into its pieces, in order. Character literals stay in the code.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut cutter = Cutter { source, pieces: Vec::new(), line: 1, counted: 0 };
    let (mut at, mut code_from) = (0, 0);
    while at < source.len() {
        match special(source, at) {
            None => at += source[at..].chars().next().map_or(1, char::len_utf8),
            Some(Special::Skipped(end)) => at = end,
            Some(Special::Piece(kind, inner, end)) => {
                cutter.cut(Kind::Code, code_from..at);
                cutter.cut(kind, inner);
                (at, code_from) = (end, end);
            }
        }
    }
    cutter.cut(Kind::Code, code_from..source.len());
    cutter.pieces
}

/// Returns the source with everything but code replaced by a space. Lines keep their numbers.
pub(super) fn code_only(source: &str) -> String {
    let (mut code, mut line) = (String::with_capacity(source.len()), 1);
    for piece in pieces(source).into_iter().filter(|piece| piece.kind == Kind::Code) {
        code.push(' ');
        code.extend(std::iter::repeat_n('\n', piece.line - line));
        code.push_str(piece.text);
        line = piece.line + piece.text.matches('\n').count();
    }
    code
}

struct Cutter<'a> {
    source: &'a str,
    pieces: Vec<Piece<'a>>,
    line: usize,
    /// The offset up to which newlines were counted.
    counted: usize,
}

impl Cutter<'_> {
    fn cut(&mut self, kind: Kind, range: std::ops::Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.line += self.source[self.counted..range.start].matches('\n').count();
        self.counted = range.start;
        self.pieces.push(Piece { kind, line: self.line, text: &self.source[range] });
    }
}

/// A place where code is interrupted, or skipped.
enum Special {
    /// Code whose quotes delimit no string. It ends at this offset.
    Skipped(usize),
    /// A piece: its kind, the range of its text, and the offset at which the next piece begins.
    Piece(Kind, std::ops::Range<usize>, usize),
}

fn special(source: &str, at: usize) -> Option<Special> {
    let rest = &source[at..];
    let to_end = |end: Option<usize>| end.map_or(source.len(), |end| at + end);
    match rest.as_bytes()[0] {
        b'/' if rest.starts_with("//") => {
            let end = to_end(rest.find('\n'));
            Some(Special::Piece(Kind::Comment, at..end, end))
        }
        b'/' if rest.starts_with("/*") => {
            let end = to_end(rest.find("*/").map(|end| end + 2));
            Some(Special::Piece(Kind::Comment, at..end, end))
        }
        b'"' => {
            let end = at + 1 + escaped_length(&rest[1..], '"');
            Some(Special::Piece(Kind::Text, at + 1..end, source.len().min(end + 1)))
        }
        b'r' => raw_text(source, at),
        b'\'' => Some(Special::Skipped(at + character_length(rest))),
        byte if byte.is_ascii_alphanumeric() || byte == b'_' => None,
        _ => None,
    }
}

/// Returns the raw string at `at`, or `None` if the `r` there belongs to a name or a raw identifier.
fn raw_text(source: &str, at: usize) -> Option<Special> {
    let before = source[..at].chars().next_back().unwrap_or(' ');
    if before.is_alphanumeric() && !source[..at].ends_with(['b', 'c']) || before == '_' {
        return None;
    }
    let rest = &source[at + 1..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inner = rest[hashes..].strip_prefix('"')?;
    let begin = source.len() - inner.len();
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inner.find(&close).map_or(source.len(), |length| begin + length);
    Some(Special::Piece(Kind::Text, begin..end, source.len().min(end + close.len())))
}

/// Returns the length up to the closing `quote`, which a backslash escapes.
fn escaped_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return at,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of the character literal at `rest`, or 1 if its quote begins a lifetime.
fn character_length(rest: &str) -> usize {
    let mut letters = rest[1..].chars();
    match (letters.next(), letters.next()) {
        (Some('\\'), _) => 2 + escaped_length(&rest[1..], '\''),
        (Some(letter), Some('\'')) => 2 + letter.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(source: &str) -> Vec<(Kind, usize, &str)> {
        pieces(source).into_iter().map(|piece| (piece.kind, piece.line, piece.text)).collect()
    }

    #[test]
    fn comments_are_separated_from_strings() {
        let source = "let a = \"b // \\\" c\"; // d \"e\"\n/* f\n */ g";
        let expected = [
            (Kind::Code, 1, "let a = "),
            (Kind::Text, 1, "b // \\\" c"),
            (Kind::Code, 1, "; "),
            (Kind::Comment, 1, "// d \"e\""),
            (Kind::Code, 1, "\n"),
            (Kind::Comment, 2, "/* f\n */"),
            (Kind::Code, 3, " g"),
        ];
        assert_eq!(cut(source), expected);
    }

    #[test]
    fn raw_strings_keep_their_quotes() {
        let source = "br#\"a \" b\"# r\"c\" for\"d\" r#type";
        let texts: Vec<_> =
            cut(source).into_iter().filter(|piece| piece.0 == Kind::Text).map(|piece| piece.2).collect();
        assert_eq!(texts, ["a \" b", "c", "d"]);
    }

    #[test]
    fn quotes_of_lifetimes_open_no_string() {
        let source = "'\"' '\\'' '\\\\' fn a<'b>(c: &'b str) 'é' \"d\"";
        let texts: Vec<_> =
            cut(source).into_iter().filter(|piece| piece.0 == Kind::Text).map(|piece| piece.2).collect();
        assert_eq!(texts, ["d"]);
    }

    #[test]
    fn code_alone_keeps_its_line_numbers() {
        assert_eq!(code_only("a\n// b\nc(\"d\ne\");\n").lines().collect::<Vec<_>>(), [" a", " ", "c( ", ");"]);
    }
}
