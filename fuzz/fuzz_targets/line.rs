//! Any split of a stream gives the same lines. Encoding them restores the stream.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ropewalk_fuzz::frames;
use ropewalk_proto::framing::{LineDecoder, encode_line};

#[derive(Arbitrary, Debug)]
struct Case {
    delimiter: [u8; 3],
    delimiter_length: u8,
    max_length: u8,
    lengths: Vec<u8>,
    stream: Vec<u8>,
}

fuzz_target!(|case: Case| {
    let delimiter = case.delimiter[..1 + usize::from(case.delimiter_length % 3)].to_vec();
    let new = || LineDecoder::with(delimiter.clone(), case.max_length.into());
    let split = frames(&mut new(), &case.stream, &case.lengths, usize::MAX);
    assert_eq!(split, frames(&mut new(), &case.stream, &[], usize::MAX));

    let mut encoded = Vec::new();
    for line in split.iter().map_while(|line| line.as_ref().ok()) {
        assert!(line.len() <= case.max_length.into());
        assert!(!line.windows(delimiter.len()).any(|window| window == delimiter));
        encode_line(line, &delimiter, &mut encoded);
    }
    assert!(case.stream.starts_with(&encoded));

    let mut decoder = new();
    let mut joined = Vec::new();
    for chunk in case.stream.chunks(1 + usize::from(case.max_length)) {
        let mut input = chunk;
        while let Some(raw) = decoder.take_raw(&mut input) {
            joined.extend_from_slice(raw);
        }
    }
    assert_eq!(joined, case.stream);
});
