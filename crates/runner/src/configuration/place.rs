//! Lines and columns.

/// Where things stand in a file.
pub(super) struct Places<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Places<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Places<'a> {
        Places { file, text }
    }

    pub(super) fn file(&self) -> &str {
        self.file
    }

    /// The line of an offset in bytes, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.before(offset).matches('\n').count() + 1
    }

    /// A message about the place at this offset.
    pub(super) fn at(&self, offset: usize, message: &str) -> String {
        let before = self.before(offset);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before[line_start..].chars().count() + 1;
        format!("{}:{}:{column}: {message}", self.file, self.line(offset))
    }

    pub(super) fn explain(&self, error: &toml::de::Error) -> String {
        // Some messages have a line of their own for what was expected.
        let message = error.message().trim().replace('\n', ", ");
        match error.span() {
            Some(span) => self.at(span.start, &message),
            None => format!("{}: {message}", self.file),
        }
    }

    fn before(&self, offset: usize) -> &str {
        self.text.get(..offset).unwrap_or(self.text)
    }
}
