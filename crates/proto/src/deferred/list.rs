//! Waiting for several Deferreds: `DeferredList` and `gatherResults` of `twisted.internet.defer`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::Deferred;
use super::chain::report_unhandled;
use super::errors::{Cancelled, FirstError};
use super::failure::Failure;
use super::source::Resolver;

/// Several Deferreds that are waited for together.
///
/// Each method returns a Deferred. Cancelling it cancels the Deferreds of the list that have no result. May be used
/// in any callback.
///
/// ```
/// use ropewalk_proto::{Deferred, DeferredList, fail, succeed};
///
/// let (deferred, resolver) = Deferred::new();
/// let list = DeferredList::new(vec![succeed(1), fail(std::fmt::Error), deferred]).results();
/// resolver.callback(3)?;
/// let results = list.try_result().unwrap().unwrap();
/// assert_eq!(results.iter().map(|result| result.is_ok()).collect::<Vec<_>>(), [true, false, true]);
/// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
/// ```
#[must_use = "a list does nothing until one of its results is requested"]
pub struct DeferredList<T: 'static> {
    deferreds: Vec<Deferred<T>>,
    options: Options,
}

#[derive(Clone, Copy, Default)]
struct Options {
    fire_on_one_callback: bool,
    fire_on_one_errback: bool,
    consume_errors: bool,
}

/// The result of [`DeferredList::fire_on_one_callback`].
///
/// ```
/// use ropewalk_proto::{DeferredList, FirstOrAll, fail};
///
/// let attempts = vec![fail::<u32>(std::fmt::Error), fail(std::fmt::Error)];
/// match DeferredList::new(attempts).fire_on_one_callback().try_result().unwrap().unwrap() {
///     FirstOrAll::First { index, value } => println!("attempt {index} returned {value}"),
///     FirstOrAll::All(failures) => assert_eq!(failures.len(), 2),
/// }
/// ```
#[derive(Debug)]
pub enum FirstOrAll<T> {
    /// The first success.
    First {
        /// The index of its Deferred in the list, from 0.
        index: usize,
        /// Its value.
        value: T,
    },
    /// All failures, in the order of the Deferreds, because all failed. Empty for an empty list.
    All(Vec<Failure>),
}

impl<T: 'static> DeferredList<T> {
    /// Creates a list of `deferreds`.
    pub fn new(deferreds: Vec<Deferred<T>>) -> DeferredList<T> {
        DeferredList { deferreds, options: Options::default() }
    }

    /// Makes the list fail with a [`FirstError`] as soon as one Deferred fails.
    ///
    /// The other Deferreds continue. Their failures are logged, unless [`consume_errors`](DeferredList::consume_errors)
    /// is called.
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, DeferredList, FirstError, fail};
    ///
    /// let (slow, _resolver) = Deferred::<u32>::new();
    /// let list = DeferredList::new(vec![slow, fail(std::fmt::Error)]).fire_on_one_errback();
    /// let failure = list.results().try_result().unwrap().unwrap_err(); // does not wait for the slow one
    /// assert!(failure.check::<FirstError>());
    /// ```
    pub fn fire_on_one_errback(mut self) -> DeferredList<T> {
        self.options.fire_on_one_errback = true;
        self
    }

    /// Drops failures that are not part of the result. Without this call they are logged.
    ///
    /// ```
    /// use ropewalk_proto::{DeferredList, FirstError, fail};
    ///
    /// let both = vec![fail::<u32>(std::fmt::Error), fail(std::fmt::Error)];
    /// let list = DeferredList::new(both).fire_on_one_errback().consume_errors(); // the second is not logged
    /// assert!(list.results().try_result().unwrap().unwrap_err().check::<FirstError>());
    /// ```
    pub fn consume_errors(mut self) -> DeferredList<T> {
        self.options.consume_errors = true;
        self
    }

    /// Returns all results, in the order of the Deferreds, after the last one has come.
    ///
    /// An empty list is done at once.
    #[track_caller]
    pub fn results(self) -> Deferred<Vec<Result<T, Failure>>> {
        self.start().add_callback(|fired| match fired {
            Fired::All(results) => results,
            Fired::First { .. } => unreachable!("the list was not set to fire on one callback"),
        })
    }

    /// Returns the first value, or all failures if all Deferreds fail.
    ///
    /// The other Deferreds continue, while [`race`](crate::race) would cancel them. With
    /// [`fire_on_one_errback`](DeferredList::fire_on_one_errback) the first failure fails the list as well.
    ///
    /// ```
    /// use ropewalk_proto::{Deferred, DeferredList, FirstOrAll, fail};
    ///
    /// let (deferred, resolver) = Deferred::new();
    /// let first = DeferredList::new(vec![fail(std::fmt::Error), deferred]).fire_on_one_callback();
    /// resolver.callback("rope")?;
    /// assert!(matches!(first.try_result().unwrap().unwrap(), FirstOrAll::First { index: 1, value: "rope" }));
    /// # Ok::<(), ropewalk_proto::AlreadyCalled>(())
    /// ```
    #[track_caller]
    pub fn fire_on_one_callback(mut self) -> Deferred<FirstOrAll<T>> {
        self.options.fire_on_one_callback = true;
        self.start().add_callback(|fired| match fired {
            Fired::First { index, value } => FirstOrAll::First { index, value },
            Fired::All(results) => FirstOrAll::All(results.into_iter().filter_map(Result::err).collect()),
        })
    }

    #[track_caller]
    fn start(self) -> Deferred<Fired<T>> {
        let DeferredList { deferreds, options } = self;
        let handles = Vec::from_iter(deferreds.iter().map(Deferred::cancel_handle));
        let at = Location::caller();
        let (list, resolver) =
            Deferred::with_canceller(move |_| handles.iter().for_each(|handle| handle.cancel_at(at)));
        if deferreds.is_empty() {
            let _ = resolver.callback(Fired::All(Vec::new()));
        }
        let gathering = Rc::new(Gathering {
            pending: Cell::new(deferreds.len()),
            results: RefCell::new(deferreds.iter().map(|_| None).collect()),
            resolver,
            options,
        });
        for (index, deferred) in deferreds.into_iter().enumerate() {
            let gathering = gathering.clone();
            deferred.add_both(move |result| gathering.put(index, result));
        }
        list
    }
}

impl<T: 'static> fmt::Debug for DeferredList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredList").field("length", &self.deferreds.len()).finish_non_exhaustive()
    }
}

/// Returns the values of all `deferreds`, in their order.
///
/// The first failure fails the returned Deferred, wrapped in a [`FirstError`]. The other Deferreds continue, and their
/// failures are logged. A [`DeferredList`] can drop these failures instead. Cancelling the returned Deferred cancels
/// those that have no result.
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
    // The first failure fails the list, so every result is a value.
    let results = DeferredList::new(deferreds).fire_on_one_errback().results();
    results.and_then(|results| results.into_iter().collect::<Result<Vec<T>, Failure>>())
}

enum Fired<T> {
    First { index: usize, value: T },
    All(Vec<Result<T, Failure>>),
}

struct Gathering<T: 'static> {
    pending: Cell<usize>,
    results: RefCell<Vec<Option<Result<T, Failure>>>>,
    resolver: Resolver<Fired<T>>,
    options: Options,
}

impl<T: 'static> Gathering<T> {
    fn put(&self, index: usize, result: Result<T, Failure>) {
        if self.resolver.is_called() {
            return self.put_late(result);
        }
        match result {
            Ok(value) if self.options.fire_on_one_callback => self.fire(Ok(Fired::First { index, value })),
            Err(failure) if self.options.fire_on_one_errback => {
                let location = failure.location().clone();
                self.fire(Err(Failure::located(Box::new(FirstError { failure, index }), location)));
            }
            result => self.keep(index, result),
        }
    }

    fn keep(&self, index: usize, result: Result<T, Failure>) {
        self.results.borrow_mut()[index] = Some(result);
        self.pending.set(self.pending.get() - 1);
        if self.pending.get() == 0 {
            let results = self.results.take();
            self.fire(Ok(Fired::All(results.into_iter().flatten().collect())));
        }
    }

    fn fire(&self, result: Result<Fired<T>, Failure>) {
        // These earlier results are not part of the list's result.
        let unused = self.results.take();
        let _ = self.resolver.fire(result);
        unused.into_iter().flatten().for_each(|result| self.put_late(result));
    }

    fn put_late(&self, result: Result<T, Failure>) {
        let is_cancellation = |failure: &Failure| self.resolver.is_cancelled() && failure.check::<Cancelled>();
        match result {
            Err(failure) if self.options.consume_errors || is_cancellation(&failure) => {}
            result => report_unhandled(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::super::tests::{LONG, failure_of, logged_by, value_of};
    use super::super::{Deferred, fail, succeed};
    use super::*;

    fn pairs<T>(count: usize) -> (Vec<Deferred<T>>, Vec<Resolver<T>>) {
        (0..count).map(|_| Deferred::new()).unzip()
    }

    #[test]
    fn values_are_in_the_order_of_the_deferreds() {
        let (deferreds, resolvers) = pairs(3);
        let all = gather_results(deferreds);
        for index in [2, 0, 1] {
            assert!(!all.is_done());
            resolvers[index].callback(index).unwrap();
        }
        assert_eq!(value_of(all), [0, 1, 2]);
    }

    #[test]
    fn an_empty_list_is_done_at_once() {
        assert_eq!(value_of(gather_results(Vec::<Deferred<()>>::new())), []);
        assert!(value_of(DeferredList::<()>::new(Vec::new()).results()).is_empty());
        let first = value_of(DeferredList::<()>::new(Vec::new()).fire_on_one_callback());
        assert!(matches!(first, FirstOrAll::All(failures) if failures.is_empty()));
    }

    #[test]
    fn gather_results_logs_failures_after_the_first() {
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
    fn consume_errors_drops_later_failures() {
        let (deferreds, resolvers) = pairs::<()>(2);
        let lines = logged_by(|| {
            let list = DeferredList::new(deferreds).fire_on_one_errback().consume_errors().results();
            resolvers.iter().for_each(|resolver| resolver.errback(fmt::Error).unwrap());
            failure_of(list);
        });
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn an_existing_failure_fails_gather_results_at_once() {
        let all = gather_results(vec![fail::<()>(fmt::Error), succeed(())]);
        assert!(failure_of(all).check::<FirstError>());
    }

    #[test]
    fn cancelling_gather_results_cancels_pending_deferreds_silently() {
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
    fn a_cancelled_list_keeps_the_results_it_has() {
        let (mut deferreds, _resolvers) = pairs(2);
        deferreds.insert(1, succeed(7));
        let list = DeferredList::new(deferreds).results();
        list.cancel();
        let [first, second, third] = <[_; 3]>::try_from(value_of(list)).unwrap();
        assert_eq!(second.unwrap(), 7);
        assert!([first, third].into_iter().all(|result| result.unwrap_err().check::<Cancelled>()));
    }

    #[test]
    fn a_dropped_list_lets_its_deferreds_fire() {
        let (deferreds, resolvers) = pairs(LONG);
        drop(gather_results(deferreds));
        for resolver in &resolvers {
            resolver.callback(()).unwrap();
        }
        assert!(resolvers.iter().all(Resolver::is_called));
    }

    #[test]
    fn fire_on_one_callback_returns_the_first_value() {
        let (deferreds, resolvers) = pairs(3);
        let lines = logged_by(|| {
            let first = DeferredList::new(deferreds).fire_on_one_callback();
            resolvers[2].errback(fmt::Error).unwrap();
            assert!(!first.is_done());
            resolvers[1].callback("one").unwrap();
            assert!(matches!(value_of(first), FirstOrAll::First { index: 1, value: "one" }));
            assert!(!resolvers[0].is_called(), "the others continue");
        });
        assert_eq!(lines.len(), 1, "the failure that is not part of the result: {lines:?}");
    }

    #[test]
    fn fire_on_one_callback_returns_all_failures_if_all_fail() {
        let first = DeferredList::new(vec![fail::<()>(Failure::new("a")), fail(Failure::new("b"))]);
        let FirstOrAll::All(failures) = value_of(first.fire_on_one_callback()) else { panic!("none succeeded") };
        assert_eq!(failures.iter().map(Failure::to_string).collect::<Vec<_>>(), ["a", "b"]);
    }
}
