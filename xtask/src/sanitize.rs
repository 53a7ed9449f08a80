//! `cargo xtask sanitize`: the unsafe code under AddressSanitizer.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::cargo_tool::NEXTEST;
use crate::step;
use crate::workspace::Workspace;

/// Run the tests of ropewalk-sys and the conformance suite on uring under AddressSanitizer
///
/// Uses the installed toolchain. The packages are built once more, below the target folder, with
/// `-Zsanitizer=address`. The tests of ropewalk-sys must not leak either. Takes about three minutes on two cores. Needs
/// Linux on x86-64 or aarch64.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    NEXTEST.ensure()?;
    // Memory that the kernel may still write to is kept for ever on purpose, and stays reachable.
    step::run(sanitized(workspace, "ropewalk-sys", "detect_leaks=1").args(&options.filters))?;
    // The suite's scripts and their transports refer to each other.
    let mut conformance = sanitized(workspace, "ropewalk-conformance", "detect_leaks=0");
    step::run(conformance.args(["-E", "test(/^uring::/)"]).args(&options.filters))
}

/// Prepares a run of a package's tests with the sanitizer in everything but the standard library.
fn sanitized(workspace: &Workspace, package: &str, checks: &str) -> Command {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = step::cargo();
    command.args(["nextest", "run", "--all-features", "--no-tests=pass", "--package", package, "--target", &target]);
    // The option is unstable. No stable compiler offers the sanitizer.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address").env("ASAN_OPTIONS", checks);
    command.env("CARGO_TARGET_DIR", workspace.target.join("sanitize"));
    command
}
