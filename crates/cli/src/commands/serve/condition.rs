//! Conditional requests: RFC 9110, section 13.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

/// The validators of a version of a file.
pub(super) struct Version {
    /// The entity tag, with its quotes. The tag claims to be strong, although it stays the same if the file changes
    /// within the resolution of the clock and keeps its length.
    pub(super) tag: String,
    /// The time of the last change in whole seconds, if an HTTP date can express it.
    pub(super) modified: Option<SystemTime>,
}

/// The outcome of the conditions of a GET or HEAD request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send the file.
    Send,
    /// Respond with status 304.
    NotModified,
    /// Respond with status 412.
    Failed,
}

/// The last second that an HTTP date can express, in the year 9999.
const LAST_DATE: u64 = 253_402_300_799;

impl Version {
    /// Identifies a file of `length` bytes, last changed at `modified`.
    pub(super) fn new(length: u64, modified: Option<SystemTime>) -> Version {
        let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        let tag = format!("\"{:x}-{length:x}\"", since.unwrap_or_default().as_nanos());
        let since = since.map(|since| since.as_secs()).filter(|seconds| *seconds <= LAST_DATE);
        Version { tag, modified: since.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)) }
    }

    /// Evaluates the conditions in the order of section 13.2.2.
    pub(super) fn evaluate(&self, fields: &HeaderMap) -> Verdict {
        if let Some(tags) = Tags::of(fields, &header::IF_MATCH) {
            if !tags.contain(&self.tag, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if self.is_newer_than(fields, &header::IF_UNMODIFIED_SINCE) == Some(true) {
            return Verdict::Failed;
        }
        if let Some(tags) = Tags::of(fields, &header::IF_NONE_MATCH) {
            return if tags.contain(&self.tag, Comparison::Weak) { Verdict::NotModified } else { Verdict::Send };
        }
        match self.is_newer_than(fields, &header::IF_MODIFIED_SINCE) {
            Some(false) => Verdict::NotModified,
            _ => Verdict::Send,
        }
    }

    /// Whether the client wants a range of this version, rather than the whole of a newer one: `If-Range`.
    pub(super) fn continues(&self, fields: &HeaderMap) -> bool {
        let Some(field) = fields.get(header::IF_RANGE) else { return true };
        let Ok(text) = field.to_str() else { return false };
        text == self.tag || httpdate::parse_http_date(text).is_ok_and(|date| Some(date) == self.modified)
    }

    /// Returns `None` if one of the two dates is missing.
    fn is_newer_than(&self, fields: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let date = httpdate::parse_http_date(fields.get(name)?.to_str().ok()?).ok()?;
        Some(self.modified? > date)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// The entity tags of a request field.
struct Tags<'a>(Vec<&'a str>);

impl<'a> Tags<'a> {
    /// Collects all lines of a field. Returns `None` if the field is missing.
    fn of(fields: &'a HeaderMap, name: &HeaderName) -> Option<Tags<'a>> {
        let lines: Vec<_> = fields.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        fields.contains_key(name).then_some(Tags(lines))
    }

    fn contain(&self, own: &str, comparison: Comparison) -> bool {
        self.0.iter().any(|line| {
            line.trim() == "*"
                || tags_in(line).any(|(weak, tag)| tag == own && (comparison == Comparison::Weak || !weak))
        })
    }
}

/// Parses a list: `W/"a", "b,c"` is a weak tag `"a"` and a strong tag `"b,c"`. Parsing stops at an invalid tag.
fn tags_in(line: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let end = quoted.strip_prefix('"')?.find('"')? + 2;
        let (tag, behind) = quoted.split_at(end);
        rest = behind;
        Some((weak, tag))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn version() -> Version {
        // A fraction of a second is not part of an HTTP date.
        let modified = httpdate::parse_http_date(DATE).unwrap() + Duration::from_millis(500);
        Version::new(10, Some(modified))
    }

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    fn evaluate(lines: &[(&'static str, &str)]) -> Verdict {
        version().evaluate(&fields(lines))
    }

    #[test]
    fn a_matching_tag_or_date_is_not_modified() {
        let tag = version().tag;
        assert_eq!(evaluate(&[]), Verdict::Send);
        assert_eq!(evaluate(&[("if-none-match", &tag)]), Verdict::NotModified);
        assert_eq!(evaluate(&[("if-none-match", &format!("\"a,b\", W/{tag}"))]), Verdict::NotModified);
        assert_eq!(evaluate(&[("if-none-match", "*")]), Verdict::NotModified);
        assert_eq!(evaluate(&[("if-none-match", "\"x\""), ("if-none-match", &tag)]), Verdict::NotModified);
        assert_eq!(evaluate(&[("if-none-match", "\"x\""), ("if-modified-since", DATE)]), Verdict::Send);
        assert_eq!(evaluate(&[("if-modified-since", DATE)]), Verdict::NotModified);
        assert_eq!(evaluate(&[("if-modified-since", EARLIER)]), Verdict::Send);
        assert_eq!(evaluate(&[("if-modified-since", "yesterday")]), Verdict::Send);
    }

    #[test]
    fn a_failed_precondition_is_reported() {
        let tag = version().tag;
        assert_eq!(evaluate(&[("if-match", "\"x\"")]), Verdict::Failed);
        assert_eq!(evaluate(&[("if-match", &format!("W/{tag}"))]), Verdict::Failed);
        assert_eq!(evaluate(&[("if-match", &tag), ("if-unmodified-since", EARLIER)]), Verdict::Send);
        assert_eq!(evaluate(&[("if-match", "*")]), Verdict::Send);
        assert_eq!(evaluate(&[("if-unmodified-since", EARLIER)]), Verdict::Failed);
        assert_eq!(evaluate(&[("if-unmodified-since", DATE)]), Verdict::Send);
    }

    #[test]
    fn a_range_continues_only_the_same_version() {
        let tag = version().tag;
        assert!(version().continues(&fields(&[])));
        assert!(version().continues(&fields(&[("if-range", &tag)])));
        assert!(version().continues(&fields(&[("if-range", DATE)])));
        for other in ["\"x\"", EARLIER, &format!("W/{tag}"), ""] {
            assert!(!version().continues(&fields(&[("if-range", other)])), "{other}");
        }
    }

    #[test]
    fn times_outside_of_http_dates_are_omitted() {
        assert!(Version::new(1, Some(UNIX_EPOCH - Duration::from_secs(1))).modified.is_none());
        let last = UNIX_EPOCH + Duration::from_secs(LAST_DATE);
        assert_eq!(Version::new(1, Some(last)).modified, Some(last));
        assert!(Version::new(1, Some(last + Duration::from_secs(1))).modified.is_none());
        assert!(httpdate::fmt_http_date(last).ends_with("9999 23:59:59 GMT"));
    }
}
