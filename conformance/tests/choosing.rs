//! The reactor that a program gets: the best one, one by name, or the one that the environment names.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use ropewalk::{Error, Reactor, reactors};
use ropewalk_conformance::Subject;
use ropewalk_conformance::scenario::Performance;

fn subject() -> Subject {
    Subject::named("poll").with_scenarios(env!("CARGO_BIN_EXE_scenario"))
}

/// Returns the reactor's name or the error in a program that takes the default, with this value of `ROPEWALK_REACTOR`.
fn chosen(value: &str) -> String {
    let mut play = Performance::begin_with(&subject(), "chosen", "ROPEWALK_REACTOR", value);
    let line = play.line().expect("it says something");
    play.ends();
    line
}

#[test]
fn every_listed_reactor_works_or_has_a_reason() {
    // Twisted's --help-reactors marks unavailable ones. select and poll work everywhere.
    for entry in reactors() {
        assert!(!entry.description.is_empty());
        match Reactor::with(entry.name) {
            Ok(reactor) => assert_eq!((reactor.name(), entry.unavailable.is_none()), (entry.name, true)),
            Err(error) => assert_eq!(entry.unavailable.expect("the same reason").to_string(), error.to_string()),
        }
    }
    assert!(["select", "poll"].iter().all(|name| Reactor::with(name).is_ok()));
}

#[test]
fn every_list_of_reactors_is_complete() {
    // A provider that is not mounted in the suite would be untested without a sign of it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lists = [
        ("crates/reactor/src/lib.rs", "//! | `", "` |"),
        ("docs/src/choosing-a-reactor.md", "| `", "` |"),
        ("conformance/tests/providers.rs", "conformance!(", " = "),
    ];
    for (file, before, after) in lists {
        let list = fs::read_to_string(root.join(file)).unwrap();
        for entry in reactors() {
            let line = format!("{before}{}{after}", entry.name);
            assert!(list.lines().any(|text| text.starts_with(&line)), "{file} does not list {}", entry.name);
        }
    }
}

#[test]
fn the_environment_names_the_default_reactor() {
    for entry in reactors().iter().filter(|entry| entry.unavailable.is_none()) {
        assert_eq!(chosen(entry.name), entry.name);
    }
}

#[test]
fn without_a_name_the_best_reactor_is_chosen() {
    let best = reactors().into_iter().find(|entry| entry.unavailable.is_none()).unwrap();
    assert_eq!(chosen(""), best.name);
}

#[test]
fn an_unknown_reactor_is_an_error_that_lists_the_known_ones() {
    let error = Reactor::with("no such reactor").unwrap_err();
    assert!(matches!(error, Error::NoSuchReactor(..)));
    for message in [error.to_string(), chosen("no such reactor")] {
        assert!(message.contains("no such reactor"), "{message}");
        for entry in reactors() {
            assert!(message.contains(entry.name), "{message}");
        }
    }
}
