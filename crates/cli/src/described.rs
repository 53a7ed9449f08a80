//! How a file gives the options that the command line gives as text; what is right is the same.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::arguments::{self, IdleLimit};

/// The description of a server endpoint, found to be right.
struct ServerEndpoint(String);

impl<'de> Deserialize<'de> for ServerEndpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an endpoint in quotes, as in \"tcp:8000\"";
        deserializer.deserialize_any(Checked { expected, check: arguments::server_endpoint }).map(ServerEndpoint)
    }
}

/// One, or several in an array.
pub(crate) fn server_endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMore)
}

pub(crate) fn client_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let expected = "an endpoint in quotes, as in \"tcp:localhost:8000\"";
    deserializer.deserialize_any(Checked { expected, check: arguments::client_endpoint })
}

pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    deserializer
        .deserialize_any(Number { expected: "a whole number from 1 on", check: arguments::at_least_one })
        .map(Some)
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IdleLimit, D::Error> {
    deserializer.deserialize_any(Number { expected: SECONDS, check: arguments::seconds })
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Number { expected: SECONDS, check: arguments::duration })
}

const SECONDS: &str = "a number of seconds from 0 on";

/// A text that the command line would take.
struct Checked<F> {
    expected: &'static str,
    check: F,
}

impl<T, E: Display, F: Fn(&str) -> Result<T, E>> Visitor<'_> for Checked<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<T, R> {
        (self.check)(text).map_err(R::custom)
    }
}

/// A number that the command line would take.
struct Number<F> {
    expected: &'static str,
    check: F,
}

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Number<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_i64<R: Error>(self, number: i64) -> Result<T, R> {
        (self.check)(&number.to_string()).map_err(|_| R::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<R: Error>(self, number: f64) -> Result<T, R> {
        // With its point, also where nothing stands behind it.
        (self.check)(&format!("{number:?}")).map_err(|_| R::invalid_value(Unexpected::Float(number), &self))
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint or an array of endpoints, as in \"tcp:8000\"")
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<Vec<String>, R> {
        arguments::server_endpoint(text).map(|endpoint| vec![endpoint]).map_err(R::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<String>, A::Error> {
        let mut endpoints = Vec::new();
        while let Some(ServerEndpoint(endpoint)) = sequence.next_element()? {
            endpoints.push(endpoint);
        }
        if endpoints.is_empty() { Err(A::Error::custom("expected at least one endpoint")) } else { Ok(endpoints) }
    }
}
