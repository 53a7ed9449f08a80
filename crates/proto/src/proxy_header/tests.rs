//! Tests of headers in one piece and in chunks, and a comparison with another parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header and the rest of the stream.
type Outcome = Result<Option<(ProxyHeader, Vec<u8>)>, ProxyHeaderError>;

/// Parses `stream` in chunks of these lengths (repeated).
fn parse_in_chunks(stream: &[u8], lengths: &[usize]) -> Outcome {
    let mut parser = ProxyHeaderParser::new();
    let mut lengths = lengths.iter().copied().chain([usize::MAX]).cycle();
    let mut left = stream;
    while !left.is_empty() {
        let (mut chunk, after) = left.split_at(lengths.next().unwrap_or(1).clamp(1, left.len()));
        let header = parser.parse(&mut chunk)?;
        if let Some(header) = header {
            return Ok(Some((header, [chunk, after].concat())));
        }
        assert!(chunk.is_empty(), "bytes were left behind");
        left = after;
    }
    Ok(None)
}

fn parse(stream: &[u8]) -> Outcome {
    parse_in_chunks(stream, &[])
}

fn error(stream: &[u8]) -> ProxyHeaderError {
    parse(stream).unwrap_err()
}

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    [SIGNATURE, &[command, family], &length.to_be_bytes(), body].concat()
}

fn inet(source: &str, destination: &str) -> ProxyHeader {
    let address = |text: &str| Address::Inet(text.parse().unwrap());
    ProxyHeader::Proxied { source: address(source), destination: address(destination) }
}

#[test]
fn a_text_header_has_both_addresses() {
    let stream = b"PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\nrest";
    assert_eq!(parse(stream), Ok(Some((inet("192.0.2.1:54321", "198.51.100.7:443"), b"rest".to_vec()))));
    let stream = b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
    assert_eq!(parse(stream), Ok(Some((inet("[2001:db8::1]:0", "[::1]:65535"), Vec::new()))));
}

#[test]
fn an_unknown_protocol_means_the_connections_own_addresses() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - "PROXY UNKNOWN \r\n".len()));
    for stream in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN anything at all\r\n", &longest] {
        assert_eq!(parse(stream.as_bytes()), Ok(Some((ProxyHeader::Own, Vec::new()))), "{stream}");
    }
}

#[test]
fn each_fault_of_a_text_header_has_its_own_error() {
    use ProxyHeaderError::{Address, Fields, LineEnd, NoHeader, Port, Protocol, TooLong};
    let cases = [
        ("GET / HTTP/1.1\r\n", NoHeader),
        ("PROXX", NoHeader),
        ("PROXY\r\n", NoHeader),
        ("PROXY \r\n", Protocol),
        ("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", Protocol),
        ("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n", Protocol),
        ("PROXY TCP4\r\n", Fields),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Fields),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", Fields),
        ("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", Fields),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", Fields),
        ("PROXY TCP4 1.1.1.1 256.2.2.2 1 2\r\n", Address),
        ("PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Address),
        ("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP6 fe80::1%2 ::1 1 2\r\n", Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", Port),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", LineEnd),
        ("PROXY UNKNOWN a\rb\r\n", LineEnd),
    ];
    for (stream, expected) in cases {
        assert_eq!(error(stream.as_bytes()), expected, "{stream}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(parse(&endless.as_bytes()[..106]), Ok(None));
    assert_eq!(error(endless.as_bytes()), TooLong);
}

#[test]
fn another_protocol_is_rejected_at_its_first_byte_that_differs() {
    for (stream, wrong) in [(&b"PROXZ"[..], 4), (b"\r\n\r\n\0\r\nQUIT\r", 11), (b"\x16\x03\x01", 0)] {
        assert_eq!(parse(&stream[..wrong]), Ok(None), "{stream:?}");
        assert_eq!(error(&stream[..=wrong]), ProxyHeaderError::NoHeader, "{stream:?}");
    }
}

#[test]
fn a_binary_header_has_both_addresses() {
    let body = [192, 0, 2, 1, 198, 51, 100, 7, 0xd4, 0x31, 1, 0xbb];
    let expected = inet("192.0.2.1:54321", "198.51.100.7:443");
    for family in [0x11, 0x10] {
        let stream = [&binary(0x21, family, &body)[..], b"rest"].concat();
        assert_eq!(parse(&stream), Ok(Some((expected.clone(), b"rest".to_vec()))));
    }
    let body = [Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::UNSPECIFIED.octets()].concat();
    let stream = binary(0x21, 0x21, &[&body[..], &[0, 1, 0, 2]].concat());
    assert_eq!(parse(&stream).unwrap().unwrap().0, inet("[::1]:1", "[::]:2"));
}

#[test]
fn a_binary_header_may_have_unix_addresses() {
    let mut body = [0; 216];
    body[..6].copy_from_slice(b"/run/x");
    body[109..113].copy_from_slice(b"name");
    let destination = Address::Abstract((*b"name").into());
    let expected = ProxyHeader::Proxied { source: Address::Unix(Path::new("/run/x").into()), destination };
    assert_eq!(parse(&binary(0x21, 0x31, &body)).unwrap().unwrap().0, expected);
    let unnamed = ProxyHeader::Proxied { source: Address::Unnamed, destination: Address::Unnamed };
    assert_eq!(parse(&binary(0x21, 0x31, &[0; 216])).unwrap().unwrap().0, unnamed);
}

#[test]
fn a_local_command_means_the_connections_own_addresses() {
    // "LOCAL: the receiver must ... discard the protocol block including the family which is ignored."
    for stream in [binary(0x20, 0, &[]), binary(0x20, 0x99, &[7; 50]), binary(0x21, 0, &[1, 2, 3])] {
        assert_eq!(parse(&stream), Ok(Some((ProxyHeader::Own, Vec::new()))), "{stream:?}");
    }
}

#[test]
fn extensions_are_skipped_without_buffering() {
    let mut body = vec![1; 12];
    body.extend([0xea, 0xff, 0xf0]);
    body.resize(usize::from(u16::MAX), 0xff);
    let stream = [&binary(0x21, 0x11, &body)[..], b"rest"].concat();
    let (header, rest) = parse_in_chunks(&stream, &[1000]).unwrap().unwrap();
    assert_eq!((header, &rest[..]), (inet("1.1.1.1:257", "1.1.1.1:257"), &b"rest"[..]));
    assert_eq!(parse(&stream[..stream.len() - 5]), Ok(None));
}

#[test]
fn an_extension_beyond_the_header_is_rejected() {
    // Section 2.2: a receiver must not read beyond the length of the header.
    let stream = |extensions: &[u8]| binary(0x21, 0x11, &[&[1; 12], extensions].concat());
    for valid in [&[][..], &[4, 0, 0], &[4, 0, 1, 9], &[4, 0, 2, 9, 9, 5, 0, 0]] {
        assert!(matches!(parse(&stream(valid)), Ok(Some(_))), "{valid:?}");
    }
    for wrong in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 2, 9], &[4, 1, 0, 9], &[4, 0, 1, 9, 5]] {
        assert_eq!(error(&[&stream(wrong)[..], b"rest"].concat()), ProxyHeaderError::Extension, "{wrong:?}");
    }
    // Known as soon as its length has arrived.
    let long = binary(0x21, 0x11, &[&[1; 12][..], &[4, 0, 200], &[9; 100]].concat());
    assert_eq!(error(&long[..31]), ProxyHeaderError::Extension);
}

#[test]
fn each_fault_of_a_binary_header_has_its_own_error() {
    use ProxyHeaderError::{Command, Datagram, Family, Length, Version};
    for (stream, expected) in [
        (binary(0x11, 0x11, &[0; 12]), Version(1)),
        (binary(0x22, 0x11, &[0; 12]), Command(2)),
        (binary(0x21, 0x41, &[0; 12]), Family(0x41)),
        (binary(0x21, 0x13, &[0; 12]), Family(0x13)),
        (binary(0x21, 0x12, &[0; 12]), Datagram(0x12)),
        (binary(0x21, 0x22, &[0; 36]), Datagram(0x22)),
        (binary(0x21, 0x32, &[0; 216]), Datagram(0x32)),
        (binary(0x21, 0x02, &[]), Datagram(0x02)),
        (binary(0x21, 0x11, &[0; 11]), Length(11)),
        (binary(0x21, 0x21, &[0; 35]), Length(35)),
        (binary(0x21, 0x31, &[0; 215]), Length(215)),
    ] {
        assert_eq!(error(&stream), expected);
    }
}

#[test]
fn further_calls_return_the_same_result() {
    let mut parser = ProxyHeaderParser::new();
    let header = parser.parse(&mut &b"PROXY UNKNOWN\r\n"[..]).unwrap();
    let mut input = &b"more"[..];
    assert_eq!((parser.parse(&mut input), input), (Ok(header), &b"more"[..]));
    let mut parser = ProxyHeaderParser::new();
    assert!(parser.parse(&mut &b"x"[..]).is_err());
    assert_eq!(parser.parse(&mut &b"PROXY UNKNOWN\r\n"[..]), Err(ProxyHeaderError::NoHeader));
}

/// Parses a stream with the crate `ppp`.
fn reference(stream: &[u8]) -> Result<Option<ProxyHeader>, ()> {
    use ppp::{HeaderResult, PartialResult, v1, v2};
    let inet = |source: (IpAddr, u16), destination: (IpAddr, u16)| ProxyHeader::Proxied {
        source: SocketAddr::from(source).into(),
        destination: SocketAddr::from(destination).into(),
    };
    let result = HeaderResult::parse(stream);
    if result.is_incomplete() {
        return Ok(None);
    }
    match result {
        HeaderResult::V1(header) => match header.map_err(drop)?.addresses {
            v1::Addresses::Unknown => Ok(Some(ProxyHeader::Own)),
            v1::Addresses::Tcp4(ip) => Ok(Some(inet(
                (ip.source_address.into(), ip.source_port),
                (ip.destination_address.into(), ip.destination_port),
            ))),
            v1::Addresses::Tcp6(ip) => Ok(Some(inet(
                (ip.source_address.into(), ip.source_port),
                (ip.destination_address.into(), ip.destination_port),
            ))),
        },
        HeaderResult::V2(header) => {
            let header = header.map_err(drop)?;
            Ok(Some(match header.addresses {
                // `ppp` leaves the meaning of LOCAL to its caller.
                _ if header.command == v2::Command::Local => ProxyHeader::Own,
                v2::Addresses::Unspecified => ProxyHeader::Own,
                v2::Addresses::IPv4(ip) => inet(
                    (ip.source_address.into(), ip.source_port),
                    (ip.destination_address.into(), ip.destination_port),
                ),
                v2::Addresses::IPv6(ip) => inet(
                    (ip.source_address.into(), ip.source_port),
                    (ip.destination_address.into(), ip.destination_port),
                ),
                v2::Addresses::Unix(unix) => {
                    let body = [unix.source, unix.destination].concat();
                    parse(&binary(0x21, 0x31, &body)).unwrap().unwrap().0
                }
            }))
        }
    }
}

fn text_headers() -> impl Strategy<Value = Vec<u8>> {
    let v4 = any::<[Ipv4Addr; 2]>().prop_map(|[a, b]| ("TCP4", a.to_string(), b.to_string()));
    let v6 = any::<[Ipv6Addr; 2]>().prop_map(|[a, b]| ("TCP6", a.to_string(), b.to_string()));
    (prop_oneof![v4, v6], any::<[u16; 2]>()).prop_map(|((protocol, source, destination), [from, to])| {
        format!("PROXY {protocol} {source} {destination} {from} {to}\r\n").into_bytes()
    })
}

fn binary_headers() -> impl Strategy<Value = Vec<u8>> {
    let shapes = [(0x11, 12), (0x21, 36), (0x31, 216), (0x00, 0)];
    let bodies = prop::sample::select(shapes.to_vec()).prop_flat_map(|(family, length)| {
        let addresses = prop::collection::vec(any::<u8>(), length..=length);
        (Just(family), addresses, prop::collection::vec(extensions(), 0..4))
    });
    (prop_oneof![Just(0x20), Just(0x21)], bodies).prop_map(|(command, (family, addresses, extensions))| {
        binary(command, family, &[addresses, extensions.concat()].concat())
    })
}

/// An extension: a type, a length and a value.
fn extensions() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop::collection::vec(any::<u8>(), 0..12))
        .prop_map(|(kind, value)| [&[kind, 0, value.len() as u8], &value[..]].concat())
}

/// Valid headers, headers with one changed byte, and random bytes and tokens.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let tokens = prop::sample::select(vec![
        "PROXY", "TCP4", "TCP6", "UNKNOWN", " ", "\r\n", "\r", "\n", "1.2.3.4", "::1", "0", "01", "65535", "65536",
        "+1",
    ]);
    let lines =
        prop::collection::vec(tokens, 0..14).prop_map(|tokens| format!("PROXY {}", tokens.concat()).into_bytes());
    let changed = (prop_oneof![text_headers(), binary_headers()], any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut header, place, byte)| {
            let place = place.index(header.len());
            header[place] = byte;
            header
        },
    );
    prop_oneof![text_headers(), binary_headers(), changed, lines, prop::collection::vec(any::<u8>(), 0..40)]
}

/// Returns whether `ppp` may accept the stream against the specification.
///
/// `ppp` accepts a plus sign before a port, a carriage return in place of a space, and a space in place of the carriage
/// return. It also accepts an UNKNOWN line that ends with a line feed alone.
fn is_generous(stream: &[u8]) -> bool {
    let line = stream.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let inside = line.strip_suffix(b"\r").unwrap_or(line);
    let is_odd = inside.contains(&b'+') || inside.contains(&b'\r') || inside.ends_with(b" ");
    stream.starts_with(b"P") && (is_odd || is_unknown(stream))
}

/// Returns whether `ppp` may reject the stream against the specification.
///
/// `ppp` rejects an UNKNOWN line that is not UTF-8 or has more than seven parts, and an unknown family with LOCAL.
fn is_strict(stream: &[u8]) -> bool {
    is_unknown(stream) || (stream.starts_with(SIGNATURE) && stream.get(12) == Some(&0x20))
}

fn is_unknown(stream: &[u8]) -> bool {
    stream.starts_with(b"PROXY UNKNOWN")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_split_of_a_stream_gives_the_same_result(stream in streams(), rest in "[a-z]{0,5}", lengths in prop::collection::vec(1usize..20, 0..8)) {
        let stream = [&stream[..], rest.as_bytes()].concat();
        prop_assert_eq!(parse_in_chunks(&stream, &lengths), parse(&stream));
    }

    #[test]
    fn another_parser_agrees(stream in streams()) {
        let ours = parse(&stream).map(|found| found.map(|(header, _)| header));
        match (ours, reference(&stream)) {
            (Ok(Some(ours)), Ok(Some(theirs))) => prop_assert_eq!(ours, theirs),
            (Ok(Some(_)), other) => prop_assert!(is_strict(&stream), "only we accept it: {:?}", other),
            // `ppp` leaves extensions and the kind of the protocol to its caller.
            (Err(ProxyHeaderError::Extension | ProxyHeaderError::Datagram(_)), _) => {}
            (other, Ok(Some(_))) => prop_assert!(is_generous(&stream), "only they accept it: {:?}", other),
            // We check a line when it is complete, and a binary header byte by byte.
            (Ok(None), Err(())) => prop_assert!(stream.starts_with(b"P") || is_strict(&stream), "only they reject it"),
            (Err(_), _) | (Ok(None), Ok(None)) => {}
        }
    }

    #[test]
    fn both_parsers_accept_a_valid_header(stream in prop_oneof![text_headers(), binary_headers()]) {
        let (header, rest) = parse(&stream).unwrap().unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(Ok(Some(header)), reference(&stream));
        prop_assert_eq!(parse(&stream[..stream.len() - 1]), Ok(None));
    }
}
