//! The choice of the event provider: by name, by an environment variable, or the best one that works on this system.

use ropewalk_proto::report;
use ropewalk_sys::{Provider, providers};

use super::Reactor;
use crate::error::{Error, Result};

/// The environment variable that names the provider for [`Reactor::new`].
const ENVIRONMENT: &str = "ROPEWALK_REACTOR";

impl Reactor {
    /// Creates a reactor on the provider that `ROPEWALK_REACTOR` names, or else on the best one that works on this
    /// system.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// println!("running on {}", reactor.name()); // epoll, on Linux
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchReactor`] when the variable holds an unknown name. [`Error::Io`] when no provider can be opened.
    pub fn new() -> Result<Reactor> {
        match std::env::var(ENVIRONMENT) {
            Ok(name) if !name.is_empty() => Reactor::with(&name),
            _ => best(providers()),
        }
    }

    /// Creates a reactor on the provider called `name`. [`reactors`] lists the names.
    ///
    /// ```
    /// use ropewalk::{Error, Reactor};
    ///
    /// # #[cfg(unix)]
    /// assert_eq!(Reactor::with("poll")?.name(), "poll");
    /// let error = Reactor::with("no such reactor").unwrap_err();
    /// assert!(matches!(error, Error::NoSuchReactor(..)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchReactor`] for an unknown name. [`Error::Io`] when that provider does not work on this system.
    pub fn with(name: &str) -> Result<Reactor> {
        let Some(entry) = providers().iter().find(|entry| entry.name == name) else {
            let known: Vec<_> = providers().iter().map(|entry| entry.name).collect();
            return Err(Error::NoSuchReactor(name.into(), known.join(", ").into()));
        };
        open(entry)
    }
}

/// A reactor that a user can choose.
///
/// ```
/// for known in ropewalk::reactors() {
///     match known.unavailable {
///         None => println!("{}: {}", known.name, known.description),
///         Some(error) => println!("{}: unavailable: {error}", known.name),
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ReactorInfo {
    /// The name, for [`Reactor::with`] and the option `-r`.
    pub name: &'static str,
    /// A description of one line.
    pub description: &'static str,
    /// The reason why this reactor does not work on this system. `None` if it works.
    pub unavailable: Option<Error>,
}

/// Lists all reactors, best first. Opens each provider to find out whether it works.
///
/// ```
/// use ropewalk::Reactor;
///
/// for known in ropewalk::reactors() {
///     assert_eq!(Reactor::with(known.name).is_ok(), known.unavailable.is_none());
/// }
/// ```
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

/// Opens the first of `entries` that works. Logs one line when an earlier one failed.
fn best(entries: &[Provider]) -> Result<Reactor> {
    let mut refused: Option<(&str, Error)> = None;
    for entry in entries {
        match (open(entry), &refused) {
            (Ok(reactor), None) => return Ok(reactor),
            (Ok(reactor), Some((preferred, error))) => {
                report!(
                    WARN,
                    reactor = entry.name,
                    preferred = preferred,
                    error = error,
                    "falling back to another reactor"
                );
                return Ok(reactor);
            }
            (Err(error), None) => refused = Some((entry.name, error)),
            (Err(_), Some(_)) => {}
        }
    }
    let none = || Error::NoSuchReactor("(any)".into(), "none on this system".into());
    Err(refused.map_or_else(none, |(_, error)| error))
}

fn open(entry: &Provider) -> Result<Reactor> {
    (entry.open)().map(Reactor::with_provider).map_err(Error::io("cannot open the event provider"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing::Level;

    use super::*;
    use crate::testing::levels_logged;

    const REFUSED: Provider =
        Provider { name: "refused", description: "", open: || Err(io::ErrorKind::PermissionDenied.into()) };

    fn choose_among(entries: &[Provider]) -> (Result<&'static str>, Vec<Level>) {
        let (chosen, logged) = levels_logged("ropewalk::kernel::choose", || best(entries));
        (chosen.map(|reactor| reactor.name()), logged)
    }

    #[test]
    fn a_refused_provider_is_logged_once_with_its_substitute() {
        let works = providers()[0];
        let (chosen, logged) = choose_among(&[REFUSED, REFUSED, works, REFUSED]);
        assert_eq!((chosen.unwrap(), logged), (works.name, vec![Level::WARN]));
        let (chosen, logged) = choose_among(&[works, REFUSED]);
        assert_eq!((chosen.unwrap(), logged), (works.name, vec![]));
    }

    #[test]
    fn the_best_providers_error_is_returned_if_none_opens() {
        let absent = Provider { open: || Err(io::ErrorKind::Unsupported.into()), ..REFUSED };
        let (chosen, _) = choose_among(&[REFUSED, absent]);
        assert!(matches!(chosen, Err(Error::Io(_, error)) if error.kind() == io::ErrorKind::PermissionDenied));
    }
}
