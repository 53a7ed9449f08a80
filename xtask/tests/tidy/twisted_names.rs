//! The chapter for users of Twisted names only items that exist.

use std::collections::BTreeSet;
use std::fs;

use super::rust_text::{Kind, pieces};
use super::{files, root};

/// Words of paths, crates and commands.
const FOREIGN: [&str; 10] = [
    "cargo",
    "conformance",
    "crates",
    "examples",
    "http_client",
    "http_proxy",
    "outside",
    "portforward",
    "subscriber",
    "tracing",
];

/// Returns the cells of the second column of the tables, with their lines.
fn second_cells(chapter: &str) -> impl Iterator<Item = (usize, &str)> {
    let rows = chapter.lines().enumerate().filter(|(_, line)| line.starts_with("| ") && !line.contains("| here |"));
    rows.filter_map(|(at, line)| Some((at + 1, line.split(" | ").nth(1)?.trim_end_matches(" |"))))
}

/// Returns the identifiers inside backquotes.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let words = quoted.flat_map(|code| code.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    words.filter(|word| word.len() > 1 && word.starts_with(char::is_alphabetic))
}

#[test]
fn counterparts_of_twisted_names_exist() {
    let chapter = fs::read_to_string(root().join("docs/src/twisted.md")).expect("the chapter");
    let (_, names) = chapter.split_once("\n## Names\n").expect("the tables of names");
    let (names, _) = names.split_once("\n## Not here\n").expect("the end of the tables");
    let mut known: BTreeSet<String> = FOREIGN.map(str::to_owned).into();
    for file in files(&["crates"], "rs") {
        let source = fs::read_to_string(&file).expect("a source");
        let code = pieces(&source).into_iter().filter(|piece| piece.kind != Kind::Comment);
        let words = code.flat_map(|piece| piece.text.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
        known.extend(words.map(str::to_owned));
    }
    let cells: Vec<_> = second_cells(names).collect();
    assert!(cells.len() > 60, "the tables are found: {} rows", cells.len());
    let unknown = cells.iter().flat_map(|(line, cell)| {
        let unknown = identifiers(cell).filter(|word| !known.contains(*word));
        unknown.map(move |word| format!("row {line}: {word}"))
    });
    let unknown = Vec::from_iter(unknown);
    assert!(unknown.is_empty(), "names that no source has:\n{}", unknown.join("\n"));
}

#[test]
fn identifiers_are_found_in_the_second_column() {
    let cells: Vec<_> = second_cells("| in Twisted | here |\n|---|---|\n| `a`, `b` | `c_d` of `E::f`; g |\n").collect();
    assert_eq!(cells, [(3, "`c_d` of `E::f`; g")]);
    assert_eq!(identifiers("`c_d` of `Ef::g(\"hi\")`; k").collect::<Vec<_>>(), ["c_d", "Ef", "hi"]);
}
