//! From the path of a request to names below the directory.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::file_name;

/// What stands as it is in a name's URL: RFC 3986, "unreserved".
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// No system has longer names, in bytes; nor paths.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4000;

/// Names below the directory: none of them is empty, `.`, `..`, or has a separator in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestPath {
    names: Vec<OsString>,
    /// Whether it ends in a slash, which says that a directory is meant.
    pub(super) ends_in_slash: bool,
}

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    /// It is no path, or its escapes are none.
    Malformed,
    /// It says `..`.
    Upwards,
    /// No file can have such a name here.
    NoSuchName,
}

impl RequestPath {
    /// Decodes `path`, which begins with a slash. Escapes are decoded once, after it was split.
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
                _ => names.push(file_name::from_bytes(name).ok_or(BadPath::NoSuchName)?),
            }
        }
        let length: usize = names.iter().map(|name: &OsString| name.len() + 1).sum();
        if length > PATH_MAX {
            return Err(BadPath::NoSuchName);
        }
        Ok(RequestPath { names, ends_in_slash })
    }

    /// The names as a path below the directory; `.` for the directory itself.
    pub(super) fn relative(&self) -> PathBuf {
        if self.names.is_empty() { PathBuf::from(".") } else { self.names.iter().collect() }
    }

    /// Whether one of the names begins with a dot.
    pub(super) fn is_hidden(&self) -> bool {
        self.names.iter().any(|name| is_hidden(name))
    }

    /// The names, for people.
    pub(super) fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.names.iter().map(|name| &**name)
    }

    /// The path of the same directory with a slash at its end. It begins with one slash, so that it never names a host.
    pub(super) fn directory_url(&self) -> String {
        self.names.iter().fold(String::from("/"), |mut url, name| {
            let _ = write!(url, "{}/", encode(name));
            url
        })
    }
}

/// A name as it stands in a URL.
pub(super) fn encode(name: &OsStr) -> impl std::fmt::Display + '_ {
    percent_encode(name.as_encoded_bytes(), ENCODED)
}

/// Whether a name begins with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn decode(segment: &str) -> Result<Vec<u8>, BadPath> {
    let mut escapes = segment.split('%').skip(1);
    let is_escape =
        |text: &str| text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !escapes.all(is_escape) {
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
    fn names_are_decoded_once_and_after_the_split() {
        assert_eq!(relative("/"), Ok(".".into()));
        assert_eq!(relative("/a//b/./c"), Ok("a/b/c".into()));
        assert_eq!(relative("/a%20b/%C3%A9"), Ok("a b/é".into()));
        assert_eq!(relative("/100%25"), Ok("100%".into()));
        assert_eq!(relative("/%252e%252e/x"), Ok("%2e%2e/x".into()));
    }

    #[test]
    fn no_path_leads_upwards_or_hides_a_separator() {
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
    fn a_slash_at_the_end_asks_for_a_directory() {
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
