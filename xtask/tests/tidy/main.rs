//! Rules of docs/style.md that a compiler does not know, checked on the sources as text.

#![allow(clippy::print_stdout, reason = "a test says what it counted")]

mod border;
mod callers;
mod circles;
mod examples;
mod forwarding;
mod imports;
mod packages;
mod prose;
mod rust_text;
mod strays;
mod tutorial;
mod twisted_names;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Words that describe any code, and so carry no information.
const EMPTY_NAMES: [&str; 6] = ["manager", "handler", "helper", "utils", "common", "misc"];

/// Names of operating systems inside a `cfg`.
const SYSTEMS: [&str; 6] = ["unix", "windows", "target_os", "target_family", "linux_like", "bsd_like"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

/// Returns every file with this extension below these folders of the workspace.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "no .{extension} below {folders:?}");
    found
}

/// Returns the lines that choose an operating system inside a function, as (line number, text).
fn system_choices_inside_functions(source: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = source.lines().collect();
    let chooses = |line: &str| SYSTEMS.iter().any(|system| line.contains(system));
    let inside = |at: usize| {
        let line = lines[at];
        let code = line.trim_start();
        if code.starts_with("//") || !chooses(line) {
            return false;
        }
        line.contains("cfg!(")
            || (line.len() > code.len() && code.starts_with("#[cfg(") && !guards_an_item(&lines[at + 1..]))
    };
    (0..lines.len()).filter(|at| inside(*at)).map(|at| (at + 1, lines[at])).collect()
}

/// Returns whether the attribute before these lines is on an item of a module or an impl, and not on a statement.
fn guards_an_item(following: &[&str]) -> bool {
    const ITEMS: [&str; 9] = ["pub", "fn", "unsafe", "const", "type", "use", "mod", "struct", "impl"];
    let mut code = following.iter().map(|line| line.trim_start());
    let guarded = code.find(|line| !line.starts_with("#[") && !line.starts_with("//")).unwrap_or_default();
    let names_an_item = |item: &&str| guarded.strip_prefix(*item).is_some_and(|rest| rest.starts_with([' ', '(']));
    // A macro with braces contains items, such as a list of specifications.
    ITEMS.iter().any(names_an_item) || guarded.contains("! {")
}

#[test]
fn an_operating_system_difference_is_a_file() {
    let mut found = Vec::new();
    for file in files(&["crates", "conformance", "hosts"], "rs") {
        let source = fs::read_to_string(&file).expect("a source");
        let choices = system_choices_inside_functions(&source);
        found.extend(choices.iter().map(|(line, text)| format!("{}:{line}: {}", file.display(), text.trim())));
    }
    assert!(found.is_empty(), "move the difference into a file of its own:\n{}", found.join("\n"));
}

#[test]
fn only_choices_inside_functions_are_found() {
    let source = "#[cfg(unix)]\nmod unix;\nimpl A {\n    #[cfg(unix)]\n    #[must_use]\n    pub fn a() {\n        \
                  #[cfg(windows)]\n        b();\n        if cfg!(target_os = \"linux\") {}\n    }\n}\n#[cfg(test)]\nmod tests;\n";
    let lines: Vec<usize> = system_choices_inside_functions(source).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [7, 9]);
}

#[test]
fn a_file_name_says_its_concern() {
    let says_nothing = |file: &PathBuf| {
        let path = file.strip_prefix(root()).expect("below the root").with_extension("");
        path.iter()
            .filter_map(|part| part.to_str())
            .flat_map(|part| part.split('_'))
            .any(|word| EMPTY_NAMES.contains(&word))
    };
    let mut found = files(&["crates", "conformance", "bench", "load", "models", "xtask", "hosts"], "rs");
    found.retain(says_nothing);
    assert!(found.is_empty(), "file names that say nothing: {found:?}");
}

#[test]
fn the_book_lists_exactly_its_chapters() {
    let summary = fs::read_to_string(root().join("docs/src/SUMMARY.md")).expect("a summary");
    let mut listed: Vec<String> =
        summary.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect();
    let book = root().join("docs/src");
    let chapter = |file: PathBuf| Some(file.strip_prefix(&book).ok()?.to_str()?.replace('\\', "/"));
    let mut chapters: Vec<String> = files(&["docs/src"], "md").into_iter().filter_map(chapter).collect();
    chapters.retain(|chapter| chapter != "SUMMARY.md");
    listed.sort_unstable();
    chapters.sort_unstable();
    assert_eq!(listed, chapters);
}

#[test]
fn the_samples_of_every_chapter_are_compiled() {
    let books = ["crates/reactor/src/book.rs", "crates/runner/src/book.rs", "hosts/book/src/lib.rs"];
    let books = books.map(|book| root().join(book));
    let compiled = books.map(|book| fs::read_to_string(book).expect("the book's tests")).concat();
    let mut found = Vec::new();
    for chapter in files(&["docs/src"], "md") {
        let name = chapter.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = fs::read_to_string(&chapter).expect("a chapter");
        // The samples of the tutorial are parts of programs: see `tutorial`.
        let has_samples = name != "tutorial.md" && text.lines().any(|line| line.starts_with("```rust"));
        if has_samples && !compiled.contains(&format!("docs/src/{name}\"")) || text.contains("```rust,ignore") {
            found.push(name);
        }
    }
    assert!(found.is_empty(), "samples that are not compiled: {found:?}; see crates/*/src/book.rs");
}

#[test]
fn the_chapter_on_async_crates_names_its_tests() {
    let chapter = fs::read_to_string(root().join("docs/src/async-world.md")).expect("the chapter");
    let tests = fs::read_to_string(root().join("examples/tests/async_world.rs")).expect("the tests");
    let mut names = tests.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next()).peekable();
    assert!(names.peek().is_some());
    for name in names {
        assert!(chapter.contains(&format!("`{name}`")), "the chapter does not name the test {name}");
    }
}

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("the tool starts")
}

#[test]
fn the_written_chapters_are_up_to_date() {
    for command in ["plot", "load", "dependencies"] {
        let output = xtask(&[command, "--check"]);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_error_names_broken_measurements() {
    let missing = xtask(&["plot", "no/such/results.json"]);
    let broken = xtask(&["plot", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    for (output, words) in [(missing, "cannot read no/such/results.json"), (broken, "Cargo.toml is not what")] {
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaint.contains(words), "{complaint}");
    }
}
