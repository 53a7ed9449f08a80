//! Which event provider: the best one here, one by name, or one that the environment names.

use ropewalk_sys::{Provider, providers};

use super::Reactor;
use crate::error::{Error, Result};

/// The environment variable that names the reactor for programs that do not.
const ENVIRONMENT: &str = "ROPEWALK_REACTOR";

impl Reactor {
    /// A reactor on the provider that `ROPEWALK_REACTOR` names, or else on the best one here.
    ///
    /// # Errors
    /// [`Error::NoSuchReactor`] when the variable names none; [`Error::Io`] when no provider can be opened.
    pub fn new() -> Result<Reactor> {
        match std::env::var(ENVIRONMENT) {
            Ok(name) if !name.is_empty() => Reactor::with(&name),
            _ => best(),
        }
    }

    /// A reactor on the provider called `name`; [`reactors`] lists them.
    ///
    /// # Errors
    /// [`Error::NoSuchReactor`] for an unknown name; [`Error::Io`] when that provider does not work here.
    pub fn with(name: &str) -> Result<Reactor> {
        let Some(entry) = providers().iter().find(|entry| entry.name == name) else {
            let known: Vec<_> = providers().iter().map(|entry| entry.name).collect();
            return Err(Error::NoSuchReactor(name.into(), known.join(", ").into()));
        };
        open(entry)
    }
}

/// A reactor that a user can choose.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReactorInfo {
    /// What `-r` and [`Reactor::with`] take.
    pub name: &'static str,
    /// One line about it.
    pub description: &'static str,
    /// Why it does not work here, if it does not.
    pub unavailable: Option<Error>,
}

/// All reactors, best first, each tried out.
pub fn reactors() -> Vec<ReactorInfo> {
    providers()
        .iter()
        .map(|entry| ReactorInfo {
            name: entry.name,
            description: entry.description,
            unavailable: (entry.open)().err().map(Error::io("cannot open the event provider")),
        })
        .collect()
}

fn best() -> Result<Reactor> {
    let mut first_error = None;
    for entry in providers() {
        match open(entry) {
            Ok(reactor) => return Ok(reactor),
            Err(error) => {
                tracing::debug!(reactor = entry.name, %error, "not available");
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| Error::NoSuchReactor("(any)".into(), "none on this system".into())))
}

fn open(entry: &Provider) -> Result<Reactor> {
    (entry.open)().map(Reactor::with_provider).map_err(Error::io("cannot open the event provider"))
}
