//! Published cargo subcommands. A missing subcommand is built once from the crate registry.

use anyhow::{Context, Result};

use crate::step;

/// A published cargo subcommand.
pub(crate) struct CargoTool {
    /// The name of its crate, for `cargo install`.
    package: &'static str,
    /// The word after `cargo` on the command line.
    subcommand: &'static str,
}

/// Runs each test in a process of its own, with a limit on its time.
pub(crate) const NEXTEST: CargoTool = CargoTool { package: "cargo-nextest", subcommand: "nextest" };
/// Changes the code a little and reports whether a test fails.
pub(crate) const MUTANTS: CargoTool = CargoTool { package: "cargo-mutants", subcommand: "mutants" };

impl CargoTool {
    fn installed(&self) -> bool {
        step::read(step::cargo().args([self.subcommand, "--version"])).is_ok()
    }

    /// Installs the tool if it is missing.
    ///
    /// # Errors
    /// If `cargo install` fails, most often because there is no network.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.installed() {
            return Ok(());
        }
        step::say(&format!("{} is not installed; building it once, which takes some minutes", self.package));
        step::run(step::cargo().args(["install", "--locked", self.package]))
            .with_context(|| format!("{} is needed and could not be installed", self.package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_subcommand_is_not_installed() {
        assert!(!CargoTool { package: "-", subcommand: "no-such-command-anywhere" }.installed());
    }

    #[test]
    fn a_subcommand_that_answers_is_installed() {
        assert!(CargoTool { package: "-", subcommand: "clippy" }.installed());
    }
}
