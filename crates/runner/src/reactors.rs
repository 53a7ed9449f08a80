//! The reactors that a user can choose: those of this system, and those that the program adds.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ropewalk::{Error, Reactor, ReactorInfo, Result};

/// Reactors in the loops of toolkits, for the option `-r`.
///
/// A program that links an adapter adds it here, before it [answers](crate::RunnerOptions::answer) its options.
/// `--help-reactors` lists it. With `-r NAME`, the runner makes the best reactor of this system, and installs it in the
/// toolkit's loop, which then runs. `-r NAME:PROVIDER` chooses the reactor as well, such as `glib:poll`.
///
/// ```
/// use ropewalk::hosting::Guest;
/// use ropewalk_runner::RunnerOptions;
///
/// # fn install(reactor: &ropewalk::Reactor) -> ropewalk::Result<Guest> { Guest::new(reactor) }
/// let mut options = RunnerOptions::default();
/// options.hosts.add("glib", "main loop of GLib and GTK", install); // ropewalk_glib::install
/// ```
#[derive(Clone, Default)]
pub struct Hosts(Vec<Entry>);

/// Installs a reactor, and returns what keeps it installed.
type Install = Arc<dyn Fn(&Reactor) -> Result<Box<dyn Any>> + Send + Sync>;

#[derive(Clone)]
struct Entry {
    name: &'static str,
    description: &'static str,
    install: Install,
}

impl Hosts {
    /// Adds the loop of a toolkit. `install` is usually the function of that name of the adapter's crate.
    ///
    /// A name that is the same as that of a reactor of ropewalk hides that reactor.
    pub fn add<H: 'static>(
        &mut self,
        name: &'static str,
        description: &'static str,
        install: impl Fn(&Reactor) -> Result<H> + Send + Sync + 'static,
    ) {
        let install: Install = Arc::new(move |reactor| Ok(Box::new(install(reactor)?)));
        self.0.push(Entry { name, description, install });
    }

    /// Makes the reactor that the user has chosen. The second value keeps it in the loop of its host.
    pub(crate) fn open(&self, choice: Option<&str>) -> Result<(Reactor, Option<Box<dyn Any>>)> {
        let Some(choice) = choice else { return Ok((Reactor::new()?, None)) };
        let (name, provider) = choice.split_once(':').map_or((choice, None), |(name, rest)| (name, Some(rest)));
        let Some(entry) = self.0.iter().find(|entry| entry.name == name) else {
            let reactor = Reactor::with(choice).map_err(|error| self.with_hosts(error))?;
            return Ok((reactor, None));
        };
        let reactor = provider.map_or_else(Reactor::new, Reactor::with)?;
        let host = (entry.install)(&reactor)?;
        Ok((reactor, Some(host)))
    }

    /// Adds the hosts to the names that an error lists.
    fn with_hosts(&self, error: Error) -> Error {
        let Error::NoSuchReactor(name, known) = error else { return error };
        let hosts = self.0.iter().map(|entry| format!(", {}", entry.name));
        Error::NoSuchReactor(name, hosts.fold(known.to_string(), |list, host| list + &host).into())
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| entry.name)).finish()
    }
}

/// Returns a line for each reactor. An unavailable one is marked with `!`, and the reason follows its description.
pub(crate) fn table(reactors: &[ReactorInfo], hosts: &Hosts) -> String {
    let names = reactors.iter().map(|reactor| reactor.name).chain(hosts.0.iter().map(|entry| entry.name));
    let width = names.map(str::len).max().unwrap_or(0);
    let line = |reactor: &ReactorInfo| match &reactor.unavailable {
        None => format!(" {:width$}  {}\n", reactor.name, reactor.description),
        Some(why) => format!("!{:width$}  {} ({why})\n", reactor.name, reactor.description),
    };
    let hosted = |entry: &Entry| format!(" {:width$}  {}\n", entry.name, entry.description);
    reactors.iter().map(line).chain(hosts.0.iter().map(hosted)).collect()
}

#[cfg(test)]
mod tests {
    use ropewalk::hosting::Guest;

    use super::*;

    fn hosts() -> Hosts {
        let mut hosts = Hosts::default();
        hosts.add("bare", "a loop for tests", Guest::new);
        hosts
    }

    #[test]
    fn a_host_is_installed_around_the_best_reactor() {
        let (reactor, host) = hosts().open(Some("bare")).unwrap();
        assert!(host.is_some() && matches!(Guest::new(&reactor), Err(Error::Hosted)));
        assert_eq!(reactor.name(), Reactor::new().unwrap().name());
    }

    #[test]
    fn a_host_takes_the_reactor_behind_the_colon() {
        let (reactor, host) = hosts().open(Some("bare:poll")).unwrap();
        assert!(host.is_some());
        assert_eq!(reactor.name(), "poll");
        assert!(matches!(hosts().open(Some("bare:none")), Err(Error::NoSuchReactor(..))));
    }

    #[test]
    fn a_reactor_without_host_is_chosen_by_its_name() {
        let (reactor, host) = hosts().open(Some("poll")).unwrap();
        assert!(host.is_none() && Guest::new(&reactor).is_ok());
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_list_of_all() {
        let error = hosts().open(Some("gtk")).err().unwrap().to_string();
        assert!(
            error.starts_with("no reactor is called 'gtk': choose one of ") && error.ends_with(", bare"),
            "{error}"
        );
    }

    #[test]
    fn hosts_are_listed_below_the_reactors() {
        let table = table(&ropewalk::reactors(), &hosts());
        assert!(table.lines().last().unwrap().trim_start().starts_with("bare"), "{table}");
        assert!(table.lines().last().unwrap().ends_with("  a loop for tests"), "{table}");
    }
}
