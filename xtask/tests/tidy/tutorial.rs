//! Checks that the tutorial's excerpts are in the files of its programs, and that the tutorial shows every line that a
//! step adds.

use std::collections::BTreeSet;
use std::fs;

use super::root;

/// Lines between two excerpts of a block.
const LEFT_OUT: &str = "// ...";

/// A fenced block of the chapter: the number of its step, its language and its text.
struct Block {
    step: usize,
    language: String,
    text: String,
}

/// Returns the blocks below headings of the form `## 1. Title`.
fn blocks(chapter: &str) -> Vec<Block> {
    let (mut found, mut step, mut open) = (Vec::new(), 0, None::<Block>);
    for line in chapter.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, Some(language)) => open = Some(Block { step, language: language.to_owned(), text: String::new() }),
            (None, None) => {
                let number = line.strip_prefix("## ").and_then(|title| title.split_once(". ")?.0.parse().ok());
                step = number.unwrap_or(step);
            }
        }
    }
    found
}

/// Returns the text of the step's file with this extension, or an empty text if there is no such file.
fn file_of(step: usize, extension: &str) -> String {
    let folder = root().join("examples/tutorial");
    let names = fs::read_dir(&folder).expect("the tutorial").map(|entry| entry.expect("an entry").file_name());
    let mut names = names.filter_map(|name| name.into_string().ok());
    let name = names.find(|name| name.starts_with(&format!("{step}_")) && name.ends_with(&format!(".{extension}")));
    name.map_or_else(String::new, |name| fs::read_to_string(folder.join(name)).expect("a step"))
}

/// Returns the lines of a file that a reader has to see. Lines without a letter belong to another line.
fn lines_to_show(source: &str) -> BTreeSet<&str> {
    let says_something = |line: &&str| line.contains(char::is_alphabetic) && !line.starts_with("//!");
    source.lines().filter(says_something).collect()
}

/// Returns the excerpts of the block that are not in the file.
fn strange_excerpts(block: &str, file: &str) -> Vec<String> {
    let marker = |line: &str| line.trim() == LEFT_OUT;
    let lines: Vec<&str> = block.lines().collect();
    let excerpts = lines.split(|line| marker(line)).map(|excerpt| excerpt.join("\n").trim_matches('\n').to_owned());
    // Whole lines, so that an excerpt cannot begin or end inside one.
    let whole = format!("\n{file}\n");
    excerpts.filter(|excerpt| !whole.contains(&format!("\n{excerpt}\n"))).collect()
}

#[test]
fn the_tutorial_shows_each_line_that_a_step_adds() {
    let chapter = fs::read_to_string(root().join("docs/src/tutorial.md")).expect("the chapter");
    let blocks = blocks(&chapter);
    let steps = blocks.iter().map(|block| block.step).max().unwrap_or(0);
    assert_eq!(steps, 7);
    let mut faults = Vec::new();
    for step in 1..=steps {
        let (before, source) = (file_of(step - 1, "rs"), file_of(step, "rs"));
        // A block without a language has commands.
        let shown = blocks.iter().filter(|block| block.step == step && !block.language.is_empty());
        let mut missing = &lines_to_show(&source) - &lines_to_show(&before);
        for block in shown {
            let file = file_of(step, if block.language == "rust" { "rs" } else { &block.language });
            let strange = strange_excerpts(&block.text, &file);
            faults.extend(strange.iter().map(|excerpt| format!("step {step} has no such lines:\n{excerpt}")));
            missing.retain(|line| !block.text.lines().any(|shown| shown == *line));
        }
        faults.extend(missing.iter().map(|line| format!("step {step} adds a line that is not shown: {line}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn excerpts_are_whole_lines_of_the_file() {
    let file = "fn a() {\n    b();\n}\nfn c() {}\n";
    assert_eq!(strange_excerpts("fn a() {\n// ...\nfn c() {}\n", file), [""; 0]);
    assert_eq!(strange_excerpts("fn a() {\n}\n", file), ["fn a() {\n}"]);
    assert_eq!(strange_excerpts("b();\n", file), ["b();"]);
}

#[test]
fn new_lines_are_those_that_the_step_before_lacks() {
    let (before, now) = (lines_to_show("//! One.\nfn a() {\n}\n"), lines_to_show("//! Two.\nfn a() {\n    b();\n}\n"));
    assert_eq!(&now - &before, BTreeSet::from(["    b();"]));
    let found = blocks("# T\n## 1. A\n```rust\na\n```\n## 2. B\n```toml\nb\n```\n");
    let found: Vec<_> = found.iter().map(|block| (block.step, &*block.language, &*block.text)).collect();
    assert_eq!(found, [(1, "rust", "a\n"), (2, "toml", "b\n")]);
}
