//! The border inside the reactor's crate: its upper folders use only what every user of the crate could use.
//!
//! So a service, policy, endpoint or test tool can also be written outside the crate, as in `examples/outside`.
//! Names are compared as text. A private method whose name an upper folder declares as well is not recognized.

use std::collections::BTreeSet;
use std::fs;

use super::imports::{tokens, without_tests};
use super::rust_text::code_only;
use super::{files, root};

/// The folders whose private items are behind the border.
const BELOW: [&str; 3] = ["kernel", "transports", "interfaces"];

/// The folders that may use only public items.
const ABOVE: [&str; 5] = ["application", "endpoints", "protocols", "task", "testing"];

/// Files above the border that are a part of the loop.
const PRIVILEGED: [&str; 1] = [
    // This file polls tasks as a phase of each turn. It uses private hooks, because users must not change the order of
    // the phases.
    "task/executor.rs",
];

/// Handles whose only field is private.
const HANDLES: [&str; 4] = ["Reactor", "Transport", "Port", "Connector"];

/// The names of the lower folders' items: the private items, and the public ones.
#[derive(Default)]
struct Border {
    private: BTreeSet<String>,
    public: BTreeSet<String>,
}

impl Border {
    fn add(&mut self, tokens: &[String]) {
        for at in 0..tokens.len() {
            let rest = &tokens[at..];
            if starts_with(rest, &["pub", "(", "crate", ")"]) {
                self.private.extend(declared(&rest[4..]));
            } else if starts_with(rest, &["pub"]) {
                self.public.extend(declared(&rest[1..]));
            }
        }
    }

    fn is_private(&self, name: &str) -> bool {
        self.private.contains(name) && !self.public.contains(name)
    }
}

/// Returns the names that a declaration or re-export introduces.
fn declared(tokens: &[String]) -> Vec<String> {
    const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    let tokens = &tokens[tokens.iter().take_while(|token| ["async", "unsafe"].contains(&token.as_str())).count()..];
    match tokens.first().map(String::as_str) {
        Some("use") => imported(tokens).into_iter().filter_map(|mut path| path.pop()).collect(),
        Some("const") if tokens.get(1).is_some_and(|next| next == "fn") => declared(&tokens[1..]),
        Some(item) if ITEMS.contains(&item) => tokens.get(1).cloned().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Returns the paths of a `use` that begins here.
fn imported(tokens: &[String]) -> Vec<Vec<String>> {
    let (mut stack, mut path, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for token in tokens.iter().skip(1).take_while(|token| *token != ";") {
        match token.as_str() {
            "{" => stack.push(path.clone()),
            "," | "}" => {
                found.push(std::mem::replace(&mut path, stack.last().cloned().unwrap_or_default()));
                if token == "}" {
                    stack.pop();
                    path.clear();
                }
            }
            "::" => {}
            name => path.push(name.to_owned()),
        }
    }
    found.push(path);
    found
}

fn starts_with(tokens: &[String], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token == word)
}

/// Returns the private names that a file above the border uses. `own` are the functions that the upper folders declare.
fn reached(border: &Border, own: &BTreeSet<String>, tokens: &[String]) -> Vec<String> {
    let is_private = |name: &String| border.is_private(name);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let (before, rest) = (&tokens[..at], &tokens[at..]);
        let is_path = starts_with(rest, &["crate", "::"]) && rest.get(2).is_some_and(|next| BELOW.contains(&&**next));
        if is_path && before.last().is_none_or(|word| word != "use") {
            let segments = rest.split(|token| token == "::").map_while(|segment| segment.first());
            found.extend(segments.take(4).filter(|name| is_private(name)).cloned());
        }
        if token == "use" && is_below(rest) {
            found.extend(imported(rest).into_iter().flatten().filter(is_private));
        }
        let is_called = rest.get(1).is_some_and(|next| next == "(") && before.last().is_some_and(|last| last == ".");
        if is_called && is_private(token) && !own.contains(token) {
            found.push(format!(".{token}()"));
        }
        if HANDLES.contains(&&**token) && starts_with(&rest[1..], &["("]) {
            found.push(format!("{token}(..)"));
        }
        if starts_with(rest, &[".", "0"]) && is_handle(before) {
            found.push(format!("{}.0", before.last().map_or("", String::as_str)));
        }
    }
    found
}

fn is_below(import: &[String]) -> bool {
    starts_with(&import[1..], &["crate", "::"]) && import.get(3).is_some_and(|folder| BELOW.contains(&&**folder))
}

/// Returns whether the tokens end with a variable, a call or `self` that is a handle, judged by its name.
fn is_handle(before: &[String]) -> bool {
    let call = before.len().checked_sub(3).filter(|_| before.ends_with(&["(".to_owned(), ")".to_owned()]));
    let name = call.map_or(before.last(), |name| before.get(name));
    match name.map(String::as_str) {
        Some("self") => is_in_impl_of_handle(before),
        Some(name) => HANDLES.iter().any(|handle| handle.eq_ignore_ascii_case(name)),
        None => false,
    }
}

/// Returns whether the innermost `impl` is that of a handle.
fn is_in_impl_of_handle(before: &[String]) -> bool {
    let innermost = before.iter().rposition(|token| token == "impl");
    innermost.is_some_and(|at| HANDLES.iter().any(|handle| starts_with(&before[at + 1..], &[handle, "{"])))
}

fn source_tokens(source: &str) -> Vec<String> {
    without_tests(&tokens(&code_only(source)))
}

/// Returns the files of the public crates below, whose methods may share a name with a private one.
fn other_crates() -> Vec<(String, Vec<String>)> {
    folder_tokens(&["../../proto/src", "../../sys/src"])
}

/// Returns the reactor's files in these folders, by their paths below `src`, cut into tokens.
fn folder_tokens(folders: &[&str]) -> Vec<(String, Vec<String>)> {
    let src = root().join("crates/reactor/src");
    let folders: Vec<_> = folders.iter().map(|folder| format!("crates/reactor/src/{folder}")).collect();
    let paths = files(&Vec::from_iter(folders.iter().map(String::as_str)), "rs");
    let is_test = |name: &str| name.ends_with("/tests.rs");
    let read = |path: std::path::PathBuf| {
        let name = path.strip_prefix(&src).expect("below src").display().to_string();
        (name, source_tokens(&fs::read_to_string(path).expect("a source")))
    };
    paths.into_iter().map(read).filter(|(name, _)| !is_test(name)).collect()
}

fn functions(tokens: &[String]) -> impl Iterator<Item = String> {
    tokens.windows(2).filter(|pair| pair[0] == "fn").map(|pair| pair[1].clone())
}

#[test]
fn upper_folders_use_only_public_items() {
    let mut border = Border::default();
    folder_tokens(&BELOW).iter().for_each(|(_, tokens)| border.add(tokens));
    assert!(border.private.len() > 20, "the lower folders have more private items: {:?}", border.private);
    let mut above = folder_tokens(&ABOVE);
    above.retain(|(name, _)| !PRIVILEGED.contains(&&**name));
    let own: BTreeSet<String> = above.iter().chain(&other_crates()).flat_map(|(_, tokens)| functions(tokens)).collect();
    let found = above.iter().flat_map(|(name, tokens)| {
        reached(&border, &own, tokens).into_iter().map(move |reached| format!("{name}: {reached}"))
    });
    let found = Vec::from_iter(found);
    assert!(
        found.is_empty(),
        "private items of the lower folders are used; make them public, or use public ones:\n{}",
        found.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(above: &str) -> Vec<String> {
        let mut border = Border::default();
        border.add(&source_tokens(
            "pub(crate) use guard::{Panic, catch}; pub(crate) struct Kernel; pub(crate) fn observe() {} \
             pub(crate) const fn hidden() {} pub struct Reactor(pub(crate) Kernel); pub fn stop() {}",
        ));
        reached(&border, &BTreeSet::new(), &source_tokens(above))
    }

    #[test]
    fn private_imports_are_found() {
        assert_eq!(reaches("use crate::kernel::{Kernel, Reactor};"), ["Kernel"]);
        assert_eq!(reaches("use crate::kernel::catch;"), ["catch"]);
        assert_eq!(reaches("fn f() { crate::kernel::guard::catch(x) }"), ["catch"]);
    }

    #[test]
    fn private_methods_are_found() {
        assert_eq!(reaches("fn f() { transport.observe(x); a.hidden() }"), [".observe()", ".hidden()"]);
        assert_eq!(reaches("fn f() { reactor.0.name }"), ["reactor.0"]);
        assert_eq!(reaches("fn f() { looping.reactor().0.name }"), [").0"]);
        assert_eq!(reaches("fn f() { weak.upgrade().map(|kernel| Reactor(kernel)) }"), ["Reactor(..)"]);
        assert_eq!(reaches("impl Reactor { fn f(&self) { self.0.name } }"), ["self.0"]);
    }

    #[test]
    fn public_items_are_not_found() {
        let source = "use crate::kernel::Reactor; impl Pool { fn f(&self) { self.0.name; reactor.stop() } } \
                      #[cfg(test)] mod tests { use crate::kernel::Kernel; }";
        assert_eq!(reaches(source), [""; 0]);
    }
}
