//! The error of a description, in one sentence.

use std::fmt;

use super::Description;
use super::correction::{self, Side};
use crate::escape::{Printable, Quoted};

/// An endpoint description that cannot be used: a message for its author, and the offset of the wrong part.
///
/// A plain value, which any thread may use.
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
    /// Creates an error for a custom endpoint type. `offset` is in bytes from the beginning of the description.
    ///
    /// `message` names the fault, then what was expected, in lower case and without a full stop.
    ///
    /// ```
    /// use ropewalk_proto::description::DescriptionError;
    ///
    /// let inner = DescriptionError::new(4, "invalid port 'eighty': expected a number from 0 to 65535");
    /// let outer = inner.nested_at("haproxy:".len()); // for the author of haproxy:tcp:eighty
    /// assert_eq!(outer.offset(), 12);
    /// ```
    pub fn new(offset: usize, message: impl fmt::Display) -> DescriptionError {
        DescriptionError { offset, message: message.to_string() }
    }

    /// Creates the error for a description with an unknown endpoint type.
    ///
    /// `side` is `server` or `client`, perhaps behind another word. `known` are the names of the existing types, and
    /// `example` is a correct description. The message suggests a correction if the mistake is a likely one, such as a
    /// type for datagrams instead of one for streams.
    ///
    /// ```
    /// use ropewalk_proto::description::{Description, DescriptionError};
    ///
    /// let description: Description = "tpc:80".parse()?;
    /// let error = DescriptionError::unknown_name(&description, "server", ["tcp", "unix"], "tcp:8000");
    /// let message = "unknown server endpoint type 'tpc': expected one of tcp, unix (did you mean tcp:80?)";
    /// assert_eq!(error.to_string(), message);
    ///
    /// let description: Description = "udp:80".parse()?;
    /// let error = DescriptionError::unknown_name(&description, "server", ["tcp", "unix"], "tcp:8000");
    /// let message = "server endpoint type 'udp' is for datagrams: expected one of tcp, unix (did you mean tcp:80?)";
    /// assert_eq!(error.to_string(), message);
    /// # Ok::<(), DescriptionError>(())
    /// ```
    pub fn unknown_name<'a>(
        description: &Description,
        side: &str,
        known: impl IntoIterator<Item = &'a str>,
        example: &str,
    ) -> DescriptionError {
        let name = description.name();
        let known: Vec<_> = known.into_iter().collect();
        let correct = correction::of_unknown_type(Side::named(side), description, &known);
        let hint = match &correct {
            Some(correct) => format!("did you mean {}?", Printable(correct)),
            None => format!("for example {example}"),
        };
        let name_text = Quoted(&name.value);
        let fault = match correction::of_other_transport(&name.value, &known) {
            Some(transport) => format!("{side} endpoint type {name_text} is for {transport}"),
            None => format!("unknown {side} endpoint type {name_text}"),
        };
        let message = format!("{fault}: expected one of {} ({hint})", known.join(", "));
        DescriptionError::new(name.offset, message)
    }

    /// Adds a suggestion to the message.
    pub(super) fn suggest(mut self, correct: &str) -> DescriptionError {
        self.message += &format!(" (did you mean {}?)", Printable(correct));
        self
    }

    /// Moves the error by `offset` bytes, for an outer description that contains the faulty one at that offset.
    #[must_use]
    pub fn nested_at(mut self, offset: usize) -> DescriptionError {
        self.offset += offset;
        self
    }

    /// Returns the offset of the wrong part in the description, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

// `Debug` is not derived, because a `main` that returns the error prints it with `Debug`.
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

/// A part that the grammar requires and the text lacks.
pub(super) enum Missing<'a> {
    Name(&'a str),
    Key(&'a str),
    Escaped(&'a str),
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Missing::Name("") => write!(f, "empty description: expected an endpoint type, for example tcp:8000"),
            Missing::Name(text) => {
                let text = Quoted(text);
                write!(f, "missing endpoint type in {text}: expected one before the first colon, for example tcp:8000")
            }
            Missing::Key(text) => {
                write!(f, r"missing key before '=' in {}: write \= for an equals sign", Quoted(text))
            }
            Missing::Escaped(text) => {
                write!(f, r"missing character after the last backslash in {}: write \\ for a backslash", Quoted(text))
            }
        }
    }
}
