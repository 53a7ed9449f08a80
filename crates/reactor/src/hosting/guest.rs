//! A reactor inside a host loop, as its adapter sees it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::Moment;
use ropewalk_proto::panics::catch;
use ropewalk_sys::RawWaitable;

use super::HostLoop;
use super::waiting_thread::WaitingThread;
use crate::error::{Error, Result};
use crate::kernel::{Budget, Hosted, Reactor, WeakReactor, shorter};

type Hook = Rc<dyn Fn()>;

/// A reactor inside a host loop. The loop's adapter makes the turns by this handle.
///
/// A reactor is one guest at most. Clones refer to the same guest, and the reactor is free again when the last clone is
/// dropped. A guest does not keep its reactor alive: without it, the methods do nothing. All methods may be called from
/// any callback. See [`hosting`](crate::hosting) for an adapter.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::hosting::Guest;
/// use ropewalk::{Budget, Error, Reactor, RunOptions};
///
/// let reactor = Reactor::new()?;
/// let guest = Guest::new(&reactor)?;
/// assert!(matches!(Guest::new(&reactor), Err(Error::Hosted)));
/// reactor.start_running(RunOptions::default().without_signal_handlers())?;
/// reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().expect("it runs"));
/// while reactor.is_started() {
///     std::thread::sleep(guest.timeout().unwrap_or(Duration::from_millis(1))); // a host loop sleeps otherwise
///     guest.turn(Budget::of(Duration::from_millis(4)));
/// }
/// guest.finish()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Guest(Rc<Inner>);

/// When the next turn is due.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::hosting::{Guest, Next};
/// use ropewalk::{Budget, Reactor, RunOptions};
///
/// let reactor = Reactor::new()?;
/// let guest = Guest::new(&reactor)?;
/// assert_eq!(guest.next(), Next::Never); // it does not run
/// reactor.start_running(RunOptions::default().without_signal_handlers())?;
/// assert_eq!(guest.next(), Next::Now);
/// guest.turn(Budget::default());
/// assert_eq!(guest.next(), Next::Never); // but for events
/// let call = reactor.call_later(Duration::from_secs(60), |_| ());
/// guest.turn(Budget::default());
/// assert_eq!(Some(guest.next()), call.get_time().map(Next::At));
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A turn is due now.
    Now,
    /// A turn is due at this time, or when an event comes.
    At(Moment),
    /// A turn is due when an event comes.
    Never,
}

struct Inner {
    itself: Weak<Inner>,
    reactor: WeakReactor,
    /// Whether a turn is due for another reason than the deadline.
    is_due: Cell<bool>,
    /// The number of turns that are being made, each in a callback of the one before.
    depth: Cell<usize>,
    handle: OnceCell<Option<RawWaitable>>,
    /// Whether the provider was lent to the thread since the last turn. It may be back.
    was_lent: Cell<bool>,
    /// Whether the next turn only handles events, because `iterate` has done the rest.
    handles_events_only: Cell<bool>,
    /// Whether `on_end` is still to be called for the present run.
    owes_end: Cell<bool>,
    /// The error that ended the run.
    failure: RefCell<Option<Error>>,
    /// The error of the turn that `iterate` asked for.
    pass_failure: RefCell<Option<Error>>,
    host: RefCell<Option<Rc<dyn HostLoop>>>,
    sooner: RefCell<Vec<Hook>>,
    ended: RefCell<Vec<Hook>>,
    thread: RefCell<Option<Rc<WaitingThread>>>,
}

impl Guest {
    /// Makes the reactor a guest.
    ///
    /// # Errors
    /// [`Error::Hosted`] while the reactor has another guest handle. [`Error::ReactorAlreadyRunning`] while it runs its
    /// own loop. [`Error::Forked`] in a child process that inherited the reactor. [`Error::Waiting`] while a
    /// [`DetachedWait`](crate::DetachedWait) owns the provider.
    pub fn new(reactor: &Reactor) -> Result<Guest> {
        if reactor.0.hosted().is_some() {
            return Err(Error::Hosted);
        }
        if reactor.is_started() {
            return Err(Error::ReactorAlreadyRunning);
        }
        reactor.0.check_usable()?;
        let inner = Rc::new_cyclic(|itself| Inner {
            itself: itself.clone(),
            reactor: reactor.downgrade(),
            is_due: Cell::default(),
            depth: Cell::default(),
            handle: OnceCell::new(),
            was_lent: Cell::default(),
            handles_events_only: Cell::default(),
            owes_end: Cell::default(),
            failure: RefCell::default(),
            pass_failure: RefCell::default(),
            host: RefCell::default(),
            sooner: RefCell::default(),
            ended: RefCell::default(),
            thread: RefCell::default(),
        });
        let hosted: Weak<Inner> = inner.itself.clone();
        reactor.0.set_hosted(hosted);
        Ok(Guest(inner))
    }

    /// Returns the reactor, unless it has been dropped.
    pub fn reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade()
    }

    /// Returns whether the host should make turns: see [`Reactor::is_started`](crate::Reactor::is_started).
    pub fn is_started(&self) -> bool {
        self.reactor().is_some_and(|reactor| reactor.is_started())
    }

    /// Returns whether a turn does anything: while a run is started, and while [`Reactor::iterate`] waits.
    ///
    /// A host watches [`handle`](Guest::handle) only as long. At other times the handle may be readable, for example
    /// because of a call from a thread, and no turn would change that.
    ///
    /// ```
    /// use ropewalk::hosting::Guest;
    /// use ropewalk::{Reactor, RunOptions};
    ///
    /// let reactor = Reactor::new()?;
    /// let guest = Guest::new(&reactor)?;
    /// assert!(!guest.makes_turns());
    /// reactor.start_running(RunOptions::default().without_signal_handlers())?;
    /// assert!(guest.makes_turns());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn makes_turns(&self) -> bool {
        self.reactor().is_some_and(|reactor| self.0.makes_turns(&reactor))
    }

    /// Returns the handle that is readable when a turn has events to handle. `None` if the provider has no such handle,
    /// or waits in a [thread](Guest::wait_in_thread).
    ///
    /// The handle stays the same. It is not readable for delayed calls: the host sleeps at most for
    /// [`timeout`](Guest::timeout).
    ///
    /// ```
    /// use ropewalk::hosting::Guest;
    /// use ropewalk::Reactor;
    ///
    /// let guest = Guest::new(&Reactor::new()?)?;
    /// match guest.handle() {
    ///     Some(handle) => println!("the host watches {handle:?} for reading"),
    ///     None => println!("the provider waits in a thread"),
    /// }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn handle(&self) -> Option<RawWaitable> {
        let inner = &*self.0;
        if inner.thread().is_some() {
            return None;
        }
        let reactor = inner.reactor.upgrade()?;
        *inner.handle.get_or_init(|| reactor.host_handle())
    }

    /// Lets the provider wait in a thread of its own while the host sleeps. So any provider can be a guest of any host
    /// that can be woken from another thread.
    ///
    /// `wake` must make the host call [`turn`](Guest::turn) soon, usually by posting an event. It must not block, and no
    /// event may be dropped because a queue is full. It is called in any thread, and at most once for each turn. The
    /// thread also wakes the host when a delayed call is due, so the host needs neither [`timeout`](Guest::timeout) nor
    /// [`on_sooner`](Guest::on_sooner).
    ///
    /// A method that needs the provider has it back from the thread at once.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    /// use ropewalk::hosting::Guest;
    /// use ropewalk::{Budget, Reactor, RunOptions};
    ///
    /// let reactor = Reactor::with("poll")?;
    /// let guest = Guest::new(&reactor)?;
    /// let (events, host) = channel();
    /// guest.wait_in_thread(move || drop(events.send("a turn is due")))?;
    /// reactor.start_running(RunOptions::default().without_signal_handlers())?;
    /// reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().expect("it runs"));
    /// while reactor.is_started() {
    ///     let event = host.recv().expect("the guest keeps the sender");
    ///     assert_eq!(event, "a turn is due");
    ///     guest.turn(Budget::default());
    /// }
    /// guest.finish()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Hosted`] when the guest waits in a thread already, or its [handle](Guest::handle) was asked for.
    /// [`Error::Closed`] when the reactor has been dropped. [`Error::Io`] when the system starts no thread.
    pub fn wait_in_thread(&self, wake: impl Fn() + Send + Sync + 'static) -> Result<()> {
        let inner = &*self.0;
        let reactor = self.reactor().ok_or(Error::Closed)?;
        if inner.thread().is_some() || reactor.0.is_watched() {
            return Err(Error::Hosted);
        }
        let thread = WaitingThread::new(Box::new(wake))?;
        *inner.thread.borrow_mut() = Some(Rc::new(thread));
        if reactor.is_started() {
            inner.note_due();
        }
        Ok(())
    }

    /// Adds a hook that is called whenever the time of the next turn may have changed. The host then asks for
    /// [`timeout`](Guest::timeout) again. A host that asks before each sleep needs no hook.
    ///
    /// The hook is called on the reactor's thread, also at the beginning of each turn: a callback may run the host's
    /// loop, which must not sleep on the timeout from before the turn. It should only record that a turn is due, because
    /// it may be called from within a method of the reactor.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use ropewalk::hosting::Guest;
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let guest = Guest::new(&reactor)?;
    /// let is_due = Rc::new(Cell::new(false));
    /// let set = is_due.clone();
    /// guest.on_sooner(move || set.set(true));
    /// reactor.call_later(std::time::Duration::ZERO, |_| ()); // a button was pressed
    /// assert!(is_due.get());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn on_sooner(&self, hook: impl Fn() + 'static) {
        self.0.sooner.borrow_mut().push(Rc::new(hook));
    }

    /// Adds a hook that is called after each run of the reactor, usually to end the host's loop. The adapter and the
    /// program may each add hooks, which are called in the order of their addition.
    ///
    /// A hook is called on the reactor's thread, after the turn in which the run ended. If
    /// [`crash`](crate::Reactor::crash) ended the run outside of a turn, it is called at once.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use ropewalk::hosting::Guest;
    /// use ropewalk::{Reactor, RunOptions};
    ///
    /// let reactor = Reactor::new()?;
    /// let guest = Guest::new(&reactor)?;
    /// let quits = Rc::new(Cell::new(false));
    /// let quit = quits.clone();
    /// guest.on_end(move || quit.set(true));
    /// reactor.start_running(RunOptions::default().without_signal_handlers())?;
    /// reactor.crash();
    /// assert!(quits.get());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn on_end(&self, hook: impl Fn() + 'static) {
        self.0.ended.borrow_mut().push(Rc::new(hook));
    }

    /// Sets the host's loop, so that [`Reactor::run`](crate::Reactor::run) and [`Reactor::iterate`](crate::Reactor::iterate)
    /// run it. Without it they return [`Error::Hosted`], or make a turn without the host. [`HostLoop`] has an example.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use ropewalk::hosting::{Guest, HostLoop};
    /// use ropewalk::Reactor;
    ///
    /// fn install(reactor: &Reactor, toolkit: impl HostLoop + 'static) -> ropewalk::Result<Guest> {
    ///     let guest = Guest::new(reactor)?;
    ///     guest.set_host(Rc::new(toolkit));
    ///     Ok(guest)
    /// }
    /// ```
    pub fn set_host(&self, host: Rc<dyn HostLoop>) {
        let previous = self.0.host.replace(Some(host));
        drop(previous);
    }

    /// Returns when the next turn is due. The time is that of [`Reactor::now`](crate::Reactor::now).
    pub fn next(&self) -> Next {
        self.reactor().map_or(Next::Never, |reactor| self.0.next(&reactor))
    }

    /// Returns how long the host may sleep. `None` sets no limit, and zero means that a turn is due.
    ///
    /// Source: `ReactorBase.timeout`.
    pub fn timeout(&self) -> Option<Duration> {
        let reactor = self.reactor()?;
        match self.0.next(&reactor) {
            Next::Now => Some(Duration::ZERO),
            Next::At(deadline) => Some(deadline - reactor.now()),
            Next::Never => None,
        }
    }

    /// Returns how long the host may sleep, but at most `delay`. `None` sets no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::hosting::Guest;
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let guest = Guest::new(&reactor)?;
    /// let frame = Duration::from_millis(16);
    /// assert_eq!(guest.timeout_within(Some(frame)), Some(frame)); // nothing is due sooner
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn timeout_within(&self, delay: Option<Duration>) -> Option<Duration> {
        shorter(self.timeout(), delay)
    }

    /// Makes a turn: handles the events that have come, and then all work that is due.
    ///
    /// The next turn handles the work that the budget leaves, and is due at once. May be called from a callback of the
    /// reactor, by an inner loop of the host. Does nothing while no run is started.
    ///
    /// No panic leaves this method, so it may be called by way of a foreign language. A fatal error is the outcome of
    /// [`finish`](Guest::finish) or [`Reactor::run`](crate::Reactor::run).
    pub fn turn(&self, budget: Budget) {
        let inner = &*self.0;
        let Some(reactor) = inner.reactor.upgrade() else { return };
        if let Some(thread) = inner.thread() {
            thread.host_is_awake();
            if inner.is_stale_wake_up(&reactor) {
                return;
            }
        }
        if inner.makes_turns(&reactor) {
            inner.depth.set(inner.depth.get() + 1);
            let events_only = inner.handles_events_only.take();
            // A callback may run the host's loop, which must not sleep on the deadline from before this turn.
            inner.note_due();
            // `iterate` makes a whole turn, of which this is a part.
            let budget = if events_only { Budget::default() } else { budget };
            match inner.make_turn(&reactor, budget, events_only) {
                Ok(is_due) => inner.is_due.set(is_due),
                Err(error) => inner.fail(&reactor, error, events_only),
            }
            inner.depth.set(inner.depth.get() - 1);
            reactor.0.host_may_sleep();
            inner.lend_or_notify(&reactor);
        }
        inner.check_end(&reactor);
    }

    /// Completes the run after the end of the host's loop, and returns the outcome of the run.
    ///
    /// If the run has not ended, the reactor is stopped, and makes the turns of its shutdown by itself. A program that
    /// called [`Reactor::run`](crate::Reactor::run) does not need this method.
    ///
    /// # Errors
    /// The errors of [`Reactor::run`](crate::Reactor::run). [`Error::Closed`] when the reactor has been dropped.
    ///
    /// # Panics
    /// With a panic of a callback, under [`PanicPolicy::Resume`](crate::PanicPolicy::Resume).
    pub fn finish(&self) -> Result<()> {
        let reactor = self.reactor().ok_or(Error::Closed)?;
        let outcome = self.0.end_run(&reactor);
        reactor.finish_run(outcome)
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("reactor", &self.reactor()).field("next", &self.next()).finish_non_exhaustive()
    }
}

impl Inner {
    fn thread(&self) -> Option<Rc<WaitingThread>> {
        self.thread.borrow().clone()
    }

    /// Returns whether a turn would do anything.
    fn makes_turns(&self, reactor: &Reactor) -> bool {
        reactor.is_started() || self.handles_events_only.get()
    }

    fn next(&self, reactor: &Reactor) -> Next {
        if !self.makes_turns(reactor) {
            return Next::Never;
        }
        if self.is_due.get() {
            return Next::Now;
        }
        match reactor.deadline() {
            None => Next::Never,
            Some(deadline) if deadline <= reactor.now() => Next::Now,
            Some(deadline) => Next::At(deadline),
        }
    }

    /// Returns whether an earlier turn did the work for which the host was woken, and the thread waits again. The thread
    /// returns by itself for delayed calls, so a deadline that has passed just now is no reason to wake the thread.
    fn is_stale_wake_up(&self, reactor: &Reactor) -> bool {
        reactor.0.is_lent() && self.makes_turns(reactor) && !self.is_due.get()
    }

    fn note_due(&self) {
        self.is_due.set(true);
        self.tell_sooner();
    }

    fn tell_sooner(&self) {
        if let Some(thread) = self.thread() {
            thread.post();
        }
        call_each(&self.sooner);
    }

    /// Makes a turn, and returns whether the next one is due at once.
    fn make_turn(&self, reactor: &Reactor, budget: Budget, events_only: bool) -> Result<bool> {
        reactor.0.check_usable()?;
        if let Some(error) = self.thread().and_then(|thread| thread.take_error()) {
            match error {
                Error::Panicked(..) => reactor.0.count_panic(error)?,
                error => return Err(error),
            }
        }
        let previous = reactor.0.replace_budget_of_host(Some(budget));
        let made = catch(|| {
            // The provider brings its events from the thread.
            if !self.was_lent.take() {
                reactor.wait(Some(Duration::ZERO))?;
            }
            reactor.dispatch();
            // The rest is due, unless `iterate` does it. After a panic of the provider the next wait may succeed.
            let is_due = events_only || reactor.prepare()? == Some(Duration::ZERO);
            // An inner turn may have lent the provider for a sleep that is too long by now.
            Ok(is_due || reactor.0.has_panicked() || self.was_lent.get())
        });
        reactor.0.replace_budget_of_host(previous);
        match made {
            Ok(outcome) => outcome,
            Err(panic) => reactor.turn_panicked(panic).map(|()| true),
        }
    }

    fn fail(&self, reactor: &Reactor, error: Error, events_only: bool) {
        let failure = if events_only { &self.pass_failure } else { &self.failure };
        failure.borrow_mut().get_or_insert(error);
        if !events_only {
            reactor.crash();
        }
    }

    /// Lends the provider to the thread, or notifies the host that the next turn is due.
    fn lend_or_notify(&self, reactor: &Reactor) {
        if !self.makes_turns(reactor) {
            return;
        }
        if self.is_due.get() {
            return self.tell_sooner();
        }
        // If the thread is back already, it has woken the host, and the next turn handles its events.
        if self.was_lent.get() {
            return;
        }
        let Some(thread) = self.thread() else { return };
        let limit = reactor.deadline().map(|deadline| deadline - reactor.now());
        // In a callback that has detached the wait itself there is nothing to lend.
        if let Ok(wait) = reactor.lend_wait() {
            self.was_lent.set(true);
            thread.wait(wait, limit);
        }
    }

    /// Notifies the host when the run has ended.
    fn check_end(&self, reactor: &Reactor) {
        if !reactor.has_ended() {
            if !self.owes_end.replace(true) {
                // The outcome of an earlier run that was not fetched.
                self.failure.take();
            }
        } else if self.owes_end.take() {
            call_each(&self.ended);
        }
    }

    /// Makes the turns that are left of a run whose host has gone.
    fn end_run(&self, reactor: &Reactor) -> Result<()> {
        if reactor.is_started() {
            // An error means that the shutdown has begun.
            let _ = reactor.stop();
            let outcome = reactor.main_loop();
            reactor.0.host_may_sleep();
            outcome?;
        }
        self.check_end(reactor);
        self.failure.take().map_or(Ok(()), Err)
    }

    fn iterate_in(&self, reactor: &Reactor, host: &dyn HostLoop, delay: Option<Duration>) -> Result<()> {
        let guest = self.guest();
        let limit = reactor.prepare()?;
        reactor.resume_panic();
        // The provider is here, with the events of the thread.
        self.was_lent.set(false);
        let timeout = shorter(limit, delay);
        let end = timeout.map(|timeout| reactor.now() + timeout);
        self.is_due.set(limit == Some(Duration::ZERO));
        self.handles_events_only.set(true);
        loop {
            let left = end.map(|end| end - reactor.now());
            if left != Some(Duration::ZERO) {
                self.lend_or_notify(reactor);
            }
            host.iterate(&guest, left);
            if !self.handles_events_only.get() || left == Some(Duration::ZERO) {
                break;
            }
        }
        if self.handles_events_only.take() {
            self.was_lent.set(false);
            let waited = reactor.wait(Some(Duration::ZERO));
            reactor.dispatch();
            reactor.0.host_may_sleep();
            // No `prepare` follows, which would see the work of this turn.
            self.work_changed();
            waited?;
        }
        self.pass_failure.take().map_or(Ok(()), Err)
    }

    fn guest(&self) -> Guest {
        Guest(self.itself.upgrade().expect("a method of this object runs"))
    }
}

/// Calls the hooks. Each of them may add another one.
fn call_each(hooks: &RefCell<Vec<Hook>>) {
    for index in 0.. {
        let Some(hook) = hooks.borrow().get(index).cloned() else { break };
        if let Err(panic) = catch(|| hook()) {
            tracing::error!(at = panic.at(), message = panic.message(), "unhandled panic in a hook of the host loop");
        }
    }
}

impl Hosted for Inner {
    fn work_changed(&self) {
        // The host has been notified at the beginning of the turn.
        if self.depth.get() == 0 || !self.is_due.get() {
            self.note_due();
        }
        if self.depth.get() == 0 {
            if let Some(reactor) = self.reactor.upgrade() {
                self.check_end(&reactor);
            }
        }
    }

    fn iterate(&self, reactor: &Reactor, delay: Option<Duration>) -> Option<Result<()>> {
        let host = self.host.borrow().clone()?;
        Some(self.iterate_in(reactor, &*host, delay))
    }

    fn may_run(&self) -> Result<bool> {
        let host = self.host.borrow().clone().ok_or(Error::Hosted)?;
        host.may_run(&self.guest())
    }

    fn run(&self, reactor: &Reactor) -> Result<()> {
        let host = self.host.borrow().clone().ok_or(Error::Hosted)?;
        // The run may have ended while it started.
        if reactor.is_started() {
            if let Err(panic) = catch(|| host.run(&self.guest())) {
                // A callback of the host has panicked, which leaves no run behind.
                reactor.crash();
                reactor.finish_run(Ok(()))?;
                panic.resume();
            }
        }
        self.end_run(reactor)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(reactor) = self.reactor.upgrade() else { return };
        // The provider comes back from the thread, unless the thread has stayed in the parent process.
        let is_back = reactor.0.check_present();
        self.thread.take();
        reactor.0.unset_hosted();
        if is_back.is_ok() {
            reactor.release_host_handle();
        }
    }
}
