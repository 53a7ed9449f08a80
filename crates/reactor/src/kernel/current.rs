//! The reactor whose turn or callback runs on this thread.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use super::{Kernel, Reactor};

thread_local! {
    /// The reactors that have been entered, the innermost last.
    static ENTERED: RefCell<Vec<Reactor>> = const { RefCell::new(Vec::new()) };
}

impl Reactor {
    /// Returns the reactor whose turn or callback runs on this thread.
    ///
    /// Works inside [`run`](Reactor::run) and in each callback of a reactor, also when a host loop makes the turns, and
    /// when a method of the reactor calls back outside of a turn. If a callback runs another reactor, that one is
    /// current meanwhile. Returns `None` outside of turns and callbacks, in other threads, and in destructors that run
    /// because the reactor itself is dropped.
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
        ENTERED.try_with(|entered| entered.borrow().last().cloned()).ok().flatten()
    }
}

impl Reactor {
    /// Makes this the [current](Reactor::current) reactor of the thread until the returned guard is dropped.
    ///
    /// Turns and callbacks do this themselves. A host loop may hold the guard for its own code. Nested guards must be
    /// dropped in reverse order.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let entered = reactor.enter();
    /// assert_eq!(Reactor::current(), Some(reactor));
    /// drop(entered);
    /// assert!(Reactor::current().is_none());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn enter(&self) -> EnterGuard {
        ENTERED.with_borrow_mut(|entered| entered.push(self.clone()));
        EnterGuard(PhantomData)
    }
}

impl Kernel {
    /// Enters the reactor for a turn or a callback, unless it is the current one.
    #[inline]
    pub(crate) fn enter(&self) -> Option<EnterGuard> {
        let is_current = |entered: &RefCell<Vec<Reactor>>| {
            entered.borrow().last().is_some_and(|current| std::ptr::eq(Rc::as_ptr(&current.0), self))
        };
        // A thread that is ending has no current reactor.
        if ENTERED.try_with(is_current).unwrap_or(true) { None } else { self.enter_anew() }
    }

    #[cold]
    fn enter_anew(&self) -> Option<EnterGuard> {
        Some(Reactor(self.itself.upgrade()?).enter())
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
        let left = ENTERED.with_borrow_mut(Vec::pop);
        drop(left);
    }
}
