//! Any `Range` field gives a part within the file, the whole file or nothing. A single well-formed range gives exactly
//! its bytes.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/cli/src/commands/serve/range.rs"]
mod range;

use range::{Wanted, wanted};

#[derive(Arbitrary, Debug)]
struct Case {
    field: Field,
    length: u64,
}

#[derive(Arbitrary, Debug)]
enum Field {
    Any(String),
    /// Anything behind the unit.
    Bytes(String),
    FromTo(u64, u64),
    From(u64),
    Last(u64),
}

fuzz_target!(|case: Case| {
    let Case { field, length } = case;
    let (text, expected) = match field {
        Field::Any(text) => (text, None),
        Field::Bytes(text) => (format!("bytes={text}"), None),
        Field::FromTo(first, last) => (format!("bytes={first}-{last}"), Some(from_to(first, last, length))),
        Field::From(first) => (format!("bytes={first}-"), Some(from_to(first, u64::MAX, length))),
        Field::Last(count) => (format!("bytes=-{count}"), Some(last(count, length))),
    };
    let found = wanted(&text, length);
    if let Wanted::Part(part) = &found {
        assert!(part.start < part.end && part.end <= length, "{text:?} of {length}: {part:?}");
    }
    assert!(expected.is_none_or(|expected| expected == found), "{text:?} of {length}: {found:?}");
});

/// RFC 9110, section 14.1.1, for `first-last`.
fn from_to(first: u64, last: u64, length: u64) -> Wanted {
    if last < first {
        Wanted::Whole
    } else if first >= length {
        Wanted::Nothing
    } else {
        // `last` is the position of a byte, so the end is the position behind it.
        Wanted::Part(first..if last < length { last + 1 } else { length })
    }
}

/// RFC 9110, section 14.1.2, for `-count`.
fn last(count: u64, length: u64) -> Wanted {
    match (count, length) {
        (0, _) => Wanted::Nothing,
        (_, 0) => Wanted::Whole,
        _ => Wanted::Part(length - count.min(length)..length),
    }
}
