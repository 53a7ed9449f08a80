//! Groups of tasks: a scope owns its tasks, and cancels them when it is dropped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ropewalk_proto::{Abandoned, CancelHandle, Cancelled, Deferred, DeferredError, Failure, Resolver, fail, succeed};

use crate::kernel::{Reactor, WeakReactor};

/// Owns tasks, and cancels the unfinished ones when it is dropped. So no task outlives the object that it serves.
///
/// For example, a protocol that keeps a scope cancels its tasks when its connection ends.
///
/// The methods may be called from any callback on the reactor's thread, also from a task of the scope.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::Scope;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let scope = Scope::new(&clock);
/// for seconds in [1, 2] {
///     scope.spawn(clock.sleep(Duration::from_secs(seconds)));
/// }
/// let all = scope.join();
/// clock.advance(Duration::from_secs(2));
/// assert!(all.is_done());
///
/// scope.spawn(clock.sleep(Duration::from_secs(3600)));
/// clock.advance(Duration::ZERO);
/// drop(scope);
/// assert!(clock.get_delayed_calls().is_empty());
/// ```
pub struct Scope(Rc<Tasks>);

struct Tasks {
    reactor: WeakReactor,
    running: RefCell<BTreeMap<u64, CancelHandle>>,
    next_number: Cell<u64>,
    joining: RefCell<Vec<Resolver<()>>>,
}

impl Scope {
    /// Creates a scope without tasks.
    pub fn new(reactor: &Reactor) -> Scope {
        Scope(Rc::new(Tasks {
            reactor: reactor.downgrade(),
            running: RefCell::default(),
            next_number: Cell::new(0),
            joining: RefCell::default(),
        }))
    }

    /// Runs `future` on the loop like [`Reactor::spawn`], as a task of this scope.
    ///
    /// The returned value can be awaited. Dropping the value does not cancel the task. A panic in the future is logged.
    ///
    /// May be called from a callback, and from the scope's own tasks.
    pub fn spawn<F>(&self, future: F) -> ScopedTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let Some(reactor) = self.0.reactor.upgrade() else { return ScopedTask(Some(fail(crate::Error::Closed))) };
        let task = reactor.spawn(future);
        let number = self.0.next_number.replace(self.0.next_number.get() + 1);
        self.0.running.borrow_mut().insert(number, task.cancel_handle());
        let tasks = Rc::downgrade(&self.0);
        let task = task.then(move |result| {
            if let Some(tasks) = tasks.upgrade() {
                tasks.one_less(number);
            }
            result
        });
        ScopedTask(Some(task))
    }

    /// Returns a Deferred that fires when the scope has no unfinished task, whether tasks succeeded or not. The
    /// Deferred fires at once if the scope is empty now.
    pub fn join(&self) -> Deferred<()> {
        if self.is_empty() {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        self.0.joining.borrow_mut().push(resolver);
        deferred
    }

    /// Cancels all unfinished tasks. The scope can be used again.
    ///
    /// The futures are dropped before this method returns, except the future of a task that calls it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::task::Scope;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let scope = Scope::new(&clock);
    /// scope.spawn(std::future::pending::<()>());
    /// clock.advance(Duration::ZERO);
    /// assert_eq!(scope.len(), 1);
    /// scope.cancel();
    /// assert!(scope.is_empty());
    /// scope.spawn(async {}); // the scope still works
    /// ```
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Returns the number of unfinished tasks.
    pub fn len(&self) -> usize {
        self.0.running.borrow().len()
    }

    /// Returns whether all tasks have finished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Tasks {
    fn cancel(&self) {
        // Tasks that a dropped future spawns are not included.
        let handles = Vec::from_iter(self.running.borrow().values().cloned());
        for handle in handles {
            handle.cancel();
        }
    }

    fn one_less(&self, number: u64) {
        self.running.borrow_mut().remove(&number);
        if self.running.borrow().is_empty() {
            let joining = self.joining.take();
            for resolver in joining {
                let _ = resolver.callback(());
            }
        }
    }
}

/// A task of a [`Scope`]: a future of its output. Dropping it does not cancel the task, because the scope owns the
/// task.
///
/// The methods may be called from any callback on the reactor's thread.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::task::Scope;
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let scope = Scope::new(&clock);
/// let answer = scope.spawn(async { 6 * 7 });
/// let never = scope.spawn(std::future::pending::<()>());
/// never.cancel();
/// clock.advance(Duration::ZERO);
/// assert!(answer.is_done() && never.is_done());
/// assert_eq!(answer.into_deferred().try_result().unwrap().unwrap(), 42);
/// ```
///
/// # Panics
/// When polled again after the result was taken.
pub struct ScopedTask<T: 'static>(Option<Deferred<T>>);

impl<T: 'static> ScopedTask<T> {
    /// Turns the task into its Deferred, which then reports failures.
    #[must_use]
    pub fn into_deferred(mut self) -> Deferred<T> {
        self.take()
    }

    /// Cancels the task and drops its future. No effect if the task has finished.
    pub fn cancel(&self) {
        if let Some(deferred) = &self.0 {
            deferred.cancel();
        }
    }

    /// Returns whether the task has finished.
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(Deferred::is_done)
    }

    fn take(&mut self) -> Deferred<T> {
        self.0.take().expect("a result that was not taken yet")
    }
}

impl<T: 'static> Future for ScopedTask<T> {
    type Output = Result<T, DeferredError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, DeferredError>> {
        let mut deferred = self.take();
        let polled = Pin::new(&mut deferred).poll(context);
        if polled.is_pending() {
            self.0 = Some(deferred);
        }
        polled
    }
}

impl<T: 'static> Drop for ScopedTask<T> {
    fn drop(&mut self) {
        // Dropping a Deferred cancels its task if the Deferred was awaited, and logs its failure otherwise. Both would
        // be wrong here.
        let deferred = self.0.take().map(|deferred| deferred.add_callback(drop));
        drop(deferred.map(|deferred| deferred.or_else(forget_the_end)));
    }
}

/// Ignores cancellations, which the end of a scope causes, and panics, which have been logged already.
fn forget_the_end(failure: Failure) -> Result<(), Failure> {
    let is_panic = matches!(failure.downcast_ref(), Some(crate::Error::Panicked(..)));
    if is_panic || failure.check::<Cancelled>() || failure.check::<Abandoned>() { Ok(()) } else { Err(failure) }
}

impl<T: 'static> fmt::Debug for ScopedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask").field("done", &self.is_done()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;
    use crate::testing::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a future that never completes, and drops the token when it is dropped.
    fn holding(token: &Rc<()>) -> impl Future<Output = ()> + use<> {
        let token = token.clone();
        async move {
            pending::<()>().await;
            drop(token);
        }
    }

    fn settle(clock: &Clock) {
        clock.advance(Duration::ZERO);
    }

    #[test]
    fn dropping_a_scope_drops_all_its_futures() {
        let (clock, token) = (Clock::new(), Rc::new(()));
        let scope = Scope::new(&clock);
        scope.spawn(holding(&token));
        settle(&clock);
        scope.spawn(holding(&token));
        assert_eq!((scope.len(), Rc::strong_count(&token)), (2, 3));
        drop(scope);
        assert_eq!(Rc::strong_count(&token), 1);
    }

    #[test]
    fn join_waits_for_tasks_that_are_added_later() {
        let clock = Clock::new();
        let scope = Rc::new(Scope::new(&clock));
        let (weak, sleep) = (Rc::downgrade(&scope), clock.sleep(SECOND));
        let later = clock.sleep(2 * SECOND);
        scope.spawn(async move {
            sleep.await;
            weak.upgrade().unwrap().spawn(later);
        });
        let all = scope.join();
        clock.advance(SECOND);
        assert!(!all.is_done());
        clock.advance(SECOND);
        assert!(all.is_done() && scope.is_empty() && scope.join().is_done());
    }

    #[test]
    fn a_scope_stays_usable_after_cancel() {
        let (clock, token) = (Clock::new(), Rc::new(()));
        let scope = Scope::new(&clock);
        let task = scope.spawn(holding(&token));
        settle(&clock);
        let all = scope.join();
        scope.cancel();
        assert_eq!(Rc::strong_count(&token), 1);
        assert!(all.is_done());
        assert!(task.into_deferred().try_result().unwrap().unwrap_err().check::<Cancelled>());
        let next = scope.spawn(async { 7 });
        settle(&clock);
        assert_eq!(next.into_deferred().try_result().unwrap().unwrap(), 7);
    }

    #[test]
    fn dropping_an_awaited_scoped_task_does_not_cancel_it() {
        let clock = Clock::new();
        let scope = Scope::new(&clock);
        let ran = Rc::new(Cell::new(false));
        let (flag, sleep) = (ran.clone(), clock.sleep(SECOND));
        let task = scope.spawn(async move {
            sleep.await;
            flag.set(true);
        });
        let given_up = clock.spawn(clock.timeout(SECOND / 2, task));
        clock.advance(SECOND);
        assert!(given_up.try_result().unwrap().unwrap().is_err());
        assert!(ran.get());
    }

    #[test]
    fn a_task_may_cancel_its_own_scope() {
        let (clock, token) = (Clock::new(), Rc::new(()));
        let scope = Rc::new(Scope::new(&clock));
        scope.spawn(holding(&token));
        let (own, held) = (scope.clone(), holding(&token));
        scope.spawn(async move {
            own.cancel();
            held.await;
        });
        settle(&clock);
        assert!(scope.is_empty());
        assert_eq!(Rc::strong_count(&token), 1);
    }

    #[test]
    fn a_scope_outlives_its_reactor() {
        let clock = Clock::new();
        let scope = Scope::new(&clock);
        scope.spawn(pending::<()>());
        drop(clock);
        assert!(scope.is_empty());
        assert!(scope.spawn(async {}).is_done());
    }
}
