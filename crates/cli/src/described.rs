//! How a file gives the options that the command line gives as text; what is wrong is said in the same words.

use std::fmt::Display;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::arguments::{self, IdleLimit};

/// Text, or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an endpoint or a list of endpoints")]
enum OneOrMore {
    One(Endpoint),
    More(Vec<Endpoint>),
}

/// The description of a server endpoint, not looked at yet.
#[derive(Deserialize)]
#[serde(transparent)]
struct Endpoint(String);

pub(crate) fn server_endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let endpoints = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(endpoint) => vec![endpoint],
        OneOrMore::More(endpoints) => endpoints,
    };
    if endpoints.is_empty() {
        return Err(Error::custom("expected at least one endpoint"));
    }
    endpoints.into_iter().map(|endpoint| understood(arguments::server_endpoint(&endpoint.0))).collect()
}

pub(crate) fn client_endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    understood(arguments::client_endpoint(&String::deserialize(deserializer)?))
}

pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    understood(arguments::at_least_one(&u64::deserialize(deserializer)?.to_string())).map(Some)
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IdleLimit, D::Error> {
    understood(arguments::seconds(&f64::deserialize(deserializer)?.to_string()))
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    understood(arguments::duration(&f64::deserialize(deserializer)?.to_string()))
}

fn understood<T, E: Display, F: Error>(outcome: Result<T, E>) -> Result<T, F> {
    outcome.map_err(F::custom)
}
