//! A parsed request path never leads out of the served directory, and its URL parses to the same names.

#![no_main]

use std::path::Component;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/cli/src/commands/serve/request_path.rs"]
#[allow(dead_code, reason = "the target calls a part of the module")]
mod request_path;
#[path = "../../crates/cli/src/commands/serve/root/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the module of paths needs one function")]
mod root;

use request_path::RequestPath;

#[derive(Arbitrary, Debug)]
enum Case {
    Any(String),
    Segments(Vec<Segment>),
}

#[derive(Arbitrary, Debug)]
enum Segment {
    Text(String),
    Dots(u8),
    Encoded(Vec<u8>),
}

fuzz_target!(|case: Case| {
    let path = case.text();
    let Ok(parsed) = RequestPath::parse(&path) else { return };
    let relative = parsed.relative();
    let is_root = parsed.names().next().is_none();
    let mut components = relative.components();
    assert!(is_root || components.all(|part| matches!(part, Component::Normal(_))), "{path:?}: {relative:?}");
    for name in parsed.names() {
        let name = name.as_encoded_bytes();
        assert!(!name.is_empty() && !name.iter().any(|byte| matches!(byte, 0 | b'/')), "{path:?}: {name:?}");
        assert!(name != b"." && name != b"..", "{path:?}");
    }
    let url = parsed.directory_url();
    assert!(url.starts_with('/') && !url.starts_with("//") && url.is_ascii(), "{url}");
    let again = RequestPath::parse(&url).expect("a valid URL");
    assert!(again.names().eq(parsed.names()) && again.ends_in_slash, "{path:?}: {url}");
    assert_eq!(again.is_hidden(), parsed.is_hidden());
});

impl Case {
    fn text(self) -> String {
        match self {
            Case::Any(text) => text,
            Case::Segments(segments) => segments.iter().map(|segment| format!("/{}", segment.text())).collect(),
        }
    }
}

impl Segment {
    fn text(&self) -> String {
        match self {
            Segment::Text(text) => text.clone(),
            Segment::Dots(count) => ".".repeat(usize::from(count % 4)),
            Segment::Encoded(bytes) => bytes.iter().map(|byte| format!("%{byte:02x}")).collect(),
        }
    }
}
