//! The ways in which the files of `crates/reactor` may use one another. [`imports`](super::imports) defines which code
//! counts as a use.

use std::collections::BTreeSet;
use std::fs;

use super::imports::{Graph, Sources, graph, largest_circle};
use super::{files, root};

/// The number of files that may form one circle. A transport, its stream with the seat and the outbound part, the protocol
/// and its producer belong together.
const LARGEST_CIRCLE: usize = 6;

/// The folders above the kernel, which knows none of them.
const ABOVE_THE_KERNEL: [&str; 8] =
    ["application", "endpoints", "hosting", "interfaces", "protocols", "task", "testing", "transports"];

fn reactor() -> Graph {
    let sources = root().join("crates/reactor/src");
    let read = |file: std::path::PathBuf| {
        let name = file.strip_prefix(&sources).expect("below the sources").to_str().expect("a name").replace('\\', "/");
        // Files of tests, which are compiled only for tests.
        let is_test = name == "book.rs" || name.ends_with("tests.rs") || name.contains("/tests/");
        (!is_test).then(|| (name, fs::read_to_string(&file).expect("a source")))
    };
    graph(&files(&["crates/reactor/src"], "rs").into_iter().filter_map(read).collect::<Sources>())
}

#[test]
fn few_files_form_a_circle() {
    let graph = reactor();
    let circle = largest_circle(&graph);
    let inside = |file: &String| graph[file].intersection(&circle).cloned().collect::<Vec<_>>().join(", ");
    let uses: Vec<String> = circle.iter().map(|file| format!("{file} uses {}", inside(file))).collect();
    let size = circle.len();
    println!("{size} files form the largest circle");
    assert!(size <= LARGEST_CIRCLE, "{size} files use one another, at most {LARGEST_CIRCLE} may:\n{}", uses.join("\n"));
}

#[test]
fn the_kernel_uses_nothing_above_it() {
    let graph = reactor();
    let is_above = |file: &&String| ABOVE_THE_KERNEL.iter().any(|folder| file.starts_with(&format!("{folder}/")));
    let kernel = graph.iter().filter(|(file, _)| file.starts_with("kernel/"));
    let upward: BTreeSet<String> = kernel
        .flat_map(|(file, used)| used.iter().filter(is_above).map(move |above| format!("{file} uses {above}")))
        .collect();
    assert!(upward.is_empty(), "move these up, or make them a trait:\n{}", Vec::from_iter(upward).join("\n"));
}
