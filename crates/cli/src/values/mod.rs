//! Values of options: their types, and how each is read from the command line.

pub(crate) mod deserialize;

use std::num::IntErrorKind;
use std::time::Duration;

use ropewalk::proto::description::{Description, DescriptionError};

use crate::endpoint_types::{endpoints, endpoints_of_http};

/// The largest times and the largest count that Linux takes, tcp(7): MAX_TCP_KEEPIDLE, MAX_TCP_KEEPCNT.
const KEEP_ALIVE_SECONDS_MAX: u32 = 32_767;
const KEEP_ALIVE_COUNT_MAX: u32 = 127;

/// The longest time that a connection may be idle. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdleLimit(pub(crate) Option<Duration>);

/// Checks the description of a server endpoint.
pub(crate) fn server_endpoint(text: &str) -> Result<String, DescriptionError> {
    endpoints().server(text).map(|_| text.to_owned())
}

/// Checks the description of a server endpoint for HTTP.
pub(crate) fn http_endpoint(text: &str) -> Result<String, DescriptionError> {
    // An error quotes the description as it was written, without the protocols that the registry adds.
    let text = server_endpoint(text)?;
    endpoints_of_http().server(&text).map(|_| text)
}

/// Checks the description of a client endpoint.
pub(crate) fn client_endpoint(text: &str) -> Result<String, DescriptionError> {
    endpoints().client(text).map(|_| text.to_owned())
}

/// Checks the description of a server endpoint, for streams or for datagrams.
pub(crate) fn any_server_endpoint(text: &str) -> Result<String, DescriptionError> {
    let endpoints = endpoints();
    let (streams, datagrams) = (endpoints.server_names(), endpoints.datagram_server_names());
    match transport(text, &streams, &datagrams, "server", "tcp:8000:interface=127.0.0.1")? {
        Transport::Stream => endpoints.server(text).map(drop),
        Transport::Datagram => endpoints.datagram_server(text).map(drop),
    }?;
    Ok(text.to_owned())
}

/// Checks the description of a client endpoint, for streams or for datagrams.
pub(crate) fn any_client_endpoint(text: &str) -> Result<String, DescriptionError> {
    if text.get(..8).is_some_and(|prefix| prefix.eq_ignore_ascii_case("haproxy:")) {
        let message = "'haproxy:' is for --listen: to send a PROXY header to the target, use --send-proxy v1 or v2";
        return Err(DescriptionError::new(0, message));
    }
    let endpoints = endpoints();
    let (streams, datagrams) = (endpoints.client_names(), endpoints.datagram_client_names());
    match transport(text, &streams, &datagrams, "client", "tcp:localhost:8000")? {
        Transport::Stream => endpoints.client(text).map(drop),
        Transport::Datagram => endpoints.datagram_client(text).map(drop),
    }?;
    Ok(text.to_owned())
}

/// The transport of an endpoint.
enum Transport {
    Stream,
    Datagram,
}

/// Returns the transport whose names include the type of a description.
fn transport(
    text: &str,
    streams: &[String],
    datagrams: &[String],
    side: &str,
    example: &str,
) -> Result<Transport, DescriptionError> {
    let description: Description = text.parse()?;
    let name = description.name().value.to_ascii_lowercase();
    if streams.contains(&name) {
        return Ok(Transport::Stream);
    }
    if datagrams.contains(&name) {
        return Ok(Transport::Datagram);
    }
    let mut known = Vec::from_iter(streams.iter().chain(datagrams).map(String::as_str));
    known.sort_unstable();
    Err(DescriptionError::unknown_name(&description, side, known, example))
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err(format!("too large: expected at most {}", usize::MAX))
        }
        _ => Err("expected a positive whole number".to_owned()),
    }
}

/// Reads the idle time of keep-alive probes in seconds. Zero disables the probes.
pub(crate) fn keep_alive_idle(text: &str) -> Result<u32, String> {
    whole(text, 0, KEEP_ALIVE_SECONDS_MAX)
}

/// Reads the time between keep-alive probes in seconds.
pub(crate) fn keep_alive_interval(text: &str) -> Result<u32, String> {
    whole(text, 1, KEEP_ALIVE_SECONDS_MAX)
}

/// Reads the number of keep-alive probes.
pub(crate) fn keep_alive_count(text: &str) -> Result<u32, String> {
    whole(text, 1, KEEP_ALIVE_COUNT_MAX)
}

/// Reads a number of seconds without a fraction.
pub(crate) fn whole_seconds(text: &str) -> Result<u32, String> {
    whole(text, 0, u32::MAX)
}

/// Reads the number of a port that clients can connect to.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("expected a number from 1 to {}", u16::MAX))
}

fn whole(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

pub(crate) fn seconds(text: &str) -> Result<IdleLimit, String> {
    let limit = duration(text)?;
    Ok(IdleLimit((!limit.is_zero()).then_some(limit)))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok();
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected a non-negative number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_seconds_disable_an_idle_limit() {
        assert_eq!(seconds("0"), Ok(IdleLimit(None)));
        assert_eq!(seconds("1.5"), Ok(IdleLimit(Some(Duration::from_millis(1500)))));
    }

    #[test]
    fn negative_or_infinite_durations_are_rejected() {
        for wrong in ["-1", "NaN", "inf", "ten", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
