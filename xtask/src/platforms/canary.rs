//! A crate that must not pass: one wrong type and one lint for each system, behind `cfg(target_os)`.
//!
//! The canary proves that the check looked at the right target, and that lints were enabled.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, bail};

use super::Platform;
use super::toolchain::Toolchain;
use crate::step;
use crate::workspace::Workspace;

const MANIFEST: &str = r#"[package]
name = "canary"
version = "0.0.0"
edition = "2024"

[workspace]
"#;

/// Lints the canary for every platform, which also builds all their standard libraries in parallel.
///
/// # Errors
/// If the lints miss one of the canary's mistakes, or if the compiler failed for another reason.
pub(crate) fn must_fail(workspace: &Workspace, toolchain: &Toolchain, platforms: &[&Platform]) -> Result<()> {
    let manifest = write(&workspace.target.join("platforms/canary"))?;
    let triples: Vec<&str> = platforms.iter().map(|platform| platform.triple).collect();
    let mut clippy = toolchain.clippy(&triples);
    // As JSON, the mistakes go to standard output, and standard error continues to show the progress.
    clippy.args(["--keep-going", "--bins", "--message-format=json", "--manifest-path"]).arg(manifest);
    clippy.args(["--", "-D", "warnings"]).stderr(Stdio::inherit());
    step::say(&step::line_of(&clippy));
    step::say("the canary has mistakes on purpose and must not compile");
    let output = clippy.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let unseen = unseen(&said, platforms);
    if output.status.success() || !unseen.is_empty() {
        bail!("mistakes of the canary went unseen, so this check proves nothing here: {}", unseen.join(", "));
    }
    step::say("the canary's mistakes were seen on every system");
    Ok(())
}

fn write(folder: &Path) -> Result<PathBuf> {
    let sources = folder.join("src/bin");
    fs::create_dir_all(&sources)?;
    fs::write(sources.join("wrong_type.rs"), program("    let wrong_type_on_{}: u32 = \"text\";"))?;
    fs::write(sources.join("lint.rs"), program("    let _lint_on_{} = Some(0).map(|number| number);"))?;
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, MANIFEST)?;
    Ok(manifest)
}

/// Returns a program whose `main` makes the mistake on each system. `{}` is replaced by the system's name.
fn program(mistake: &str) -> String {
    let mut source = String::new();
    for Platform { system, .. } in super::PLATFORMS {
        let _ =
            writeln!(source, "#[cfg(target_os = \"{system}\")]\nfn main() {{\n{}\n}}\n", mistake.replace("{}", system));
    }
    source
}

/// Returns the mistakes that are missing from the compiler's output.
fn unseen(said: &str, platforms: &[&Platform]) -> Vec<String> {
    let systems = platforms.iter().map(|platform| platform.system);
    let mistakes = systems.flat_map(|system| [format!("wrong_type_on_{system}"), format!("lint_on_{system}")]);
    mistakes.filter(|mistake| !said.contains(mistake.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_that_the_compiler_does_not_quote_is_missing() {
        let windows = Platform { triple: "x86_64-pc-windows-gnu", system: "windows" };
        assert_eq!(unseen("error: let _lint_on_windows", &[&windows]), ["wrong_type_on_windows"]);
    }

    #[test]
    fn each_system_makes_its_own_mistake() {
        let source = program("    mistake_on_{};");
        assert_eq!(source.matches("cfg(target_os").count(), super::super::PLATFORMS.len());
        assert!(source.contains("mistake_on_freebsd;"));
    }
}
