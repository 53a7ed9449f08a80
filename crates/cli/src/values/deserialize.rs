//! Reads option values from the configuration file. The same values are valid as on the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::time::Duration;

use ropewalk::proto::description::DescriptionError;
use serde::de::{DeserializeSeed, Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::IdleLimit;

/// Reads one endpoint or an array of them.
pub(crate) fn server_endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMore(super::server_endpoint))
}

/// Reads one endpoint or an array of them, for HTTP.
pub(crate) fn http_endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMore(super::http_endpoint))
}

/// Reads one endpoint or an array of them, for streams or for datagrams.
pub(crate) fn any_server_endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMore(super::any_server_endpoint))
}

pub(crate) fn client_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(CheckedString { expected: CLIENT_ENDPOINT, check: super::client_endpoint })
}

pub(crate) fn any_client_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(CheckedString { expected: CLIENT_ENDPOINT, check: super::any_client_endpoint })
}

pub(crate) fn optional_client_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    client_endpoint(deserializer).map(Some)
}

/// Reads a line for the shell, or a program and its arguments as an array.
pub(crate) fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OsString>, D::Error> {
    deserializer.deserialize_any(LineOrArray)
}

/// Reads a table of strings.
pub(crate) fn table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
}

pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    deserializer
        .deserialize_any(CheckedNumber { expected: "a positive whole number", check: super::at_least_one })
        .map(Some)
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IdleLimit, D::Error> {
    deserializer.deserialize_any(CheckedNumber { expected: SECONDS, check: super::seconds })
}

pub(crate) fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IdleLimit>, D::Error> {
    seconds(deserializer).map(Some)
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(CheckedNumber { expected: SECONDS, check: super::duration })
}

pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

pub(crate) fn keep_alive_idle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    deserializer.deserialize_any(CheckedNumber { expected: "0 to 32767 seconds", check: super::keep_alive_idle })
}

pub(crate) fn keep_alive_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    deserializer.deserialize_any(CheckedNumber { expected: "1 to 32767 seconds", check: super::keep_alive_interval })
}

pub(crate) fn keep_alive_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    deserializer.deserialize_any(CheckedNumber { expected: "a number from 1 to 127", check: super::keep_alive_count })
}

pub(crate) fn whole_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = CheckedNumber { expected: "a whole number of seconds", check: super::whole_seconds };
    deserializer.deserialize_any(number).map(Some)
}

pub(crate) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    deserializer.deserialize_any(CheckedNumber { expected: "a port from 1 to 65535", check: super::port }).map(Some)
}

const CLIENT_ENDPOINT: &str = "an endpoint in quotes, as in \"tcp:localhost:8000\"";
const SECONDS: &str = "a non-negative number of seconds";

/// Accepts a string that the command line accepts.
struct CheckedString<F> {
    expected: &'static str,
    check: F,
}

impl<T, E: Display, F: Fn(&str) -> Result<T, E>> Visitor<'_> for CheckedString<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<T, R> {
        (self.check)(text).map_err(R::custom)
    }
}

impl<'de, T, E: Display, F: Fn(&str) -> Result<T, E>> DeserializeSeed<'de> for CheckedString<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Accepts a number that the command line accepts.
struct CheckedNumber<F> {
    expected: &'static str,
    check: F,
}

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for CheckedNumber<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_i64<R: Error>(self, number: i64) -> Result<T, R> {
        (self.check)(&number.to_string()).map_err(|_| R::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<R: Error>(self, number: f64) -> Result<T, R> {
        // Debug keeps the decimal point of 3.0, so that a whole number is still expected.
        (self.check)(&format!("{number:?}")).map_err(|_| R::invalid_value(Unexpected::Float(number), &self))
    }
}

/// Accepts one endpoint or an array of endpoints, each of which the function accepts.
struct OneOrMore(fn(&str) -> Result<String, DescriptionError>);

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint or an array of endpoints, as in \"tcp:8000\"")
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<Vec<String>, R> {
        (self.0)(text).map(|endpoint| vec![endpoint]).map_err(R::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<String>, A::Error> {
        let mut endpoints = Vec::new();
        let expected = "an endpoint in quotes, as in \"tcp:8000\"";
        while let Some(endpoint) = sequence.next_element_seed(CheckedString { expected, check: self.0 })? {
            endpoints.push(endpoint);
        }
        if endpoints.is_empty() { Err(A::Error::custom("expected at least one endpoint")) } else { Ok(endpoints) }
    }
}

struct LineOrArray;

impl<'de> Visitor<'de> for LineOrArray {
    type Value = Vec<OsString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line for sh or an array with a program and its arguments, as in [\"sleep\", \"60\"]")
    }

    fn visit_str<R: Error>(self, line: &str) -> Result<Vec<OsString>, R> {
        match line.trim() {
            "" => Err(R::custom("expected a command, not an empty line")),
            _ => Ok(crate::process_options::shell(line)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<OsString>, A::Error> {
        let mut command = Vec::<OsString>::new();
        while let Some(word) = sequence.next_element::<String>()? {
            command.push(word.into());
        }
        match command.first() {
            Some(program) if !program.is_empty() => Ok(command),
            _ => Err(A::Error::custom("expected at least a program")),
        }
    }
}
