//! Finds which file of a crate uses which other file, by the items that it names.
//!
//! A name is followed through re-exports to the file that defines the item: `crate::transports::Stream` leads to
//! `transports/stream.rs`. Imports, glob imports and paths inside code count as uses. `mod` declarations, re-exports
//! that the file does not use itself, and everything under `#[cfg(test)]` do not. Calls of methods name no file.

use std::collections::{BTreeMap, BTreeSet};

use super::rust_text::code_only;

/// The sources of a crate: paths below its `src`, such as `kernel/mod.rs`, and their text.
pub(super) type Sources = BTreeMap<String, String>;

/// For each file the files that define what it uses.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

/// A module's path below the crate's root.
type Path = Vec<String>;

/// A `use` of one item.
struct Import {
    /// The name in this module, or `*`.
    name: String,
    target: Path,
    re_exported: bool,
}

/// A module and its contents.
#[derive(Default)]
struct Module {
    file: String,
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths in its code.
    paths: Vec<Path>,
}

/// Finds the files that each file uses.
pub(super) fn graph(sources: &Sources) -> Graph {
    let mut modules = BTreeMap::new();
    for (file, source) in sources {
        let tokens = without_tests(&tokens(&code_only(source)));
        Reader { modules: &mut modules, file }.module(module_path(file), &tokens);
    }
    let mut graph: Graph = sources.keys().map(|file| (file.clone(), BTreeSet::new())).collect();
    for (path, module) in &modules {
        let resolver = Resolver { modules: &modules };
        let used = resolver.used_by(path, module).into_iter().filter(|file| *file != module.file);
        graph.get_mut(&module.file).expect("a file of the crate").extend(used);
    }
    graph
}

/// Returns the largest set of files in which each file uses all others, directly or through them.
pub(super) fn largest_circle(graph: &Graph) -> BTreeSet<String> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph.keys().map(|file| (file, reachable(graph, file))).collect();
    let circle = |file: &&String| -> BTreeSet<String> {
        reach[*file].iter().filter(|other| reach[**other].contains(*file)).map(|other| (**other).clone()).collect()
    };
    graph.keys().map(|file| circle(&file)).max_by_key(BTreeSet::len).unwrap_or_default()
}

fn reachable<'a>(graph: &'a Graph, from: &'a String) -> BTreeSet<&'a String> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(file) = waiting.pop() {
        for next in &graph[file] {
            if found.insert(next) {
                waiting.push(next);
            }
        }
    }
    found
}

fn module_path(file: &str) -> Path {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Path::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Returns names, `::` and single characters of punctuation.
pub(super) fn tokens(code: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), code.trim_start());
    while let Some(first) = rest.chars().next() {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = match first {
            _ if rest.starts_with("::") => 2,
            letter if is_name(letter) => rest.find(|letter| !is_name(letter)).unwrap_or(rest.len()),
            letter => letter.len_utf8(),
        };
        found.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    found
}

/// Leaves out each item below `#[cfg(test)]`.
pub(super) fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at..].iter().take(MARK.len()).eq(MARK.iter()) {
            at += MARK.len();
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Returns the tokens up to the end of an item: its semicolon or its closing brace.
fn item_length(tokens: &[String]) -> usize {
    let (mut depth, is_import) = (0_usize, tokens.iter().take(6).any(|token| token == "use"));
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}" && !is_import) {
            return at + 1;
        }
    }
    tokens.len()
}

struct Reader<'a> {
    modules: &'a mut BTreeMap<Path, Module>,
    file: &'a str,
}

impl Reader<'_> {
    fn module(&mut self, path: Path, tokens: &[String]) {
        let mut module = Module { file: self.file.to_owned(), ..Module::default() };
        let (mut at, mut depth) = (0, 0_usize);
        while at < tokens.len() {
            at += match tokens[at].as_str() {
                "use" if tokens.get(at + 1).is_some_and(|next| next != "<") => import(&mut module, tokens, at),
                "mod" if depth == 0 => self.submodule(&mut module, &path, &tokens[at..]),
                token => {
                    depth = (depth + usize::from(token == "{")).saturating_sub(usize::from(token == "}"));
                    if depth == 0 {
                        module.defined.extend(definition(&tokens[at..]));
                    }
                    module.paths.extend(path_at(tokens, at));
                    1
                }
            };
        }
        self.modules.insert(path, module);
    }

    /// Reads `mod a { .. }`, or skips `mod a;`, whose file is read by itself.
    fn submodule(&mut self, module: &mut Module, path: &[String], tokens: &[String]) -> usize {
        let (Some(name), Some(open)) = (tokens.get(1), tokens.get(2)) else { return 1 };
        module.defined.insert(name.clone());
        if open != "{" {
            return 3;
        }
        let length = 2 + item_length(&tokens[2..]);
        let inner = path.iter().cloned().chain([name.clone()]).collect();
        self.module(inner, &tokens[3..length - 1]);
        length
    }
}

/// Reads the `use` at this token and returns its length.
fn import(module: &mut Module, tokens: &[String], at: usize) -> usize {
    let length = tokens[at..].iter().position(|token| token == ";").unwrap_or(tokens.len() - at);
    let re_exported = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
    let imported = leaves(&tokens[at + 1..at + length], &[]).into_iter();
    module.imports.extend(imported.map(|(name, target)| Import { name, target, re_exported }));
    length + 1
}

/// Returns the items of `a::{b, c::*, d as e}` as (name, path).
fn leaves(tree: &[String], before: &[String]) -> Vec<(String, Path)> {
    let names = |tokens: &[String]| -> Path {
        before
            .iter()
            .chain(tokens)
            .filter(|token| *token != "::" && *token != "self" || tokens.len() == 1)
            .cloned()
            .collect()
    };
    if let Some(open) = tree.iter().position(|token| token == "{") {
        let inner = &tree[open + 1..tree.len() - 1];
        return split_at_commas(inner).into_iter().flat_map(|part| leaves(part, &names(&tree[..open]))).collect();
    }
    let (path, alias) = match tree.iter().position(|token| token == "as") {
        Some(at) => (&tree[..at], tree.get(at + 1).cloned()),
        None => (tree, None),
    };
    let target = names(path);
    let own = target.last().cloned().unwrap_or_default();
    vec![(alias.unwrap_or(own), target)]
}

fn split_at_commas(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0_i32;
    let parts = tokens.split(|token| {
        depth += i32::from(token == "{") - i32::from(token == "}");
        depth == 0 && token == ","
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns the name in `fn name` or `struct Name`.
fn definition(tokens: &[String]) -> Option<String> {
    const KEYWORDS: [&str; 9] = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules"];
    let keyword = tokens.first()?;
    let name = tokens[1..].iter().find(|token| *token != "!" && *token != "mut")?;
    (KEYWORDS.contains(&keyword.as_str()) && starts_name(name)).then(|| name.clone())
}

/// Returns the path that begins at this token.
fn path_at(tokens: &[String], at: usize) -> Option<Path> {
    let continues = at > 0 && [".", "::"].contains(&tokens[at - 1].as_str());
    if continues || !starts_name(&tokens[at]) {
        return None;
    }
    let mut path = vec![tokens[at].clone()];
    let mut rest = &tokens[at + 1..];
    while let [colons, name, after @ ..] = rest {
        if colons != "::" || !starts_name(name) {
            break;
        }
        path.push(name.clone());
        rest = after;
    }
    Some(path)
}

fn starts_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// The target of a path.
enum Found {
    Module(Path),
    /// An item of this file.
    Item(String),
}

struct Resolver<'a> {
    modules: &'a BTreeMap<Path, Module>,
}

impl Resolver<'_> {
    fn used_by(&self, path: &Path, module: &Module) -> BTreeSet<String> {
        let in_code: BTreeSet<&String> = module.paths.iter().map(|path| &path[0]).collect();
        let counts = |import: &&Import| import.name != "*" && (!import.re_exported || in_code.contains(&import.name));
        let imported = module.imports.iter().filter(counts).map(|import| &import.target);
        let files =
            imported.chain(&module.paths).filter_map(|names| match self.find(path, names, &mut Vec::new())? {
                Found::Item(file) => Some(file),
                Found::Module(_) => None,
            });
        files.collect()
    }

    /// Follows `names` from a module. `seen` holds the imports that are being followed.
    fn find(&self, from: &Path, names: &[String], seen: &mut Vec<*const Import>) -> Option<Found> {
        let module = self.modules.get(from)?;
        let Some((name, rest)) = names.split_first() else { return Some(Found::Module(from.clone())) };
        match name.as_str() {
            "crate" => return self.find(&Path::new(), rest, seen),
            "self" => return self.find(from, rest, seen),
            "super" => return self.find(&from[..from.len().checked_sub(1)?].to_vec(), rest, seen),
            _ => {}
        }
        let named = module.imports.iter().filter(|import| import.name == *name);
        let imported = named.filter_map(|import| self.follow(from, import, rest, seen)).next();
        let child = || from.iter().cloned().chain([name.clone()]).collect::<Path>();
        let found = imported.or_else(|| self.find(&child(), rest, seen));
        // A path into a module that only re-exports an item of another crate names no file of this crate.
        let leads_away = !rest.is_empty() && self.modules.contains_key(&child());
        let is_own = module.defined.contains(name) && !leads_away;
        let found = found.or_else(|| is_own.then(|| Found::Item(module.file.clone())));
        found.or_else(|| self.find_in_globs(from, module, names, seen))
    }

    fn follow(&self, from: &Path, import: &Import, rest: &[String], seen: &mut Vec<*const Import>) -> Option<Found> {
        if seen.contains(&std::ptr::from_ref(import)) {
            return None;
        }
        seen.push(import);
        let names: Path = import.target.iter().chain(rest).cloned().collect();
        let found = self.find(from, &names, seen);
        seen.pop();
        found
    }

    fn find_in_globs(
        &self,
        from: &Path,
        module: &Module,
        names: &[String],
        seen: &mut Vec<*const Import>,
    ) -> Option<Found> {
        let mut globs = module.imports.iter().filter(|import| import.name == "*");
        globs.find_map(|import| {
            if seen.contains(&std::ptr::from_ref(import)) {
                return None;
            }
            seen.push(import);
            let folder = self.find(from, &import.target[..import.target.len() - 1], seen);
            let found = match folder {
                Some(Found::Module(path)) => self.find(&path, names, seen),
                _ => None,
            };
            seen.pop();
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the uses of a small crate, as `from -> to`.
    fn uses(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect();
        let graph = graph(&sources);
        graph.iter().flat_map(|(from, to)| to.iter().map(move |to| format!("{from} -> {to}"))).collect()
    }

    #[test]
    fn a_re_export_leads_to_the_defining_file() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::Kept;"),
            ("a/mod.rs", "mod deep; pub(crate) use deep::{Deep as Kept, Other};"),
            ("a/deep.rs", "pub struct Deep; pub struct Other;"),
            ("b.rs", "use crate::Kept; fn f() { crate::a::Other::new() }"),
        ];
        assert_eq!(uses(&files), ["b.rs -> a/deep.rs"]);
    }

    #[test]
    fn nested_braces_are_followed() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; pub fn top() {}"),
            ("a.rs", "pub fn one() {} pub const TWO: u8 = 2;"),
            ("b.rs", "pub trait Three { fn four(); }"),
            ("c.rs", "use super::{a::{self, one}, b::{Three as _}, top}; fn f() { a::TWO }"),
        ];
        assert_eq!(uses(&files), ["c.rs -> a.rs", "c.rs -> b.rs", "c.rs -> lib.rs"]);
    }

    #[test]
    fn only_used_names_of_a_glob_import_count() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "mod x; mod y; pub use x::*; pub use y::*;"),
            ("a/x.rs", "pub struct X;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "use crate::a::*; fn f(_: Y) {}"),
            ("c.rs", "use crate::a::*; fn f(c: &C) { c.x() }"),
        ];
        assert_eq!(uses(&files), ["b.rs -> a/y.rs"]);
    }

    #[test]
    fn a_re_export_alone_is_not_a_use() {
        let files =
            [("lib.rs", "mod a; pub use a::A; pub use a::B; fn f(_: B) {}"), ("a.rs", "pub struct A; pub struct B;")];
        assert_eq!(uses(&files), ["lib.rs -> a.rs"]);
        assert!(uses(&[("lib.rs", "mod a; pub use a::A;"), ("a.rs", "pub struct A;")]).is_empty());
    }

    #[test]
    fn a_re_exported_item_of_another_crate_names_no_file() {
        let files = [
            ("lib.rs", "mod a; mod sync;"),
            ("sync.rs", "pub(crate) use std::sync::Mutex;"),
            ("a.rs", "use crate::sync::Mutex;"),
        ];
        assert!(uses(&files).is_empty());
    }

    #[test]
    fn only_compiled_code_counts() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "// crate::a::A\nconst B: &str = \"crate::a::A\";\n#[cfg(test)]\nuse crate::a::{A};"),
            ("c.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }"),
        ];
        assert!(uses(&files).is_empty());
    }

    #[test]
    fn a_function_named_like_its_module_is_found() {
        let files = [
            ("lib.rs", "mod task; mod user;"),
            ("task/mod.rs", "mod sleep; pub use sleep::sleep;"),
            ("task/sleep.rs", "pub fn sleep() {}"),
            ("user.rs", "use crate::task::sleep; mod inner { use super::super::task; fn f() { task::sleep() } }"),
        ];
        assert_eq!(uses(&files), ["user.rs -> task/sleep.rs"]);
    }

    #[test]
    fn the_largest_circle_joins_files_that_reach_each_other() {
        let edges = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d")];
        let mut graph: Graph = ["a", "b", "c", "d", "e", "f"].map(|file| (file.to_owned(), BTreeSet::new())).into();
        for (from, to) in edges {
            graph.get_mut(from).unwrap().insert(to.to_owned());
        }
        assert_eq!(largest_circle(&graph), ["a", "b", "c"].map(str::to_owned).into());
    }
}
