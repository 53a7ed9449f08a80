//! `cargo xtask hosts --figures`: the figures of every host loop, and the page of the book that shows them.
//!
//! ```text
//!   host-figures ──> the list of measurements ──┬── round 1: each in a process of its own ──┐
//!                                               └── round 2: ...                          ──┴──> medians, the page
//! ```
//!
//! The rounds are interleaved, because the speed of a machine changes in the course of minutes.

mod page;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::pages::{self, Page};
use crate::workspace::Workspace;
use crate::{matrix, step};

const PAGE: &str = "docs/src/toolkit-figures.md";
const PACKAGE: &str = "ropewalk-hosts-figures";
const PROGRAM: &str = "release/host-figures";
/// The longest time of one measurement. Most take a few seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// One figure, of one host loop with one event provider.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measurement {
    host: String,
    provider: String,
    figure: String,
}

/// The numbers of each measurement in one round, in the order of the list. `None` is a measurement that failed.
type Round = Vec<Option<Vec<f64>>>;

/// Measures everything `rounds` times, and writes the page.
///
/// # Errors
/// If a measurement failed. The page is written nevertheless, and shows which.
pub(super) fn generate(workspace: &Workspace, rounds: u32) -> Result<()> {
    super::cargo(&workspace.root, &["build", "--release", "--locked", "--package", PACKAGE])?;
    let program = workspace.target.join(PROGRAM);
    let list = listed(&step::read(&mut Command::new(&program))?)?;
    let results: Vec<Round> = (1..=rounds)
        .map(|round| {
            step::say(&format!("round {round} of {rounds}, {} measurements", list.len()));
            list.iter().map(|measurement| measured(Command::new(&program), measurement)).collect()
        })
        .collect();
    let text = page::markdown(&list, &results, &matrix::circumstances()?);
    pages::write(&workspace.root, &[Page { path: PAGE.to_owned(), text }])?;
    let failures = results.iter().flatten().filter(|result| result.is_none()).count();
    if failures > 0 {
        bail!("{failures} measurements failed; the lines above say why");
    }
    Ok(())
}

fn listed(lines: &str) -> Result<Vec<Measurement>> {
    let measurement = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (host, provider, figure) = (words.next()?, words.next()?, words.next()?);
        Some(Measurement { host, provider, figure })
    };
    lines.lines().map(|line| measurement(line).with_context(|| format!("expected three words: {line}"))).collect()
}

fn measured(mut program: Command, measurement: &Measurement) -> Option<Vec<f64>> {
    let Measurement { host, provider, figure } = measurement;
    let outcome = step::run_and_read(program.args([host, provider, figure]), LIMIT).and_then(|lines| numbers(&lines));
    outcome.inspect_err(|error| step::say(&format!("{host} {provider} {figure} failed: {error:#}"))).ok()
}

fn numbers(lines: &[String]) -> Result<Vec<f64>> {
    let line = lines.last().context("the program printed nothing")?;
    line.split(' ').map(|word| word.parse().with_context(|| format!("expected a number: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_measurement_in_each_line() {
        let list = listed("run epoll idle\nglib uring echo\n").unwrap();
        let last = Measurement { host: "glib".into(), provider: "uring".into(), figure: "echo".into() };
        assert_eq!((list.len(), &list[1]), (2, &last));
        assert!(listed("run epoll\n").is_err());
    }

    #[test]
    fn a_result_is_one_line_of_numbers() {
        assert_eq!(numbers(&["99.5 6.25".to_owned()]).unwrap(), [99.5, 6.25]);
        assert!(numbers(&["no number".to_owned()]).is_err());
        assert!(numbers(&[]).is_err());
    }
}
