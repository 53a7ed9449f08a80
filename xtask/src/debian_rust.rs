//! Debian's newest compiler, which comes with the sources of its standard library. It builds that library for foreign
//! targets and with sanitizers.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{debian, step};

/// The packages of the compiler and of the sources.
pub(crate) const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The crates of the standard library that are built from their sources.
const BUILT_CRATES: &str = "std,panic_unwind,test";

pub(crate) struct DebianRust {
    cargo: PathBuf,
    rustc: PathBuf,
}

impl DebianRust {
    /// Finds the compiler. Installs its packages and `more` packages if possible.
    ///
    /// # Errors
    /// If this is not Debian 12 or later, or if packages are missing and cannot be installed.
    pub(crate) fn find(more: &[&str]) -> Result<DebianRust> {
        debian::install(&[&PACKAGES, more].concat())?;
        Ok(DebianRust { cargo: program("cargo-web", "cargo")?, rustc: program("rustc-web", "rustc")? })
    }

    /// Returns its cargo, which builds the standard library and accepts unstable options.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        // Without RUSTC, Debian's cargo would use rustup's compiler. Without PATH, it would use rustup's cargo-clippy.
        command.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1").env("CARGO_UNSTABLE_BUILD_STD", BUILT_CRATES);
        let folder = self.cargo.parent().map(PathBuf::from);
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
}

fn program(package: &str, name: &str) -> Result<PathBuf> {
    let programs = debian::programs_of(package)?;
    programs.into_iter().find(|file| file.ends_with(name)).with_context(|| format!("{package} has no {name}"))
}

/// Returns the folder of the libraries of rustup's compiler for this machine.
pub(crate) fn rustup_libraries() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = step::read(Command::new(rustc).args(["--print", "target-libdir"]))?;
    Ok(PathBuf::from(folder.trim()))
}
