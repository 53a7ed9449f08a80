//! `cargo xtask plot`: pictures and tables of the book's chapter on choosing a reactor, from the benchmark's results.
//!
//! ```text
//!   target/bench/results.json ── reduced ──> docs/measured.json ──┬──> the tables of the chapter
//!                                                                 └──> its pictures
//! ```
//!
//! Writes all files, or no file after an error.

mod candidate;
mod chart;
mod pictures;
mod results;
mod scale;
mod svg;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::marked::Part;
use crate::pages::{self, Page};
use crate::step;
use crate::workspace::Workspace;
use pictures::PICTURES;
pub(crate) use results::Machine;
use results::Results;

/// The reduced results: small enough to be kept, and enough to draw everything again.
const MEASURED: &str = "docs/measured.json";
const CHAPTER: &str = "docs/src/choosing-a-reactor.md";
/// The folder of the pictures, beside the chapter so that the book includes them.
const FOLDER: &str = "docs/src/pictures";
const PART: Part = Part { command: "cargo xtask plot", source: MEASURED };

/// Draw the pictures and write the tables of docs/src/choosing-a-reactor.md
///
/// The figures are kept in docs/measured.json, so that they can be drawn again without measuring.
#[derive(Args)]
pub(crate) struct Options {
    /// Results of `cargo xtask bench`, such as target/bench/results.json; later files replace figures of earlier ones
    /// [default: docs/measured.json]
    results: Vec<PathBuf>,
    /// Write nothing; fail if a picture or the chapter differs from docs/measured.json
    #[arg(long, conflicts_with = "results")]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let root = &workspace.root;
    let kept = [root.join(MEASURED)];
    let results = read(if options.results.is_empty() { &kept } else { &options.results })?;
    let made = made(root, &results)?;
    if !options.check {
        return pages::write(root, &made);
    }
    pages::check(root, &made, "cargo xtask plot")?;
    step::say(&format!("pictures and tables agree with {MEASURED}"));
    Ok(())
}

fn read(paths: &[PathBuf]) -> Result<Results> {
    let (first, later) = paths.split_first().context("no results")?;
    let mut results = Results::read(first)?;
    for path in later {
        results.replace(Results::read(path)?).with_context(|| path.display().to_string())?;
    }
    Ok(results)
}

/// Draws and writes everything in memory.
fn made(root: &Path, results: &Results) -> Result<Vec<Page>> {
    let mut made = vec![Page { path: MEASURED.to_owned(), text: results.json()? }];
    for picture in &PICTURES {
        let text = picture.chart(results)?.draw()?;
        made.push(Page { path: format!("{FOLDER}/{}", picture.file), text });
    }
    let chapter = fs::read_to_string(root.join(CHAPTER)).with_context(|| format!("cannot read {CHAPTER}"))?;
    let text = PART.replace(&chapter, &table::markdown(results)).context(CHAPTER)?;
    made.push(Page { path: CHAPTER.to_owned(), text });
    Ok(made)
}
