//! Debian's packages: listing and installing packages, and unpacking a package without installing it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

/// Returns whether apt-get and dpkg are available.
pub(crate) fn is_here() -> bool {
    ["apt-get", "dpkg"].iter().all(|program| step::read(Command::new(program).arg("--version")).is_ok())
}

/// Returns the packages of a list that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Installs the missing packages of a list.
///
/// # Errors
/// If the system is not Debian, if the user is not root, or if apt-get fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if step::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() != "0") {
        bail!("missing packages; as root: apt-get update && apt-get install --no-install-recommends {list}");
    }
    step::say(&format!("installing Debian's {list}"));
    step::run(apt_get().args(["-qq", "update"]))?;
    step::run(apt_get().args(["-qq", "install", "-y", "--no-install-recommends"]).args(missing))
        .with_context(|| format!("this Debian may be too old for {list}"))
}

/// Returns the files below a folder named `bin` of an installed package.
///
/// # Errors
/// If the package is not installed.
pub(crate) fn programs_of(package: &str) -> Result<Vec<PathBuf>> {
    let files = step::read(Command::new("dpkg").args(["-L", package]))?;
    let programs = files.lines().map(PathBuf::from);
    Ok(programs.filter(|file| file.parent().is_some_and(|folder| folder.ends_with("usr/bin"))).collect())
}

/// Returns the newest version of the package that starts with `prefix`, or `None` if apt knows no such version.
pub(crate) fn offered_version(package: &str, prefix: &str) -> Option<String> {
    let table = step::read(Command::new("apt-cache").args(["madison", package])).ok()?;
    version_in(&table, prefix)
}

// A line reads `package | version | source`. The newest version is first.
fn version_in(table: &str, prefix: &str) -> Option<String> {
    let mut versions = table.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    versions.find(|version| version.starts_with(prefix)).map(str::to_owned)
}

/// Downloads packages (`name` or `name=version`) and unpacks them below `folder`. Installs nothing, and needs no root.
///
/// # Errors
/// If a package cannot be downloaded or unpacked.
pub(crate) fn unpack(packages: &[String], folder: &Path) -> Result<()> {
    let downloads = folder.join("downloads");
    std::fs::create_dir_all(&downloads)?;
    step::run(apt_get().current_dir(&downloads).args(["-qq", "download"]).args(packages))?;
    for file in std::fs::read_dir(&downloads)? {
        step::read(Command::new("dpkg").arg("-x").arg(file?.path()).arg(folder))?;
    }
    Ok(std::fs::remove_dir_all(downloads)?)
}

fn installed(package: &str) -> bool {
    let status = step::read(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offered_version_is_the_first_with_the_prefix() {
        let table =
            " rustc-web | 1.96.0-1 | security\n rustc-web | 1.85.0+dfsg3-1 | main\n rustc-web | 1.85.0-0 | main\n";
        assert_eq!(version_in(table, "1.85.").as_deref(), Some("1.85.0+dfsg3-1"));
        assert_eq!(version_in(table, "1.8.").as_deref(), None);
    }
}
