//! `cargo xtask test`: every test of the workspace, on a machine with only rustup and a C compiler.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::cargo_tool::NEXTEST;
use crate::step;

// Building the workspace is included. A run that hangs must not block a CI job.
const WHOLE_RUN: Duration = Duration::from_secs(30 * 60);

/// Build and run every test of the workspace, documentation examples included
///
/// Each test runs in a process of its own under cargo-nextest, which is built once if it is missing. A test that
/// hangs for five minutes fails (.config/nextest.toml). Without cargo-nextest, `cargo test` runs the tests.
/// A run that finds no test fails.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains one of these (documentation examples are then left out)
    filters: Vec<String>,
    /// Use `cargo test` even if cargo-nextest is installed
    #[arg(long)]
    plain: bool,
    /// Arguments for cargo-nextest, after `--`
    #[arg(last = true)]
    nextest_arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.plain {
        return with_cargo_test(options);
    }
    if let Err(error) = NEXTEST.ensure() {
        step::say(&format!("{error:#}; `cargo test` runs the tests, without a time limit for each"));
        return with_cargo_test(options);
    }
    // The examples come first, so that nextest's summary closes the run.
    if options.filters.is_empty() {
        let mut examples = step::cargo();
        examples.args(["test", "--workspace", "--all-features", "--doc"]);
        // `--doc` overrides `doctest = false`. The files that the models include belong to the reactor, as do their
        // examples.
        examples.args(["--exclude", "ropewalk-models"]);
        step::run_and_read(&mut examples, WHOLE_RUN)?;
    }
    let mut nextest = step::cargo();
    nextest.args(["nextest", "run", "--workspace", "--all-features", "--no-tests=fail"]);
    step::run(nextest.args(&options.nextest_arguments).args(&options.filters))
}

fn with_cargo_test(options: &Options) -> Result<()> {
    let mut command = step::cargo();
    command.args(["test", "--workspace", "--all-features", "--no-fail-fast", "--"]).args(&options.filters);
    let output = step::run_and_read(&mut command, WHOLE_RUN)?;
    match tests_passed(&output) {
        0 => bail!("no test ran"),
        passed => step::say(&format!("{passed} tests passed")),
    }
    Ok(())
}

/// Adds up libtest's lines, such as `test result: ok. 12 passed; 0 failed; ...`.
fn tests_passed(output: &[String]) -> u32 {
    let summaries = output.iter().filter_map(|line| line.strip_prefix("test result: ok. "));
    summaries.filter_map(|summary| summary.split_once(" passed")?.0.parse::<u32>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn passed_tests_of_all_binaries_are_added_up() {
        let output = lines(
            "running 12 tests\ntest result: ok. 12 passed; 0 failed; 0 ignored\n\ntest result: ok. 3 passed; 0 failed",
        );
        assert_eq!(tests_passed(&output), 15);
    }

    #[test]
    fn binaries_without_tests_add_nothing() {
        assert_eq!(tests_passed(&lines("running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored")), 0);
    }
}
