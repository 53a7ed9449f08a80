//! Any split of the bytes gives the same header and leaves the same rest; a header that was taken is taken again.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_proto::Address;
use ropewalk_proto::proxy_header::{ProxyHeader, ProxyHeaderError, ProxyHeaderParser};

#[derive(Arbitrary, Debug)]
struct Case {
    beginning: Beginning,
    stream: Vec<u8>,
    lengths: Vec<u8>,
}

/// What few random bytes would ever be.
#[derive(Arbitrary, Debug)]
enum Beginning {
    None,
    Tcp4,
    Tcp6,
    Unknown,
    Signature,
    Preamble { local: bool, family: u8, length: u16 },
}

fuzz_target!(|case: Case| {
    let stream = [case.beginning.bytes(), case.stream].concat();
    let whole = parse(&stream, &[]);
    assert_eq!(parse(&stream, &case.lengths), whole);
    if let Ok(Some((ProxyHeader::Proxied { source: Address::Inet(source), destination }, _))) = whole {
        let destination = destination.inet().expect("both ends are of one family");
        let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        let line = format!("PROXY {protocol} {from} {to} {} {}\r\n", source.port(), destination.port());
        let again = parse(line.as_bytes(), &[]).expect("a header").expect("a whole one").0;
        assert_eq!(again, ProxyHeader::Proxied { source: source.into(), destination: destination.into() });
    }
});

impl Beginning {
    fn bytes(&self) -> Vec<u8> {
        let signature = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        match *self {
            Beginning::None => Vec::new(),
            Beginning::Tcp4 => b"PROXY TCP4 ".to_vec(),
            Beginning::Tcp6 => b"PROXY TCP6 ".to_vec(),
            Beginning::Unknown => b"PROXY UNKNOWN".to_vec(),
            Beginning::Signature => signature,
            Beginning::Preamble { local, family, length } => {
                [signature, vec![0x20 | u8::from(!local), family], length.to_be_bytes().to_vec()].concat()
            }
        }
    }
}

/// The header and what follows it, when the stream arrives in chunks of these lengths (repeated).
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
