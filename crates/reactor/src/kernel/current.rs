//! The reactor that is running on this thread.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::Reactor;

thread_local! {
    static RUNNING: RefCell<Vec<Reactor>> = const { RefCell::new(Vec::new()) };
}

impl Reactor {
    /// Returns the reactor that is running on this thread, inside [`run`](Reactor::run).
    ///
    /// Callbacks rarely need this method, because the reactor is an argument of most of them.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// assert!(Reactor::current().is_none());
    /// let reactor = Reactor::new()?;
    /// reactor.call_when_running(|_| Reactor::current().expect("this one").stop().unwrap());
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn current() -> Option<Reactor> {
        RUNNING.with_borrow(|running| running.last().cloned())
    }
}

impl Reactor {
    /// Makes this the [current](Reactor::current) reactor of the thread until the returned guard is dropped.
    ///
    /// [`run`](Reactor::run) does this itself. A host loop holds the guard while it calls [`prepare`](Reactor::prepare)
    /// and [`dispatch`](Reactor::dispatch). Nested guards must be dropped in reverse order.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let entered = reactor.enter();
    /// assert_eq!(Reactor::current().unwrap().name(), reactor.name());
    /// drop(entered);
    /// assert!(Reactor::current().is_none());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn enter(&self) -> EnterGuard {
        RUNNING.with_borrow_mut(|running| running.push(self.clone()));
        EnterGuard(PhantomData)
    }
}

/// Keeps a reactor the current one of its thread, from [`Reactor::enter`] until the guard is dropped.
///
/// ```
/// use ropewalk::{EnterGuard, Reactor};
///
/// fn make_turns(reactor: &Reactor) -> ropewalk::Result<()> {
///     let _entered: EnterGuard = reactor.enter();
///     reactor.iterate(Some(std::time::Duration::ZERO))
/// }
/// # make_turns(&Reactor::new()?)?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct EnterGuard(PhantomData<*const ()>);

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}
