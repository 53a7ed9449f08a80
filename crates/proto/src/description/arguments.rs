//! The arguments of an endpoint description, found by position or by key.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::correction::{self, Side, nearest};
use super::error::DescriptionError;
use super::{Argument, Description, KeyedArgument, ZonedIp};
use crate::Address;
use crate::escape::Quoted;

/// The name and the parameters of an endpoint type.
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
/// assert_eq!(error.to_string(), "invalid port 'http' in 'local:http': expected a number from 0 to 65535");
/// # Ok::<(), ropewalk_proto::description::DescriptionError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The name before the first colon.
    pub name: &'static str,
    /// The grammar, as error messages show it.
    pub usage: &'static str,
    /// The parameters in the order of their positions. Other spellings follow a `|`, as in `path|address`.
    pub parameters: &'static [&'static str],
    /// The number of parameters, from the first one, that may be given without a key.
    pub positional_max: usize,
}

/// A built-in endpoint type: its shape, and the function that reads its arguments.
pub(super) type Kind<D> = (Shape, fn(&Arguments<'_>) -> Result<D, DescriptionError>);

/// Reads `description` as one of `kinds`. `side` and `example` are for the error message.
pub(super) fn read<D>(
    description: &Description,
    kinds: &'static [Kind<D>],
    side: &str,
    example: &str,
) -> Result<D, DescriptionError> {
    let Some(outcome) = read_known(description, kinds) else {
        let known = kinds.iter().map(|(shape, _)| shape.name);
        return Err(DescriptionError::unknown_name(description, side, known, example));
    };
    outcome.map_err(|error| match correction::of_arguments(Side::named(side), description) {
        Some(correct) => error.suggest(&correct),
        None => error,
    })
}

/// Reads `description` as one of `kinds`, without suggestions in the error. Returns `None` if its type is not one of
/// them.
pub(super) fn read_known<D>(
    description: &Description,
    kinds: &'static [Kind<D>],
) -> Option<Result<D, DescriptionError>> {
    let name = &description.name().value;
    let (shape, read) = kinds.iter().find(|(shape, _)| shape.name.eq_ignore_ascii_case(name))?;
    Some(Arguments::bind(description, shape).and_then(|arguments| read(&arguments)))
}

/// The arguments of a description, assigned to the parameters of a [`Shape`].
///
/// A custom endpoint type that uses this type has the same error messages as the built-in types.
///
/// A plain value, which any thread may use.
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
    /// For an argument without a key: the parameter at its position, if that parameter was given by key and so skipped.
    skipped: Vec<Option<usize>>,
}

impl<'a> Arguments<'a> {
    /// Assigns each argument to a parameter.
    ///
    /// # Errors
    /// If an argument fits no parameter, if an argument without a key is empty, or if a parameter is given twice.
    pub fn bind(description: &'a Description, shape: &'static Shape) -> Result<Arguments<'a>, DescriptionError> {
        let mut arguments = Arguments {
            description,
            shape,
            values: vec![None; shape.parameters.len()],
            skipped: vec![None; shape.parameters.len()],
        };
        for keyed in description.keyed() {
            arguments.place_keyed(keyed)?;
        }
        arguments.place_positional()?;
        Ok(arguments)
    }

    /// Returns the value of `parameter`, converted by `parse`, or `None` if it is absent.
    ///
    /// `parameter` is the first spelling of the parameter. `expected` describes valid values, for the error message.
    ///
    /// # Errors
    /// If `parse` returns `None`.
    ///
    /// # Panics
    /// If the shape has no such parameter.
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
                let (text, value) = (Quoted(self.text()), Quoted(&argument.value));
                let message = match self.skipped[self.index(parameter)] {
                    Some(skipped) => {
                        let twice = first_name(self.shape.parameters[skipped]);
                        format!(
                            "the {twice} is given twice in {text}: by its key and as {value}, which is not {expected} \
                             for the {parameter}"
                        )
                    }
                    None => format!("invalid {parameter} {value} in {text}: expected {expected}"),
                };
                Err(DescriptionError::new(argument.offset, message))
            }
        }
    }

    /// Returns the value of `parameter`, converted by `parse`. The parameter must be given.
    ///
    /// `parameter` is the first spelling of the parameter. `expected` describes valid values, for the error message.
    ///
    /// # Errors
    /// If the parameter is absent, or if `parse` returns `None`.
    ///
    /// # Panics
    /// If the shape has no such parameter.
    pub fn required<T>(
        &self,
        parameter: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DescriptionError> {
        self.optional(parameter, expected, parse)?.ok_or_else(|| {
            let (text, usage) = (Quoted(self.text()), self.shape.usage);
            let message = format!("missing {parameter} in {text}: expected {usage}");
            DescriptionError::new(self.text().len(), message)
        })
    }

    pub(super) fn text(&self) -> &'a str {
        self.description.text()
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
        index.ok_or_else(|| self.unknown_key(key))
    }

    fn place_keyed(&mut self, keyed: &'a KeyedArgument) -> Result<(), DescriptionError> {
        let index = self.index_of(&keyed.key)?;
        if self.values[index].replace(&keyed.argument).is_none() {
            return Ok(());
        }
        let (parameter, text) = (first_name(self.shape.parameters[index]), Quoted(self.text()));
        Err(DescriptionError::new(keyed.key.offset, format_args!("the {parameter} is given twice in {text}")))
    }

    /// Skips parameters that are given by key, so the `80` of `tcp:host=example.com:80` is the port.
    fn place_positional(&mut self) -> Result<(), DescriptionError> {
        let positional = self.description.positional();
        // In `stdio:`, nothing follows the colon: there is no argument.
        if matches!(positional, [only] if only.value.is_empty()) && self.description.keyed().is_empty() {
            return Ok(());
        }
        let positional_max = self.shape.positional_max.min(self.values.len());
        let has_key = Vec::from_iter(self.values.iter().map(Option::is_some));
        for (place, argument) in positional.iter().enumerate() {
            if argument.value.is_empty() {
                return Err(self.empty(argument));
            }
            let skipped = Some(place).filter(|&place| place < positional_max && has_key[place]);
            match ((0..positional_max).find(|&index| self.values[index].is_none()), skipped) {
                (Some(index), _) => {
                    self.values[index] = Some(argument);
                    self.skipped[index] = skipped;
                }
                (None, Some(twice)) => return Err(self.given_twice(twice, argument)),
                (None, None) => return Err(self.unexpected(argument)),
            }
        }
        Ok(())
    }

    fn given_twice(&self, index: usize, argument: &Argument) -> DescriptionError {
        let (parameter, text) = (first_name(self.shape.parameters[index]), Quoted(self.text()));
        let value = Quoted(&argument.value);
        DescriptionError::new(
            argument.offset,
            format_args!("the {parameter} is given twice in {text}: by its key and as {value}"),
        )
    }

    fn unknown_key(&self, key: &Argument) -> DescriptionError {
        let (value, text, usage) = (Quoted(&key.value), Quoted(self.text()), self.shape.usage);
        let names = Vec::from_iter(self.shape.parameters.iter().flat_map(|names| names.split('|')));
        let hint = nearest(&key.value, &names).map_or_else(String::new, |near| format!(" (did you mean '{near}'?)"));
        DescriptionError::new(key.offset, format_args!("unknown key {value} in {text}: expected {usage}{hint}"))
    }

    fn unexpected(&self, argument: &Argument) -> DescriptionError {
        let (value, text, usage) = (Quoted(&argument.value), Quoted(self.text()), self.shape.usage);
        DescriptionError::new(argument.offset, format_args!("unexpected argument {value} in {text}: expected {usage}"))
    }

    fn empty(&self, argument: &Argument) -> DescriptionError {
        let text = Quoted(self.text());
        let hint = r"write \: for a colon inside an argument, and quote the description for a shell";
        DescriptionError::new(argument.offset, format_args!("empty argument in {text}: {hint}"))
    }
}

fn first_name(names: &'static str) -> &'static str {
    names.split('|').next().unwrap_or(names)
}

/// Accepts digits only. Rust's own parser also accepts a sign.
pub(super) fn number(value: &str) -> Option<u32> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

pub(super) fn port(value: &str) -> Option<u16> {
    number(value)?.try_into().ok()
}

/// Accepts a C int that is not negative, because listen(2) takes one.
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

/// Accepts an IP address, or an empty value for every interface.
pub(super) fn interface<A: FromStr>(value: &str) -> Option<Option<ZonedIp<A>>> {
    match value {
        "" => Some(None),
        address => ZonedIp::parse(address).map(Some),
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

/// Returns the text that [`unix_address`] parses to `address`.
pub(super) fn unix_text(address: &Address) -> String {
    match address {
        Address::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        Address::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => format!("./{}", path.display()),
        // Not as it is displayed, with its control characters escaped.
        Address::Unix(path) => path.display().to_string(),
        other => other.to_string(),
    }
}
