//! Conditional requests follow the order of RFC 9110, section 13.2.2, whatever their fields contain.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/cli/src/commands/serve/condition.rs"]
#[allow(dead_code, reason = "the target calls a part of the module")]
mod condition;
#[path = "../../crates/cli/src/commands/serve/root/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the included file imports a type of this module")]
mod root;

use condition::{Verdict, Version};

#[derive(Arbitrary, Debug)]
struct Case {
    /// Whether the tag of the file is weak.
    is_weak: bool,
    modified_seconds: u32,
    fields: Vec<(Name, Line)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    Match,
    NoneMatch,
    ModifiedSince,
    UnmodifiedSince,
    Range,
}

#[derive(Arbitrary, Debug)]
enum Line {
    Any(Vec<u8>),
    Star,
    Own,
    WeakOwn,
    /// A list with another tag in front of the own one.
    OwnBehind(String),
    /// The date of the file, moved by seconds.
    Date(i8),
}

fuzz_target!(|case: Case| {
    let modified = UNIX_EPOCH + Duration::from_secs(u64::from(case.modified_seconds));
    let is_strong = !case.is_weak;
    let tag = if is_strong { "\"1-2-3\"" } else { "W/\"1-2-3\"" };
    let version = Version { tag: Some(tag.to_owned()), modified: Some(modified) };
    let mut fields = HeaderMap::new();
    for (name, line) in &case.fields {
        if let Ok(value) = HeaderValue::from_bytes(&bytes(line, tag, case.modified_seconds)) {
            fields.append(header(*name), value);
        }
    }
    let verdict = version.evaluate(&fields);
    let has = |name: HeaderName| fields.contains_key(name);
    match verdict {
        Verdict::Send => {}
        Verdict::Failed => assert!(has(IF_MATCH) || has(IF_UNMODIFIED_SINCE)),
        Verdict::NotModified => assert!(has(IF_NONE_MATCH) || has(IF_MODIFIED_SINCE)),
    }
    // A tag makes the date of the same direction meaningless.
    for (tag, date) in [(IF_MATCH, IF_UNMODIFIED_SINCE), (IF_NONE_MATCH, IF_MODIFIED_SINCE)] {
        if has(tag) {
            let mut without = fields.clone();
            without.remove(date);
            assert_eq!(version.evaluate(&without), verdict);
        }
    }
    // The star or the own tag, alone and strong, is a match in both directions.
    let only_own = |name: Name| {
        let mut lines = case.fields.iter().filter(|(other, _)| header(*other) == header(name)).peekable();
        lines.peek().is_some()
            && lines.all(|(_, line)| matches!(line, Line::Star) || is_strong && matches!(line, Line::Own))
    };
    if only_own(Name::Match) {
        assert_ne!(verdict, Verdict::Failed);
        assert!(!only_own(Name::NoneMatch) || verdict == Verdict::NotModified);
    }
    assert!(version.continues(&fields) || has(IF_RANGE));
});

fn header(name: Name) -> HeaderName {
    match name {
        Name::Match => IF_MATCH,
        Name::NoneMatch => IF_NONE_MATCH,
        Name::ModifiedSince => IF_MODIFIED_SINCE,
        Name::UnmodifiedSince => IF_UNMODIFIED_SINCE,
        Name::Range => IF_RANGE,
    }
}

fn bytes(line: &Line, tag: &str, modified: u32) -> Vec<u8> {
    match line {
        Line::Any(bytes) => bytes.clone(),
        Line::Star => b"*".to_vec(),
        Line::Own => tag.into(),
        Line::WeakOwn => format!("W/{tag}").into(),
        Line::OwnBehind(text) => format!("\"{text}\", {tag}").into(),
        Line::Date(moved) => {
            let seconds = u64::from(modified).saturating_add_signed(i64::from(*moved));
            httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)).into()
        }
    }
}
