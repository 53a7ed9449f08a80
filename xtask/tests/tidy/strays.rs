//! Checks that every file in a `src` or `tests` folder is a target or module, or is named by an attribute or include.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{files, root};

/// The folders with sources.
const FOLDERS: [&str; 9] = ["crates", "conformance", "bench", "examples", "fuzz", "hosts", "load", "models", "xtask"];

/// Files that cargo itself finds: their names, and the folders whose files are programs or tests.
const FOUND_BY_NAME: [&str; 3] = ["build.rs", "lib.rs", "main.rs"];
const FOUND_BY_FOLDER: [&str; 2] = ["bin", "tests"];

/// Returns whether the file is below a `src` or `tests` folder, or builds such files.
fn is_source(path: &Path) -> bool {
    path.ends_with("build.rs")
        || path.components().any(|part| ["src", "tests"].iter().any(|name| part.as_os_str() == *name))
}

/// Returns every source file.
fn sources() -> Vec<PathBuf> {
    let mut waiting: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            // Other workspaces in these folders, such as `fuzz`, have their own `target` folder.
            if !path.ends_with("target") {
                waiting.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            }
        } else if is_source(&path) {
            found.push(path);
        }
    }
    found
}

/// Returns the text of all Rust files of each folder.
fn texts(sources: &[PathBuf]) -> HashMap<&Path, String> {
    let mut texts: HashMap<&Path, String> = HashMap::new();
    for file in sources.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(file).expect("a source");
        texts.entry(file.parent().expect("a folder")).or_default().push_str(&text);
    }
    texts
}

/// Returns whether the text declares the module of `file`, or names the file in an attribute or an include.
fn names(text: &str, file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let endings = [format!("mod {stem};"), format!("\"{name}\""), format!("/{name}\""), format!("{name}/mod.rs\"")];
    endings.iter().any(|ending| text.contains(ending))
}

fn is_used(file: &Path, texts: &HashMap<&Path, String>) -> bool {
    // The module of a folder has the folder's name.
    let file = if file.ends_with("mod.rs") { file.parent().expect("a folder") } else { file };
    let folder = file.parent().expect("a folder");
    let is_named = |name: &str| file.ends_with(name);
    if FOUND_BY_NAME.iter().any(|name| is_named(name)) || FOUND_BY_FOLDER.iter().any(|name| folder.ends_with(name)) {
        return true;
    }
    // A module is declared beside its file or one folder above, and a `path` may skip a folder.
    folder.ancestors().take(2).filter_map(|near| texts.get(near)).any(|text| names(text, file))
}

#[test]
fn every_source_file_is_compiled_or_included() {
    let sources = sources();
    let texts = texts(&sources);
    let strays: Vec<&PathBuf> = sources.iter().filter(|file| !is_used(file, &texts)).collect();
    assert!(strays.is_empty(), "no module and no include names these files: {strays:#?}");
}

#[test]
fn every_fuzz_target_is_listed() {
    let [manifest, page] =
        ["fuzz/Cargo.toml", "fuzz/README.md"].map(|file| fs::read_to_string(root().join(file)).expect(file));
    for target in files(&["fuzz/fuzz_targets"], "rs") {
        let name = target.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")), "{name}: not in fuzz/Cargo.toml");
        assert!(page.contains(&format!("\n| `{name}` |")), "{name}: not in fuzz/README.md");
    }
}
