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
