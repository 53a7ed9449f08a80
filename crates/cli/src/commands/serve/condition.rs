//! Conditional requests: RFC 9110, section 13.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

use super::root::Metadata;

const SECOND: Duration = Duration::from_secs(1);

/// The validators of a version of a file.
///
/// A validator is strong only once the second in which the file changed is over: before that, the file may change again
/// within the resolution of the clock.
#[derive(Default)]
pub(super) struct Version {
    /// The entity tag, with its quotes, and `W/` before it while it is weak. `None` if nothing identifies the version.
    pub(super) tag: Option<String>,
    /// The time of the last change in whole seconds, once that second is over and if an HTTP date can express it.
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
    /// Identifies the version of a file as it is at `now`.
    pub(super) fn new(file: &Metadata, now: SystemTime) -> Version {
        let is_over = |change: SystemTime| change.checked_add(SECOND).is_some_and(|over| over <= now);
        let tag = file.changed.and_then(|changed| {
            let weak = if is_over(changed) { "" } else { "W/" };
            let since = changed.duration_since(UNIX_EPOCH).ok()?.as_nanos();
            Some(format!("{weak}\"{:x}-{:x}-{since:x}\"", file.inode, file.length))
        });
        // The whole second of the date must be over, so its fraction does not count.
        let modified = file.modified.and_then(whole_seconds).filter(|modified| is_over(*modified));
        Version { tag, modified }
    }

    /// Evaluates the conditions in the order of section 13.2.2.
    pub(super) fn evaluate(&self, fields: &HeaderMap) -> Verdict {
        if let Some(tags) = Tags::of(fields, &header::IF_MATCH) {
            if !tags.match_strongly(self.tag.as_deref()) {
                return Verdict::Failed;
            }
        } else if self.is_newer_than(fields, &header::IF_UNMODIFIED_SINCE) == Some(true) {
            return Verdict::Failed;
        }
        if let Some(tags) = Tags::of(fields, &header::IF_NONE_MATCH) {
            return if tags.match_weakly(self.tag.as_deref()) { Verdict::NotModified } else { Verdict::Send };
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
        let is_strong = !text.starts_with("W/");
        (is_strong && self.tag.as_deref() == Some(text))
            || httpdate::parse_http_date(text).is_ok_and(|date| Some(date) == self.modified)
    }

    /// Returns `None` if one of the two dates is missing.
    fn is_newer_than(&self, fields: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let date = httpdate::parse_http_date(fields.get(name)?.to_str().ok()?).ok()?;
        Some(self.modified? > date)
    }
}

/// Removes the fraction of a second from a time. Returns `None` for a time that an HTTP date cannot express.
pub(super) fn whole_seconds(time: SystemTime) -> Option<SystemTime> {
    let since = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (since <= LAST_DATE).then(|| UNIX_EPOCH + Duration::from_secs(since))
}

/// The entity tags of a request field.
struct Tags<'a>(Vec<&'a str>);

impl<'a> Tags<'a> {
    /// Collects the tags of all lines of a field. Returns `None` if the field is missing.
    fn of(fields: &'a HeaderMap, name: &HeaderName) -> Option<Tags<'a>> {
        let lines: Vec<_> = fields.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        fields.contains_key(name).then_some(Tags(lines))
    }

    /// Compares the opaque parts: RFC 9110, section 8.8.3.2.
    fn match_weakly(&self, own: Option<&str>) -> bool {
        let own = own.map(|own| own.strip_prefix("W/").unwrap_or(own));
        self.any(|_, tag| Some(tag) == own)
    }

    /// Compares the whole tags, none of which may be weak.
    fn match_strongly(&self, own: Option<&str>) -> bool {
        self.any(|is_weak, tag| !is_weak && Some(tag) == own)
    }

    /// A `*` matches any version.
    fn any(&self, matches: impl Fn(bool, &str) -> bool) -> bool {
        self.0.iter().any(|line| line.trim() == "*" || tags_in(line).any(|(is_weak, tag)| matches(is_weak, tag)))
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
    use crate::commands::serve::root::FileKind;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn time(date: &str) -> SystemTime {
        httpdate::parse_http_date(date).unwrap()
    }

    fn file(modified: SystemTime) -> Metadata {
        let (kind, length, changed) = (FileKind::Regular, 10, Some(modified));
        Metadata { kind, length, is_stored: true, modified: Some(modified), changed, device: 1, inode: 7 }
    }

    fn version() -> Version {
        // A fraction of a second is not part of an HTTP date.
        let modified = time(DATE) + Duration::from_millis(500);
        Version::new(&file(modified), modified + Duration::from_secs(60))
    }

    fn tag() -> String {
        version().tag.unwrap()
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
        let tag = tag();
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
        let tag = tag();
        assert_eq!(evaluate(&[("if-match", "\"x\"")]), Verdict::Failed);
        assert_eq!(evaluate(&[("if-match", &format!("W/{tag}"))]), Verdict::Failed);
        assert_eq!(evaluate(&[("if-match", &tag), ("if-unmodified-since", EARLIER)]), Verdict::Send);
        assert_eq!(evaluate(&[("if-match", "*")]), Verdict::Send);
        assert_eq!(evaluate(&[("if-unmodified-since", EARLIER)]), Verdict::Failed);
        assert_eq!(evaluate(&[("if-unmodified-since", DATE)]), Verdict::Send);
    }

    #[test]
    fn a_range_continues_only_the_same_version() {
        let tag = tag();
        assert!(version().continues(&fields(&[])));
        assert!(version().continues(&fields(&[("if-range", &tag)])));
        assert!(version().continues(&fields(&[("if-range", DATE)])));
        for other in ["\"x\"", EARLIER, &format!("W/{tag}"), ""] {
            assert!(!version().continues(&fields(&[("if-range", other)])), "{other}");
        }
    }

    #[test]
    fn a_tag_identifies_each_version() {
        let (modified, now) = (time(DATE), time(DATE) + Duration::from_secs(60));
        let tag = |file: Metadata| Version::new(&file, now).tag.unwrap();
        let (first, nanosecond) = (file(modified), Some(modified + Duration::from_nanos(1)));
        let others = [
            Metadata { inode: 8, ..first },
            Metadata { length: 11, ..first },
            Metadata { changed: nanosecond, ..first },
        ];
        for other in others {
            assert_ne!(tag(first), tag(other), "{other:?}");
        }
        // Any user may set the modification time to any value.
        assert_eq!(tag(first), tag(Metadata { modified: nanosecond, ..first }));
    }

    #[test]
    fn a_version_younger_than_a_second_has_no_strong_validator() {
        let changed = time(DATE) + Duration::from_millis(500);
        let at = |milliseconds| Version::new(&file(changed), changed + Duration::from_millis(milliseconds));
        let (old, young) = (at(1000), at(999));
        let (strong, weak) = (old.tag.clone().unwrap(), young.tag.clone().unwrap());
        assert_eq!(weak, format!("W/{strong}"));
        for tag in [&strong, &weak] {
            assert_eq!(young.evaluate(&fields(&[("if-none-match", tag)])), Verdict::NotModified);
            assert_eq!(young.evaluate(&fields(&[("if-match", tag)])), Verdict::Failed);
            assert!(!young.continues(&fields(&[("if-range", tag)])));
        }
        assert!(old.continues(&fields(&[("if-range", &strong)])));
        // A client that knows only this date may have any of the contents that the file had within that second.
        assert!(at(499).modified.is_none() && !at(499).continues(&fields(&[("if-range", DATE)])));
        assert_eq!(at(500).modified, Some(time(DATE)));
    }

    #[test]
    fn a_file_from_the_future_keeps_its_tag_without_a_date() {
        let now = time(DATE);
        let month = Duration::from_secs(30 * 86_400);
        let file = Metadata { modified: Some(now + month), ..file(now - month) };
        let later = now + Duration::from_secs(5);
        assert_eq!(Version::new(&file, now).tag, Version::new(&file, later).tag);
        assert_eq!(Version::new(&file, now).modified, None);
    }

    #[test]
    fn times_outside_of_http_dates_are_omitted() {
        assert_eq!(whole_seconds(UNIX_EPOCH - SECOND), None);
        let last = UNIX_EPOCH + Duration::from_secs(LAST_DATE);
        assert_eq!(whole_seconds(last), Some(last));
        assert_eq!(whole_seconds(last + SECOND), None);
        assert!(httpdate::fmt_http_date(last).ends_with("9999 23:59:59 GMT"));
    }

    #[test]
    fn a_file_without_a_version_matches_only_the_star() {
        let unknown = Version::default();
        assert_eq!(
            unknown.evaluate(&fields(&[("if-none-match", "\"x\""), ("if-modified-since", DATE)])),
            Verdict::Send
        );
        assert_eq!(unknown.evaluate(&fields(&[("if-match", "*")])), Verdict::Send);
        assert_eq!(unknown.evaluate(&fields(&[("if-match", "\"x\"")])), Verdict::Failed);
        assert!(!unknown.continues(&fields(&[("if-range", DATE)])));
    }
}
