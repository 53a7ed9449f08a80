//! What kinds of services a program knows: `ServiceMaker`.

use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

use ropewalk::Reactor;
use ropewalk::application::Service;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

/// Any error.
pub type BoxedError = Box<dyn Error>;

/// Makes a service whose options have been read.
pub(super) type Make = Box<dyn FnOnce(&Reactor) -> Result<Rc<dyn Service>, BoxedError>>;

type Read = Box<dyn Fn(Spanned<DeValue<'_>>) -> Result<Make, toml::de::Error>>;

/// Kinds by name.
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
    /// Adds a kind, in place of an earlier one of that name: its options are an `O`, read from the file before anything
    /// runs; `make` makes the service when there is a reactor.
    ///
    /// An `O` with `#[serde(deny_unknown_fields)]` has unknown keys refused, by name and with what exists.
    pub fn add<O, S, F>(&mut self, name: &'static str, make: F)
    where
        O: DeserializeOwned + 'static,
        S: Service + 'static,
        F: Fn(&Reactor, O) -> Result<S, BoxedError> + 'static,
    {
        let make = Rc::new(make);
        let read = move |table: Spanned<DeValue<'_>>| {
            let options = O::deserialize(ValueDeserializer::from(table))?;
            let make = make.clone();
            let build =
                move |reactor: &Reactor| make(reactor, options).map(|service| Rc::new(service) as Rc<dyn Service>);
            Ok(Box::new(build) as Make)
        };
        self.0.insert(name, Box::new(read));
    }

    pub(super) fn find(&self, name: &str) -> Option<&Read> {
        self.0.get(name)
    }

    /// The names, as a sentence lists them.
    pub(super) fn listed(&self) -> String {
        let names = Vec::from_iter(self.0.keys().map(|name| format!("`{name}`")));
        match &names[..] {
            [] => "none, for this program knows no kinds of services".to_owned(),
            [one] => one.clone(),
            [first @ .., last] => format!("{} or {last}", first.join(", ")),
        }
    }
}
