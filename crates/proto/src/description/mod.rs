//! Endpoint descriptions: strings that say where to listen or connect.
//!
//! ```text
//!   tcp : 8000 : interface=127.0.0.1 : backlog=50
//!   ---   ----   -------------------   ----------
//!   name  positional        keyed           keyed
//! ```
//!
//! Parts are separated by `:`. The first part is the name of an endpoint type. Each other part is an argument, which
//! has a key if it contains a `=`. After the first `=` of a part, further ones are ordinary characters. A backslash
//! escapes the next character: `\:` is a colon inside an argument, `\=` an equals sign and `\\` a backslash.
//! [`quote_string_argument`] adds these escapes.
//!
//! [`Description`] implements this grammar for any endpoint type. [`ServerDescription`] and [`ClientDescription`] know
//! the built-in types of streams, and [`DatagramServerDescription`] and [`DatagramClientDescription`] those of datagram
//! ports. They check the arguments and return them with their types.
//!
//! Source: `serverFromString`, `clientFromString` and `quoteStringArgument` of twisted.internet.endpoints.

mod arguments;
mod client;
mod correction;
mod datagram;
mod error;
mod serial;
mod server;
mod zoned_ip;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

pub use arguments::{Arguments, Shape};
pub use client::{ClientDescription, Tcp6Client, TcpClient, UnixClient};
pub use datagram::{
    DatagramClientDescription, DatagramServerDescription, UdpClient, UdpServer, UnixDatagramClient, UnixDatagramServer,
};
pub use error::DescriptionError;
pub use serial::SerialDescription;
pub use server::{
    FdServer, ServerDescription, SocketDomain, SystemdServer, SystemdSocket, Tcp6Server, TcpServer, UnixServer,
};
pub use zoned_ip::ZonedIp;

use crate::escape::Quoted;
use error::Missing;

/// A description split into a name and arguments, without the escapes.
///
/// A custom endpoint type reads its arguments from a description. [`Arguments`] finds them by position or key.
///
/// A plain value, which any thread may use.
///
/// ```
/// use ropewalk_proto::description::Description;
///
/// let description: Description = r"tcp:8000:interface=\:\:1".parse()?;
/// assert_eq!(description.name().value, "tcp");
/// assert_eq!(description.positional()[0].value, "8000");
/// assert_eq!(description.get("interface").unwrap().value, "::1");
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    text: String,
    name: Argument,
    positional: Vec<Argument>,
    keyed: Vec<KeyedArgument>,
    /// The offset after the first colon.
    rest_offset: Option<usize>,
}

/// A part of a description, without the escapes.
///
/// ```
/// use ropewalk_proto::description::Description;
///
/// let description: Description = r"unix:/run/odd\:name".parse()?;
/// let path = &description.positional()[0];
/// assert_eq!((&path.value[..], path.offset), ("/run/odd:name", 5));
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The value, without the escapes.
    pub value: String,
    /// The offset of the value in the description, in bytes.
    pub offset: usize,
}

/// A part of the form `key=value`, without the escapes.
///
/// ```
/// use ropewalk_proto::description::Description;
///
/// let description: Description = "tcp:80:backlog=10".parse()?;
/// let [backlog] = description.keyed() else { panic!("expected one argument") };
/// assert_eq!((&backlog.key.value[..], &backlog.argument.value[..]), ("backlog", "10"));
/// assert_eq!(description.text(), "tcp:80:backlog=10");
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedArgument {
    /// The part before the first `=`.
    pub key: Argument,
    /// The part after the first `=`.
    pub argument: Argument,
}

impl Description {
    /// Returns the first part, the name of the endpoint type.
    pub fn name(&self) -> &Argument {
        &self.name
    }

    /// Returns the arguments without a key, in their order.
    pub fn positional(&self) -> &[Argument] {
        &self.positional
    }

    /// Returns the arguments with a key, in their order. No key occurs twice.
    pub fn keyed(&self) -> &[KeyedArgument] {
        &self.keyed
    }

    /// Returns the argument with this key.
    pub fn get(&self, key: &str) -> Option<&Argument> {
        self.keyed.iter().find(|keyed| keyed.key.value == key).map(|keyed| &keyed.argument)
    }

    /// Returns the text after the name and its colon, and the offset of that text in bytes.
    ///
    /// An endpoint type that wraps another one, such as `haproxy`, reads the inner description from it. Returns `None`
    /// if there is no colon. The text still has its escapes.
    ///
    /// ```
    /// use ropewalk_proto::description::Description;
    ///
    /// let description: Description = r"haproxy:tcp:80:interface=\:\:1".parse()?;
    /// assert_eq!(description.rest(), Some((8, r"tcp:80:interface=\:\:1")));
    /// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
    /// ```
    pub fn rest(&self) -> Option<(usize, &str)> {
        self.rest_offset.map(|offset| (offset, &self.text[offset..]))
    }

    /// Returns the description as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Description {
    type Err = DescriptionError;

    /// Splits `text` into a name and arguments.
    ///
    /// # Errors
    /// If `text` has no name, ends in a backslash, has no key before a `=`, or has a key twice.
    fn from_str(text: &str) -> Result<Description, DescriptionError> {
        let mut parts = split(text)?.into_iter();
        let starts = |part: &Part| part.key.as_ref().unwrap_or(&part.argument).offset;
        let rest_offset = parts.as_slice().get(1).map(starts);
        let name = match parts.next() {
            Some(Part { key: None, argument }) if !argument.value.is_empty() => argument,
            _ => return Err(DescriptionError::new(0, Missing::Name(text))),
        };
        let (positional, keyed) = (Vec::new(), Vec::new());
        let mut description = Description { text: text.to_owned(), name, positional, keyed, rest_offset };
        for part in parts {
            match part.key {
                None => description.positional.push(part.argument),
                Some(key) => description.add_keyed(key, part.argument)?,
            }
        }
        Ok(description)
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Description {
    fn add_keyed(&mut self, key: Argument, argument: Argument) -> Result<(), DescriptionError> {
        if key.value.is_empty() {
            return Err(DescriptionError::new(key.offset, Missing::Key(&self.text)));
        }
        if self.get(&key.value).is_some() {
            let (key_text, text) = (Quoted(&key.value), Quoted(&self.text));
            return Err(DescriptionError::new(key.offset, format_args!("key {key_text} is given twice in {text}")));
        }
        self.keyed.push(KeyedArgument { key, argument });
        Ok(())
    }
}

/// Escapes `argument`, so that it is a single argument of a description.
///
/// Source: `quoteStringArgument` of `twisted.internet.endpoints`.
///
/// ```
/// use ropewalk_proto::description::quote_string_argument;
///
/// let path = "/run/odd:name";
/// assert_eq!(format!("unix:{}", quote_string_argument(path)), r"unix:/run/odd\:name");
/// ```
pub fn quote_string_argument(argument: &str) -> Cow<'_, str> {
    const SPECIAL: [char; 3] = ['\\', ':', '='];
    if !argument.contains(SPECIAL) {
        return Cow::Borrowed(argument);
    }
    let mut quoted = String::with_capacity(argument.len() + 8);
    for character in argument.chars() {
        if SPECIAL.contains(&character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    Cow::Owned(quoted)
}

struct Part {
    key: Option<Argument>,
    argument: Argument,
}

impl Part {
    fn at(offset: usize) -> Part {
        Part { key: None, argument: Argument { value: String::new(), offset } }
    }
}

fn split(text: &str) -> Result<Vec<Part>, DescriptionError> {
    let mut parts = Vec::new();
    let mut part = Part::at(0);
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            ':' => parts.push(std::mem::replace(&mut part, Part::at(at + 1))),
            '=' if part.key.is_none() => {
                let value = Part::at(at + 1).argument;
                part.key = Some(std::mem::replace(&mut part.argument, value));
            }
            '\\' => match characters.next() {
                Some((_, escaped)) => part.argument.value.push(escaped),
                None => return Err(DescriptionError::new(at, Missing::Escaped(text))),
            },
            plain => part.argument.value.push(plain),
        }
    }
    parts.push(part);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Description {
        text.parse().unwrap()
    }

    fn fails(text: &str) -> (usize, String) {
        let error = text.parse::<Description>().unwrap_err();
        (error.offset(), error.to_string())
    }

    #[test]
    fn arguments_with_keys_may_precede_those_without() {
        let description = parse("tcp:a:k=v:b");
        assert_eq!(description.name(), &Argument { value: "tcp".into(), offset: 0 });
        let positional: Vec<_> = description.positional().iter().map(|part| (&part.value[..], part.offset)).collect();
        assert_eq!(positional, [("a", 4), ("b", 10)]);
        assert_eq!(description.get("k"), Some(&Argument { value: "v".into(), offset: 8 }));
        assert_eq!(description.keyed()[0].key.offset, 6);
        assert_eq!(description.get("b"), None);
    }

    #[test]
    fn a_backslash_escapes_the_next_character() {
        let description = parse(r"x:a\:b\\\=c:k\=\::\n=\é");
        assert_eq!(description.positional()[0].value, r"a:b\=c");
        assert_eq!(description.positional()[1].value, "k=:");
        assert_eq!(description.get("n").unwrap().value, "é");
    }

    #[test]
    fn only_the_first_equals_sign_separates_a_key() {
        assert_eq!(parse("x:query=a=b=").get("query").unwrap().value, "a=b=");
    }

    #[test]
    fn a_quoted_description_is_a_single_argument() {
        let inner = format!("unix:{}", quote_string_argument("/a:b"));
        let outer = parse(&format!("tls:endpoint={}", quote_string_argument(&inner)));
        assert_eq!(parse(&outer.get("endpoint").unwrap().value).positional()[0].value, "/a:b");
    }

    #[test]
    fn a_grammar_error_has_the_offset_of_the_fault() {
        let cases = [
            ("", 0, "empty description: expected an endpoint type, for example tcp:8000"),
            (":80", 0, "missing endpoint type in ':80': expected one before the first colon, for example tcp:8000"),
            (
                "tcp=1:80",
                0,
                "missing endpoint type in 'tcp=1:80': expected one before the first colon, for example tcp:8000",
            ),
            (r"a:b\", 3, r"missing character after the last backslash in 'a:b\': write \\ for a backslash"),
            ("a:=b", 2, r"missing key before '=' in 'a:=b': write \= for an equals sign"),
            ("a:k=1:k=2", 6, "key 'k' is given twice in 'a:k=1:k=2'"),
        ];
        for (text, offset, message) in cases {
            assert_eq!(fails(text), (offset, message.to_owned()));
        }
    }

    #[test]
    fn an_error_shows_only_the_beginning_of_a_long_text() {
        let long = "é".repeat(300);
        assert_eq!(fails(&format!("{long}\\")).1.chars().filter(|&character| character == 'é').count(), 200);
    }

    proptest! {
        #[test]
        fn a_quoted_argument_is_parsed_to_itself(argument in ".*", key in ".+", value in ".*") {
            let [part, quoted_key, quoted_value] = [&argument, &key, &value].map(|text| quote_string_argument(text));
            let description = parse(&format!("name:{part}:{quoted_key}={quoted_value}"));
            prop_assert_eq!(&description.positional()[0].value, &argument);
            prop_assert_eq!(&description.get(&key).unwrap().value, &value);
            prop_assert_eq!(description.keyed().len() + description.positional().len(), 2);
        }

        #[test]
        fn offsets_are_character_boundaries_of_any_text(text in r"[\\:=a-cé]{0,12}|.*") {
            match text.parse::<Description>() {
                Ok(description) => {
                    let keyed = description.keyed().iter().map(|keyed| &keyed.argument);
                    for argument in keyed.chain(description.positional()) {
                        prop_assert!(text.is_char_boundary(argument.offset));
                    }
                }
                Err(error) => prop_assert!(text.is_char_boundary(error.offset())),
            }
        }
    }
}
