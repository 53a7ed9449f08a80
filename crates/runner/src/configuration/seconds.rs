//! Durations in the configuration file.

use std::fmt;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// Reads a [`Duration`] from a number of seconds, such as `60` or `0.5`.
///
/// serde by itself reads a `Duration` from a table with `secs` and `nanos`.
///
/// # Errors
/// If the value is not a number, is negative, or is too large for a `Duration`.
///
/// ```
/// use std::time::Duration;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(rename_all = "kebab-case", deny_unknown_fields)]
/// struct Options {
///     #[serde(deserialize_with = "ropewalk_runner::seconds")]
///     idle_timeout: Duration,
/// }
///
/// let options: Options = toml::from_str("idle-timeout = 0.5")?;
/// assert_eq!(options.idle_timeout, Duration::from_millis(500));
/// # Ok::<(), toml::de::Error>(())
/// ```
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Seconds)
}

struct Seconds;

impl Visitor<'_> for Seconds {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a non-negative number of seconds")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        let seconds = u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        Ok(Duration::from_secs(seconds))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(number).map_err(|_| E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::configuration::toml_terms::in_toml_terms;

    #[derive(Deserialize)]
    struct Options {
        #[serde(deserialize_with = "seconds")]
        idle: Duration,
    }

    fn read(text: &str) -> Result<Duration, String> {
        let options = toml::from_str::<Options>(text);
        options.map(|options| options.idle).map_err(|error| in_toml_terms(error.message()))
    }

    #[test]
    fn seconds_are_whole_or_fractional() {
        assert_eq!(read("idle = 60"), Ok(Duration::from_secs(60)));
        assert_eq!(read("idle = 1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(read("idle = 0"), Ok(Duration::ZERO));
    }

    #[test]
    fn anything_else_is_an_error() {
        let expected = "expected a non-negative number of seconds, not the ";
        for (value, found) in [("-1", "number -1"), ("-0.5", "number -0.5"), ("'1m'", "string \"1m\"")] {
            assert_eq!(read(&format!("idle = {value}")), Err(format!("{expected}{found}")));
        }
        assert!(read("idle = nan").is_err() && read("idle = inf").is_err() && read("idle = 1e30").is_err());
    }
}
