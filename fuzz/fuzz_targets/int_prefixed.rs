//! Any split of a stream gives the same strings for each width of the length. Encoding them restores the stream.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_fuzz::frames;
use ropewalk_proto::framing::{IntPrefixedDecoder, LengthPrefix, encode_int_prefixed};

#[derive(Arbitrary, Debug)]
struct Case {
    max_length: u16,
    lengths: Vec<u8>,
    strings: Vec<Vec<u8>>,
    stream: Vec<u8>,
}

fuzz_target!(|case: Case| {
    check::<u8>(&case);
    check::<u16>(&case);
    check::<u32>(&case);
});

fn check<P: LengthPrefix>(case: &Case) {
    let mut stream = Vec::new();
    let fitting = case.strings.iter().filter(|string| encode_int_prefixed::<P>(string, &mut stream).is_ok());
    let sent: Vec<_> = fitting.collect();
    stream.extend_from_slice(&case.stream);
    let new = || IntPrefixedDecoder::<P>::with(case.max_length.into());
    let split = frames(&mut new(), &stream, &case.lengths, 1);
    assert_eq!(split, frames(&mut new(), &stream, &[], 1));

    let mut encoded = Vec::new();
    for (index, string) in split.iter().map_while(|string| string.as_ref().ok()).enumerate() {
        assert!(string.len() <= case.max_length.into());
        assert!(sent.get(index).is_none_or(|sent| *sent == string));
        encode_int_prefixed::<P>(string, &mut encoded).unwrap();
    }
    assert!(stream.starts_with(&encoded));
}
