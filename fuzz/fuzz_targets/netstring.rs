//! Any split of a stream gives the same netstrings. Encoding them restores the stream.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_fuzz::frames;
use ropewalk_proto::framing::{NetstringDecoder, encode_netstring};

#[derive(Arbitrary, Debug)]
struct Case {
    max_length: u16,
    lengths: Vec<u8>,
    strings: Vec<Vec<u8>>,
    stream: Vec<u8>,
}

fuzz_target!(|case: Case| {
    let mut stream = Vec::new();
    for string in &case.strings {
        encode_netstring(string, &mut stream);
    }
    stream.extend_from_slice(&case.stream);
    let new = || NetstringDecoder::with(case.max_length.into());
    let split = frames(&mut new(), &stream, &case.lengths, 1);
    assert_eq!(split, frames(&mut new(), &stream, &[], 1));

    let mut encoded = Vec::new();
    for (index, string) in split.iter().map_while(|string| string.as_ref().ok()).enumerate() {
        assert!(string.len() <= case.max_length.into());
        assert!(case.strings.get(index).is_none_or(|sent| sent == string));
        encode_netstring(string, &mut encoded);
    }
    assert!(stream.starts_with(&encoded));
});
