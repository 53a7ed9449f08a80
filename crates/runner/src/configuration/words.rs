//! What is wrong with a value, in the words of TOML: serde speaks of maps and sequences, and names the types of Rust.

use std::borrow::Cow;

/// How serde calls what it found; what follows in backquotes or quotes is the value.
const FOUND: [(&str, &str); 9] = [
    ("map", "a table"),
    ("sequence", "an array"),
    ("boolean ", ""),
    ("integer ", "the number "),
    ("floating point ", "the number "),
    ("string ", "the text "),
    ("struct variant", "a table"),
    ("newtype variant", "a table"),
    ("unit variant", "a text"),
];

/// How types of Rust, and what stands in for them, are called.
const EXPECTED: [(&str, &str); 19] = [
    ("i8", "a whole number from -128 to 127"),
    ("i16", "a whole number from -32768 to 32767"),
    ("i32", "a whole number from -2147483648 to 2147483647"),
    ("i64", "a whole number"),
    ("isize", "a whole number"),
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number from 0 on"),
    ("usize", "a whole number from 0 on"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "a text in quotes"),
    ("a character", "one character in quotes"),
    ("path string", "a path in quotes"),
    ("a sequence", "an array in [ ]"),
    ("a map", "a table"),
    ("string or table", "a text in quotes or a table"),
];

/// Says it so that who wrote the file recognizes what he wrote.
pub(super) fn in_words(message: &str) -> String {
    let wrong = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    if let Some((what, wanted)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("expected {}, not {}", expected(wanted), found(what));
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return format!("unknown key {rest}");
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("the key {rest} is missing");
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
    if wanted.starts_with("struct ") {
        return "a table";
    }
    // Our own say the word themselves.
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
    fn said<T: DeserializeOwned>(text: &str) -> String {
        in_words(toml::from_str::<BTreeMap<String, T>>(text).err().expect("it is wrong").message())
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
    fn what_was_written_and_what_is_expected_are_called_as_toml_calls_them() {
        assert_eq!(said::<Vec<u8>>("a = {}"), "expected an array in [ ], not a table");
        assert_eq!(said::<String>("a = []"), "expected a text in quotes, not an array");
        assert_eq!(said::<u8>("a = 'many'"), "expected a whole number from 0 to 255, not the text \"many\"");
        assert_eq!(said::<u8>("a = 256"), "expected a whole number from 0 to 255, not the number 256");
        assert_eq!(said::<u64>("a = -1"), "expected a whole number from 0 on, not the number -1");
        assert_eq!(said::<i64>("a = 1.5"), "expected a whole number, not the number 1.5");
        assert_eq!(said::<f64>("a = true"), "expected a number, not true");
        assert_eq!(said::<bool>("a = 'yes'"), "expected true or false, not the text \"yes\"");
        assert_eq!(said::<PathBuf>("a = 3"), "expected a path in quotes, not the number 3");
        assert_eq!(said::<Point>("a = 3"), "expected a table, not the number 3");
        assert_eq!(said::<char>("a = 'ab'"), "expected one character in quotes, not the text \"ab\"");
    }

    #[test]
    fn keys_and_choices_are_called_so() {
        assert_eq!(said::<Point>("a = { y = 1 }"), "unknown key `y`, expected `x`");
        assert_eq!(said::<Point>("a = {}"), "the key `x` is missing");
        assert_eq!(said::<Color>("a = 'green'"), "unknown value `green`, expected `red` or `blue`");
        for text in ["a = 'red'", "a = 'blue'"] {
            let colors = toml::from_str::<BTreeMap<String, Color>>(text).unwrap();
            assert!(matches!(colors["a"], Color::Red | Color::Blue));
        }
    }

    #[test]
    fn what_is_not_known_here_stays_as_it_is() {
        assert_eq!(in_words("the moon is full"), "the moon is full");
        assert_eq!(in_words("invalid type: unit value, expected a dance"), "expected a dance, not unit value");
    }
}
