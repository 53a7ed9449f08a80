//! Lines and columns.

use super::words::in_words;

/// Where things stand in a file.
pub(super) struct Places<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Places<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Places<'a> {
        Places { file, text }
    }

    /// A message about the place at this offset in bytes.
    pub(super) fn at(&self, offset: usize, message: &str) -> String {
        format!("{}: {message}", self.named(offset))
    }

    /// `FILE:LINE:COLUMN` of this offset.
    pub(super) fn named(&self, offset: usize) -> String {
        let before = self.before(offset);
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before[line_start..].chars().count() + 1;
        format!("{}:{line}:{column}", self.file)
    }

    pub(super) fn explain(&self, error: &toml::de::Error) -> String {
        // Some messages have a line of their own for what was expected.
        let message = in_words(&error.message().trim().replace('\n', ", "));
        match error.span() {
            Some(span) => self.at(span.start, &message),
            None => format!("{}: {message}", self.file),
        }
    }

    fn before(&self, offset: usize) -> &str {
        self.text.get(..offset).unwrap_or(self.text)
    }
}
