//! The part of a page that a command writes, between two comments of a line each.

use anyhow::{Result, bail};

/// The part of a page that a command writes.
pub(crate) struct Part {
    /// The command, such as `cargo xtask plot`.
    pub(crate) command: &'static str,
    /// The file with the figures.
    pub(crate) source: &'static str,
}

impl Part {
    /// The comment above the part.
    fn begin(&self) -> String {
        let Part { command, source } = self;
        format!("<!-- Written by `{command}` from {source}; changes by hand are lost. -->")
    }

    /// The comment below the part.
    fn end(&self) -> String {
        format!("<!-- End of the part that `{}` writes. -->", self.command)
    }

    /// Returns the page with `text` between the two comments.
    ///
    /// # Errors
    /// If a comment is missing or occurs twice, or if the second one comes first.
    pub(crate) fn replace(&self, page: &str, text: &str) -> Result<String> {
        let (begin, end) = (self.begin(), self.end());
        let (before, rest) = once(page, &begin)?;
        let Ok((_, after)) = once(rest, &end) else {
            bail!("expected the line {end:?} once, below {begin:?}");
        };
        Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
    }
}

fn once<'a>(page: &'a str, line: &str) -> Result<(&'a str, &'a str)> {
    let parts: Vec<&str> = page.split(line).collect();
    match parts[..] {
        [before, after] => Ok((before, after)),
        _ => bail!("expected the line {line:?} once, and found it {} times", parts.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- Written by `cargo paint` from colours.json; changes by hand are lost. -->";
    const END: &str = "<!-- End of the part that `cargo paint` writes. -->";
    const PART: Part = Part { command: "cargo paint", source: "colours.json" };

    #[test]
    fn text_around_the_comments_is_kept() {
        let page = format!("# A title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n");
        let written = PART.replace(&page, "new\n").unwrap();
        assert_eq!(written, format!("# A title\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe rest.\n"));
        assert_eq!(PART.replace(&written, "new").unwrap(), written);
    }

    #[test]
    fn a_comment_that_is_missing_or_out_of_place_is_named() {
        let complaint = |page: String| PART.replace(&page, "new").unwrap_err().to_string();
        assert!(complaint("# A title".to_owned()).contains("found it 0 times"));
        assert!(complaint(format!("{BEGIN}\n{BEGIN}\n{END}")).contains("found it 2 times"));
        assert!(complaint(format!("{END}\n{BEGIN}\n")).contains("below"));
        assert!(complaint(format!("{BEGIN}\n{END}\n{END}\n")).contains(END));
    }
}
