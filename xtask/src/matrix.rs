//! `cargo xtask matrix`: the support matrix of the documentation, written from the results of the conformance suite.
//!
//! A specification's test is named `provider::interface::sentence`, such as `epoll::tcp::a_refused_connection_fails`.

mod page;
mod report;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo_tool::NEXTEST;
use crate::step;
use crate::workspace::Workspace;
use page::Matrix;

/// The report of nextest, which writes to `target/nextest` in the workspace, wherever cargo builds.
const REPORT: &str = "target/nextest/matrix/junit.xml";
const PAGE: &str = "docs/src/support-matrix.md";
/// The tests that mount the suite, built with the same options as by `cargo xtask test`.
const SUITE: [&str; 4] = ["--workspace", "--all-features", "-E", "binary_id(ropewalk-conformance::providers)"];

/// Run the conformance suite and write docs/src/support-matrix.md from its results
#[derive(Args)]
pub(crate) struct Options {
    /// Run nothing; fail if the page does not count exactly the existing specifications, all of them passed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    NEXTEST.ensure()?;
    let page = workspace.root.join(PAGE);
    if options.check { check(&page) } else { generate(workspace, &page) }
}

fn generate(workspace: &Workspace, page: &Path) -> Result<()> {
    let report = workspace.root.join(REPORT);
    // An old report must not be taken for the report of a run that never started.
    let _ = fs::remove_file(&report);
    let mut nextest = step::cargo();
    nextest.args(["nextest", "run", "--profile", "matrix"]).args(SUITE).current_dir(&workspace.root);
    let outcome = step::run(&mut nextest);
    let Ok(text) = fs::read_to_string(&report) else {
        return outcome.and_then(|()| bail!("the suite left no report at {}", report.display()));
    };
    let results = report::results(&text)?;
    let matrix = Matrix::of(results.iter().map(|(name, passed)| (name.as_str(), *passed)));
    fs::write(page, matrix.markdown()?)?;
    step::say(&format!("wrote {PAGE}"));
    outcome.context("the page shows what failed")
}

fn check(page: &Path) -> Result<()> {
    let mut nextest = step::cargo();
    nextest.args(["nextest", "list", "--message-format", "json"]).args(SUITE);
    // Building the suite takes a while the first time, so the compiler's progress stays visible.
    step::say(&step::line_of(&nextest));
    nextest.stderr(Stdio::inherit());
    let names = report::listed(&step::read(&mut nextest)?)?;
    let expected = Matrix::of(names.iter().map(|name| (name.as_str(), true))).markdown()?;
    if fs::read_to_string(page).unwrap_or_default() != expected {
        bail!("{PAGE} is not what the suite says; run `cargo xtask matrix` and commit the page");
    }
    step::say(&format!("{PAGE} is up to date"));
    Ok(())
}
