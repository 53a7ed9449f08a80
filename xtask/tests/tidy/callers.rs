//! Checks that the documentation of each handle says where it may be used: in callbacks, on which thread.
//!
//! A handle is a public type with methods that take `&self` or `&mut self`. Either the documentation of the type
//! answers, or that of each such method. Builders, whose methods take `self`, are plain values and need no answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{files, root};

/// The folder of the handles. Test doubles live on the thread of their test, and `book.rs` has the chapters.
const FOLDER: &str = "crates/reactor/src";
const TESTING: &str = "crates/reactor/src/testing";

/// Returns whether a documentation answers the question.
fn answers(documentation: &str) -> bool {
    ["callback", "thread"].iter().any(|word| documentation.contains(word))
}

/// The documentation of the types of a file, and the methods without an answer of their own, by type.
#[derive(Default)]
struct Documented {
    types: BTreeMap<String, String>,
    silent: BTreeMap<String, Vec<String>>,
}

impl Documented {
    fn read(&mut self, source: &str) {
        let (mut documentation, mut in_sample, mut owner, mut is_trait) = (String::new(), false, None, false);
        let lines: Vec<&str> = source.lines().take_while(|line| *line != "mod tests {").collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            if let Some(text) = code.strip_prefix("///") {
                in_sample ^= text.trim_start().starts_with("```");
                if !in_sample {
                    documentation.push_str(text);
                }
                continue;
            }
            if code.starts_with("#[") {
                continue;
            }
            if let Some(name) = name_after(line, &["pub struct ", "pub enum ", "pub trait "]) {
                self.types.insert(name.clone(), documentation.clone());
                is_trait = line.starts_with("pub trait ");
                owner = is_trait.then_some(name);
            } else if line.starts_with("impl") {
                (owner, is_trait) = (inherent(line), false);
            } else if line.starts_with('}') {
                owner = None;
            }
            let begins: &[&str] = if is_trait { &["fn "] } else { &["pub fn ", "pub async fn "] };
            let method = line.strip_prefix("    ").and_then(|code| name_after(code, begins));
            if let (Some(owner), Some(method)) = (&owner, method) {
                let signature = lines[at..].iter().take(3).copied().collect::<Vec<_>>().join(" ");
                if takes_reference(&signature) && !answers(&documentation) {
                    self.silent.entry(owner.clone()).or_default().push(method);
                }
            }
            documentation.clear();
        }
    }

    /// Returns a line for each type whose documentation and methods do not answer.
    fn faults(&self) -> Vec<String> {
        let unanswered = self.silent.iter().filter(|(owner, _)| self.types.get(*owner).is_some_and(|it| !answers(it)));
        unanswered.map(|(owner, methods)| format!("{owner}: {}", methods.join(", "))).collect()
    }
}

/// Returns the name after one of these beginnings of a line.
fn name_after(line: &str, beginnings: &[&str]) -> Option<String> {
    let rest = beginnings.iter().find_map(|beginning| line.strip_prefix(beginning))?;
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().map(str::to_owned)
}

/// Returns the type of an `impl` without a trait.
fn inherent(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl")?;
    let rest = if rest.starts_with('<') { rest.split_once("> ")?.1 } else { rest.trim_start() };
    if line.contains(" for ") { None } else { name_after(rest, &[""]) }
}

fn takes_reference(signature: &str) -> bool {
    let arguments = signature.split_once('(').map_or("", |(_, rest)| rest.trim_start());
    arguments.starts_with("&self") || arguments.starts_with("&mut self")
}

#[test]
fn each_handle_says_where_it_may_be_used() {
    let mut documented = Documented::default();
    let is_other = |file: &Path| file.starts_with(root().join(TESTING)) || file.ends_with("book.rs");
    for file in files(&[FOLDER], "rs").into_iter().filter(|file| !is_other(file)) {
        documented.read(&fs::read_to_string(&file).expect("a source"));
    }
    assert!(documented.types.len() > 60, "{} public types were found", documented.types.len());
    let faults = documented.faults();
    assert!(faults.is_empty(), "say from which callbacks and threads these may be used:\n{}", faults.join("\n"));
}

#[test]
fn a_silent_handle_is_found() {
    let handle = "/// A thing.\n#[derive(Clone)]\npub struct Thing;\n\nimpl Thing {\n    /// Turns.\n    ///\n    /// ```\n    \
                  /// thread();\n    /// ```\n    pub fn turn(&self) {}\n}\n";
    let faults = |source: &str| {
        let mut documented = Documented::default();
        documented.read(source);
        documented.faults()
    };
    assert_eq!(faults(handle), ["Thing: turn"], "the word in a sample does not count");
    assert!(faults(&handle.replace("A thing.", "A thing for callbacks.")).is_empty());
    assert!(faults(&handle.replace("Turns.", "Turns on any thread.")).is_empty());
    assert!(faults(&handle.replace("(&self)", "(self)")).is_empty(), "a builder needs no answer");
    let with_trait = "/// A role.\npub trait Role {\n    /// Plays.\n    fn play(&self);\n}\n";
    assert_eq!(faults(with_trait), ["Role: play"]);
}
