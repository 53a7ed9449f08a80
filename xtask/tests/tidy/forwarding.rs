//! Checks that a protocol that wraps another protocol forwards every callback. A wrapper without one of the callbacks
//! still compiles, because the trait has defaults, but the wrapped protocol never gets that callback.

use std::fs;

use super::rust_text::code_only;
use super::{files, root};

const TRAIT: &str = "crates/reactor/src/protocols/mod.rs";
const MACRO: &str = "crates/reactor/src/protocols/forward.rs";

/// The callbacks for the bytes of a connection. A receiver turns bytes into messages, so it need not forward these
/// callbacks.
const BYTES: [&str; 3] = ["data_received", "chunk_received", "buffered"];

/// Returns the names of the functions that this text declares.
fn functions(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.trim_start().strip_prefix("fn ")?.split(['(', '<']).next()?.to_owned());
    text.lines().filter_map(name).collect()
}

/// Returns the blocks that begin with a line for which `begins` holds, each up to the brace that closes it.
fn blocks(code: &str, begins: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut blocks = Vec::new();
    for (at, _) in code.match_indices('\n').chain([(0, "")]) {
        let rest = code[at..].trim_start_matches('\n');
        let first = rest.lines().next().unwrap_or_default();
        if begins(first) {
            let indent = &first[..first.len() - first.trim_start().len()];
            let end = rest.find(&format!("\n{indent}}}")).unwrap_or(rest.len());
            blocks.push(&rest[..end]);
        }
    }
    blocks
}

fn implements_protocol(line: &str) -> bool {
    let words = line.trim_start();
    words.starts_with("impl") && words.ends_with('{') && words.contains(" Protocol for ")
}

/// Returns whether one of this block's callbacks calls the same callback of a protocol that it owns.
fn wraps(block: &str) -> bool {
    let is_owned = |(at, _): (usize, &str)| {
        let owner = block[..at].rsplit(char::is_whitespace).next().unwrap_or_default();
        owner.starts_with("self.") || owner == "(**self)"
    };
    functions(block).iter().any(|name| block.match_indices(&format!(".{name}(")).any(is_owned))
}

/// Returns the callbacks that a wrapper forgets.
fn forgotten<'a>(block: &str, callbacks: &'a [String], by_macro: &[String]) -> Vec<&'a str> {
    let own = functions(block);
    let uses_macro = block.contains("forward_conversation!(");
    let forwards_bytes = block.contains(".data_received(");
    let is_due = |name: &&String| forwards_bytes || !BYTES.contains(&name.as_str());
    let is_there = |name: &String| own.contains(name) || uses_macro && by_macro.contains(name);
    callbacks.iter().filter(is_due).filter(|name| !is_there(name)).map(String::as_str).collect()
}

fn code_of(file: &str) -> String {
    code_only(&fs::read_to_string(root().join(file)).expect("a source"))
}

fn callbacks() -> Vec<String> {
    let source = code_of(TRAIT);
    let found = blocks(&source, |line| line.starts_with("pub trait Protocol "));
    functions(found.first().expect("the trait of protocols"))
}

#[test]
fn a_wrapping_protocol_forwards_every_callback() {
    let (callbacks, by_macro) = (callbacks(), functions(&code_of(MACRO)));
    let (mut wrappers, mut faults) = (0, Vec::new());
    for file in files(&["crates", "conformance/src", "examples"], "rs") {
        let code = code_only(&fs::read_to_string(&file).expect("a source"));
        for block in blocks(&code, implements_protocol).into_iter().filter(|block| wraps(block)) {
            wrappers += 1;
            let forgotten = forgotten(block, &callbacks, &by_macro);
            if !forgotten.is_empty() {
                let head = block.lines().next().unwrap_or_default();
                faults.push(format!("{}: `{head}` does not forward {}", file.display(), forgotten.join(", ")));
            }
        }
    }
    println!("{wrappers} wrapping protocols, {} callbacks", callbacks.len());
    assert!(wrappers > 5, "the wrappers were not found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_forgotten_callback_is_found() {
    let callbacks = ["connection_made", "layer_opened", "data_received", "chunk_received"].map(String::from);
    let receiver =
        "impl Protocol for Lines {\n    fn connection_made() {\n        self.inner.connection_made();\n    }\n";
    assert!(implements_protocol(receiver.lines().next().unwrap()) && wraps(receiver));
    assert_eq!(forgotten(receiver, &callbacks, &[]), ["layer_opened"]);
    let wrapper = receiver.replace("}\n", "}\n    fn data_received() {\n        self.inner.data_received();\n    }\n");
    assert_eq!(forgotten(&wrapper, &callbacks, &[]), ["layer_opened", "chunk_received"]);
    let own = "impl Protocol for Own {\n    fn connection_made() {}\n";
    assert!(!wraps(own));
}
