//! The part of a page that a program writes, between two comments of a line each.

use anyhow::{Result, bail};

const BEGIN: &str = "<!-- Written by `cargo xtask plot` from docs/measured.json; changes by hand are lost. -->";
const END: &str = "<!-- End of the part that `cargo xtask plot` writes. -->";

/// Returns the page with `text` between the two comments.
///
/// # Errors
/// If a comment is missing or occurs twice, or if the second one comes first.
pub(super) fn replace(page: &str, text: &str) -> Result<String> {
    let (before, rest) = once(page, BEGIN)?;
    let Ok((_, after)) = once(rest, END) else {
        bail!("expected the line {END:?} once, below {BEGIN:?}");
    };
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
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

    #[test]
    fn text_around_the_comments_is_kept() {
        let page = format!("# A title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n");
        let written = replace(&page, "new\n").unwrap();
        assert_eq!(written, format!("# A title\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe rest.\n"));
        assert_eq!(replace(&written, "new").unwrap(), written);
    }

    #[test]
    fn a_comment_that_is_missing_or_out_of_place_is_named() {
        let complaint = |page: String| replace(&page, "new").unwrap_err().to_string();
        assert!(complaint("# A title".to_owned()).contains("found it 0 times"));
        assert!(complaint(format!("{BEGIN}\n{BEGIN}\n{END}")).contains("found it 2 times"));
        assert!(complaint(format!("{END}\n{BEGIN}\n")).contains("below"));
        assert!(complaint(format!("{BEGIN}\n{END}\n{END}\n")).contains(END));
    }
}
