//! The file of services: what a TAC file or a list of `twistd` plug-ins is to Twisted, in TOML.
//!
//! ```toml
//! [runner]                  # options of the command line, under their long names
//! pidfile = "/run/example.pid"
//!
//! [[service]]
//! kind = "echo"             # what the program knows by this name
//! name = "public"           # optional; shown in messages
//! listen = ["tcp:7000"]     # whatever options that kind has
//! ```
//!
//! What is wrong is told with its file, line and column.

mod kinds;
mod place;
mod words;

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

use crate::options::FileOptions;
use kinds::Planned;
use place::Places;

/// More is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a file says.
#[derive(Default)]
pub(crate) struct Configuration {
    options: FileOptions,
    origins: Origins,
    services: Services,
}

/// Where the file says what it says about an option.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<String, String>);

/// The services that a file describes.
#[derive(Default)]
pub(crate) struct Services(Vec<Described>);

/// A service that the file describes.
struct Described {
    name: String,
    /// `FILE:LINE:COLUMN`, for messages.
    place: String,
    planned: Box<dyn Planned>,
}

impl Configuration {
    /// Reads `path`, whose services are of these kinds.
    pub(crate) fn read(path: &Path, kinds: &Kinds) -> Result<Configuration, String> {
        let shown = path.display();
        let text = read_text(path).map_err(|error| format!("cannot read the configuration {shown}: {error}"))?;
        Configuration::parse(&text, &shown.to_string(), kinds)
    }

    fn parse(text: &str, file: &str, kinds: &Kinds) -> Result<Configuration, String> {
        let places = Places::new(file, text);
        let table = DeTable::parse(text).map_err(|error| places.explain(&error))?;
        let mut configuration = Configuration::default();
        for (key, value) in table.into_inner() {
            match &**key.get_ref() {
                "runner" => (configuration.options, configuration.origins) = runner(value, &places)?,
                "service" => configuration.services = Services(services(value, &places, kinds)?),
                other => {
                    let message = format!("unknown key `{other}`, expected `runner` or `service`");
                    return Err(places.at(key.span().start, &message));
                }
            }
        }
        Ok(configuration)
    }

    /// The services, the options, and where those stand.
    pub(crate) fn into_parts(self) -> (Services, FileOptions, Origins) {
        (self.services, self.options, self.origins)
    }
}

impl Origins {
    /// Leaves out what the command line says in place of the file.
    pub(crate) fn unless(mut self, is_overruled: impl Fn(&str) -> bool) -> Origins {
        self.0.retain(|option, _| !is_overruled(option));
        self
    }

    /// A complaint about what this option says, with its place if that is the file.
    pub(crate) fn explain(&self, option: &str, message: impl Display) -> String {
        match self.0.get(option) {
            Some(place) => format!("{place}: {message}"),
            None => message.to_string(),
        }
    }
}

impl Services {
    /// Adds them to `services`.
    pub(crate) fn build(self, reactor: &Reactor, services: &MultiService) -> Result<(), BoxedError> {
        for Described { name, place, planned } in self.0 {
            let service = planned.make(reactor).map_err(|error| format!("{place}: the service '{name}': {error}"))?;
            services.add_named(&name, service)?;
        }
        Ok(())
    }

    /// Why one of them needs the foreground, if one does.
    pub(crate) fn needs_foreground(&self) -> Option<String> {
        let mut reasons = self.0.iter().filter_map(|described| {
            let reason = described.planned.needs_foreground()?;
            Some(format!("{}: {reason}", described.place))
        });
        reasons.next()
    }

    /// Their names and where they are described.
    pub(crate) fn places(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|described| (described.name.clone(), described.place.clone())).collect()
    }
}

/// The file's text. A pipe and a device have no length before they are read, and may have no end.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is too long: at most {FILE_BYTES_MAX} bytes are read")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::other(format!("line {line} is no UTF-8 text"))
    })
}

/// The options, and where each of them stands.
fn runner(value: Spanned<DeValue<'_>>, places: &Places<'_>) -> Result<(FileOptions, Origins), String> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(places.at(value.span().start, "the options are written as one table, [runner]"));
    };
    let offsets = table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span().start));
    let offsets: BTreeMap<_, _> = offsets.collect();
    let options: FileOptions = typed(value, places)?;
    if let Some((one, other)) = options.conflict() {
        // Where the second one stands, the first has been read.
        let later = offsets[one].max(offsets[other]);
        return Err(places.at(later, &format!("`{one}` and `{other}` exclude each other: leave one out")));
    }
    let named = offsets.into_iter().map(|(option, offset)| (option, places.named(offset)));
    Ok((options, Origins(named.collect())))
}

fn services(value: Spanned<DeValue<'_>>, places: &Places<'_>, kinds: &Kinds) -> Result<Vec<Described>, String> {
    let at = value.span().start;
    let DeValue::Array(tables) = value.into_inner() else {
        return Err(places.at(at, "services are written as [[service]], each in a table of its own"));
    };
    let mut services: Vec<Described> = Vec::new();
    for table in tables {
        let at = table.span().start;
        let described = service(table, places, kinds)?;
        if services.iter().any(|other| other.name == described.name) {
            let name = &described.name;
            let message = format!("another service is called `{name}` already: give this one a `name` of its own");
            return Err(places.at(at, &message));
        }
        services.push(described);
    }
    Ok(services)
}

fn service(value: Spanned<DeValue<'_>>, places: &Places<'_>, kinds: &Kinds) -> Result<Described, String> {
    let span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else {
        return Err(places.at(span.start, "services are written as [[service]], each in a table of its own"));
    };
    let Some((kind, kind_at)) = text(&mut table, "kind", places)? else {
        return Err(places.at(span.start, &format!("a service needs a `kind`: {}", kinds.listed())));
    };
    let name = match text(&mut table, "name", places)? {
        Some((name, at)) if name.is_empty() => return Err(places.at(at, "a name has at least one character")),
        Some((name, _)) => name,
        None => kind.clone(),
    };
    let Some(kind) = kinds.find(&kind) else {
        return Err(places.at(kind_at, &format!("unknown kind `{kind}`, expected {}", kinds.listed())));
    };
    let place = places.named(span.start);
    let planned = kind(Spanned::new(span, DeValue::Table(table))).map_err(|error| places.explain(&error))?;
    Ok(Described { name, place, planned })
}

/// Takes a text out of a table, with the place where it stands.
fn text(table: &mut DeTable<'_>, key: &str, places: &Places<'_>) -> Result<Option<(String, usize)>, String> {
    let Some(value) = table.remove(key) else { return Ok(None) };
    let at = value.span().start;
    Ok(Some((typed::<String>(value, places)?, at)))
}

fn typed<T: DeserializeOwned>(value: Spanned<DeValue<'_>>, places: &Places<'_>) -> Result<T, String> {
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| places.explain(&error))
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
    fn complaint(text: &str) -> String {
        parse(text).err().expect("it is wrong")
    }

    #[test]
    fn services_are_built_in_order_under_their_names() {
        let text = "[[service]]\nkind = 'echo'\n[[service]]\nkind = 'echo'\nname = 'second'\nmax-connections = 3\n";
        let (net, services) = (MemoryReactor::new(), MultiService::new());
        parse(text).unwrap().services.build(&net, &services).unwrap();
        let names = Vec::from_iter(services.services().iter().map(|service: &ServiceHandle| service.name().unwrap()));
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["echo", "second"]);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert!(parse("").unwrap().services.0.is_empty());
    }

    #[test]
    #[cfg(unix)]
    fn a_file_without_an_end_is_no_configuration() {
        for (path, expected) in [("/dev/zero", "it is too long: at most 1048576 bytes"), ("/", "directory")] {
            let complaint = Configuration::read(Path::new(path), &kinds()).err().expect("it is no configuration");
            assert!(complaint.starts_with(&format!("cannot read the configuration {path}: ")), "{complaint}");
            assert!(complaint.contains(expected), "{complaint}");
        }
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        let path = std::env::temp_dir().join(format!("ropewalk-no-text-{}.toml", std::process::id()));
        std::fs::write(&path, b"[runner]\nreactor = '\xff'\n").unwrap();
        let complaint = Configuration::read(&path, &kinds()).err().expect("it is no configuration");
        std::fs::remove_file(&path).unwrap();
        assert!(complaint.ends_with(": line 2 is no UTF-8 text"), "{complaint}");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let complaint = complaint("[runner]\nreactor = \n");
        assert!(complaint.starts_with("x.toml:2:11: "), "{complaint}");
    }

    #[test]
    fn unknown_keys_are_named_with_what_exists() {
        assert_eq!(complaint("a = 1\n[[servise]]\n"), "x.toml:1:1: unknown key `a`, expected `runner` or `service`");
        assert_eq!(
            complaint("[[service]]\nkind = 'echo'\n  lisen = 3\n"),
            "x.toml:3:3: unknown key `lisen`, expected `max-connections` or `fails`"
        );
        let option = complaint("[runner]\nreactor = 'poll'\npid-file = 'x'\n");
        assert!(option.starts_with("x.toml:3:1: unknown key `pid-file`, expected one of "), "{option}");
        assert!(option.contains("`pidfile`"), "{option}");
    }

    #[test]
    fn values_of_the_wrong_type_are_told_with_their_place() {
        let number = complaint("[[service]]\nkind = 'echo'\nmax-connections = 'many'\n");
        assert_eq!(number, "x.toml:3:19: expected a whole number from 0 to 4294967295, not the text \"many\"");
        let mask = complaint("[runner]\numask = '999'");
        assert!(mask.starts_with("x.toml:2:9: expected permissions in octal"), "{mask}");
        let user = complaint("[runner]\nuid = [1]");
        assert!(user.starts_with("x.toml:2:7: expected a name or a number"), "{user}");
    }

    #[test]
    fn every_option_is_told_in_its_own_words() {
        for (option, expected) in [
            ("reactor = 3", "11: expected a text in quotes, not the number 3"),
            ("verbose = true", "11: expected a whole number from 0 to 255, not true"),
            ("quiet = 'yes'", "9: expected true or false, not the text \"yes\""),
            ("log-format = 'xml'", "14: unknown value `xml`, expected `text` or `json`"),
            ("daemon = 1", "10: expected true or false, not the number 1"),
            ("pidfile = []", "11: expected a path in quotes, not an array"),
            ("log-rotate-size = -1", "19: expected a number of bytes, as in 500K or 10M, not the number -1"),
            ("log-rotate-size = '1X'", "19: expected a number of bytes, as in 500K or 10M"),
            ("log-rotate-count = -1", "20: expected a whole number from 0 to 4294967295, not the number -1"),
            ("syslog = 3", "10: expected true, false or the path of a socket"),
            ("umask = true", "9: expected permissions in octal up to 0777, as in 0027, not true"),
            ("gid = 1.5", "7: expected a name or a number, not the number 1.5"),
            ("uid = -1", "7: expected a name or a number, not the number -1"),
        ] {
            assert_eq!(complaint(&format!("[runner]\n{option}")), format!("x.toml:2:{expected}"));
        }
        assert_eq!(complaint("runner = 3"), "x.toml:1:10: the options are written as one table, [runner]");
        assert_eq!(complaint("[[runner]]"), "x.toml:1:1: the options are written as one table, [runner]");
    }

    #[test]
    fn what_the_command_line_refuses_together_the_file_may_not_say_together() {
        let complaint_of = |options: &str| complaint(&format!("[runner]\n{options}\n"));
        let both = complaint_of("verbose = 1\nquiet = true");
        assert_eq!(both, "x.toml:3:9: `quiet` and `verbose` exclude each other: leave one out");
        let both = complaint_of("syslog = true\nlogfile = 'x'");
        assert_eq!(both, "x.toml:3:11: `logfile` and `syslog` exclude each other: leave one out");
        for fine in ["verbose = 0\nquiet = true", "verbose = 1\nquiet = false", "syslog = false\nlogfile = 'x'"] {
            assert!(parse(&format!("[runner]\n{fine}\n")).is_ok(), "{fine}");
        }
    }

    #[test]
    fn what_the_file_says_is_told_with_its_place_unless_the_command_line_says_otherwise() {
        let origins = || parse("[runner]\nuid = 'nobody'\n  gid = 3\n").unwrap().into_parts().2;
        assert_eq!(origins().explain("gid", "no such group"), "x.toml:3:9: no such group");
        assert_eq!(origins().explain("pidfile", "no"), "no");
        assert_eq!(origins().unless(|option| option == "gid").explain("gid", "no such group"), "no such group");
    }

    #[test]
    fn a_service_has_a_kind_that_exists_and_a_name_of_its_own() {
        assert_eq!(complaint("[[service]]\nname = 'x'\n"), "x.toml:1:1: a service needs a `kind`: `discard` or `echo`");
        assert_eq!(
            complaint("[[service]]\nkind = 'eccho'\n"),
            "x.toml:2:8: unknown kind `eccho`, expected `discard` or `echo`"
        );
        let twice = complaint("[[service]]\nkind = 'echo'\n\n[[service]]\nkind = 'echo'\n");
        let nameless = complaint("[[service]]\nkind = 'echo'\nname = ''\n");
        assert_eq!(nameless, "x.toml:3:8: a name has at least one character");
        assert!(twice.starts_with("x.toml:4:1: another service is called `echo` already"), "{twice}");
        assert!(complaint("service = 3").starts_with("x.toml:1:11: services are written as [[service]]"));
    }

    #[test]
    fn a_service_that_cannot_be_made_is_told_with_its_place() {
        let configuration = parse("\n[[service]]\nkind = 'echo'\nfails = true\n").unwrap();
        let error = configuration.services.build(&MemoryReactor::new(), &MultiService::new()).unwrap_err();
        assert_eq!(error.to_string(), "x.toml:2:1: the service 'echo': no luck");
    }
}
