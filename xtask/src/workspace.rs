//! The workspace as `cargo metadata` describes it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::step;

/// The workspace: its folders and the minimum Rust that it promises.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Cargo's target folder. All files that a step builds or unpacks are below it.
    pub(crate) target: PathBuf,
    /// `rust-version` as written in Cargo.toml, such as `1.85`.
    pub(crate) rust_version: String,
    metadata: Value,
}

impl Workspace {
    /// Reads the workspace that this tool belongs to.
    pub(crate) fn load() -> Result<Workspace> {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut command = step::cargo();
        command.args(["metadata", "--format-version=1", "--locked", "--manifest-path", manifest]);
        let metadata = serde_json::from_str(&step::read(&mut command)?).context("cargo metadata")?;
        Workspace::from_metadata(metadata)
    }

    fn from_metadata(metadata: Value) -> Result<Workspace> {
        let folder = |key: &str| metadata[key].as_str().map(PathBuf::from).with_context(|| format!("metadata: {key}"));
        let ids = metadata["workspace_members"].as_array().context("metadata: workspace_members")?;
        let packages = metadata["packages"].as_array().context("metadata: packages")?;
        let mut own = packages.iter().filter(|package| ids.contains(&package["id"]));
        let rust_version = own.find_map(|package| package["rust_version"].as_str());
        Ok(Workspace {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
            rust_version: rust_version.context("Cargo.toml states no rust-version")?.to_owned(),
            metadata,
        })
    }

    /// Returns (name, version, rust-version) of each package in the lock file that declares a minimum.
    pub(crate) fn declared_rust_versions(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let packages = self.metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
        packages.iter().filter_map(|package| {
            Some((package["name"].as_str()?, package["version"].as_str()?, package["rust_version"].as_str()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_rust_is_that_of_a_workspace_member() {
        let metadata = serde_json::json!({
            "workspace_root": "/w", "target_directory": "/w/target", "workspace_members": ["own"],
            "packages": [
                { "id": "other", "name": "bytes", "version": "1.9.0", "rust_version": "1.57" },
                { "id": "third", "name": "slab", "version": "0.4.0", "rust_version": null },
                { "id": "own", "name": "ropewalk", "version": "0.1.0", "rust_version": "1.85" },
            ],
        });
        let workspace = Workspace::from_metadata(metadata).unwrap();
        assert_eq!(workspace.rust_version, "1.85");
        assert_eq!(
            workspace.declared_rust_versions().collect::<Vec<_>>(),
            [("bytes", "1.9.0", "1.57"), ("ropewalk", "0.1.0", "1.85")]
        );
    }
}
