//! A package for users has the metadata and the licences that a registry shows.

use std::fs;
use std::path::PathBuf;

use super::root;

const KEYS: [&str; 8] = [
    "description = ",
    "version.workspace",
    "edition.workspace",
    "rust-version.workspace",
    "license.workspace",
    "readme.workspace",
    "keywords.workspace",
    "categories",
];

fn packages() -> Vec<PathBuf> {
    let folders = fs::read_dir(root().join("crates")).expect("a folder");
    folders.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_package_describes_itself() {
    for package in packages() {
        let manifest = fs::read_to_string(package.join("Cargo.toml")).expect("a manifest");
        let has = |key: &&str| manifest.lines().any(|line| line.starts_with(key));
        let missing: Vec<&str> = KEYS.iter().copied().filter(|key| !has(key)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", package.display());
    }
}

#[test]
fn a_package_contains_its_licences() {
    for package in packages() {
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let own = fs::read_to_string(package.join(licence)).unwrap_or_default();
            let original = fs::read_to_string(root().join(licence)).expect("a licence");
            assert_eq!(own, original, "{}: link {licence} to the one of the workspace", package.display());
        }
    }
}
