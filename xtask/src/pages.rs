//! Files of the documentation that a command writes: all of them or, after an error, none.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::step;

/// A file of the documentation, relative to the workspace.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Writes the files.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(root: &Path, pages: &[Page]) -> Result<()> {
    for Page { path, text } in pages {
        let file = root.join(path);
        fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
        fs::write(file, text).with_context(|| format!("cannot write {path}"))?;
        step::say(&format!("wrote {path}"));
    }
    Ok(())
}

/// Compares the files with their present text.
///
/// # Errors
/// If a file differs. The message names the files, and the command that writes them.
pub(crate) fn check(root: &Path, pages: &[Page], command: &str) -> Result<()> {
    let is_stale = |page: &&Page| fs::read_to_string(root.join(&page.path)).unwrap_or_default() != page.text;
    let stale: Vec<&str> = pages.iter().filter(is_stale).map(|page| page.path.as_str()).collect();
    if !stale.is_empty() {
        bail!("out of date: {}; run `{command}` and commit them", stale.join(", "));
    }
    Ok(())
}
