//! Which event provider: the best one here, one by name, or one that the environment names.

use ropewalk_sys::{Provider, providers};

use super::Reactor;
use crate::error::{Error, Result};

/// The environment variable that names the reactor for programs that do not.
const ENVIRONMENT: &str = "ROPEWALK_REACTOR";

impl Reactor {
    /// A reactor on the provider that `ROPEWALK_REACTOR` names, or else on the best one here.
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
    /// [`Error::NoSuchReactor`] when the variable names none; [`Error::Io`] when no provider can be opened.
    pub fn new() -> Result<Reactor> {
        match std::env::var(ENVIRONMENT) {
            Ok(name) if !name.is_empty() => Reactor::with(&name),
            _ => best(providers()),
        }
    }

    /// A reactor on the provider called `name`; [`reactors`] lists them.
    ///
    /// ```
    /// use ropewalk::{Error, Reactor};
    ///
    /// # #[cfg(unix)]
    /// assert_eq!(Reactor::with("poll")?.name(), "poll");
    /// let error = Reactor::with("perpetuum mobile").unwrap_err();
    /// assert!(matches!(error, Error::NoSuchReactor(..)));
    /// # Ok::<(), Error>(())
    /// ```
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
///
/// ```
/// for known in ropewalk::reactors() {
///     match known.unavailable {
///         None => println!("{}: {}", known.name, known.description),
///         Some(error) => println!("{}: not here: {error}", known.name),
///     }
/// }
/// ```
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

/// The first of `entries` that opens. One line is logged when that is not the first of all.
fn best(entries: &[Provider]) -> Result<Reactor> {
    let mut refused: Option<(&str, Error)> = None;
    for entry in entries {
        match (open(entry), &refused) {
            (Ok(reactor), None) => return Ok(reactor),
            (Ok(reactor), Some((preferred, error))) => {
                tracing::warn!(reactor = entry.name, preferred, %error, "falling back to another reactor");
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
    fn one_line_says_that_the_best_reactor_is_refused_and_another_one_taken() {
        let works = providers()[0];
        let (chosen, logged) = choose_among(&[REFUSED, REFUSED, works, REFUSED]);
        assert_eq!((chosen.unwrap(), logged), (works.name, vec![Level::WARN]));
        let (chosen, logged) = choose_among(&[works, REFUSED]);
        assert_eq!((chosen.unwrap(), logged), (works.name, vec![]));
    }

    #[test]
    fn where_nothing_opens_the_error_is_that_of_the_best() {
        let absent = Provider { open: || Err(io::ErrorKind::Unsupported.into()), ..REFUSED };
        let (chosen, _) = choose_among(&[REFUSED, absent]);
        assert!(matches!(chosen, Err(Error::Io(_, error)) if error.kind() == io::ErrorKind::PermissionDenied));
    }
}
