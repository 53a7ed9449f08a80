//! The first five rules of "Plain words", and the length of test names.
//!
//! The tests read the documents, and in each Rust source the comments, the messages (string literals outside tests) and
//! the names of tests. Code in backquotes and in fenced samples is not prose. A quotation that breaks a rule is a fault
//! as well: put it into backquotes, or reword it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::rust_text::{Kind, pieces};
use super::{files, root};

/// The faults that each rule still finds in a folder, in the order of [`RULES`]. The goal is to empty the table.
const ALLOWED: &[(&str, [usize; 6])] = &[];

const RULES: [&str; 6] = [
    "a part of a program is not a person: name the connection, the peer, the caller",
    "a sentence does not open with `What`, `Who` or `Where`: open with a noun",
    "the summary of a public function starts with a verb in the third person",
    "a word that has a plainer one",
    "an amount without its parameter: write \"at least `threshold` bytes\"",
    "a test's name has at most 60 letters and no \"and\"",
];
const PEOPLE: usize = 0;
const OPENINGS: usize = 1;
const SUMMARIES: usize = 2;
const WORDS: usize = 3;
const AMOUNTS: usize = 4;
const NAMES: usize = 5;

const PERSONS: [&str; 11] =
    ["who", "whoever", "whom", "whomever", "nobody", "somebody", "he", "his", "him", "himself", "everybody"];
const NOUNLIKE: [&str; 6] = ["what", "who", "where", "whatever", "whoever", "wherever"];
/// Phrases to avoid, each with the words that make the phrase acceptable when they follow it.
const AVOIDED: [(&str, &[&str]); 27] = [
    ("whither", &[]),
    ("whence", &[]),
    ("anew", &[]),
    ("tells", &[]),
    ("told", &[]),
    ("hear", &[]),
    ("hears", &[]),
    ("heard", &[]),
    ("stands", &["for", "in"]),
    ("of one's own", &[]),
    ("is none", &[]),
    ("are none", &[]),
    ("goes on", &[]),
    ("go on", &[]),
    ("mend", &[]),
    ("mends", &[]),
    ("mended", &[]),
    ("ends the", &[]),
    ("ends a", &[]),
    ("ends it", &[]),
    ("ends that", &[]),
    ("ends this", &[]),
    ("ends all", &[]),
    ("ends every", &[]),
    ("ends its", &[]),
    ("is out", &["of"]),
    ("are out", &["of"]),
];
const QUANTITIES: [&str; 4] = ["so many", "so much", "so long", "so few"];

/// Files that are not read, each with its reason.
const UNREAD: [(&str, &str); 3] = [
    ("docs/src/support-matrix.md", "written from the names of tests, which are read where they are"),
    ("docs/style.md", "names the words to avoid"),
    ("xtask/tests/tidy/prose.rs", "names the words to avoid"),
];

/// A place that breaks a rule.
#[derive(Debug)]
struct Fault {
    line: usize,
    rule: usize,
    text: String,
}

/// A word of prose, in lower case, without the punctuation around it.
struct Word {
    line: usize,
    text: String,
    /// The mark that closes the sentence, if this is its last word.
    closes: Option<char>,
}

/// Returns the words of a text whose first line has this number. Code in backquotes becomes one empty word.
fn words(text: &str, first_line: usize) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let mut is_code = false;
    for (at, line) in text.lines().enumerate() {
        for part in line.split_whitespace() {
            let opened = is_code;
            is_code ^= part.matches('`').count() % 2 == 1;
            let is_quoted = opened || part.contains(['`', '{']);
            let bare = part.trim_end_matches(['"', '\'', ')', '*', '_', '`']);
            let closes = bare.chars().next_back().filter(|mark| ['.', '?', '!'].contains(mark));
            let word = part.trim_matches(|letter: char| !letter.is_alphanumeric());
            if word.is_empty() && !is_quoted && closes.is_none() {
                continue;
            }
            let text = if is_quoted { String::new() } else { word.to_lowercase().replace('’', "'") };
            found.push(Word { line: first_line + at, text, closes });
        }
    }
    found
}

/// Returns the faults of one paragraph.
fn faults(text: &str, first_line: usize) -> Vec<Fault> {
    let words = words(text, first_line);
    let sentences = words.split_inclusive(|word| word.closes.is_some());
    let faults_of = |sentence: &[Word]| {
        let rules = (0..sentence.len()).flat_map(|at| rules_broken_at(sentence, at).map(move |rule| (rule, at)));
        Vec::from_iter(rules.map(|(rule, at)| Fault { line: sentence[at].line, rule, text: shown(sentence, at) }))
    };
    sentences.flat_map(faults_of).collect()
}

/// Returns a word with its neighbours.
fn shown(sentence: &[Word], at: usize) -> String {
    let near = sentence[at.saturating_sub(3)..].iter().take(8);
    near.map(|word| if word.text.is_empty() { "`..`" } else { &word.text }).collect::<Vec<_>>().join(" ")
}

fn rules_broken_at(sentence: &[Word], at: usize) -> impl Iterator<Item = usize> {
    let word = sentence[at].text.as_str();
    let before = at.checked_sub(1).map_or("", |before| sentence[before].text.as_str());
    let is_there = before == "there" && ["is", "are"].contains(&word);
    let is_noun = word == "ends" && ["its", "both", "two", "the", "their"].contains(&before);
    let is_question = sentence.last().is_some_and(|last| last.closes == Some('?'));
    let follows = |phrase: &str| next_after(&sentence[at..], phrase);
    let avoided = AVOIDED.iter().any(|(phrase, but)| follows(phrase).is_some_and(|next| !but.contains(&next)));
    let amount = QUANTITIES.iter().any(|phrase| follows(phrase).is_some_and(|next| next != "that" && next != "as"));
    let broken = [
        (OPENINGS, at == 0 && !is_question && NOUNLIKE.contains(&word)),
        (PEOPLE, PERSONS.contains(&word)),
        (WORDS, avoided && !is_there && !is_noun),
        (AMOUNTS, amount),
    ];
    broken.into_iter().filter(|(_, is_broken)| *is_broken).map(|(rule, _)| rule)
}

/// Returns the word after the phrase with which these words begin, or an empty one at the end of the sentence.
fn next_after<'a>(words: &'a [Word], phrase: &str) -> Option<&'a str> {
    let length = phrase.split(' ').count();
    let begins = words.iter().map(|word| word.text.as_str()).take(length).eq(phrase.split(' '));
    begins.then(|| words.get(length).map_or("", |next| next.text.as_str()))
}

/// Returns the paragraphs of a document. List items, table cells and headings are paragraphs. Fenced samples are left
/// out.
fn paragraphs(document: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut is_sample, mut continues) = (false, false);
    for (at, line) in document.lines().enumerate() {
        let text = line.trim();
        if text.starts_with("```") {
            (is_sample, continues) = (!is_sample, false);
            continue;
        }
        if is_sample || text.is_empty() || text.starts_with("<!--") {
            continues = false;
            continue;
        }
        if text.starts_with('|') {
            found.extend(text.split('|').map(|cell| (at + 1, cell.to_owned())));
            continues = false;
            continue;
        }
        let is_item = text.starts_with(['-', '*', '#', '>'])
            || text.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        match found.last_mut().filter(|_| continues && !is_item) {
            Some((_, paragraph)) => *paragraph = format!("{paragraph}\n{text}"),
            None => found.push((at + 1, text.to_owned())),
        }
        continues = !text.starts_with('#');
    }
    found.into_iter().map(|(line, text)| (line, without_targets(&text))).collect()
}

/// Returns a text without the targets of its links.
fn without_targets(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| format!("{all}{}", part.split_once(')').map_or(part, |(_, rest)| rest)))
}

/// Returns the prose of a Rust source: its messages and comments, as paragraphs.
fn prose_of(source: &str, with_messages: bool) -> Vec<(usize, String)> {
    let tests_from = source.find("\n#[cfg(test)]\nmod ").unwrap_or(source.len());
    let last_line = source[..tests_from].lines().count();
    let (mut comments, mut found) = (Vec::new(), Vec::new());
    for piece in pieces(source) {
        let is_message = with_messages && piece.line <= last_line && piece.text.trim().contains(' ');
        match piece.kind {
            Kind::Comment => comments.push((piece.line, piece.text.trim_start_matches(['/', '!', '*']))),
            Kind::Text if is_message => found.push((piece.line, piece.text.replace('\\', " "))),
            Kind::Text | Kind::Code => {}
        }
    }
    // Comments on neighbouring lines are one document.
    for run in comments.chunk_by(|(line, _), (next, _)| line + 1 == *next) {
        let document = run.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n");
        found.extend(paragraphs(&document).into_iter().map(|(line, text)| (run[0].0 + line - 1, text)));
    }
    found
}

/// Returns the names of a source's tests: functions with `#[test]`, and specifications.
fn test_names(source: &str) -> Vec<(usize, &str)> {
    let (mut found, mut is_test, mut specifies) = (Vec::new(), false, false);
    for (at, line) in source.lines().enumerate() {
        let code = line.trim();
        specifies |= line.starts_with("specifications! {");
        is_test |= code.starts_with("#[test]");
        let is_specification = specifies && line.starts_with("    fn ") && line.contains("ubject: &Subject)");
        // The specifications of ropewalk-sys take a `bench`.
        let on_bench = line.strip_prefix("pub(crate) fn ").filter(|rest| rest.contains("(bench: &mut Bench)"));
        let plain = code.strip_prefix("fn ").filter(|_| is_test || is_specification);
        if let Some(rest) = plain.or(on_bench) {
            found.push((at + 1, rest.split('(').next().unwrap_or(rest)));
        }
        is_test &= code.starts_with("#[");
    }
    found
}

fn name_faults(line: usize, name: &str) -> Vec<Fault> {
    let words = name.replace('_', " ");
    let mut found = faults(&words, line);
    if name.len() > 60 || words.contains(" and ") {
        found.push(Fault { line, rule: NAMES, text: name.to_owned() });
    }
    found
}

/// Returns the summaries of public functions that do not start with a verb.
fn summary_faults(source: &str) -> Vec<Fault> {
    let (mut found, mut summary) = (Vec::new(), None);
    for (at, line) in source.lines().enumerate() {
        let code = line.trim();
        if let Some(text) = code.strip_prefix("/// ") {
            summary = summary.or(Some((at + 1, text)));
        } else if !code.starts_with("#[") && !code.starts_with("//") {
            let is_function = ["pub fn ", "pub async fn ", "pub const fn ", "pub unsafe fn "]
                .iter()
                .any(|start| code.starts_with(start));
            if let Some((line, text)) = summary.take().filter(|(_, text)| is_function && !starts_with_verb(text)) {
                found.push(Fault { line, rule: SUMMARIES, text: text.to_owned() });
            }
        }
    }
    found
}

fn starts_with_verb(summary: &str) -> bool {
    const NO_VERBS: [&str; 8] = ["As", "Has", "This", "Its", "Is", "Always", "Less", "Unless"];
    // Frequent first words of summaries that are not verbs in the third person.
    const FORMULAS: [&str; 4] = ["Like", "Also", "Called", "Shorthand"];
    let first = summary.split([' ', ',', ':', '.']).next().unwrap_or_default();
    FORMULAS.contains(&first)
        || first.ends_with('s') && first.starts_with(char::is_uppercase) && !NO_VERBS.contains(&first)
}

fn source_faults(place: &Path, source: &str) -> Vec<Fault> {
    let is_test = place.components().any(|part| part.as_os_str() == "tests") || place.ends_with("tests.rs");
    let mut found: Vec<Fault> =
        prose_of(source, !is_test).iter().flat_map(|(line, text)| faults(text, *line)).collect();
    found.extend(test_names(source).into_iter().flat_map(|(line, name)| name_faults(line, name)));
    found.extend(summary_faults(source));
    found
}

fn document_faults(document: &str) -> Vec<Fault> {
    paragraphs(document).iter().flat_map(|(line, text)| faults(text, *line)).collect()
}

/// Returns the folder, or single document, whose faults are counted together.
fn folder(place: &str) -> String {
    let depth = if place.starts_with("crates/") { 2 } else { 1 };
    place.split('/').take(depth).collect::<Vec<_>>().join("/")
}

/// Returns all faults, by folder and rule, as `file:line: words`.
fn all_faults() -> BTreeMap<(String, usize), Vec<String>> {
    let documents = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs"];
    let sources = ["crates", "conformance", "bench", "load", "models", "xtask", "hosts", "fuzz/fuzz_targets"];
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for file in [files(&documents, "md"), files(&sources, "rs")].concat() {
        let place = file.strip_prefix(root()).expect("below the root");
        let name = place.to_str().expect("a name").replace('\\', "/");
        if UNREAD.iter().any(|(unread, _)| *unread == name) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a text");
        let of_file = if name.ends_with(".md") { document_faults(&text) } else { source_faults(place, &text) };
        for Fault { line, rule, text } in of_file {
            all.entry((folder(&name), rule)).or_default().push(format!("{name}:{line}: {text}"));
        }
    }
    all
}

/// `PROSE=crates/sys cargo test -p xtask prose -- --nocapture` lists all faults below a folder, allowed or not.
#[test]
fn the_prose_is_plain() {
    let (listed, mut surplus) = (std::env::var("PROSE"), Vec::new());
    let mut counts: BTreeMap<String, [usize; 6]> = BTreeMap::new();
    for ((folder, rule), faults) in all_faults() {
        let allowed = ALLOWED.iter().find(|(known, _)| *known == folder).map_or(0, |(_, counts)| counts[rule]);
        let wanted = faults.iter().filter(|fault| listed.as_ref().is_ok_and(|folder| fault.starts_with(folder)));
        wanted.for_each(|fault| println!("{fault} ({})", RULES[rule]));
        let list =
            format!("{folder}, {} faults, {allowed} allowed: {}\n{}", faults.len(), RULES[rule], faults.join("\n"));
        if faults.len() > allowed {
            surplus.push(list);
        }
        counts.entry(folder).or_default()[rule] = faults.len();
    }
    for (folder, counts) in &counts {
        println!("    (\"{folder}\", {counts:?}),");
    }
    assert!(surplus.is_empty(), "{}", surplus.join("\n\n"));
}

fn rules_broken_by(text: &str) -> Vec<usize> {
    faults(text, 1).into_iter().map(|fault| fault.rule).collect()
}

#[test]
fn each_rule_finds_its_fault() {
    assert_eq!(rules_broken_by("The peer closes; nobody reads what he sent."), [PEOPLE, PEOPLE]);
    assert_eq!(rules_broken_by("It works. What is left waits."), [OPENINGS]);
    assert_eq!(rules_broken_by("The port tells its factory and goes on."), [WORDS, WORDS]);
    assert_eq!(rules_broken_by("A chunk of so many\nbytes is no surprise."), [AMOUNTS]);
}

#[test]
fn plain_sentences_and_code_have_no_fault() {
    let plain = "What is a reactor? A process whose id ends in 7 stands in for it, if there is none. So many that \
                 `nobody tells` and `who is\nhe` are code. The id is out of range.";
    assert_eq!(rules_broken_by(plain), []);
}

#[test]
fn samples_and_targets_of_links_are_not_read() {
    let document = "# A\n[b](who/is)\n- c\n  d\n```\nnobody\n```\n| e | f |\n";
    let texts: Vec<_> = paragraphs(document).into_iter().filter(|(_, text)| !text.trim().is_empty()).collect();
    let expected =
        [(1, "# A"), (2, "[b"), (3, "- c\nd"), (8, " e "), (8, " f ")].map(|(line, text)| (line, text.to_owned()));
    assert_eq!(texts, expected);
}

#[test]
fn comments_messages_and_names_of_a_source_are_read() {
    let source = "/// What a.\n/// b\nfn c() { d(\"he is\") } // who\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn \
                  nobody_waits_and_ends() { e(\"he is\") }\n}\n";
    let found: Vec<_> = source_faults(Path::new("a.rs"), source).iter().map(|fault| (fault.line, fault.rule)).collect();
    assert_eq!(found, [(3, PEOPLE), (1, OPENINGS), (3, PEOPLE), (8, PEOPLE), (8, NAMES)]);
}

#[test]
fn summaries_of_public_functions_start_with_a_verb() {
    let source = "/// Returns a.\npub fn a() {}\n/// Has b.\n#[inline]\npub const fn b() {}\n/// The c.\nfn c() {}\n/// The \
                  d.\n///\n/// Sends d.\npub async fn d() {}\n";
    let lines: Vec<_> = summary_faults(source).iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [3, 8]);
}
