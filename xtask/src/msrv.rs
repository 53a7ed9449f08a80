//! `cargo xtask msrv`: the libraries and programs build with the oldest Rust that Cargo.toml promises.
//!
//! The tool tries, in this order: rustup's toolchain of that version, and Debian's package of that version, unpacked
//! below the target folder and never installed. Without either, the installed toolchain runs clippy's
//! `incompatible_msrv`, and the tool reads the declarations of the dependencies. This last way does not notice new
//! syntax, so the output names the way that was used.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{debian, step};

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let version = &workspace.rust_version;
    if let Some(toolchain) = rustup_toolchain(version) {
        step::say(&format!("minimum Rust {version}: compiling with rustup's toolchain {toolchain}"));
        return check(workspace, Command::new("rustup").args(["run", &toolchain, "cargo"]));
    }
    match unpacked_rustc(workspace) {
        Ok(rustc) => {
            step::say(&format!("minimum Rust {version}: compiling with Debian's rustc {version}, unpacked"));
            check(workspace, with_rustc(&mut step::cargo(), &rustc)?)
        }
        Err(why) => {
            step::say(&format!(
                "minimum Rust {version}: no such compiler here ({why:#}), so lint and declarations only"
            ));
            lint_and_declarations(workspace)
        }
    }
}

fn check(workspace: &Workspace, cargo: &mut Command) -> Result<()> {
    let target = workspace.target.join("msrv");
    step::run(cargo.args(["check", "--workspace", "--lib", "--bins", "--locked", "--target-dir"]).arg(target))
        .with_context(|| format!("the workspace promises to build with Rust {}", workspace.rust_version))
}

fn rustup_toolchain(version: &str) -> Option<String> {
    let list = step::read(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    toolchain_in(&list, version)
}

fn toolchain_in(list: &str, version: &str) -> Option<String> {
    let mut names = list.lines().filter_map(|line| line.split_whitespace().next());
    let fits = |name: &&str| name.strip_prefix(version).is_some_and(|rest| rest.starts_with(['-', '.']));
    names.find(fits).map(str::to_owned)
}

/// Debian keeps an old `rustc-web` beside the newest one. The old one is unpacked, because installing it would replace
/// the newest.
fn unpacked_rustc(workspace: &Workspace) -> Result<PathBuf> {
    let version = &workspace.rust_version;
    let folder = workspace.target.join(format!("msrv-rustc-{version}"));
    let rustc = folder.join("usr/bin/rustc");
    if !folder.join("complete").exists() {
        let package = debian::offered_version("rustc-web", &format!("{version}."));
        let package = package.with_context(|| format!("apt offers no rustc-web {version}"))?;
        debian::unpack(&packages(version, &package), &folder)?;
        std::fs::write(folder.join("complete"), &package)?;
    }
    step::read(with_rustc(Command::new(&rustc).arg("--version"), &rustc)?)
        .context("the unpacked rustc does not run")?;
    Ok(rustc)
}

fn packages(version: &str, package_version: &str) -> Vec<String> {
    let rustc = ["rustc-web", "libstd-rust-web-dev"].map(|name| format!("{name}={package_version}"));
    let libraries = [format!("libstd-rust-web-{version}={package_version}"), "libllvm19".to_owned()];
    rustc.into_iter().chain(libraries).collect()
}

/// Lets a command use the unpacked compiler, whose libraries are in a folder that the loader does not know.
fn with_rustc<'a>(command: &'a mut Command, rustc: &Path) -> Result<&'a mut Command> {
    let lib = rustc.ancestors().nth(2).context("the unpacked rustc has no folder")?.join("lib");
    let folders = std::fs::read_dir(&lib)?.filter_map(Result::ok).map(|entry| entry.path());
    let libraries = folders.filter(|folder| folder.join("libLLVM-19.so").exists()).chain([lib.clone()]);
    Ok(command
        .env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?)
        .env("RUSTC", rustc)
        .env_remove("RUSTUP_TOOLCHAIN"))
}

fn lint_and_declarations(workspace: &Workspace) -> Result<()> {
    let mut clippy = step::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--"]);
    step::run(clippy.args(["-D", "clippy::incompatible_msrv"]))?;
    let mut tree = step::cargo();
    tree.args(["tree", "--locked", "--package", "ropewalk-cli", "--edges", "normal,build", "--target", "all"]);
    let built = step::read(tree.args(["--prefix", "none", "--format", "{p}"]))?;
    let too_new = too_new(workspace.declared_rust_versions(), &packages_in(&built), &workspace.rust_version);
    if !too_new.is_empty() {
        bail!("the default build depends on packages that need a newer Rust: {}", too_new.join(", "));
    }
    Ok(())
}

// A line reads `name v1.2.3` or `name v1.2.3 (source)`.
fn packages_in(tree: &str) -> BTreeSet<(&str, &str)> {
    let mut words = tree.lines().map(str::split_whitespace);
    std::iter::from_fn(|| words.next())
        .filter_map(|mut line| Some((line.next()?, line.next()?.strip_prefix('v')?)))
        .collect()
}

fn too_new<'a>(
    declared: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    built: &BTreeSet<(&str, &str)>,
    promised: &str,
) -> Vec<String> {
    let newer = declared
        .filter(|(name, version, needs)| built.contains(&(*name, *version)) && numbers(needs) > numbers(promised));
    newer.map(|(name, version, needs)| format!("{name} {version} (Rust {needs})")).collect()
}

/// Splits a version into numbers, so that `1.85` equals `1.85.0`.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_patch_release_of_the_version_is_accepted() {
        let list = "stable-x86_64 (default)\n1.8.0-x86_64\n1.850.0-x86_64\n1.85.1-x86_64 (active)\n";
        assert_eq!(toolchain_in(list, "1.85").as_deref(), Some("1.85.1-x86_64"));
        assert_eq!(toolchain_in(list, "1.86"), None);
    }

    #[test]
    fn a_dependency_that_declares_a_newer_rust_is_named() {
        let declared = [("clap", "4.5.0", "1.86"), ("bytes", "1.9.0", "1.85.0"), ("unused", "1.0.0", "1.99")];
        let built = packages_in("clap v4.5.0\nbytes v1.9.0 (proc-macro)\n\n");
        assert_eq!(too_new(declared.into_iter(), &built, "1.85"), ["clap 4.5.0 (Rust 1.86)"]);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.100") > numbers("1.85"));
        assert_eq!(numbers("1.85"), numbers("1.85.0"));
    }
}
