//! The first success of several Deferreds: `race` of `twisted.internet.defer`.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::source::Resolver;
use super::{CancelHandle, Deferred, Failure};

/// Returns the first value of `deferreds`, with the index of its Deferred, and cancels the others.
///
/// If all fail, or if there are none, the returned Deferred fails with a [`FailureGroup`]. Results after the first
/// value are ignored. Cancelling the returned Deferred cancels all of them. May be called from any callback.
///
/// ```
/// use ropewalk_proto::{Deferred, race};
///
/// let (slow, slow_resolver) = Deferred::new();
/// let (fast, resolver) = Deferred::new();
/// let winner = race(vec![slow, fast]);
/// resolver.callback("fast")?;
/// assert_eq!(winner.try_result().unwrap().unwrap(), (1, "fast"));
/// assert!(slow_resolver.is_cancelled());
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
#[track_caller]
pub fn race<T>(deferreds: Vec<Deferred<T>>) -> Deferred<(usize, T)> {
    let handles = Vec::from_iter(deferreds.iter().map(Deferred::cancel_handle));
    let (winner, resolver) = Deferred::new();
    let race = Rc::new(Race {
        over: Cell::new(false),
        failures: RefCell::new(deferreds.iter().map(|_| None).collect()),
        pending: Cell::new(deferreds.len()),
        handles,
        at: Location::caller(),
        resolver,
    });
    // The handle is weak, because a race without a result would otherwise keep itself alive.
    let cancelled = Rc::downgrade(&race);
    race.resolver.set_canceller(move |_| {
        if let Some(race) = cancelled.upgrade() {
            race.end(None);
        }
    });
    if deferreds.is_empty() {
        race.fail();
    }
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let race = race.clone();
        deferred.add_both(move |result| race.arrive(index, result));
    }
    winner
}

struct Race<T: 'static> {
    over: Cell<bool>,
    failures: RefCell<Vec<Option<Failure>>>,
    pending: Cell<usize>,
    handles: Vec<CancelHandle>,
    at: &'static Location<'static>,
    resolver: Resolver<(usize, T)>,
}

impl<T: 'static> Race<T> {
    fn arrive(&self, index: usize, result: Result<T, Failure>) {
        if self.over.get() {
            return;
        }
        match result {
            Ok(value) => {
                self.end(Some(index));
                let _ = self.resolver.callback((index, value));
            }
            Err(failure) => {
                self.failures.borrow_mut()[index] = Some(failure);
                self.pending.set(self.pending.get() - 1);
                if self.pending.get() == 0 {
                    self.fail();
                }
            }
        }
    }

    /// Decides the race: cancels all Deferreds but the winner.
    fn end(&self, winner: Option<usize>) {
        self.over.set(true);
        for (index, handle) in self.handles.iter().enumerate() {
            if winner != Some(index) {
                handle.cancel_at(self.at);
            }
        }
    }

    fn fail(&self) {
        self.over.set(true);
        let failures = self.failures.take().into_iter().flatten().collect();
        let _ = self.resolver.fire(Err(Failure::located(Box::new(FailureGroup { failures }), self.at)));
    }
}

/// The failures of all Deferreds of a [`race`], in the order of the Deferreds.
///
/// ```
/// use ropewalk_proto::{FailureGroup, fail, race};
///
/// let winner = race(vec![fail::<u32>(std::fmt::Error), fail(std::fmt::Error)]);
/// let group = winner.try_result().unwrap().unwrap_err().trap::<FailureGroup>().unwrap();
/// assert_eq!(group.failures.len(), 2);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The failures. Empty for a race without Deferreds.
    pub failures: Vec<Failure>,
}

impl fmt::Display for FailureGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures.is_empty() {
            return f.write_str("a race of no Deferreds has no winner: give it at least one");
        }
        write!(f, "all {} Deferreds failed", self.failures.len())?;
        self.failures.iter().enumerate().try_for_each(|(index, failure)| {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{failure:#}")
        })
    }
}

impl Error for FailureGroup {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failures.last().map(Failure::error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failure_of, logged_by, value_of};
    use super::super::{Cancelled, fail, succeed};
    use super::*;

    fn pairs<T>(count: usize) -> (Vec<Deferred<T>>, Vec<Resolver<T>>) {
        (0..count).map(|_| Deferred::new()).unzip()
    }

    #[test]
    fn the_losers_are_cancelled_before_the_race_fires() {
        let (deferreds, resolvers) = pairs(3);
        let losers = [resolvers[0].clone(), resolvers[2].clone()];
        let seen = race(deferreds)
            .add_callback(move |(index, value)| (index, value, losers.iter().all(Resolver::is_cancelled)));
        resolvers[1].callback("value").unwrap();
        assert_eq!(value_of(seen), (1, "value", true));
    }

    #[test]
    fn a_failure_before_the_first_value_is_ignored() {
        let (deferreds, resolvers) = pairs(2);
        let lines = logged_by(|| {
            let winner = race(deferreds);
            resolvers[0].errback(fmt::Error).unwrap();
            assert!(!winner.is_done());
            resolvers[1].callback(7).unwrap();
            assert_eq!(value_of(winner), (1, 7));
        });
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn a_race_fails_with_all_failures_in_order() {
        let (deferreds, resolvers) = pairs::<()>(2);
        let winner = race(deferreds);
        resolvers[1].errback(Failure::new("second")).unwrap();
        resolvers[0].errback(Failure::new("first")).unwrap();
        let failure = failure_of(winner);
        assert_eq!(failure.to_string(), "all 2 Deferreds failed: first; second");
        assert_eq!(failure.trap::<FailureGroup>().unwrap().failures.len(), 2);
    }

    #[test]
    fn a_race_without_deferreds_fails() {
        let failure = failure_of(race::<()>(Vec::new()));
        assert!(failure.trap::<FailureGroup>().unwrap().failures.is_empty());
    }

    #[test]
    fn an_existing_value_wins_at_once() {
        let (mut deferreds, resolvers) = pairs(1);
        deferreds.push(succeed(1));
        deferreds.push(fail(fmt::Error));
        assert_eq!(value_of(race(deferreds)), (1, 1));
        assert!(resolvers[0].is_cancelled());
    }

    #[test]
    fn cancelling_a_race_cancels_all_silently() {
        let (deferreds, resolvers) = pairs::<()>(3);
        let lines = logged_by(|| {
            let winner = race(deferreds);
            winner.cancel();
            assert!(resolvers.iter().all(Resolver::is_cancelled));
            assert!(failure_of(winner).check::<Cancelled>());
        });
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn a_loser_that_fires_on_cancellation_is_ignored() {
        let (first, _held) = Deferred::with_canceller(|resolver: &Resolver<u32>| resolver.callback(1).unwrap());
        let (second, resolver) = Deferred::new();
        let winner = race(vec![first, second]);
        resolver.callback(2).unwrap();
        assert_eq!(value_of(winner), (1, 2));
    }
}
