//! Shared code of the fuzz targets of decoders.

use ropewalk_proto::framing::Decoder;

/// Decodes `stream` in chunks of these `lengths` (repeated), and stops after `errors_max` errors.
///
/// # Panics
/// If the decoder breaks its contract: it buffers more than its bound, leaves bytes behind, or makes no progress.
pub fn frames<D: Decoder>(
    decoder: &mut D,
    stream: &[u8],
    lengths: &[u8],
    errors_max: usize,
) -> Vec<Result<Vec<u8>, String>> {
    let mut found = Vec::new();
    let mut errors = 0;
    let mut lengths = lengths.iter().map(|&length| usize::from(length).max(1)).cycle();
    let mut left = stream;
    while !left.is_empty() {
        let length = lengths.next().unwrap_or(usize::MAX).min(left.len());
        let (mut input, rest) = left.split_at(length);
        left = rest;
        for calls in 0.. {
            assert!(calls <= length + 1, "more frames than bytes");
            let frame = decoder.decode(&mut input).map(|frame| frame.map(<[u8]>::to_vec));
            assert!(decoder.buffered() <= decoder.buffered_max(), "{} bytes buffered", decoder.buffered());
            match frame {
                Ok(Some(frame)) => found.push(Ok(frame)),
                Ok(None) => {
                    assert!(input.is_empty(), "bytes left behind");
                    break;
                }
                Err(error) => {
                    found.push(Err(error.to_string()));
                    errors += 1;
                }
            }
            if errors == errors_max {
                return found;
            }
        }
    }
    found
}
