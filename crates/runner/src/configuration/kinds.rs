//! The kinds of services that a configuration file can describe: Twisted's `ServiceMaker`.

use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

use ropewalk::Reactor;
use ropewalk::application::Service;
use serde::de::DeserializeOwned;

use super::service_table::ServiceTable;

/// Any error that is `Send` and `Sync`.
pub type BoxedError = Box<dyn Error + Send + Sync>;

/// A service whose options have been read.
pub(super) trait Configured {
    /// Returns the reason if the service cannot run in the background.
    fn needs_foreground(&self) -> Option<String>;

    fn make(self: Box<Self>, reactor: &Reactor) -> Result<Rc<dyn Service>, BoxedError>;
}

type Read = Box<dyn Fn(ServiceTable<'_>) -> Result<Box<dyn Configured>, toml::de::Error>>;

/// The kinds of services by name.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::TimerService;
/// use ropewalk_runner::{Kinds, Runner, RunnerOptions};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct ChimesOptions {
///     every: u64,
/// }
///
/// let mut kinds = Kinds::default();
/// kinds.add("chimes", |_reactor, options: ChimesOptions| {
///     Ok(TimerService::new(Duration::from_secs(options.every), |_| println!("ding")))
/// });
///
/// let file = std::env::temp_dir().join(format!("ropewalk-chimes-{}.toml", std::process::id()));
/// std::fs::write(&file, "[[service]]\nkind = 'chimes'\nname = 'tower'\nevery = 900\n")?;
/// let options = RunnerOptions { config: Some(file.clone()), ..RunnerOptions::default() };
/// let status = Runner::new("chimesd", options).kinds(kinds).run(|reactor, services| {
///     assert!(services.get_service_named("tower").is_some());
///     reactor.call_when_running(|reactor| reactor.stop().unwrap());
///     Ok(())
/// });
/// assert_eq!(status, std::process::ExitCode::SUCCESS);
/// # std::fs::remove_file(file)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Kinds(BTreeMap<&'static str, Read>);

impl Kinds {
    /// Adds a kind, and replaces an earlier kind of that name.
    ///
    /// The options `O` are read from the file before anything runs. Then `make` makes the service on the reactor. With
    /// `#[serde(deny_unknown_fields)]` on `O`, an unknown key is an error that lists the known ones.
    ///
    /// The keys `kind` and `name` belong to the file. If `O` is a struct with a field of that name, the field gets the
    /// key as well. [`seconds`](crate::seconds) reads a `Duration`.
    pub fn add<O, S, F>(&mut self, name: &'static str, make: F)
    where
        O: DeserializeOwned + 'static,
        S: Service + 'static,
        F: Fn(&Reactor, O) -> Result<S, BoxedError> + 'static,
    {
        self.add_checked(name, |_| None, make);
    }

    /// Adds a kind that may need the foreground, depending on its options.
    ///
    /// If `needs_foreground` returns a reason, `--daemon` is refused before anything starts.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::time::Duration;
    /// use ropewalk::application::TimerService;
    /// use ropewalk_runner::Kinds;
    ///
    /// let mut kinds = Kinds::default();
    /// let bell = |options: &BTreeMap<String, bool>| {
    ///     options.contains_key("aloud").then(|| "a bell rings on the terminal".to_owned())
    /// };
    /// kinds.add_checked("chimes", bell, |_reactor, _options| {
    ///     Ok(TimerService::new(Duration::from_secs(900), |_| println!("\u{7}")))
    /// });
    /// ```
    pub fn add_checked<O, S, C, F>(&mut self, name: &'static str, needs_foreground: C, make: F)
    where
        O: DeserializeOwned + 'static,
        S: Service + 'static,
        C: Fn(&O) -> Option<String> + 'static,
        F: Fn(&Reactor, O) -> Result<S, BoxedError> + 'static,
    {
        let kind = Rc::new((needs_foreground, make));
        let read = move |table: ServiceTable<'_>| {
            let options = O::deserialize(table)?;
            Ok(Box::new(OptionsOfKind { options, kind: kind.clone() }) as Box<dyn Configured>)
        };
        self.0.insert(name, Box::new(read));
    }

    pub(super) fn find(&self, name: &str) -> Option<&Read> {
        self.0.get(name)
    }

    /// Returns the names for a message, as in "`a`, `b` or `c`".
    pub(super) fn list(&self) -> String {
        let names = Vec::from_iter(self.0.keys().map(|name| format!("`{name}`")));
        match &names[..] {
            [] => "nothing, because this program has no kinds of services".to_owned(),
            [one] => one.clone(),
            [first @ .., last] => format!("{} or {last}", first.join(", ")),
        }
    }
}

/// The options of a service, with the two functions of its kind.
struct OptionsOfKind<O, C, F> {
    options: O,
    kind: Rc<(C, F)>,
}

impl<O, S, C, F> Configured for OptionsOfKind<O, C, F>
where
    S: Service + 'static,
    C: Fn(&O) -> Option<String>,
    F: Fn(&Reactor, O) -> Result<S, BoxedError>,
{
    fn needs_foreground(&self) -> Option<String> {
        (self.kind.0)(&self.options)
    }

    fn make(self: Box<Self>, reactor: &Reactor) -> Result<Rc<dyn Service>, BoxedError> {
        (self.kind.1)(reactor, self.options).map(|service| Rc::new(service) as Rc<dyn Service>)
    }
}
