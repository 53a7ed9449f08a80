//! `cargo xtask matrix`: the support matrix of the documentation, written from the results of the conformance suite.
//!
//! A specification's test is named `provider::interface::sentence`, such as `epoll::tcp::a_refused_connection_fails`.

mod page;
mod report;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo_tool::NEXTEST;
use crate::pages::{self, Page};
use crate::step;
use crate::workspace::Workspace;
use page::Matrix;

/// The report of nextest, which writes to `target/nextest` in the workspace, wherever cargo builds.
const REPORT: &str = "target/nextest/matrix/junit.xml";
const PAGE: &str = "docs/src/support-matrix.md";
/// The beginning of the line with the date and the system of the run.
const RUN_ON: &str = "Run on ";
/// The tests that mount the suite, built with the same options as by `cargo xtask test`.
const SUITE: [&str; 4] = ["--workspace", "--all-features", "-E", BINARIES];
const BINARIES: &str = "binary_id(ropewalk-conformance::providers) | binary_id(ropewalk-conformance::hosted)";

/// Run the conformance suite and write docs/src/support-matrix.md from its results
#[derive(Args)]
pub(crate) struct Options {
    /// Run nothing; fail if the page does not count exactly the existing specifications, all of them passed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    NEXTEST.ensure()?;
    if options.check { check(&workspace.root) } else { generate(workspace) }
}

fn generate(workspace: &Workspace) -> Result<()> {
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
    pages::write(&workspace.root, &[made(&matrix, &circumstances()?)?])?;
    outcome.context("the page shows what failed")
}

/// Returns the page, with the date and the system of the run.
fn made(matrix: &Matrix<'_>, circumstances: &str) -> Result<Page> {
    Ok(Page { path: PAGE.to_owned(), text: matrix.markdown(circumstances)? })
}

/// Returns the day, and the name and release of the system.
fn circumstances() -> Result<String> {
    let day = step::read(Command::new("date").args(["-u", "+%-d %B %Y"]))?;
    let system = step::read(Command::new("uname").args(["-s", "-r"]))?;
    Ok(format!("{RUN_ON}{} on {}.", day.trim(), system.trim()))
}

fn check(root: &Path) -> Result<()> {
    let mut nextest = step::cargo();
    nextest.args(["nextest", "list", "--message-format", "json"]).args(SUITE);
    // Building the suite takes a while the first time, so the compiler's progress stays visible.
    step::say(&step::line_of(&nextest));
    nextest.stderr(Stdio::inherit());
    let names = report::listed(&step::read(&mut nextest)?)?;
    let matrix = Matrix::of(names.iter().map(|name| (name.as_str(), true)));
    let page = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    let circumstances = page.lines().find(|line| line.starts_with(RUN_ON)).unwrap_or(RUN_ON);
    pages::check(root, &[made(&matrix, circumstances)?], "cargo xtask matrix")?;
    step::say(&format!("{PAGE} is up to date"));
    Ok(())
}
