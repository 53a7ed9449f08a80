//! Any split of a stream gives the same header and the same rest. An accepted header can be written and parsed again.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_proto::Address;
use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderError, ProxyHeaderParser};

/// The first bytes of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The size of a UNIX address in version 2.
const SUN_PATH: usize = 108;

#[derive(Arbitrary, Debug)]
struct Case {
    beginning: Beginning,
    stream: Vec<u8>,
    lengths: Vec<u8>,
}

/// The beginning of a header, which random bytes would rarely spell.
#[derive(Arbitrary, Debug)]
enum Beginning {
    None,
    Tcp4,
    Tcp6,
    Unknown,
    Signature,
    Preamble {
        local: bool,
        family: u8,
        length: u16,
    },
    /// A complete header, with this number of bytes for extensions after the addresses.
    Inet {
        addresses: [u8; 12],
        extensions: u8,
    },
    Inet6 {
        addresses: [u8; 36],
        extensions: u8,
    },
    Unix {
        source: Vec<u8>,
        destination: Vec<u8>,
        extensions: u8,
    },
}

fuzz_target!(|case: Case| {
    let stream = [case.beginning.bytes(), case.stream].concat();
    let whole = parse(&stream, &[]);
    assert_eq!(parse(&stream, &case.lengths), whole);
    let rewritten = |(header, rest): &(ProxyHeader, Vec<u8>)| Some([binary(header)?, rest.clone()].concat());
    if let Some(again) = whole.as_ref().ok().and_then(Option::as_ref).and_then(rewritten) {
        assert_eq!(parse(&again, &case.lengths), whole);
    }
    if let Ok(Some((ProxyHeader::Proxied { source: Address::Inet(source), destination }, _))) = whole {
        let destination = destination.inet().expect("both ends are of one family");
        let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        let line = format!("PROXY {protocol} {from} {to} {} {}\r\n", source.port(), destination.port());
        let again = parse(line.as_bytes(), &[]).expect("a valid header").expect("a complete header").0;
        assert_eq!(again, ProxyHeader::Proxied { source: source.into(), destination: destination.into() });
    }
});

impl Beginning {
    fn bytes(&self) -> Vec<u8> {
        let signature = SIGNATURE.to_vec();
        match *self {
            Beginning::None => Vec::new(),
            Beginning::Tcp4 => b"PROXY TCP4 ".to_vec(),
            Beginning::Tcp6 => b"PROXY TCP6 ".to_vec(),
            Beginning::Unknown => b"PROXY UNKNOWN".to_vec(),
            Beginning::Signature => signature,
            Beginning::Preamble { local, family, length } => {
                [signature, vec![0x20 | u8::from(!local), family], length.to_be_bytes().to_vec()].concat()
            }
            Beginning::Inet { addresses, extensions } => proxied(0x11, &addresses, extensions),
            Beginning::Inet6 { addresses, extensions } => proxied(0x21, &addresses, extensions),
            Beginning::Unix { ref source, ref destination, extensions } => {
                proxied(0x31, &[sun_path(source), sun_path(destination)].concat(), extensions)
            }
        }
    }
}

/// Writes `header` in version 2. Returns `None` if a path became too long, because invalid UTF-8 in it was replaced.
fn binary(header: &ProxyHeader) -> Option<Vec<u8>> {
    let ProxyHeader::Proxied { source, destination } = header else {
        return Some([SIGNATURE, &[0x20, 0, 0, 0]].concat());
    };
    let ends = [source, destination];
    match ends.map(Address::inet) {
        [Some(source), Some(destination)] => {
            let ip = |address: SocketAddr| match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let ports = [source.port(), destination.port()].map(u16::to_be_bytes).concat();
            let family = if source.is_ipv4() { 0x11 } else { 0x21 };
            Some(proxied(family, &[ip(source), ip(destination), ports].concat(), 0))
        }
        _ => {
            let names = ends.map(unix_name);
            let fits = names.iter().all(|name| name.len() <= SUN_PATH);
            fits.then(|| proxied(0x31, &names.map(|name| sun_path(&name)).concat(), 0))
        }
    }
}

fn unix_name(address: &Address) -> Vec<u8> {
    match address {
        Address::Unix(path) => path.to_str().expect("lossily decoded").into(),
        Address::Abstract(name) => [&[0], &**name].concat(),
        _ => Vec::new(),
    }
}

fn sun_path(name: &[u8]) -> Vec<u8> {
    let mut path = name[..name.len().min(SUN_PATH)].to_vec();
    path.resize(SUN_PATH, 0);
    path
}

fn proxied(family: u8, addresses: &[u8], extensions: u8) -> Vec<u8> {
    let length = addresses.len() as u16 + u16::from(extensions);
    [SIGNATURE, &[0x21, family], &length.to_be_bytes(), addresses].concat()
}

/// Parses `stream` in chunks of these `lengths` (repeated), and returns the header and the rest of the stream.
fn parse(stream: &[u8], lengths: &[u8]) -> Result<Option<(ProxyHeader, Vec<u8>)>, ProxyHeaderError> {
    let mut parser = ProxyHeaderParser::new();
    let mut lengths = lengths.iter().map(|&length| usize::from(length).max(1)).cycle();
    let mut left = stream;
    while !left.is_empty() {
        let (mut chunk, after) = left.split_at(lengths.next().unwrap_or(usize::MAX).min(left.len()));
        if let Some(header) = parser.parse(&mut chunk)? {
            return Ok(Some((header, [chunk, after].concat())));
        }
        assert!(chunk.is_empty(), "bytes left behind");
        left = after;
    }
    Ok(None)
}
