//! `cargo xtask matrix`: the support matrix of the documentation, written from the results of the conformance suite.
//!
//! A specification's test is named `provider::interface::sentence`, such as `epoll::tcp::a_refused_connection_fails`. The
//! suite also runs with toolkits as hosts: `cargo xtask hosts` writes that matrix.

mod introduction;
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

/// The beginning of the line with the date and the system of the run.
const RUN_ON: &str = "Run on ";

/// A part of the conformance suite, and the page of its results.
pub(crate) struct Suite {
    page: &'static str,
    introduction: &'static str,
    /// The command that writes the page.
    command: &'static str,
    /// The folder of the workspace, relative to the main one.
    folder: &'static str,
    /// The report of nextest, relative to the main workspace, wherever cargo builds.
    report: &'static str,
    /// The tests that mount the suite.
    binaries: &'static str,
}

const PROVIDERS: Suite = Suite {
    page: "docs/src/support-matrix.md",
    introduction: introduction::PROVIDERS,
    command: "cargo xtask matrix",
    folder: "",
    report: "target/nextest/matrix/junit.xml",
    binaries: "binary_id(ropewalk-conformance::providers) | binary_id(ropewalk-conformance::hosted)",
};

/// The suite with toolkits as hosts.
pub(crate) const TOOLKITS: Suite = Suite {
    page: "docs/src/toolkit-matrix.md",
    introduction: introduction::TOOLKITS,
    command: "cargo xtask hosts --matrix",
    folder: "hosts",
    report: "hosts/target/nextest/matrix/junit.xml",
    binaries: "package(ropewalk-hosts-conformance) & kind(test)",
};

/// Run the conformance suite and write docs/src/support-matrix.md from its results
#[derive(Args)]
pub(crate) struct Options {
    /// Run nothing; fail if the page does not count exactly the existing specifications, all of them passed
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    NEXTEST.ensure()?;
    if options.check { check(&workspace.root, &PROVIDERS) } else { generate(&workspace.root, &PROVIDERS) }
}

impl Suite {
    /// Returns nextest for the suite, built with the same options as by the other commands.
    fn nextest(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut nextest = step::cargo();
        nextest.arg("nextest").args(arguments).args(["--workspace", "--all-features", "-E", self.binaries]);
        nextest.current_dir(root.join(self.folder));
        nextest
    }

    /// Returns the page, with the date and the system of the run.
    fn made(&self, matrix: &Matrix<'_>, circumstances: &str) -> Result<Page> {
        Ok(Page { path: self.page.to_owned(), text: matrix.markdown(self.introduction, circumstances)? })
    }
}

/// Runs the suite, and writes its page.
pub(crate) fn generate(root: &Path, suite: &Suite) -> Result<()> {
    let report = root.join(suite.report);
    // An old report must not be taken for the report of a run that never started.
    let _ = fs::remove_file(&report);
    let outcome = step::run(&mut suite.nextest(root, &["run", "--profile", "matrix"]));
    let Ok(text) = fs::read_to_string(&report) else {
        return outcome.and_then(|()| bail!("the suite left no report at {}", report.display()));
    };
    let results = report::results(&text)?;
    let matrix = Matrix::of(results.iter().map(|(name, passed)| (name.as_str(), *passed)));
    pages::write(root, &[suite.made(&matrix, &circumstances()?)?])?;
    outcome.context("the page shows what failed")
}

/// Returns the day, and the name and release of the system.
pub(crate) fn circumstances() -> Result<String> {
    let day = step::read(Command::new("date").args(["-u", "+%-d %B %Y"]))?;
    let system = step::read(Command::new("uname").args(["-s", "-r"]))?;
    Ok(format!("{RUN_ON}{} on {}.", day.trim(), system.trim()))
}

/// Fails unless the page of the suite counts exactly the existing specifications, all of them passed.
pub(crate) fn check(root: &Path, suite: &Suite) -> Result<()> {
    let mut nextest = suite.nextest(root, &["list", "--message-format", "json"]);
    // Building the suite takes a while the first time, so the compiler's progress stays visible.
    step::say(&step::line_of(&nextest));
    nextest.stderr(Stdio::inherit());
    let names = report::listed(&step::read(&mut nextest)?)?;
    let matrix = Matrix::of(names.iter().map(|name| (name.as_str(), true)));
    let page = fs::read_to_string(root.join(suite.page)).unwrap_or_default();
    let circumstances = page.lines().find(|line| line.starts_with(RUN_ON)).unwrap_or(RUN_ON);
    pages::check(root, &[suite.made(&matrix, circumstances)?], suite.command)?;
    step::say(&format!("{} is up to date", suite.page));
    Ok(())
}
