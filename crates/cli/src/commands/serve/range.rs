//! Range requests: RFC 9110, section 14.

use std::ops::Range;

/// The part of a file that the `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The whole file. The field is missing or malformed, or asks for several parts. A server may ignore such a field.
    Whole,
    /// These bytes of the file. The range has at least one byte, and none beyond the end of the file.
    Part(Range<u64>),
    /// No byte: the range starts beyond the end of the file, or asks for the last 0 bytes.
    Nothing,
}

/// Parses a `Range` field for a file of `length` bytes.
pub(super) fn wanted(field: &str, length: u64) -> Wanted {
    let Some((unit, ranges)) = field.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut ranges = ranges.split(',').map(str::trim).filter(|range| !range.is_empty());
    match (ranges.next().and_then(|range| range.split_once('-')), ranges.next()) {
        (Some((first, last)), None) => one(first.trim_end(), last.trim_start(), length),
        _ => Wanted::Whole,
    }
}

fn one(first: &str, last: &str, length: u64) -> Wanted {
    match (number(first), number(last)) {
        (Number::Absent, Number::Is(0)) => Wanted::Nothing,
        // A request for the last bytes of an empty file asks for the whole file.
        (Number::Absent, Number::Is(_)) if length == 0 => Wanted::Whole,
        (Number::Absent, Number::Is(count)) => Wanted::Part(length.saturating_sub(count)..length),
        (Number::Is(first), Number::Is(last)) if last < first => Wanted::Whole,
        (Number::Is(first), _) if first >= length && number(last) != Number::Wrong => Wanted::Nothing,
        (Number::Is(first), Number::Is(last)) => Wanted::Part(first..last.saturating_add(1).min(length)),
        (Number::Is(first), Number::Absent) => Wanted::Part(first..length),
        _ => Wanted::Whole,
    }
}

#[derive(PartialEq, Eq)]
enum Number {
    Absent,
    Wrong,
    Is(u64),
}

/// Parses digits. A number that overflows counts as the largest one.
fn number(digits: &str) -> Number {
    if digits.is_empty() {
        Number::Absent
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Number::Is(digits.parse().unwrap_or(u64::MAX))
    } else {
        Number::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_end_of_the_file() {
        let cases = [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=2-", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("bytes=9-99", 9..10),
            ("bytes=0-99999999999999999999999", 0..10),
            ("Bytes = 2 - 4 ,", 2..5),
        ];
        for (field, part) in cases {
            assert_eq!(wanted(field, 10), Wanted::Part(part), "{field}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_empty() {
        for field in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(wanted(field, 10), Wanted::Nothing, "{field}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn malformed_or_multiple_ranges_ask_for_the_whole_file() {
        let fields = [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=1-b",
            "bytes=99-b",
            "lines=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=1--2",
        ];
        for field in fields {
            assert_eq!(wanted(field, 10), Wanted::Whole, "{field}");
        }
        assert_eq!(wanted("bytes=-5", 0), Wanted::Whole);
    }
}
