//! Locations in the configuration file: lines and columns.

use super::toml_terms::in_toml_terms;

/// Converts byte offsets in a file into lines and columns.
pub(super) struct Locations<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Locations<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Locations<'a> {
        Locations { file, text }
    }

    /// Returns a message with the location of a byte offset before it.
    pub(super) fn error_at(&self, offset: usize, message: &str) -> String {
        format!("{}: {message}", self.of(offset))
    }

    /// Returns the location of a byte offset, as `FILE:LINE:COLUMN`.
    pub(super) fn of(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before[line_start..].chars().count() + 1;
        format!("{}:{line}:{column}", self.file)
    }

    /// Returns the message of a TOML error, with its location.
    pub(super) fn describe(&self, error: &toml::de::Error) -> String {
        // Some messages have the expected value on a second line.
        let message = in_toml_terms(&error.message().trim().replace('\n', ", "));
        match error.span() {
            Some(span) => self.error_at(span.start, &message),
            None => format!("{}: {message}", self.file),
        }
    }
}
