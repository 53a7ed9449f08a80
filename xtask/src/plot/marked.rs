//! The part of a page that a program writes, between two comments of a line each.

use anyhow::{Result, bail};

const BEGIN: &str = "<!-- Written by `cargo xtask plot` from docs/measured.json; changes by hand are lost. -->";
const END: &str = "<!-- Here ends what `cargo xtask plot` writes. -->";

/// The page with `text` between the two comments.
///
/// # Errors
/// A comment is missing, or stands there twice, or the second one comes first.
pub(super) fn replace(page: &str, text: &str) -> Result<String> {
    let (before, rest) = once(page, BEGIN)?;
    let Ok((_, after)) = once(rest, END) else {
        bail!("the line {END:?} must stand once, below {BEGIN:?}");
    };
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

fn once<'a>(page: &'a str, line: &str) -> Result<(&'a str, &'a str)> {
    let parts: Vec<&str> = page.split(line).collect();
    match parts[..] {
        [before, after] => Ok((before, after)),
        _ => bail!("the line {line:?} must stand once, and stands {} times", parts.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_the_comments_stays() {
        let page = format!("# A title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n");
        let written = replace(&page, "new\n").unwrap();
        assert_eq!(written, format!("# A title\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe rest.\n"));
        assert_eq!(replace(&written, "new").unwrap(), written);
    }

    #[test]
    fn a_comment_that_is_missing_or_out_of_place_is_named() {
        let complaint = |page: String| replace(&page, "new").unwrap_err().to_string();
        assert!(complaint("# A title".to_owned()).contains("stands 0 times"));
        assert!(complaint(format!("{BEGIN}\n{BEGIN}\n{END}")).contains("stands 2 times"));
        assert!(complaint(format!("{END}\n{BEGIN}\n")).contains("below"));
        assert!(complaint(format!("{BEGIN}\n{END}\n{END}\n")).contains(END));
    }
}
