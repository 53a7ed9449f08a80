//! `cargo xtask mutants`: changes the code a little, many times, and checks that a test fails.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use crate::cargo_tool::{MUTANTS, NEXTEST};
use crate::step;
use crate::workspace::Workspace;

/// The packages that hold the rules, without ropewalk-sys: a mutated system call can hang the machine.
const MUTATED: [&str; 2] = ["ropewalk-proto", "ropewalk"];

/// Mutate ropewalk-proto and ropewalk and report the changes that no test notices
///
/// The tests are those of both packages and the conformance suite. A whole run takes hours on two cores: name a
/// file, or a shard. The full record stays in `mutants.out` below the target folder. Fails if a mutant survives.
#[derive(Args)]
pub(crate) struct Options {
    /// Mutate only matching files, such as crates/proto/src/slab.rs or "**/timers/*.rs"; may be repeated
    #[arg(long, short)]
    file: Vec<String>,
    /// Mutate only functions or changes whose description matches this regular expression; may be repeated
    #[arg(long, short = 'F')]
    re: Vec<String>,
    /// Run one part of several, such as 0/8
    #[arg(long)]
    shard: Option<String>,
    /// Number of mutants that are built and tested at once
    #[arg(long, short, default_value_t = 1)]
    jobs: u8,
    /// List the mutants without testing them
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    MUTANTS.ensure()?;
    NEXTEST.ensure()?;
    let mut command = step::cargo();
    command.arg("mutants").args(arguments(options)).arg("--output").arg(&workspace.target);
    let outcome = step::run(command.env("NEXTEST_PROFILE", "mutants").current_dir(&workspace.root));
    if options.list {
        return outcome;
    }
    let summary = Summary::read(&workspace.target.join("mutants.out"))?;
    summary.print();
    if summary.missed.is_empty() { outcome } else { bail!("{} mutants survived", summary.missed.len()) }
}

fn arguments(options: &Options) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--test-tool=nextest", "--all-features", "--no-times", "--colors=never"].map(str::to_owned).into();
    arguments.extend(MUTATED.map(|package| format!("--package={package}")));
    arguments.push(format!("--test-package={},ropewalk-conformance", MUTATED.join(",")));
    arguments.extend(options.file.iter().map(|file| format!("--file={file}")));
    arguments.extend(options.re.iter().map(|re| format!("--re={re}")));
    arguments.extend(options.shard.iter().map(|shard| format!("--shard={shard}")));
    arguments.extend(options.list.then(|| "--list".to_owned()));
    arguments.push(format!("--jobs={}", options.jobs));
    arguments
}

/// The record of cargo-mutants: one file for each outcome, one line for each mutant.
struct Summary {
    caught: Vec<String>,
    missed: Vec<String>,
    /// Mutants whose tests ran into their time limit. These mutants count as noticed.
    timeout: Vec<String>,
    /// Mutants that did not compile.
    unviable: Vec<String>,
}

impl Summary {
    fn read(folder: &Path) -> Result<Summary> {
        let lines = |name: &str| -> Result<Vec<String>> {
            let path: PathBuf = folder.join(name);
            Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())
        };
        Ok(Summary {
            caught: lines("caught.txt")?,
            missed: lines("missed.txt")?,
            timeout: lines("timeout.txt")?,
            unviable: lines("unviable.txt")?,
        })
    }

    fn print(&self) {
        let noticed = self.caught.len() + self.timeout.len();
        println!("\n{noticed} of {} mutants were noticed", noticed + self.missed.len());
        println!("  {} failed a test, {} ran out of time", self.caught.len(), self.timeout.len());
        println!("  {} more did not compile and prove nothing", self.unviable.len());
        if !self.missed.is_empty() {
            println!("Not noticed:\n  {}", self.missed.join("\n  "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_run_is_read_back() {
        let folder = std::env::temp_dir().join(format!("mutants-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in
            [("caught.txt", "a\nb\n"), ("missed.txt", "c\n"), ("timeout.txt", ""), ("unviable.txt", "d\n")]
        {
            fs::write(folder.join(name), text).unwrap();
        }
        let summary = Summary::read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((summary.caught.len(), summary.timeout.len(), summary.unviable.len()), (2, 0, 1));
        assert_eq!(summary.missed, ["c"]);
    }
}
