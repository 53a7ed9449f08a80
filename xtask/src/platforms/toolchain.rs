//! A compiler that can check foreign targets: rustup's, with the targets' standard libraries, or Debian's, which builds
//! these libraries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::PLATFORMS;
use crate::debian_rust::{DebianRust, PACKAGES};
use crate::workspace::Workspace;
use crate::{debian, step};

/// The packages beside the compiler. dlltool writes Windows' import libraries.
const MORE_PACKAGES: [&str; 2] = ["rust-web-clippy", "binutils-mingw-w64-x86-64"];

pub(crate) struct Toolchain {
    source: Source,
    /// The target folder for this compiler, separate from the artefacts of the host's compiler.
    target: PathBuf,
}

enum Source {
    Rustup,
    Debian(DebianRust),
}

impl Toolchain {
    /// Finds a compiler, and installs Debian's packages if possible.
    ///
    /// # Errors
    /// If neither compiler is available. The message says what to do.
    pub(crate) fn find(workspace: &Workspace) -> Result<Toolchain> {
        let source = if rustup_has_all_targets() { Source::Rustup } else { debian_source()? };
        Ok(Toolchain { source, target: workspace.target.join("platforms") })
    }

    /// Returns `cargo clippy` for these targets. The caller adds packages and lints.
    pub(crate) fn clippy(&self, triples: &[&str]) -> Command {
        let mut command = match &self.source {
            Source::Rustup => step::cargo(),
            Source::Debian(compiler) => compiler.cargo(),
        };
        command.arg("clippy").arg("--target-dir").arg(&self.target);
        // One setting for all builds, so that they share one standard library.
        command.args(["--config", "profile.dev.debug=0"]);
        command.args(triples.iter().flat_map(|triple| ["--target", triple]));
        command
    }
}

fn rustup_has_all_targets() -> bool {
    let installed = step::read(Command::new("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    PLATFORMS.iter().all(|platform| installed.lines().any(|line| line == platform.triple))
}

fn debian_source() -> Result<Source> {
    let advice = || {
        let targets = PLATFORMS.map(|platform| platform.triple).join(" ");
        let packages = [&PACKAGES[..], &MORE_PACKAGES].concat().join(" ");
        format!("run `rustup target add {targets}`, or use Debian 12 with its packages {packages}")
    };
    if !debian::is_here() {
        anyhow::bail!("no compiler for foreign targets: {}", advice());
    }
    Ok(Source::Debian(DebianRust::find(&MORE_PACKAGES).with_context(advice)?))
}
