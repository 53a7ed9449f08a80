//! `cargo xtask bench`: the benchmarks of the package ropewalk-bench, in a release build.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;

use crate::step;

/// Measure against mio and tokio in one run and print ratios
///
/// Every argument goes to the benchmark program: `cargo xtask bench --help` prints its own help.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Arguments for the benchmark program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = step::cargo();
    command.args(["run", "--release", "--package", "ropewalk-bench", "--"]);
    step::run(command.args(&options.arguments))
}
