//! Checks that every public item that a user calls is used in an example: its own, or another example in the same file.
//!
//! The lint `unreachable_pub` ensures that a user may call each `pub` item. So the sources as text are enough, and no
//! compiler's unstable output is needed. The documentation tests compile and run the examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{files, root};

/// The crates that users depend on.
const FOLDERS: [&str; 4] = ["crates/proto/src", "crates/reactor/src", "crates/runner/src", "crates/sys/src"];

/// Files without examples: stubs for systems that lack a feature (the feature's own file has the examples), and the
/// book's chapters.
const OTHER_FILES: [&str; 3] = ["none.rs", "other.rs", "book.rs"];

/// Traits whose methods the reactor calls and a user may implement. The example of such a trait shows several of its
/// methods.
const CALLED_BY_THE_REACTOR: [&str; 2] = ["EventProvider", "Streams"];

/// A documented item.
struct Item<'a> {
    line: usize,
    name: &'a str,
    has_example: bool,
}

/// The public types, traits, functions and methods of a file, and the words of all its examples.
#[derive(Default)]
struct Documented<'a> {
    items: Vec<Item<'a>>,
    words: BTreeSet<&'a str>,
}

fn documented(source: &str) -> Documented<'_> {
    let mut found = Documented::default();
    let (mut open_fence, mut has_example, mut hidden) = (None, false, false);
    let mut of_trait = None;
    for (at, line) in source.lines().enumerate().take_while(|(_, line)| *line != "mod tests {") {
        let code = line.trim_start();
        if let Some(text) = code.strip_prefix("///").or_else(|| code.strip_prefix("//!")) {
            let text = text.trim_start();
            match (text.strip_prefix("```"), open_fence) {
                (Some(_), Some(_)) => open_fence = None,
                (Some(kind), None) => open_fence = Some(kind != "text"),
                (None, Some(true)) if text != "#" && !text.starts_with("# ") => found.words.extend(words(text)),
                _ => {}
            }
            has_example |= open_fence == Some(true);
            continue;
        }
        if code.starts_with("#[") {
            hidden |= code == "#[doc(hidden)]";
            continue;
        }
        if line.starts_with('}') {
            of_trait = None;
        }
        // The one public trait that no user can name.
        hidden |= code == "pub trait Sealed {}";
        let is_method = of_trait.is_some() && line.starts_with("    fn ");
        let name = if is_method { after_keyword(code) } else { code.strip_prefix("pub ").and_then(after_keyword) };
        if let Some(name) =
            name.filter(|_| !hidden && !of_trait.is_some_and(|name| CALLED_BY_THE_REACTOR.contains(&name)))
        {
            found.items.push(Item { line: at + 1, name, has_example });
        }
        if code.starts_with("pub trait ") {
            of_trait = name;
        }
        (has_example, hidden) = (false, false);
    }
    found
}

/// Returns the name in `async fn name(` or `struct Name<`, or `None` for another kind, such as a field or a module.
fn after_keyword(code: &str) -> Option<&str> {
    let mut words = words(code).skip_while(|word| ["const", "async", "unsafe"].contains(word));
    let is_item = ["fn", "struct", "enum", "union", "trait"].contains(&words.next()?);
    words.next().filter(|_| is_item)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

#[test]
fn each_public_item_is_used_in_an_example() {
    let (mut missing, mut all, mut own) = (Vec::new(), 0, 0);
    let is_other = |file: &Path| OTHER_FILES.iter().any(|name| file.ends_with(name));
    for file in files(&FOLDERS, "rs").into_iter().filter(|file| !is_other(file)) {
        let source = fs::read_to_string(&file).expect("a source");
        let Documented { items, words } = documented(&source);
        all += items.len();
        own += items.iter().filter(|item| item.has_example).count();
        let place = file.strip_prefix(root()).expect("below the root").display().to_string();
        let unseen = items.iter().filter(|item| !item.has_example && !words.contains(item.name));
        missing.extend(unseen.map(|item| format!("{place}:{}: {}", item.line, item.name)));
    }
    assert!(all > 500, "{all} public items are not what these crates have");
    let unseen = missing.len();
    let count = format!("of {all} public items {own} have an example of their own, and {unseen} are in none");
    assert!(missing.is_empty(), "{count}:\n{}", missing.join("\n"));
}

#[test]
fn hidden_lines_are_not_examples() {
    let source = "/// A.\n///\n/// ```\n/// # let b = 1;\n/// c();\n/// ```\npub struct A;\n\nimpl A {\n    /// B.\n    pub fn b() {}\n    \
                  /// C.\n    #[must_use]\n    pub async fn c() {}\n}\n\n/// ```text\n/// picture of D\n/// ```\npub trait D {\n    \
                  #[doc(hidden)]\n    fn e();\n    fn f();\n}\npub(crate) fn g() {}\n";
    let Documented { items, words } = documented(source);
    let own = Vec::from_iter(items.iter().map(|item| (item.name, item.has_example)));
    assert_eq!(own, [("A", true), ("b", false), ("c", false), ("D", false), ("f", false)]);
    assert_eq!(Vec::from_iter(words), ["c"]);
}
