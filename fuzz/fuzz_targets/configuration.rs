//! No text makes the parser of configuration files panic. An error names the file, and a line and column of the text.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ropewalk::Reactor;
use ropewalk::application::Service;
use serde::Deserialize;

#[path = "../../crates/runner/src/configuration/mod.rs"]
#[allow(dead_code, reason = "the target only parses")]
mod configuration;
#[path = "../../crates/runner/src/options.rs"]
#[allow(dead_code, reason = "the target only parses")]
mod options;
#[path = "../../crates/cli/src/process_options.rs"]
#[allow(dead_code, reason = "the target only parses")]
mod process_options;
#[path = "../../crates/runner/src/reactors.rs"]
#[allow(dead_code, reason = "the target only parses")]
mod reactors;
#[path = "../../crates/cli/src/values/mod.rs"]
#[allow(dead_code, reason = "the target only parses")]
mod values;

/// The items of the program that the included files use.
mod endpoint_types {
    /// Returns a registry without the program's own types.
    pub(crate) fn endpoints() -> ropewalk::endpoints::Endpoints {
        ropewalk::endpoints::Endpoints::new()
    }

    pub(crate) use endpoints as endpoints_of_http;
}

use configuration::{Configuration, Kinds};
use process_options::Procmon;

const FILE: &str = "x.toml";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "only the types matter")]
struct Options {
    listen: Vec<String>,
    max_connections: Option<u32>,
    idle_timeout: Option<f64>,
    #[serde(default, deserialize_with = "configuration::seconds")]
    pause: Duration,
}

struct Nothing;
impl Service for Nothing {}

fuzz_target!(|text: &str| {
    let mut kinds = Kinds::default();
    kinds.add("echo", |_: &Reactor, _: Options| Ok(Nothing));
    kinds.add_checked("process", check_programs, |_: &Reactor, _: Procmon| Ok(Nothing));
    let Err(error) = Configuration::parse(text, FILE, &kinds) else { return };
    let rest = error.strip_prefix(FILE).and_then(|rest| rest.strip_prefix(':')).expect("the file");
    // A message about the whole file has no line.
    if let Some((line, rest)) = rest.split_once(':').filter(|(line, _)| !line.starts_with(' ')) {
        let (line, column) = (number(line), number(rest.split(':').next().unwrap_or_default()));
        let found = text.split('\n').nth(line - 1).expect("a line of the text");
        assert!((1..=found.chars().count() + 1).contains(&column), "{error}");
    }
});

/// Fails unless there is one program.
fn check_programs(options: &Procmon) -> Option<String> {
    let programs = options.programs();
    assert!(programs.len() == 1 && !programs[0].1.is_empty(), "{programs:?}");
    options.needs_foreground()
}

fn number(digits: &str) -> usize {
    digits.parse().unwrap_or_else(|_| panic!("a number, not {digits:?}"))
}
