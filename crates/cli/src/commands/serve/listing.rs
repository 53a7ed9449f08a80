//! The HTML page that lists a directory.

use std::ffi::OsStr;
use std::fmt::{self, Display, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::condition::whole_seconds;
use super::request_path::{RequestPath, encode};
use super::root::{FileKind, Metadata};

/// The maximum number of entries on one page. The page is built in memory.
const ENTRIES_MAX: usize = 10_000;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8883;--soft:#888}\
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}\
table{width:100%;border-collapse:collapse}\
td{padding:.3rem .5rem;border-top:1px solid var(--line);overflow-wrap:anywhere}\
tr:hover td{background:#8881}\
td+td{width:1%;white-space:nowrap;text-align:right;color:var(--soft);font-variant-numeric:tabular-nums;padding-left:1.5rem}\
a{color:light-dark(#0b57c4,#8ab4f8);text-decoration:none}a:hover{text-decoration:underline}\
.d{font-weight:600}\
footer{margin-top:2rem;font-size:.85rem;color:var(--soft)}\
@media(max-width:36rem){td:nth-child(3){display:none}}";

/// One row of the page.
struct Entry {
    name: PathBuf,
    is_directory: bool,
    length: u64,
    modified: Option<String>,
}

impl Entry {
    fn new(name: PathBuf, metadata: &Metadata) -> Entry {
        let is_directory = metadata.kind == FileKind::Directory;
        Entry { name, is_directory, length: metadata.length, modified: metadata.modified.and_then(date) }
    }
}

/// The rows of a listing, which are the same whatever path leads to the directory.
#[derive(Clone, Default)]
pub(super) struct Rows {
    pub(super) html: Bytes,
    /// The end of the page, as HTML.
    pub(super) end: Arc<str>,
}

impl Rows {
    /// Reads the entries of a directory.
    pub(super) fn of(entries: impl Iterator<Item = (PathBuf, Metadata)>) -> Rows {
        let mut entries = entries.filter(|(_, metadata)| metadata.kind != FileKind::Special);
        let mut shown: Vec<_> =
            entries.by_ref().take(ENTRIES_MAX).map(|(name, metadata)| Entry::new(name, &metadata)).collect();
        shown.sort_by_cached_key(|entry| {
            let name = entry.name.to_string_lossy();
            (!entry.is_directory, name.to_lowercase(), name.into_owned())
        });
        Rows::from_shown(&shown, entries.next().is_some())
    }

    fn from_shown(entries: &[Entry], is_truncated: bool) -> Rows {
        let (mut html, mut end) = (String::with_capacity(200 * entries.len()), String::from("</table>\n"));
        // Writing to a string does not fail.
        let _ = entries.iter().try_for_each(|entry| write_entry(&mut html, entry));
        if is_truncated {
            let _ = writeln!(end, "<p>There are more entries than the {ENTRIES_MAX} shown here.</p>");
        }
        let _ = write!(end, "<footer>{}</footer>\n</body>\n</html>\n", summary(entries));
        html.shrink_to_fit();
        Rows { html: html.into(), end: end.into() }
    }

    /// Returns the page for the directory at `path`, in parts. Pages share the rows.
    pub(super) fn page(&self, path: &RequestPath) -> Vec<Bytes> {
        let mut beginning = String::with_capacity(2048);
        let _ = write_beginning(&mut beginning, path);
        vec![beginning.into(), self.html.clone(), Bytes::copy_from_slice(self.end.as_bytes())]
    }
}

/// Writes the page up to its rows.
fn write_beginning(page: &mut String, path: &RequestPath) -> fmt::Result {
    let title: String = path.names().fold(String::from("/"), |title, name| title + &name.to_string_lossy() + "/");
    let title = Escaped(&title);
    write!(page, "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n")?;
    write!(page, "<meta name=viewport content=\"width=device-width\">\n<title>{title}</title>\n")?;
    write!(page, "<style>{STYLE}</style>\n</head>\n<body>\n<h1>")?;
    write_breadcrumbs(page, path)?;
    page.push_str("</h1>\n<table>\n");
    if path.names().next().is_some() {
        page.push_str("<tr><td class=d><a href=\"../\">../</a><td><td>\n");
    }
    Ok(())
}

/// Writes the path with a link for each directory.
fn write_breadcrumbs(page: &mut String, path: &RequestPath) -> fmt::Result {
    let mut url = String::from("/");
    write!(page, "<a href=\"/\">/</a>")?;
    for name in path.names() {
        write!(url, "{}/", encode(name))?;
        write!(page, "<a href=\"{url}\">{}</a>/", Escaped(&name.to_string_lossy()))?;
    }
    Ok(())
}

fn write_entry(page: &mut String, entry: &Entry) -> fmt::Result {
    let name: &OsStr = entry.name.as_os_str();
    let (class, slash) = if entry.is_directory { (" class=d", "/") } else { ("", "") };
    let (url, text) = (encode(name), name.to_string_lossy());
    // Without the leading "./", a name such as "javascript:x" would be an absolute URL.
    write!(page, "<tr><td{class}><a href=\"./{url}{slash}\">{}{slash}</a><td>", Escaped(&text))?;
    if !entry.is_directory {
        write!(page, "{}", Size(entry.length))?;
    }
    writeln!(page, "<td>{}", entry.modified.as_deref().unwrap_or_default())
}

fn summary(entries: &[Entry]) -> String {
    let directories = entries.iter().filter(|entry| entry.is_directory).count();
    let files = entries.len() - directories;
    let bytes =
        entries.iter().filter(|entry| !entry.is_directory).fold(0, |sum: u64, entry| sum.saturating_add(entry.length));
    let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    format!(
        "{}, {}, {} &middot; times in UTC &middot; ropewalk {}",
        plural(directories, "directory", "directories"),
        plural(files, "file", "files"),
        Size(bytes),
        env!("CARGO_PKG_VERSION")
    )
}

/// Formats a time in UTC, as in `21 Nov 2025 09:40`.
fn date(modified: std::time::SystemTime) -> Option<String> {
    let modified = whole_seconds(modified).filter(|modified| *modified > UNIX_EPOCH)?;
    let text = httpdate::fmt_http_date(modified);
    text.get("Fri, ".len().."Fri, 21 Nov 2025 09:40".len()).map(str::to_owned)
}

/// A number of bytes, shown in units of 1024.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // Rounding would show 1023.95 and above as 1024.0, so the next unit is used.
        while size >= 1023.95 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        write!(f, "{size:.1} {}", UNITS[unit])
    }
}

/// A text, escaped for HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_are_shown_with_binary_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (100 << 20, "100.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn dates_before_1970_are_omitted() {
        let modified = httpdate::parse_http_date("Fri, 21 Nov 2025 09:40:12 GMT").unwrap();
        assert_eq!(date(modified).as_deref(), Some("21 Nov 2025 09:40"));
        assert_eq!(date(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    #[test]
    fn names_are_escaped_in_markup_or_urls() {
        let name = "javascript:\"><script>&'.html";
        let entry = Entry { name: name.into(), is_directory: false, length: 1, modified: None };
        let parts = Rows::from_shown(&[entry], false).page(&RequestPath::parse("/a%3Cb/").unwrap());
        let page = String::from_utf8(parts.concat()).unwrap();
        assert!(!page.contains("<script"));
        assert!(page.contains(
            "href=\"./javascript%3A%22%3E%3Cscript%3E%26%27.html\">javascript:&quot;&gt;&lt;script&gt;&amp;&#39;.html<"
        ));
        assert!(page.contains("<title>/a&lt;b/</title>"));
        assert!(page.contains("<a href=\"/a%3Cb/\">a&lt;b</a>/"));
    }
}
