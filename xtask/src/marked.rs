//! The part of a page that a command writes, between two comments of a line each.

use anyhow::{Result, bail};

/// The part of a page that a command writes.
pub(crate) struct Part {
    /// The comment above the part.
    pub(crate) begin: &'static str,
    /// The comment below the part.
    pub(crate) end: &'static str,
}

impl Part {
    /// Returns the page with `text` between the two comments.
    ///
    /// # Errors
    /// If a comment is missing or occurs twice, or if the second one comes first.
    pub(crate) fn replace(&self, page: &str, text: &str) -> Result<String> {
        let Part { begin, end } = self;
        let (before, rest) = once(page, begin)?;
        let Ok((_, after)) = once(rest, end) else {
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

    const BEGIN: &str = "<!-- The part begins. -->";
    const END: &str = "<!-- The part is over. -->";
    const PART: Part = Part { begin: BEGIN, end: END };

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
