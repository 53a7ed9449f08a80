//! Tasks that belong together: a scope owns them, and they end with it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use ropewalk_proto::{Abandoned, CancelHandle, Cancelled, Deferred, Failure, Resolver, fail, succeed};

use crate::kernel::{Kernel, Reactor};

/// Owns tasks: dropping it cancels those that are not done, so that none outlives what it serves.
///
/// A connection's protocol that keeps one, for example, ends its tasks with the connection.
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
    reactor: Weak<Kernel>,
    running: RefCell<BTreeMap<u64, CancelHandle>>,
    next_number: Cell<u64>,
    joining: RefCell<Vec<Resolver<()>>>,
}

impl Scope {
    /// A scope without tasks.
    pub fn new(reactor: &Reactor) -> Scope {
        Scope(Rc::new(Tasks {
            reactor: reactor.downgrade(),
            running: RefCell::default(),
            next_number: Cell::new(0),
            joining: RefCell::default(),
        }))
    }

    /// Runs `future` on the loop as [`Reactor::spawn`] does, and owns the task. What is returned may be awaited, or dropped
    /// without further ado: that cancels nothing. A panic is logged.
    ///
    /// May be called from a callback, and from the scope's own tasks.
    pub fn spawn<F>(&self, future: F) -> ScopedTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let Some(kernel) = self.0.reactor.upgrade() else { return ScopedTask(Some(fail(crate::Error::Closed))) };
        let task = Reactor(kernel).spawn(future);
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

    /// Fires when the scope has no task any more: at once when it has none now. How the tasks ended makes no difference.
    pub fn join(&self) -> Deferred<()> {
        if self.is_empty() {
            return succeed(());
        }
        let (deferred, resolver) = Deferred::new();
        self.0.joining.borrow_mut().push(resolver);
        deferred
    }

    /// Cancels all tasks that are not done: their futures are dropped before this returns, save that of a task which
    /// calls this itself. The scope can be used again.
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
    /// scope.spawn(async {}); // it can be used again
    /// ```
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// How many tasks are not done.
    pub fn len(&self) -> usize {
        self.0.running.borrow().len()
    }

    /// Whether all tasks are done.
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
        // Those that a dropped future spawns are not among them.
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

/// A task of a [`Scope`]: a future of its output. Dropping it does not cancel the task, which its scope owns.
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
/// When it is polled again after its result was taken.
pub struct ScopedTask<T: 'static>(Option<Deferred<T>>);

impl<T: 'static> ScopedTask<T> {
    /// The Deferred of the task, whose failure is then to be looked at.
    #[must_use]
    pub fn into_deferred(mut self) -> Deferred<T> {
        self.take()
    }

    /// Drops the task's future; no effect when it is done.
    pub fn cancel(&self) {
        if let Some(deferred) = &self.0 {
            deferred.cancel();
        }
    }

    /// Whether the task is done.
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(Deferred::is_done)
    }

    fn take(&mut self) -> Deferred<T> {
        self.0.take().expect("a task whose result was not taken")
    }
}

impl<T: 'static> Future for ScopedTask<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Failure>> {
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
        // A Deferred that is dropped while it is awaited is cancelled, and its failure logged otherwise; neither is wanted.
        let deferred = self.0.take().map(|deferred| deferred.add_callback(drop));
        drop(deferred.map(|deferred| deferred.or_else(forget_the_end)));
    }
}

/// The end of a scope is no error, and a panic was logged where it happened.
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

    /// A task that never ends, and lets go of the token when it is dropped.
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
    fn dropping_a_scope_drops_its_futures_whether_they_were_polled_or_not() {
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
    fn joining_waits_for_the_last_task_also_for_one_that_came_later() {
        let clock = Clock::new();
        let scope = Rc::new(Scope::new(&clock));
        let (kernel, sleep) = (Rc::downgrade(&scope), clock.sleep(SECOND));
        let later = clock.sleep(2 * SECOND);
        scope.spawn(async move {
            sleep.await;
            kernel.upgrade().unwrap().spawn(later);
        });
        let all = scope.join();
        clock.advance(SECOND);
        assert!(!all.is_done());
        clock.advance(SECOND);
        assert!(all.is_done() && scope.is_empty() && scope.join().is_done());
    }

    #[test]
    fn cancelling_ends_all_tasks_and_the_scope_goes_on() {
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
    fn dropping_a_scoped_task_does_not_cancel_it_even_after_it_was_awaited() {
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
