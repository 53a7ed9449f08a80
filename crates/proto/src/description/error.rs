//! What is wrong with a description, in one sentence.

use std::fmt;

use super::Description;

/// A description that cannot be used: a sentence for the person who wrote it, and where in it the fault lies.
///
/// ```
/// use ropewalk_proto::description::ServerDescription;
///
/// let text = "tcp:eighty";
/// let error = text.parse::<ServerDescription>().unwrap_err();
/// assert_eq!(&text[error.offset()..], "eighty");
/// println!("{text}\n{}^ {error}", " ".repeat(error.offset()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DescriptionError {
    offset: usize,
    message: String,
}

impl DescriptionError {
    /// An error at `offset` bytes into the description, for endpoint types that are not built in.
    ///
    /// `message` names the wrong part, what was expected and what exists, in one sentence without a full stop.
    ///
    /// ```
    /// use ropewalk_proto::description::DescriptionError;
    ///
    /// let inner = DescriptionError::new(4, "'eighty' is no port: expected a number from 0 to 65535");
    /// let outer = inner.nested_at("haproxy:".len()); // for who wrote haproxy:tcp:eighty
    /// assert_eq!(outer.offset(), 12);
    /// ```
    pub fn new(offset: usize, message: impl fmt::Display) -> DescriptionError {
        DescriptionError { offset, message: message.to_string() }
    }

    /// The error for a description whose name stands for nothing: `side` is `server` or `client`, `known` are the names
    /// that exist, and `example` is a description that is right.
    ///
    /// ```
    /// use ropewalk_proto::description::{Description, DescriptionError};
    ///
    /// let description: Description = "tpc:80".parse()?;
    /// let error = DescriptionError::unknown_name(&description, "server", ["tcp", "unix"], "tcp:80");
    /// assert!(error.to_string().contains("'tpc'") && error.to_string().contains("tcp, unix"));
    /// # Ok::<(), DescriptionError>(())
    /// ```
    pub fn unknown_name<'a>(
        description: &Description,
        side: &str,
        known: impl IntoIterator<Item = &'a str>,
        example: &str,
    ) -> DescriptionError {
        let name = description.name();
        let (name_text, text) = (Quoted(&name.value), Quoted(description.text()));
        let known: Vec<_> = known.into_iter().collect();
        let known = known.join(", ");
        let message = format!("{name_text} in {text} is no {side} type: known are {known}, as in {example}");
        DescriptionError::new(name.offset, message)
    }

    /// The same error, for who wrote the description in which this one begins at `offset`.
    #[must_use]
    pub fn nested_at(mut self, offset: usize) -> DescriptionError {
        self.offset += offset;
        self
    }

    /// Where in the description the wrong part begins, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

/// The words of `Display`: who returns it from `main` has it printed by this.
impl fmt::Debug for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DescriptionError {}

/// What was written, in quotation marks and fit for a terminal. Backslashes stay single, for they are the grammar's.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        f.write_str("'")?;
        for character in self.0.chars().take(SHOWN) {
            match character.is_control() {
                true => write!(f, "{}", character.escape_default())?,
                false => fmt::Write::write_char(f, character)?,
            }
        }
        f.write_str(if self.0.chars().nth(SHOWN).is_some() { "...'" } else { "'" })
    }
}

/// What a text lacks to be a description at all.
pub(super) enum Empty<'a> {
    Name(&'a str),
    Key(&'a str),
    Escape(&'a str),
}

impl fmt::Display for Empty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Empty::Name("") => write!(f, "the description is empty: it begins with a name, as in tcp:8000"),
            Empty::Name(text) => {
                write!(f, "the description {} has no name before its first colon, as in tcp:8000", Quoted(text))
            }
            Empty::Key(text) => {
                write!(f, r"{} has no key before a '=': an equals sign as such is written \=", Quoted(text))
            }
            Empty::Escape(text) => {
                write!(f, r"{} ends in a backslash, which escapes nothing: write \\ for one", Quoted(text))
            }
        }
    }
}
