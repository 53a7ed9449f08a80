//! A compiler that can check foreign targets: rustup's, with the targets' standard libraries, or Debian's, which builds
//! these libraries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::PLATFORMS;
use crate::workspace::Workspace;
use crate::{debian, step};

/// Debian's newest rustc with the sources of its standard library. dlltool writes Windows' import libraries.
const PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "binutils-mingw-w64-x86-64"];

pub(crate) struct Toolchain {
    source: Source,
    /// The target folder for this compiler, separate from the artefacts of the host's compiler.
    target: PathBuf,
}

enum Source {
    Rustup,
    Debian { cargo: PathBuf, rustc: PathBuf },
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
            Source::Debian { cargo, rustc } => debian_cargo(cargo, rustc),
        };
        command.arg("clippy").arg("--target-dir").arg(&self.target);
        // One setting for all builds, so that they share one standard library.
        command.args(["--config", "profile.dev.debug=0"]);
        if matches!(self.source, Source::Debian { .. }) {
            command.arg("-Zbuild-std=std,panic_unwind,test");
        }
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
        format!("run `rustup target add {targets}`, or use Debian 12 with its packages {}", PACKAGES.join(" "))
    };
    if !debian::is_here() {
        anyhow::bail!("no compiler for foreign targets: {}", advice());
    }
    debian::install(&PACKAGES).with_context(advice)?;
    Ok(Source::Debian { cargo: program("cargo-web", "cargo")?, rustc: program("rustc-web", "rustc")? })
}

fn program(package: &str, name: &str) -> Result<PathBuf> {
    let programs = debian::programs_of(package)?;
    programs.into_iter().find(|file| file.ends_with(name)).with_context(|| format!("{package} has no {name}"))
}

fn debian_cargo(cargo: &PathBuf, rustc: &PathBuf) -> Command {
    let mut command = Command::new(cargo);
    // Without RUSTC, Debian's cargo would use rustup's compiler. Without PATH, it would use rustup's cargo-clippy.
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    let folder = cargo.parent().map(PathBuf::from);
    let search = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(search) = std::env::join_paths(folder.into_iter().chain(std::env::split_paths(&search))) {
        command.env("PATH", search);
    }
    // Variables that `cargo run` and rustup set for this process belong to the other compiler.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}
