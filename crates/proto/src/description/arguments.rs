//! The arguments of one endpoint type, found by position or by key.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::error::{DescriptionError, Quoted};
use super::{Argument, Description, KeyedArgument};
use crate::Address;

/// What one endpoint type takes.
///
/// ```
/// use ropewalk_proto::description::{Arguments, Description, Shape};
///
/// const LOCAL: Shape =
///     Shape { name: "local", usage: "local:PORT[:backlog=N]", parameters: &["port", "backlog"], positional_max: 1 };
///
/// let description: Description = "local:8000".parse()?;
/// let arguments = Arguments::bind(&description, &LOCAL)?;
/// let port: u16 = arguments.required("port", "a number from 0 to 65535", |value| value.parse().ok())?;
/// let backlog: Option<u32> = arguments.optional("backlog", "a number", |value| value.parse().ok())?;
/// assert_eq!((port, backlog), (8000, None));
///
/// let description: Description = "local:http".parse()?;
/// let arguments = Arguments::bind(&description, &LOCAL)?;
/// let error = arguments.required("port", "a number from 0 to 65535", |value| value.parse::<u16>().ok()).unwrap_err();
/// assert_eq!(error.to_string(), "the port in 'local:http' is 'http', but a number from 0 to 65535 was expected");
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The name before the first colon.
    pub name: &'static str,
    /// The grammar as a person reads it, for error messages.
    pub usage: &'static str,
    /// Names in their positional order; behind a `|` stands another spelling.
    pub parameters: &'static [&'static str],
    /// How many of the parameters, from the first one, may be given without a key; more than there are count as all.
    pub positional_max: usize,
}

/// The shape that `description` names.
pub(super) fn find_shape(
    description: &Description,
    shapes: &'static [Shape],
    side: &str,
    example: &str,
) -> Result<&'static Shape, DescriptionError> {
    let name = &description.name().value;
    let found = shapes.iter().find(|shape| shape.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let known = shapes.iter().map(|shape| shape.name);
        DescriptionError::unknown_name(description, side, known, example)
    })
}

/// A description's arguments under the parameters of its shape, so that what is wrong is said as for the kinds that are
/// built in.
///
/// ```
/// use ropewalk_proto::description::{Arguments, Description, Shape};
///
/// const SHOP: Shape = Shape { name: "shop", usage: "shop:DOOR", parameters: &["door"], positional_max: 1 };
///
/// let description: Description = "shop:front:open=1".parse()?;
/// let error = Arguments::bind(&description, &SHOP).unwrap_err();
/// assert!(error.to_string().contains("shop:DOOR"), "{error}");
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    description: &'a Description,
    shape: &'static Shape,
    values: Vec<Option<&'a Argument>>,
    /// Which parameter an argument without a key would have been, if that had no key.
    passed_over: Vec<Option<usize>>,
}

impl<'a> Arguments<'a> {
    /// Finds the parameter of each argument.
    ///
    /// # Errors
    /// When an argument belongs to no parameter, is empty without a key, or gives a parameter twice.
    pub fn bind(description: &'a Description, shape: &'static Shape) -> Result<Arguments<'a>, DescriptionError> {
        let mut arguments = Arguments {
            description,
            shape,
            values: vec![None; shape.parameters.len()],
            passed_over: vec![None; shape.parameters.len()],
        };
        for keyed in description.keyed() {
            arguments.place_keyed(keyed)?;
        }
        arguments.place_positional()?;
        Ok(arguments)
    }

    /// The value of `parameter`, by its first spelling, as `parse` understands it; `None` when it is absent.
    ///
    /// # Errors
    /// When `parse` does not: the message says that `expected` was.
    ///
    /// # Panics
    /// When the shape has no such parameter.
    pub fn optional<T>(
        &self,
        parameter: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, DescriptionError> {
        let Some(argument) = self.get(parameter) else { return Ok(None) };
        match parse(&argument.value) {
            Some(value) => Ok(Some(value)),
            None => {
                let (text, value) = (Quoted(self.description.text()), Quoted(&argument.value));
                if let Some(passed_over) = self.passed_over[self.index(parameter)] {
                    let twice = first_name(self.shape.parameters[passed_over]);
                    let message = format!(
                        "{text} gives the {twice} twice: by its key and as {value}, which as the {parameter} would have to \
                         be {expected}"
                    );
                    return Err(DescriptionError::new(argument.offset, message));
                }
                let message = format!("the {parameter} in {text} is {value}, but {expected} was expected");
                Err(DescriptionError::new(argument.offset, message))
            }
        }
    }

    /// The value of `parameter`, which must be there; otherwise as [`optional`](Arguments::optional).
    ///
    /// # Errors
    /// As [`optional`](Arguments::optional), and when it is absent.
    ///
    /// # Panics
    /// When the shape has no such parameter.
    pub fn required<T>(
        &self,
        parameter: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DescriptionError> {
        self.optional(parameter, expected, parse)?.ok_or_else(|| {
            let (text, usage) = (Quoted(self.description.text()), self.shape.usage);
            let message = format!("{text} has no {parameter}: it is written {usage}");
            DescriptionError::new(self.description.text().len(), message)
        })
    }

    fn get(&self, parameter: &str) -> Option<&'a Argument> {
        self.values[self.index(parameter)]
    }

    fn index(&self, parameter: &str) -> usize {
        let index = self.shape.parameters.iter().position(|names| first_name(names) == parameter);
        index.unwrap_or_else(|| panic!("'{}' has no parameter '{parameter}'", self.shape.name))
    }

    fn index_of(&self, key: &Argument) -> Result<usize, DescriptionError> {
        let mut parameters = self.shape.parameters.iter();
        let index = parameters.position(|names| names.split('|').any(|name| name == key.value));
        index.ok_or_else(|| self.unexpected(key))
    }

    fn place_keyed(&mut self, keyed: &'a KeyedArgument) -> Result<(), DescriptionError> {
        let index = self.index_of(&keyed.key)?;
        if self.values[index].replace(&keyed.argument).is_none() {
            return Ok(());
        }
        let (parameter, text) = (first_name(self.shape.parameters[index]), Quoted(self.description.text()));
        Err(DescriptionError::new(keyed.key.offset, format_args!("{text} gives the {parameter} twice")))
    }

    /// What has a key is passed over, so `tcp:host=example.com:80` gives a port.
    fn place_positional(&mut self) -> Result<(), DescriptionError> {
        let positional = self.description.positional();
        // A name and its colon alone, as in `stdio:`.
        if matches!(positional, [only] if only.value.is_empty()) && self.description.keyed().is_empty() {
            return Ok(());
        }
        let positional_max = self.shape.positional_max.min(self.values.len());
        let has_key = Vec::from_iter(self.values.iter().map(Option::is_some));
        for (place, argument) in positional.iter().enumerate() {
            if argument.value.is_empty() {
                return Err(self.empty(argument));
            }
            let passed_over = Some(place).filter(|&place| place < positional_max && has_key[place]);
            match ((0..positional_max).find(|&index| self.values[index].is_none()), passed_over) {
                (Some(index), _) => {
                    self.values[index] = Some(argument);
                    self.passed_over[index] = passed_over;
                }
                (None, Some(twice)) => return Err(self.given_twice(twice, argument)),
                (None, None) => return Err(self.unexpected(argument)),
            }
        }
        Ok(())
    }

    fn given_twice(&self, index: usize, argument: &Argument) -> DescriptionError {
        let (parameter, text) = (first_name(self.shape.parameters[index]), Quoted(self.description.text()));
        let value = Quoted(&argument.value);
        DescriptionError::new(
            argument.offset,
            format_args!("{text} gives the {parameter} twice: by its key and as {value}"),
        )
    }

    fn unexpected(&self, argument: &Argument) -> DescriptionError {
        let (value, text) = (Quoted(&argument.value), Quoted(self.description.text()));
        let usage = self.shape.usage;
        DescriptionError::new(argument.offset, format_args!("{value} in {text} has no meaning: it is written {usage}"))
    }

    fn empty(&self, argument: &Argument) -> DescriptionError {
        let text = Quoted(self.description.text());
        let hint = r"a colon inside an argument is written \:, and a shell wants the whole in quotation marks";
        DescriptionError::new(argument.offset, format_args!("{text} has an empty argument: {hint}"))
    }
}

fn first_name(names: &'static str) -> &'static str {
    names.split('|').next().unwrap_or(names)
}

/// Digits only: Rust's own parser would take a sign.
pub(super) fn number(value: &str) -> Option<u32> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

pub(super) fn port(value: &str) -> Option<u16> {
    number(value)?.try_into().ok()
}

/// What listen(2) takes: a C int.
pub(super) fn backlog(value: &str) -> Option<u32> {
    number(value).filter(|&backlog| i32::try_from(backlog).is_ok())
}

pub(super) fn switch(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// An IP address, or nothing where every interface is meant.
pub(super) fn interface(value: &str) -> Option<Option<IpAddr>> {
    match value {
        "" => Some(None),
        address => address.parse().ok().map(Some),
    }
}

pub(super) fn seconds(value: &str) -> Option<Duration> {
    let seconds: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero())
}

pub(super) fn unix_address(value: &str) -> Option<Address> {
    match value.strip_prefix(['@', '\0']) {
        Some(name) if !name.is_empty() => Some(Address::Abstract(name.as_bytes().into())),
        None if !value.is_empty() && !value.contains('\0') => Some(Address::Unix(Path::new(value).into())),
        _ => None,
    }
}

/// Writes what [`unix_address`] reads.
pub(super) fn unix_text(address: &Address) -> String {
    match address {
        Address::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        Address::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => format!("./{}", path.display()),
        other => other.to_string(),
    }
}
