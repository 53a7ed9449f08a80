//! `cargo xtask sanitize`: the unsafe code under AddressSanitizer.

use std::path::Path;
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
    step::run(checked(workspace, "ropewalk-sys", "detect_leaks=1").args(&options.filters))?;
    // The suite's scripts and their transports refer to each other.
    let mut conformance = checked(workspace, "ropewalk-conformance", "detect_leaks=0");
    step::run(conformance.args(["-E", "test(/^uring::/)"]).args(&options.filters))
}

/// Prepares a run of a package's tests with the sanitizer in everything but the standard library.
fn checked(workspace: &Workspace, package: &str, checks: &str) -> Command {
    let mut cargo = step::cargo();
    cargo.env("ASAN_OPTIONS", checks);
    sanitized(cargo, workspace, "-Zsanitizer=address", "sanitize").tests(package)
}

/// A cargo that builds with a sanitizer, in a target folder of its own.
pub(crate) struct Sanitized(Command);

/// Prepares `cargo` for the compiler's `flags` and for the target `folder`.
pub(crate) fn sanitized(mut cargo: Command, workspace: &Workspace, flags: &str, folder: &str) -> Sanitized {
    // The option is unstable. No stable compiler offers a sanitizer.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
    cargo.env("CARGO_TARGET_DIR", workspace.target.join(folder));
    Sanitized(cargo)
}

impl Sanitized {
    /// Returns the command that runs a package's tests. The caller adds filters.
    pub(crate) fn tests(mut self, package: &str) -> Command {
        self.0.args(["nextest", "run", "--all-features", "--no-tests=pass", "--package", package]);
        self.0.args(["--target", &target()]);
        self.0
    }

    /// Returns the command that runs the program of a manifest.
    pub(crate) fn program(mut self, manifest: &Path) -> Command {
        self.0.args(["run", "--target", &target(), "--manifest-path"]).arg(manifest);
        self.0
    }
}

/// The target is named, so that build scripts and macros are built without the sanitizer.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}
