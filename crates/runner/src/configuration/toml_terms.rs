//! Rewrites serde's messages in TOML's terms. serde says map and sequence, and names the types of Rust.

use std::borrow::Cow;

/// serde's names for the found value, and TOML's. The value itself follows, in backquotes or quotes.
const FOUND: [(&str, &str); 9] = [
    ("map", "a table"),
    ("sequence", "an array"),
    ("boolean ", ""),
    ("integer ", "the number "),
    ("floating point ", "the number "),
    ("string ", "the string "),
    ("struct variant", "a table"),
    ("newtype variant", "a table"),
    ("unit variant", "a string"),
];

/// serde's names for the expected type, and the names for a person.
const EXPECTED: [(&str, &str); 19] = [
    ("i8", "a whole number from -128 to 127"),
    ("i16", "a whole number from -32768 to 32767"),
    ("i32", "a whole number from -2147483648 to 2147483647"),
    ("i64", "a whole number"),
    ("isize", "a whole number"),
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a non-negative whole number"),
    ("usize", "a non-negative whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "a string in quotes"),
    ("a character", "one character in quotes"),
    ("path string", "a path in quotes"),
    ("a sequence", "an array in [ ]"),
    ("a map", "a table"),
    ("string or table", "a string in quotes or a table"),
];

/// Rephrases serde's message in TOML terms.
pub(super) fn in_toml_terms(message: &str) -> String {
    let wrong = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    if let Some((what, wanted)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("expected {}, not {}", expected(wanted), found(what));
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return format!("unknown key {rest}");
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("missing key {rest}");
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return format!("unknown value {rest}");
    }
    message.to_owned()
}

fn found(what: &str) -> Cow<'_, str> {
    let known = FOUND.iter().find_map(|(theirs, ours)| Some((ours, what.strip_prefix(theirs)?)));
    known.map_or(what.into(), |(ours, value)| format!("{ours}{}", value.trim_matches('`')).into())
}

fn expected(wanted: &str) -> &str {
    if wanted == "struct Duration" {
        return "a table with `secs` and `nanos`"; // ropewalk_runner::seconds reads a number
    }
    if wanted.starts_with("struct ") {
        return "a table";
    }
    // Messages of our own types start with this word.
    let wanted = wanted.strip_prefix("expected ").unwrap_or(wanted);
    EXPECTED.iter().find(|(theirs, _)| *theirs == wanted).map_or(wanted, |(_, ours)| ours)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    #[track_caller]
    fn message<T: DeserializeOwned>(text: &str) -> String {
        in_toml_terms(toml::from_str::<BTreeMap<String, T>>(text).err().expect("an invalid value").message())
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase", deny_unknown_fields)]
    enum Color {
        Red,
        Blue,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        #[allow(dead_code, reason = "only its name matters")]
        x: u8,
    }

    #[test]
    fn types_have_the_names_of_toml() {
        assert_eq!(message::<Vec<u8>>("a = {}"), "expected an array in [ ], not a table");
        assert_eq!(message::<String>("a = []"), "expected a string in quotes, not an array");
        assert_eq!(message::<u8>("a = 'many'"), "expected a whole number from 0 to 255, not the string \"many\"");
        assert_eq!(message::<u8>("a = 256"), "expected a whole number from 0 to 255, not the number 256");
        assert_eq!(message::<u64>("a = -1"), "expected a non-negative whole number, not the number -1");
        assert_eq!(message::<i64>("a = 1.5"), "expected a whole number, not the number 1.5");
        assert_eq!(message::<f64>("a = true"), "expected a number, not true");
        assert_eq!(message::<bool>("a = 'yes'"), "expected true or false, not the string \"yes\"");
        assert_eq!(message::<PathBuf>("a = 3"), "expected a path in quotes, not the number 3");
        assert_eq!(message::<Point>("a = 3"), "expected a table, not the number 3");
        assert_eq!(message::<char>("a = 'ab'"), "expected one character in quotes, not the string \"ab\"");
    }

    #[test]
    fn fields_are_called_keys() {
        assert_eq!(message::<Point>("a = { y = 1 }"), "unknown key `y`, expected `x`");
        assert_eq!(message::<Point>("a = {}"), "missing key `x`");
        assert_eq!(message::<Color>("a = 'green'"), "unknown value `green`, expected `red` or `blue`");
        for text in ["a = 'red'", "a = 'blue'"] {
            let colors = toml::from_str::<BTreeMap<String, Color>>(text).unwrap();
            assert!(matches!(colors["a"], Color::Red | Color::Blue));
        }
    }

    #[test]
    fn unknown_messages_are_unchanged() {
        assert_eq!(in_toml_terms("the moon is full"), "the moon is full");
        assert_eq!(in_toml_terms("invalid type: unit value, expected a dance"), "expected a dance, not unit value");
    }
}
