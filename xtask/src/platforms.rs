//! `cargo xtask platforms`: the workspace type-checks and lints on systems that this machine does not run.
//!
//! 1. A canary, a crate with one wrong type and one lint for each system, must fail: the check can see mistakes.
//! 2. The workspace must pass, one system after the other.

mod canary;
mod toolchain;

use anyhow::{Result, bail};
use clap::Args;

use crate::step;
use crate::workspace::Workspace;
use toolchain::Toolchain;

/// A system that is checked.
pub(crate) struct Platform {
    /// The system's name in rustc.
    pub(crate) triple: &'static str,
    /// The system's name in `cfg(target_os)`.
    pub(crate) system: &'static str,
}

/// One system of each family whose system calls differ: Win32, a BSD, Darwin.
pub(crate) const PLATFORMS: [Platform; 3] = [
    Platform { triple: "x86_64-pc-windows-gnu", system: "windows" },
    Platform { triple: "x86_64-unknown-freebsd", system: "freebsd" },
    Platform { triple: "aarch64-apple-darwin", system: "macos" },
];

/// Packages that never leave a developer's machine. The peers of the benchmark would only cost time here, and the
/// cryptography of QUIC has parts in C.
const NOT_PORTED: [&str; 3] = ["xtask", "ropewalk-bench", "ropewalk-quic"];

/// Lints that give a false alarm on a foreign target, and none on the host.
///
/// Thread locals on windows-gnu expand to code in which clippy does not find the existing `const { .. }`.
const FALSE_ALARMS: [&str; 1] = ["clippy::missing_const_for_thread_local"];

/// Type-check and lint the workspace for Windows, FreeBSD and macOS
///
/// Uses rustup's targets if all of them are installed, or Debian's compiler, which builds the standard library
/// for each target from source (a few minutes the first time, seconds afterwards). As root on Debian, missing
/// packages are installed by apt-get. Nothing is linked or run.
#[derive(Args)]
pub(crate) struct Options {
    /// Check only this target, such as x86_64-unknown-freebsd
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PLATFORMS.map(|platform| platform.triple)))]
    target: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let wanted = |platform: &&Platform| options.target.as_ref().is_none_or(|target| target == platform.triple);
    let platforms: Vec<&Platform> = PLATFORMS.iter().filter(wanted).collect();
    let toolchain = Toolchain::find(workspace)?;
    step::say("building the standard library for each target first; it is kept in the target folder");
    canary::must_fail(workspace, &toolchain, &platforms)?;
    let failed: Vec<&str> = platforms
        .iter()
        .map(|platform| platform.triple)
        .filter(|triple| !passes(workspace, &toolchain, triple))
        .collect();
    if !failed.is_empty() {
        bail!("does not pass on {}", failed.join(", "));
    }
    step::say(&format!("{} systems pass", platforms.len()));
    Ok(())
}

fn passes(workspace: &Workspace, toolchain: &Toolchain, triple: &str) -> bool {
    let mut clippy = toolchain.clippy(&[triple]);
    clippy.args(["--workspace", "--all-targets", "--all-features", "--locked"]).current_dir(&workspace.root);
    clippy.args(NOT_PORTED.iter().flat_map(|package| ["--exclude", package]));
    // The cryptography of TLS compiles C, for which there is no compiler here. Nothing is linked, so its objects are not
    // missed.
    for tool in ["CC", "AR"] {
        clippy.env(format!("{tool}_{}", triple.replace('-', "_")), "true");
    }
    clippy.args(["--", "-D", "warnings"]).args(FALSE_ALARMS.iter().flat_map(|lint| ["-A", lint]));
    let outcome = step::run(&mut clippy);
    step::say(&format!("{triple}: {}", if outcome.is_ok() { "passes" } else { "FAILS" }));
    outcome.is_ok()
}
