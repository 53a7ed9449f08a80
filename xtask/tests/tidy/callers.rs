//! Checks that the documentation of each handle says where it may be used: in callbacks, on which thread.
//!
//! A handle is a public type with methods that take `&self` or `&mut self`. Either the documentation of the type
//! answers, or that of each such method. Builders, whose methods take `self`, are plain values and need no answer.
//!
//! A public function outside a type answers if it takes a callback: the caller must know where the callback runs.

use std::collections::BTreeMap;
use std::fs;

use super::files;

/// The folders of the handles. `book.rs` has the chapters.
const FOLDERS: [&str; 2] = ["crates/reactor/src", "crates/proto/src"];

/// Returns whether a documentation answers the question.
fn answers(documentation: &str) -> bool {
    ["callback", "thread"].iter().any(|word| documentation.contains(word))
}

/// The documentation of the types of some files, the methods without an answer of their own, by type, and the functions
/// without an answer.
#[derive(Default)]
struct Documented {
    types: BTreeMap<String, String>,
    silent: BTreeMap<String, Vec<String>>,
    functions: Vec<String>,
}

impl Documented {
    fn read(&mut self, source: &str) {
        let (mut documentation, mut in_sample, mut owner, mut is_trait) = (String::new(), false, None, false);
        let mut is_hidden = false;
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
                is_hidden |= code == "#[doc(hidden)]";
                continue;
            }
            if let Some(name) = name_after(line, &["pub struct ", "pub enum ", "pub trait "]) {
                // The methods of a type that is not listed here are not checked.
                if !is_hidden {
                    self.types.insert(name.clone(), documentation.clone());
                }
                is_trait = line.starts_with("pub trait ");
                owner = is_trait.then_some(name);
            } else if line.starts_with("impl") {
                (owner, is_trait) = (inherent(line), false);
            } else if line.starts_with('}') {
                owner = None;
            }
            let function = name_after(line, &["pub fn ", "pub async fn "]);
            self.functions
                .extend(function.filter(|_| takes_callback(&signature(&lines[at..])) && !answers(&documentation)));
            let begins: &[&str] = if is_trait { &["fn "] } else { &["pub fn ", "pub async fn "] };
            let method = line.strip_prefix("    ").and_then(|code| name_after(code, begins));
            if let (Some(owner), Some(method)) = (&owner, method) {
                if takes_reference(&signature(&lines[at..])) && !answers(&documentation) {
                    self.silent.entry(owner.clone()).or_default().push(method);
                }
            }
            documentation.clear();
            is_hidden = false;
        }
    }

    /// Returns a line for each type whose documentation and methods do not answer, and for each function.
    fn faults(&self) -> Vec<String> {
        let unanswered = self.silent.iter().filter(|(owner, _)| self.types.get(*owner).is_some_and(|it| !answers(it)));
        let types = unanswered.map(|(owner, methods)| format!("{owner}: {}", methods.join(", ")));
        types.chain(self.functions.iter().map(|function| format!("fn {function}"))).collect()
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

/// Returns the signature that begins with the first of these lines, with its bounds.
fn signature(lines: &[&str]) -> String {
    let end = lines.iter().position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
    lines[..=end.unwrap_or(0)].join(" ")
}

/// Returns whether a function with this signature takes a closure, or an object whose methods are callbacks.
fn takes_callback(signature: &str) -> bool {
    ["Fn(", "FnOnce(", "FnMut(", "Factory", "Protocol", "Future"].iter().any(|word| signature.contains(word))
}

fn takes_reference(signature: &str) -> bool {
    let arguments = signature.split_once('(').map_or("", |(_, rest)| rest.trim_start());
    arguments.starts_with("&self") || arguments.starts_with("&mut self")
}

#[test]
fn each_handle_says_where_it_may_be_used() {
    let (mut types, mut faults) = (0, Vec::new());
    // A folder has a list of its own, because both folders have a type called `Source`.
    for folder in FOLDERS {
        let mut documented = Documented::default();
        for file in files(&[folder], "rs").into_iter().filter(|file| !file.ends_with("book.rs")) {
            documented.read(&fs::read_to_string(&file).expect("a source"));
        }
        types += documented.types.len();
        faults.extend(documented.faults());
    }
    assert!(types > 120, "{types} public types were found");
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
    assert!(faults(&handle.replace("#[derive(Clone)]", "#[doc(hidden)]")).is_empty());
    let function = "/// Repeats.\npub fn repeat<F>(call: F)\nwhere\n    F: FnMut(),\n{\n}\n";
    assert_eq!(faults(function), ["fn repeat"], "the callback is in the bounds");
    assert!(faults(&function.replace("Repeats.", "Repeats on this thread.")).is_empty());
    assert!(faults(&function.replace("FnMut()", "Copy")).is_empty());
}
