//! The results of several Deferreds as one.

use std::cell::RefCell;
use std::rc::Rc;

use super::errors::{Cancelled, FirstError};
use super::failure::Failure;
use super::node::report;
use super::resolver::Resolver;
use super::{Deferred, succeed};

/// A Deferred with the values of all of them, in their order, or with the first failure, wrapped in a [`FirstError`].
///
/// The others run on when one fails, and their failures are logged. Cancelling it cancels those that are still waiting.
///
/// ```
/// use ropewalk_proto::{Deferred, gather_results, succeed};
///
/// let (deferred, resolver) = Deferred::new();
/// let all = gather_results(vec![deferred, succeed(2)]);
/// resolver.callback(1)?;
/// assert_eq!(all.try_result().unwrap().unwrap(), [1, 2]);
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
#[track_caller]
pub fn gather_results<T>(deferreds: Vec<Deferred<T>>) -> Deferred<Vec<T>> {
    if deferreds.is_empty() {
        return succeed(Vec::new());
    }
    let handles = Vec::from_iter(deferreds.iter().map(Deferred::cancel_handle));
    let (gathered, resolver) = Deferred::with_canceller(move |_| {
        for handle in handles {
            handle.cancel();
        }
    });
    let values = deferreds.iter().map(|_| None).collect();
    let gathering =
        Rc::new(Gathering { progress: RefCell::new(Progress { missing: deferreds.len(), values }), resolver });
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let gathering = gathering.clone();
        deferred.add_both(move |result| gathering.put(index, result));
    }
    gathered
}

struct Gathering<T: 'static> {
    progress: RefCell<Progress<T>>,
    resolver: Resolver<Vec<T>>,
}

struct Progress<T> {
    missing: usize,
    values: Vec<Option<T>>,
}

impl<T: 'static> Gathering<T> {
    fn put(&self, index: usize, result: Result<T, Failure>) {
        match result {
            Ok(value) => self.put_value(index, value),
            Err(failure) if !self.resolver.is_called() => {
                let location = failure.location();
                let first = Failure::located(Box::new(FirstError { failure, index }), location);
                let _ = self.resolver.fire(Err(first));
            }
            Err(failure) if self.resolver.is_cancelled() && failure.check::<Cancelled>() => {}
            Err(failure) => report(Err::<T, _>(failure)),
        }
    }

    fn put_value(&self, index: usize, value: T) {
        let mut progress = self.progress.borrow_mut();
        progress.values[index] = Some(value);
        progress.missing -= 1;
        if progress.missing == 0 {
            let values = progress.values.drain(..).flatten().collect();
            drop(progress);
            let _ = self.resolver.callback(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::super::tests::{LONG, failure_of, logged_by, value_of};
    use super::super::{Deferred, fail};
    use super::*;

    fn pairs<T>(count: usize) -> (Vec<Deferred<T>>, Vec<Resolver<T>>) {
        (0..count).map(|_| Deferred::new()).unzip()
    }

    #[test]
    fn the_values_come_in_the_order_of_the_deferreds() {
        let (deferreds, resolvers) = pairs(3);
        let all = gather_results(deferreds);
        for index in [2, 0, 1] {
            assert!(!all.is_done());
            resolvers[index].callback(index).unwrap();
        }
        assert_eq!(value_of(all), [0, 1, 2]);
    }

    #[test]
    fn nothing_to_gather_is_done_at_once() {
        assert_eq!(value_of(gather_results(Vec::<Deferred<()>>::new())), []);
    }

    #[test]
    fn the_first_failure_fails_it_at_once_and_the_later_ones_are_logged() {
        let (deferreds, resolvers) = pairs::<()>(3);
        let lines = logged_by(|| {
            let all = gather_results(deferreds);
            resolvers[1].errback(fmt::Error).unwrap();
            let failure = failure_of(all);
            let first = failure.trap::<FirstError>().unwrap();
            assert_eq!(first.index, 1);
            assert!(first.failure.check::<fmt::Error>());
            resolvers[0].callback(()).unwrap();
            resolvers[2].errback(Failure::new("too late")).unwrap();
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("too late"), "{lines:?}");
    }

    #[test]
    fn a_failure_that_is_there_already_fails_it_at_once() {
        let all = gather_results(vec![fail::<()>(fmt::Error), succeed(())]);
        assert!(failure_of(all).check::<FirstError>());
    }

    #[test]
    fn cancelling_it_cancels_those_that_wait_and_logs_nothing() {
        let (mut deferreds, resolvers) = pairs(2);
        deferreds.insert(1, succeed(()));
        let lines = logged_by(|| {
            let all = gather_results(deferreds);
            all.cancel();
            assert!(resolvers.iter().all(Resolver::is_cancelled));
            assert!(failure_of(all).trap::<FirstError>().unwrap().failure.check::<Cancelled>());
        });
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn it_is_done_when_nobody_holds_it_any_more() {
        let (deferreds, resolvers) = pairs(LONG);
        drop(gather_results(deferreds));
        for resolver in &resolvers {
            resolver.callback(()).unwrap();
        }
        assert!(resolvers.iter().all(Resolver::is_called));
    }
}
