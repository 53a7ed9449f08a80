//! The configuration file in TOML: services, and options of the runner. Twisted has TAC files and `twistd` plug-ins for
//! it.
//!
//! ```toml
//! [runner]                  # command-line options, under their long names
//! pidfile = "/run/example.pid"
//!
//! [[service]]
//! kind = "echo"             # one of the kinds that the program defines
//! name = "public"           # optional, for messages
//! listen = ["tcp:7000"]     # the options of that kind
//! ```
//!
//! Errors name the file, line and column.

mod kinds;
mod location;
mod seconds;
mod service_table;
mod toml_terms;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ropewalk::Reactor;
use ropewalk::application::MultiService;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

pub use kinds::{BoxedError, Kinds};
pub use seconds::seconds;

use crate::options::FileOptions;
use kinds::Configured;
use location::Locations;
use service_table::ServiceTable;

/// The most bytes of a file, because a device may have no end.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The contents of a configuration file.
#[derive(Default)]
pub(crate) struct Configuration {
    options: FileOptions,
    locations: OptionLocations,
    services: Services,
}

/// The locations of the options in the file.
#[derive(Debug, Default)]
pub(crate) struct OptionLocations(BTreeMap<String, String>);

/// The services that a file describes.
#[derive(Default)]
pub(crate) struct Services(Vec<ServiceEntry>);

/// One `[[service]]` table.
struct ServiceEntry {
    name: String,
    /// As `FILE:LINE:COLUMN`.
    location: String,
    service: Box<dyn Configured>,
}

impl Configuration {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path, kinds: &Kinds) -> Result<Configuration, String> {
        let file = path.display().to_string();
        let text = read_text(path).map_err(|error| format!("cannot read the configuration {file}: {error}"))?;
        Configuration::parse(&text, &file, kinds)
    }

    /// Parses the text of the file with this name.
    pub(crate) fn parse(text: &str, file: &str, kinds: &Kinds) -> Result<Configuration, String> {
        let locations = Locations::new(file, text);
        let table = DeTable::parse(text).map_err(|error| locations.describe(&error))?;
        let mut configuration = Configuration::default();
        for (key, value) in table.into_inner() {
            match &**key.get_ref() {
                "runner" => (configuration.options, configuration.locations) = runner(value, &locations)?,
                "service" => configuration.services = Services(services(value, &locations, kinds)?),
                other => {
                    let message = format!("unknown key `{other}`, expected `runner` or `service`");
                    return Err(locations.error_at(key.span().start, &message));
                }
            }
        }
        Ok(configuration)
    }

    /// Returns the services, the options, and the locations of the options.
    pub(crate) fn into_parts(self) -> (Services, FileOptions, OptionLocations) {
        (self.services, self.options, self.locations)
    }
}

impl OptionLocations {
    /// Removes the options that the command line overrides.
    pub(crate) fn without(mut self, is_overridden: impl Fn(&str) -> bool) -> OptionLocations {
        self.0.retain(|option, _| !is_overridden(option));
        self
    }

    /// Returns an error message about an option, with its location if it is from the file.
    pub(crate) fn locate(&self, option: &str, message: impl Display) -> String {
        match self.0.get(option) {
            Some(location) => format!("{location}: {message}"),
            None => message.to_string(),
        }
    }
}

impl Services {
    /// Makes the services and adds them to `services`.
    pub(crate) fn build(self, reactor: &Reactor, services: &MultiService) -> Result<(), BoxedError> {
        for ServiceEntry { name, location, service } in self.0 {
            let made = service.make(reactor);
            let service = made.map_err(|error| format!("{location}: cannot make the service '{name}': {error}"))?;
            services.add_named(&name, service)?;
        }
        Ok(())
    }

    /// Returns the reason if one of the services cannot run in the background.
    pub(crate) fn needs_foreground(&self) -> Option<String> {
        self.0.iter().find_map(|entry| {
            let reason = entry.service.needs_foreground()?;
            Some(format!("{}: {reason}", entry.location))
        })
    }

    /// Returns the locations of the services by name.
    pub(crate) fn locations(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|entry| (entry.name.clone(), entry.location.clone())).collect()
    }
}

/// Reads the text of a file. Its length cannot be checked before: a pipe or device has none.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("the file is longer than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::other(format!("line {line} is not valid UTF-8"))
    })
}

/// Reads the table `[runner]`: the options, and their locations.
fn runner(value: Spanned<DeValue<'_>>, locations: &Locations<'_>) -> Result<(FileOptions, OptionLocations), String> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(locations.error_at(value.span().start, "expected one table [runner] with the options"));
    };
    let offsets = table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span().start));
    let offsets: BTreeMap<_, _> = offsets.collect();
    let options: FileOptions = typed(value, locations)?;
    if let Some((one, other)) = options.conflict() {
        let later = offsets[one].max(offsets[other]);
        return Err(locations.error_at(later, &format!("`{one}` and `{other}` cannot be used together: remove one")));
    }
    let located = offsets.into_iter().map(|(option, offset)| (option, locations.of(offset)));
    Ok((options, OptionLocations(located.collect())))
}

fn services(
    value: Spanned<DeValue<'_>>,
    locations: &Locations<'_>,
    kinds: &Kinds,
) -> Result<Vec<ServiceEntry>, String> {
    let at = value.span().start;
    let DeValue::Array(tables) = value.into_inner() else {
        return Err(locations.error_at(at, "expected each service in its own table [[service]]"));
    };
    let mut services: Vec<ServiceEntry> = Vec::new();
    for table in tables {
        let at = table.span().start;
        let entry = service(table, locations, kinds)?;
        if services.iter().any(|other| other.name == entry.name) {
            let message = format!("duplicate service name `{}`: set another `name` here", entry.name);
            return Err(locations.error_at(at, &message));
        }
        services.push(entry);
    }
    Ok(services)
}

fn service(value: Spanned<DeValue<'_>>, locations: &Locations<'_>, kinds: &Kinds) -> Result<ServiceEntry, String> {
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        return Err(locations.error_at(span.start, "expected each service in its own table [[service]]"));
    };
    let Some((kind, kind_at)) = string(&table, "kind", locations)? else {
        return Err(locations.error_at(span.start, &format!("missing `kind`: expected {}", kinds.list())));
    };
    let name = match string(&table, "name", locations)? {
        Some((name, at)) if name.is_empty() => {
            return Err(locations.error_at(at, "the `name` is empty: expected at least one character"));
        }
        Some((name, _)) => name,
        None => kind.clone(),
    };
    let Some(kind) = kinds.find(&kind) else {
        return Err(locations.error_at(kind_at, &format!("unknown kind `{kind}`, expected {}", kinds.list())));
    };
    let location = locations.of(span.start);
    let service = kind(ServiceTable(Spanned::new(span, table))).map_err(|error| locations.describe(&error))?;
    Ok(ServiceEntry { name, location, service })
}

/// Returns a string of a table, with its byte offset.
fn string(table: &DeTable<'_>, key: &str, locations: &Locations<'_>) -> Result<Option<(String, usize)>, String> {
    let Some(value) = table.get(key).cloned() else { return Ok(None) };
    let at = value.span().start;
    Ok(Some((typed::<String>(value, locations)?, at)))
}

fn typed<T: DeserializeOwned>(value: Spanned<DeValue<'_>>, locations: &Locations<'_>) -> Result<T, String> {
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| locations.describe(&error))
}

#[cfg(test)]
mod tests {
    use ropewalk::application::{Service, ServiceHandle};
    use ropewalk::testing::MemoryReactor;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Options {
        #[allow(dead_code, reason = "only its type matters")]
        max_connections: Option<u32>,
        #[serde(default)]
        fails: bool,
    }

    struct Nothing;
    impl Service for Nothing {}

    fn kinds() -> Kinds {
        let make = |_: &Reactor, options: Options| match options.fails {
            true => Err("no luck".into()),
            false => Ok(Nothing),
        };
        let mut kinds = Kinds::default();
        kinds.add("echo", make);
        kinds.add("discard", make);
        kinds
    }

    fn parse(text: &str) -> Result<Configuration, String> {
        Configuration::parse(text, "x.toml", &kinds())
    }

    #[track_caller]
    fn error_of(text: &str) -> String {
        parse(text).err().expect("an invalid configuration")
    }

    #[test]
    fn services_are_made_in_order() {
        let text = "[[service]]\nkind = 'echo'\n[[service]]\nkind = 'echo'\nname = 'second'\nmax-connections = 3\n";
        let (net, services) = (MemoryReactor::new(), MultiService::new());
        parse(text).unwrap().services.build(&net, &services).unwrap();
        let names = Vec::from_iter(services.services().iter().map(|service: &ServiceHandle| service.name().unwrap()));
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["echo", "second"]);
    }

    #[test]
    fn an_empty_file_is_valid() {
        assert!(parse("").unwrap().services.0.is_empty());
    }

    #[test]
    #[cfg(unix)]
    fn an_endless_file_is_rejected() {
        for (path, expected) in [("/dev/zero", "the file is longer than 1048576 bytes"), ("/", "directory")] {
            let error = Configuration::read(Path::new(path), &kinds()).err().expect("an invalid configuration");
            assert!(error.starts_with(&format!("cannot read the configuration {path}: ")), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn invalid_utf_8_is_reported_with_its_line() {
        let path = std::env::temp_dir().join(format!("ropewalk-no-text-{}.toml", std::process::id()));
        std::fs::write(&path, b"[runner]\nreactor = '\xff'\n").unwrap();
        let error = Configuration::read(&path, &kinds()).err().expect("an invalid configuration");
        std::fs::remove_file(&path).unwrap();
        assert!(error.ends_with(": line 2 is not valid UTF-8"), "{error}");
    }

    #[test]
    fn invalid_toml_is_reported_with_its_location() {
        let error = error_of("[runner]\nreactor = \n");
        assert!(error.starts_with("x.toml:2:11: "), "{error}");
    }

    #[test]
    fn an_unknown_key_is_reported_with_the_known_keys() {
        assert_eq!(error_of("a = 1\n[[servise]]\n"), "x.toml:1:1: unknown key `a`, expected `runner` or `service`");
        assert_eq!(
            error_of("[[service]]\nkind = 'echo'\n  lisen = 3\n"),
            "x.toml:3:3: unknown key `lisen`, expected `max-connections` or `fails`"
        );
        let option = error_of("[runner]\nreactor = 'poll'\npid-file = 'x'\n");
        assert!(option.starts_with("x.toml:3:1: unknown key `pid-file`, expected one of "), "{option}");
        assert!(option.contains("`pidfile`"), "{option}");
    }

    #[test]
    fn a_wrong_type_is_reported_with_its_location() {
        let number = error_of("[[service]]\nkind = 'echo'\nmax-connections = 'many'\n");
        assert_eq!(number, "x.toml:3:19: expected a whole number from 0 to 4294967295, not the string \"many\"");
        let mask = error_of("[runner]\numask = '999'");
        assert!(mask.starts_with("x.toml:2:9: expected an octal mask"), "{mask}");
        let user = error_of("[runner]\nuid = [1]");
        assert!(user.starts_with("x.toml:2:7: expected a name or a number"), "{user}");
    }

    #[test]
    fn each_option_names_its_expected_type() {
        for (option, expected) in [
            ("reactor = 3", "11: expected a string in quotes, not the number 3"),
            ("verbose = true", "11: expected a whole number from 0 to 255, not true"),
            ("quiet = 'yes'", "9: expected true or false, not the string \"yes\""),
            ("log-format = 'xml'", "14: unknown value `xml`, expected `text` or `json`"),
            ("daemon = 1", "10: expected true or false, not the number 1"),
            ("pidfile = []", "11: expected a path in quotes, not an array"),
            ("log-rotate-size = -1", "19: expected a size in bytes, such as 500K or 10M, not the number -1"),
            ("log-rotate-size = '1X'", "19: expected a size in bytes, such as 500K or 10M"),
            ("log-rotate-count = -1", "20: expected a whole number from 0 to 4294967295, not the number -1"),
            ("syslog = 3", "10: expected true, false or the path of a socket"),
            ("umask = true", "9: expected an octal mask up to 0777, such as 0027, not true"),
            ("gid = 1.5", "7: expected a name or a number, not the number 1.5"),
            ("uid = -1", "7: expected a name or a number, not the number -1"),
        ] {
            assert_eq!(error_of(&format!("[runner]\n{option}")), format!("x.toml:2:{expected}"));
        }
        assert_eq!(error_of("runner = 3"), "x.toml:1:10: expected one table [runner] with the options");
        assert_eq!(error_of("[[runner]]"), "x.toml:1:1: expected one table [runner] with the options");
    }

    #[test]
    fn conflicting_options_are_rejected() {
        let error_of_options = |options: &str| error_of(&format!("[runner]\n{options}\n"));
        let both = error_of_options("verbose = 1\nquiet = true");
        assert_eq!(both, "x.toml:3:9: `quiet` and `verbose` cannot be used together: remove one");
        let both = error_of_options("syslog = true\nlogfile = 'x'");
        assert_eq!(both, "x.toml:3:11: `logfile` and `syslog` cannot be used together: remove one");
        for fine in ["verbose = 0\nquiet = true", "verbose = 1\nquiet = false", "syslog = false\nlogfile = 'x'"] {
            assert!(parse(&format!("[runner]\n{fine}\n")).is_ok(), "{fine}");
        }
    }

    #[test]
    fn overridden_options_have_no_location() {
        let locations = || parse("[runner]\nuid = 'nobody'\n  gid = 3\n").unwrap().into_parts().2;
        assert_eq!(locations().locate("gid", "no such group"), "x.toml:3:9: no such group");
        assert_eq!(locations().locate("pidfile", "no"), "no");
        assert_eq!(locations().without(|option| option == "gid").locate("gid", "no such group"), "no such group");
    }

    #[test]
    fn invalid_kinds_or_names_of_services_are_rejected() {
        assert_eq!(error_of("[[service]]\nname = 'x'\n"), "x.toml:1:1: missing `kind`: expected `discard` or `echo`");
        assert_eq!(
            error_of("[[service]]\nkind = 'eccho'\n"),
            "x.toml:2:8: unknown kind `eccho`, expected `discard` or `echo`"
        );
        let twice = error_of("[[service]]\nkind = 'echo'\n\n[[service]]\nkind = 'echo'\n");
        let nameless = error_of("[[service]]\nkind = 'echo'\nname = ''\n");
        assert_eq!(nameless, "x.toml:3:8: the `name` is empty: expected at least one character");
        assert!(twice.starts_with("x.toml:4:1: duplicate service name `echo`"), "{twice}");
        assert!(error_of("service = 3").starts_with("x.toml:1:11: expected each service in its own table [[service]]"));
    }

    /// Adds a kind that appends its options to the returned text.
    fn noting<O: DeserializeOwned + std::fmt::Debug + 'static>(text: &str) -> Result<String, String> {
        let noted = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
        let note = noted.clone();
        let mut kinds = Kinds::default();
        kinds.add("bot", move |_: &Reactor, options: O| {
            *note.borrow_mut() = format!("{options:?}");
            Ok(Nothing)
        });
        let services = Configuration::parse(text, "x.toml", &kinds)?.services;
        services.build(&MemoryReactor::new(), &MultiService::new()).map_err(|error| error.to_string())?;
        Ok(noted.take())
    }

    /// A name of the file that a kind's options use as well was lost: "missing key `name`" beside that key.
    #[test]
    fn options_may_have_a_field_called_name() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "read by Debug")]
        struct Bot {
            name: String,
            room: String,
        }
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "read by Debug")]
        struct Wrapped(Bot);
        let text = "[[service]]\nkind = 'bot'\nname = 'eve'\nroom = 'tea'\n";
        let bot = "Bot { name: \"eve\", room: \"tea\" }";
        assert_eq!(noting::<Bot>(text), Ok(bot.to_owned()));
        assert_eq!(noting::<Wrapped>(text), Ok(format!("Wrapped({bot})")));
        let nameless = noting::<Bot>("[[service]]\nkind = 'bot'\nroom = 'tea'\n");
        assert_eq!(nameless, Err("x.toml:1:1: missing key `name`".to_owned()));
        // A map has no fields, so it gets the options alone.
        assert_eq!(noting::<BTreeMap<String, String>>(text), Ok("{\"room\": \"tea\"}".to_owned()));
    }

    #[test]
    fn a_failure_to_make_a_service_has_its_location() {
        let configuration = parse("\n[[service]]\nkind = 'echo'\nfails = true\n").unwrap();
        let error = configuration.services.build(&MemoryReactor::new(), &MultiService::new()).unwrap_err();
        assert_eq!(error.to_string(), "x.toml:2:1: cannot make the service 'echo': no luck");
    }
}
