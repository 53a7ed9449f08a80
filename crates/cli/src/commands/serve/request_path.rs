//! Parses the path of a request into names below the served directory.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::root::name_from_bytes;

/// The characters that are encoded in a URL: all but the unreserved ones of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest name, and the longest path, that any system supports, in bytes.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4000;

/// Names below the directory. None of them is empty, `.` or `..`, or contains a separator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestPath {
    names: Vec<OsString>,
    /// Whether the path ends with a slash, and so asks for a directory.
    pub(super) ends_in_slash: bool,
}

/// The reason why a path is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    /// The path or its percent-encoding is malformed.
    Malformed,
    /// The path contains `..`.
    Upwards,
    /// A name is impossible on this system.
    NoSuchName,
}

impl RequestPath {
    /// Parses `path`, which starts with a slash. Percent-encoding is decoded once, after splitting.
    pub(super) fn parse(path: &str) -> Result<RequestPath, BadPath> {
        let path = path.strip_prefix('/').ok_or(BadPath::Malformed)?;
        let mut names = Vec::new();
        let mut ends_in_slash = true;
        for segment in path.split('/') {
            let name = decode(segment)?;
            ends_in_slash = name.is_empty() || name == b".";
            match &name[..] {
                b"" | b"." => {}
                b".." => return Err(BadPath::Upwards),
                _ => names.push(name_from_bytes(name).ok_or(BadPath::NoSuchName)?),
            }
        }
        let length: usize = names.iter().map(|name: &OsString| name.len() + 1).sum();
        if length > PATH_MAX {
            return Err(BadPath::NoSuchName);
        }
        Ok(RequestPath { names, ends_in_slash })
    }

    /// Returns the path below the directory, and `.` for the directory itself.
    pub(super) fn relative(&self) -> PathBuf {
        if self.names.is_empty() { PathBuf::from(".") } else { self.names.iter().collect() }
    }

    /// Whether one of the names starts with a dot.
    pub(super) fn is_hidden(&self) -> bool {
        self.names.iter().any(|name| is_hidden(name))
    }

    /// Returns the decoded names.
    pub(super) fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.names.iter().map(|name| &**name)
    }

    /// Returns the URL path of the directory, with a slash at its end. Exactly one slash starts it, so it never names a host.
    pub(super) fn directory_url(&self) -> String {
        self.names.iter().fold(String::from("/"), |mut url, name| {
            let _ = write!(url, "{}/", encode(name));
            url
        })
    }
}

/// Percent-encodes a name for a URL.
pub(super) fn encode(name: &OsStr) -> impl std::fmt::Display + '_ {
    percent_encode(name.as_encoded_bytes(), ENCODED)
}

/// Whether a name starts with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn decode(segment: &str) -> Result<Vec<u8>, BadPath> {
    let mut encodings = segment.split('%').skip(1);
    let is_encoded =
        |text: &str| text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !encodings.all(is_encoded) {
        return Err(BadPath::Malformed);
    }
    let name: Vec<u8> = percent_decode_str(segment).collect();
    let is_name = name.len() <= NAME_MAX && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    is_name.then_some(name).ok_or(BadPath::NoSuchName)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(path: &str) -> Result<String, BadPath> {
        RequestPath::parse(path).map(|path| path.relative().into_os_string().into_string().unwrap())
    }

    #[test]
    fn names_are_decoded_once_after_splitting() {
        assert_eq!(relative("/"), Ok(".".into()));
        assert_eq!(relative("/a//b/./c"), Ok("a/b/c".into()));
        assert_eq!(relative("/a%20b/%C3%A9"), Ok("a b/é".into()));
        assert_eq!(relative("/100%25"), Ok("100%".into()));
        assert_eq!(relative("/%252e%252e/x"), Ok("%2e%2e/x".into()));
    }

    #[test]
    fn parent_names_or_hidden_separators_are_rejected() {
        for path in ["/..", "/a/../b", "/%2e%2e/etc", "/.%2E", "/a/%2e%2e/%2e%2e/b"] {
            assert_eq!(relative(path), Err(BadPath::Upwards), "{path}");
        }
        for path in ["/a%2fb", "/..%2f..%2fetc", "/a%00"] {
            assert_eq!(relative(path), Err(BadPath::NoSuchName), "{path}");
        }
        for path in ["*", "", "a", "/%", "/%2", "/%zz", "/a%+1"] {
            assert_eq!(relative(path), Err(BadPath::Malformed), "{path}");
        }
    }

    #[test]
    fn a_trailing_slash_asks_for_a_directory() {
        let ends_in_slash = |path| RequestPath::parse(path).unwrap().ends_in_slash;
        assert!(["/", "/a/", "/a/.", "/a//"].into_iter().all(ends_in_slash));
        assert!(!ends_in_slash("/a"));
    }

    #[test]
    fn a_redirect_never_names_another_host() {
        let path = RequestPath::parse("//example.org/%3Fa b").unwrap();
        assert_eq!(path.directory_url(), "/example.org/%3Fa%20b/");
    }
}
