//! `cargo xtask load`: the release program under load, and the book's chapter on it.
//!
//! ```text
//!   ropewalk-load ──> target/load/results.json ── a complete run ──> docs/load.json ──> the tables of the chapter
//! ```

mod results;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::marked::Part;
use crate::pages::{self, Page};
use crate::step;
use crate::workspace::Workspace;
use results::Results;

/// The figures of the last complete run.
const KEPT: &str = "docs/load.json";
const CHAPTER: &str = "docs/src/limits-and-load.md";
const PART: Part = Part { command: "cargo xtask load", source: KEPT };

/// Put the release program under load, and write docs/src/limits-and-load.md
///
/// A run of all scenarios on all reactors takes about a quarter of an hour on two cores and needs a quiet machine. It
/// writes the chapter and docs/load.json, also if a figure misses its bar. `ropewalk-load --help` lists the scenarios.
#[derive(Args)]
pub(crate) struct Options {
    /// Run with a tenth of the clients and of the time; the chapter stays as it is
    #[arg(long)]
    quick: bool,
    /// Run only scenarios whose name contains one of these; the chapter stays as it is
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,
    /// Run only on these reactors; the chapter stays as it is
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    reactors: Vec<String>,
    /// Measure nothing; write the chapter again from docs/load.json
    #[arg(long, conflicts_with_all = ["quick", "only", "reactors"])]
    page: bool,
    /// Measure and write nothing; fail if the chapter differs from docs/load.json
    #[arg(long, conflicts_with_all = ["quick", "only", "reactors", "page"])]
    check: bool,
}

impl Options {
    /// Whether the run has all figures of the chapter.
    fn is_complete(&self) -> bool {
        !self.quick && self.only.is_empty() && self.reactors.is_empty()
    }
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let root = &workspace.root;
    if options.check {
        return pages::check(root, &made(root, &root.join(KEPT))?, "cargo xtask load --page");
    }
    if options.page {
        return pages::write(root, &made(root, &root.join(KEPT))?);
    }
    let measured = workspace.target.join("load/results.json");
    // The results of an earlier run must not pass for those of a run that failed early.
    let _ = fs::remove_file(&measured);
    let outcome = measure(workspace, options, &measured);
    if options.is_complete() && measured.exists() {
        pages::write(root, &made(root, &measured)?)?;
    }
    outcome
}

fn measure(workspace: &Workspace, options: &Options, results: &Path) -> Result<()> {
    let mut build = step::cargo();
    step::run(build.args(["build", "--release", "--package", "ropewalk-cli", "--package", "ropewalk-load"]))?;
    let mut load = std::process::Command::new(workspace.target.join("release/ropewalk-load"));
    load.arg("--json").arg(results).args(options.quick.then_some("--quick"));
    for (option, values) in [("--only", &options.only), ("--reactors", &options.reactors)] {
        if !values.is_empty() {
            load.arg(option).arg(values.join(","));
        }
    }
    step::run(&mut load)
}

/// Writes everything in memory.
fn made(root: &Path, results: &Path) -> Result<Vec<Page>> {
    let results = Results::read(results)?;
    let chapter = fs::read_to_string(root.join(CHAPTER)).with_context(|| format!("cannot read {CHAPTER}"))?;
    let text = PART.replace(&chapter, &table::markdown(&results)).context(CHAPTER)?;
    Ok(vec![Page { path: KEPT.to_owned(), text: results.json()? }, Page { path: CHAPTER.to_owned(), text }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_run_writes_the_chapter() {
        let complete = || Options { quick: false, only: Vec::new(), reactors: Vec::new(), page: false, check: false };
        assert!(complete().is_complete());
        assert!(!Options { quick: true, ..complete() }.is_complete());
        assert!(!Options { only: vec!["idle".to_owned()], ..complete() }.is_complete());
        assert!(!Options { reactors: vec!["poll".to_owned()], ..complete() }.is_complete());
    }
}
