//! The project's own tool. `cargo xtask --help` lists its commands; `.ci/run` calls it.
//!
//! The tool only starts other programs (cargo, cargo-nextest, cargo-mutants, apt-get) and reads their reports, so that
//! people and CI run the same checks in the same way. No rule of the reactor is here.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod bench;
mod cargo_tool;
mod debian;
mod debian_rust;
mod dependencies;
mod hosts;
mod load;
mod marked;
mod matrix;
mod msrv;
mod mutants;
mod pages;
mod platforms;
mod plot;
mod races;
mod reproduce;
mod sanitize;
mod step;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Build, test and measure ropewalk, by hand and in CI
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(test::Options),
    Platforms(platforms::Options),
    /// Compile with the oldest Rust that Cargo.toml promises
    ///
    /// Uses rustup's toolchain of that version if it is installed, or Debian's package of it, unpacked below the
    /// target folder. Without either it only runs clippy's lint for newer library items and reads the dependencies'
    /// declarations. The output says which of the three it was.
    Msrv,
    Mutants(mutants::Options),
    Bench(bench::Options),
    Plot(plot::Options),
    Load(load::Options),
    Dependencies(dependencies::Options),
    Reproduce(reproduce::Options),
    Matrix(matrix::Options),
    Hosts(hosts::Options),
    Sanitize(sanitize::Options),
    Races(races::Options),
}

fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    match command {
        Command::Test(options) => test::run(&options),
        Command::Platforms(options) => platforms::run(&workspace, &options),
        Command::Msrv => msrv::run(&workspace),
        Command::Mutants(options) => mutants::run(&workspace, &options),
        Command::Bench(options) => bench::run(&options),
        Command::Plot(options) => plot::run(&workspace, &options),
        Command::Load(options) => load::run(&workspace, &options),
        Command::Dependencies(options) => dependencies::run(&workspace, &options),
        Command::Reproduce(options) => reproduce::run(&workspace, &options),
        Command::Matrix(options) => matrix::run(&workspace, &options),
        Command::Hosts(options) => hosts::run(&workspace, &options),
        Command::Sanitize(options) => sanitize::run(&workspace, &options),
        Command::Races(options) => races::run(&workspace, &options),
    }
}
