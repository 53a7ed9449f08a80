//! `cargo xtask reproduce`: two builds of the release program in two folders give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::step;
use crate::workspace::Workspace;

/// The folders of the two builds. Their paths differ in length, which a path in the program would show.
const FOLDERS: [&str; 2] = ["one", "another/folder"];

/// Build the release program twice, from clean clones in two folders, and compare the bytes
///
/// The clones are of the last commit and below the target folder, where they are removed at the end. Each build takes
/// one to three minutes. docs/src/reproducible.md has the command for a build by hand.
#[derive(Args)]
pub(crate) struct Options {
    /// Copy the program to this file
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let place = workspace.target.join("reproduce");
    let outcome = build_twice(workspace, &place, options);
    let _ = fs::remove_dir_all(&place);
    outcome
}

fn build_twice(workspace: &Workspace, place: &Path, options: &Options) -> Result<()> {
    let _ = fs::remove_dir_all(place);
    let programs = FOLDERS.map(|folder| build(workspace, &place.join(folder)));
    let [first, second] = programs;
    let (first, second) = (first?, second?);
    if let Some(place) = first.iter().zip(&second).position(|(one, other)| one != other) {
        bail!("the two programs differ from byte {place} on");
    }
    if first.len() != second.len() {
        bail!("the two programs have {} and {} bytes", first.len(), second.len());
    }
    if let Some(file) = &options.keep {
        fs::write(file, &first).with_context(|| format!("cannot write {}", file.display()))?;
    }
    step::say(&format!("two builds in two folders gave the same {} bytes", first.len()));
    Ok(())
}

/// Returns the program that a clean clone in `folder` builds.
fn build(workspace: &Workspace, folder: &Path) -> Result<Vec<u8>> {
    let clone = folder.join("checkout");
    step::run(Command::new("git").args(["clone", "--quiet"]).arg(&workspace.root).arg(&clone))?;
    let script = clone.join(".ci/release");
    step::run(Command::new(&script).env_remove("CARGO_TARGET_DIR").env("CARGO_HOME", cargo_home()?))?;
    let program = clone.join("target/release/ropewalk");
    fs::read(&program).with_context(|| format!("cannot read {}", program.display()))
}

fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    home.or_else(usual).context("neither CARGO_HOME nor HOME is set")
}
