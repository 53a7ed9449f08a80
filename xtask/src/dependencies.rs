//! `cargo xtask dependencies`: the book's page of foreign crates, from `cargo tree`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use clap::Args;

use crate::pages::{self, Page};
use crate::step;
use crate::workspace::Workspace;

const CHAPTER: &str = "docs/src/dependencies.md";

/// The packages for users, each of which needs those before it.
const PACKAGES: [&str; 5] = ["ropewalk-proto", "ropewalk-sys", "ropewalk", "ropewalk-runner", "ropewalk-cli"];

const INTRODUCTION: &str = "\
# Dependencies

<!-- Written by `cargo xtask dependencies` from `cargo tree`; changes by hand are lost. -->

This page lists every foreign crate that a package of ropewalk needs, directly or through another crate. It has the
versions of `Cargo.lock` and the default features, on all systems: a program on one system builds fewer. Crates of tests
and benchmarks are left out. `cargo deny` checks licences and sources ([How the project is checked](checks.md)), and
`cargo tree --package ropewalk-cli --edges no-dev` shows which crate needs which.

";

/// Write docs/src/dependencies.md: the foreign crates with their versions and licences
#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing; fail if the page differs from `cargo tree`
    #[arg(long)]
    check: bool,
}

/// A version of a foreign crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Foreign {
    name: String,
    version: String,
    licence: String,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut users: BTreeMap<Foreign, Vec<&str>> = BTreeMap::new();
    for package in PACKAGES {
        for foreign in foreign_crates(&tree(workspace, package)?)? {
            let known = users.entry(foreign).or_default();
            // A crate occurs once for each crate that needs it.
            if known.last() != Some(&package) {
                known.push(package);
            }
        }
    }
    let page = [Page { path: CHAPTER.to_owned(), text: markdown(&users) }];
    match options.check {
        true => pages::check(&workspace.root, &page, "cargo xtask dependencies"),
        false => pages::write(&workspace.root, &page),
    }
}

fn tree(workspace: &Workspace, package: &str) -> Result<String> {
    let mut tree = step::cargo();
    tree.args(["tree", "--locked", "--edges", "no-dev", "--target", "all", "--prefix", "none", "--format", "{p}|{l}"]);
    step::read(tree.args(["--package", package]).current_dir(&workspace.root))
}

/// Reads lines such as `bytes v1.9.0|MIT`. A crate of the workspace has its folder behind the version.
fn foreign_crates(tree: &str) -> Result<Vec<Foreign>> {
    let mut found = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.split_once('|').with_context(|| format!("cargo tree printed {line:?}"))?;
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if words.any(|word| word.starts_with("(/")) || name.starts_with("ropewalk") {
            continue;
        }
        let licence = licence.trim_end_matches(" (*)").replace('/', " OR ");
        let version = version.trim_start_matches('v').to_owned();
        found.push(Foreign { name: name.to_owned(), version, licence });
    }
    Ok(found)
}

fn markdown(users: &BTreeMap<Foreign, Vec<&str>>) -> String {
    let mut page = String::from(INTRODUCTION);
    let _ = writeln!(page, "| package | foreign crates |\n|---|--:|");
    for package in PACKAGES {
        let count = users.values().filter(|packages| packages.contains(&package)).count();
        let _ = writeln!(page, "| `{package}` | {count} |");
    }
    let _ = writeln!(page, "\n| crate | version | licence | needed by |\n|---|---|---|---|");
    for (Foreign { name, version, licence }, packages) in users {
        // Each package needs those before it, so the first one stands for all.
        let first = packages.first().copied().unwrap_or_default();
        let _ = writeln!(page, "| `{name}` | {version} | {licence} | `{first}` |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_the_workspace_are_left_out() {
        let tree = "ropewalk-sys v0.1.0 (/a/place)|MIT OR Apache-2.0\nbytes v1.9.0|MIT\n\n\
                    serde_derive v1.0.1 (proc-macro)|MIT/Apache-2.0\nbytes v1.9.0|MIT (*)\n";
        let named = |name: &str, version: &str, licence: &str| {
            let [name, version, licence] = [name, version, licence].map(str::to_owned);
            Foreign { name, version, licence }
        };
        let bytes = named("bytes", "1.9.0", "MIT");
        let expected = [bytes.clone(), named("serde_derive", "1.0.1", "MIT OR Apache-2.0"), bytes];
        assert_eq!(foreign_crates(tree).unwrap(), expected);
    }

    #[test]
    fn the_page_counts_the_crates_of_each_package() {
        let bytes = Foreign { name: "bytes".to_owned(), version: "1.9.0".to_owned(), licence: "MIT".to_owned() };
        let page = markdown(&BTreeMap::from([(bytes, PACKAGES[1..].to_vec())]));
        assert!(page.contains("| `ropewalk-proto` | 0 |\n| `ropewalk-sys` | 1 |\n"), "{page}");
        assert!(page.ends_with("| `bytes` | 1.9.0 | MIT | `ropewalk-sys` |\n"), "{page}");
    }
}
