//! The guard of user code: every callback runs inside the guard, under a kind and a name.
//!
//! The guard catches a panic and logs it under that name. The loop then continues. While a callback runs, another
//! thread can ask for its kind and name. Callbacks of a Deferred run inside the callback that fires the Deferred, and
//! their panics become failures of the Deferred.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ropewalk_proto::panics::{CaughtPanic, catch};
use ropewalk_proto::{Address, Key};

use super::callback_span::{callback_span, may_be_wanted};
use super::{Kernel, Reactor};
use crate::error::Error;

/// The effect of a panic in a callback. In any case the panic is logged, and the callback's connection ends.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::{Error, PanicPolicy};
///
/// let net = MemoryReactor::new();
/// net.set_panic_policy(PanicPolicy::Stop);
/// net.call_later(Duration::from_secs(1), |_| panic!("a bug"));
/// assert!(matches!(net.run(), Err(Error::Panicked(..))));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The loop continues.
    #[default]
    Log,
    /// The loop stops like after [`stop`](Reactor::stop), and `run` returns the panic as an error.
    Stop,
    /// The loop stops after the turn, as after [`crash`](Reactor::crash), and the panic continues in the caller of
    /// `run` or [`iterate`](Reactor::iterate). The reactors of [`testing`](crate::testing) begin with this policy, so
    /// that a failed assertion in a callback fails the test.
    Resume,
}

impl Reactor {
    /// Sets the effect of a panic in a callback. The default is [`PanicPolicy::Log`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::PanicPolicy;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.set_panic_policy(PanicPolicy::Log); // the default
    /// net.call_later(Duration::from_secs(1), |_| panic!("a bug, which is logged"));
    /// net.call_later(Duration::from_secs(2), |reactor| reactor.stop().unwrap());
    /// net.run()?;
    /// assert_eq!(net.seconds(), 2.0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_panic_policy(&self, policy: PanicPolicy) {
        self.0.guard.policy.set(policy);
    }

    /// Runs `callback` under the reactor's guard, and returns its result.
    ///
    /// This method is for objects that call code of their users, such as services and policies. A panic is caught and
    /// logged under `name`, and the [`PanicPolicy`] applies. While the callback runs,
    /// [`running_callback`](crate::ThreadHandle::running_callback) reports its kind and name. Each name is stored as
    /// long as the reactor exists, so use a small set of names, such as the names of types and methods.
    ///
    /// May be called from any callback.
    ///
    /// ```
    /// use ropewalk::{CallbackKind, Error, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// let sum = reactor.call_guarded(CallbackKind::Service, "Adder::add", || 40 + 2);
    /// assert_eq!(sum.unwrap(), 42);
    /// let failed = reactor.call_guarded(CallbackKind::Service, "Adder::add", || -> i32 { panic!("a bug") });
    /// assert!(matches!(failed, Err(Error::Panicked(..))));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Panicked`] when the callback panics.
    pub fn call_guarded<R>(
        &self,
        kind: CallbackKind,
        name: &'static str,
        callback: impl FnOnce() -> R,
    ) -> Result<R, Error> {
        self.0.guard(kind, name, callback)
    }
}

/// The kind of a callback, by the object that it belongs to.
///
/// ```
/// use ropewalk::{CallbackKind, Reactor};
///
/// let reactor = Reactor::new()?;
/// let handle = reactor.thread_handle();
/// reactor.call_when_running(move |reactor| {
///     let callback = handle.running_callback().expect("this one");
///     assert_eq!(callback.kind, CallbackKind::Trigger);
///     reactor.stop().unwrap();
/// });
/// reactor.run()?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum CallbackKind {
    /// A method of a [`Protocol`](crate::Protocol).
    Protocol = 1,
    /// A method of a [`Factory`](crate::Factory) or [`ClientFactory`](crate::ClientFactory).
    Factory,
    /// A method of a producer.
    Producer,
    /// A call made by [`call_later`](Reactor::call_later).
    DelayedCall,
    /// A call made by [`call_from_thread`](Reactor::call_from_thread).
    ThreadCall,
    /// A future on the loop.
    Task,
    /// A trigger of a system event.
    Trigger,
    /// A method of a watched [`Descriptor`](crate::Descriptor).
    Descriptor,
    /// The action of [`on_signal`](Reactor::on_signal).
    Signal,
    /// The action of [`watch_files`](Reactor::watch_files).
    FileWatcher,
    /// A method of a service.
    Service,
    /// A method or destructor of an [`Observer`](crate::transports::Observer), or of an object that a connection keeps.
    Observer,
}

impl CallbackKind {
    const ALL: [CallbackKind; 12] = [
        CallbackKind::Protocol,
        CallbackKind::Factory,
        CallbackKind::Producer,
        CallbackKind::DelayedCall,
        CallbackKind::ThreadCall,
        CallbackKind::Task,
        CallbackKind::Trigger,
        CallbackKind::Descriptor,
        CallbackKind::Signal,
        CallbackKind::FileWatcher,
        CallbackKind::Service,
        CallbackKind::Observer,
    ];

    const fn name(self) -> &'static str {
        match self {
            CallbackKind::Protocol => "protocol",
            CallbackKind::Factory => "factory",
            CallbackKind::Producer => "producer",
            CallbackKind::DelayedCall => "delayed call",
            CallbackKind::ThreadCall => "call from a thread",
            CallbackKind::Task => "task",
            CallbackKind::Trigger => "trigger",
            CallbackKind::Descriptor => "descriptor",
            CallbackKind::Signal => "signal",
            CallbackKind::FileWatcher => "file watcher",
            CallbackKind::Service => "service",
            CallbackKind::Observer => "observer",
        }
    }
}

impl std::fmt::Display for CallbackKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind and the name of a callback, for logs and monitors.
///
/// ```
/// use ropewalk::Reactor;
///
/// let reactor = Reactor::new()?;
/// assert_eq!(reactor.thread_handle().running_callback(), None); // the loop does not run
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Callback {
    /// The kind of object that the callback belongs to.
    pub kind: CallbackKind,
    /// The name under which the callback's object logs, or the type of the callback.
    pub name: &'static str,
}

/// A callback in one word, which another thread can read atomically. The kind is in the high bits, and the number of
/// the name in the low bits. Zero means that no callback runs.
#[derive(Clone, Copy)]
pub(crate) struct Label(u64);

impl Label {
    fn new(kind: CallbackKind, name: u32) -> Label {
        Label(u64::from(kind as u8) << 32 | u64::from(name))
    }

    /// Returns the kind of callback, or `None` if no callback runs.
    fn kind(self) -> Option<CallbackKind> {
        CallbackKind::ALL.into_iter().find(|kind| u64::from(*kind as u8) == self.0 >> 32)
    }
}

/// The label of the callback that runs. Any thread may read it.
pub(crate) struct Running {
    label: AtomicU64,
    names: Mutex<Vec<&'static str>>,
}

impl Running {
    fn name(&self, label: Label) -> &'static str {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get((label.0 & u64::from(u32::MAX)) as usize).copied().unwrap_or_default()
    }

    /// Returns the callback that runs now.
    pub(crate) fn callback(&self) -> Option<Callback> {
        let label = Label(self.label.load(Ordering::Relaxed));
        Some(Callback { kind: label.kind()?, name: self.name(label) })
    }
}

/// The number of names that are cached by their address.
const CACHED: usize = 64;

/// A name's address, length and number.
type Cached = Cell<(*const u8, usize, u32)>;

/// The name and the key of a provider call that panicked and that has no guard of its own.
pub(super) type Blamed = (&'static str, Key);

/// The guard's state for one reactor.
pub(super) struct Guard {
    policy: Cell<PanicPolicy>,
    /// The panic that stops the loop.
    panicked: RefCell<Option<Error>>,
    /// The call of the provider in which the present panic began.
    pub(super) blamed: Cell<Option<Blamed>>,
    /// A panic in the provider, for which the policy has not been applied yet. Each call of the provider looks here.
    pub(super) owed: Cell<Option<Box<(Error, CaughtPanic)>>>,
    /// The panic that continues in the caller of the loop after this turn.
    resumed: Cell<Option<CaughtPanic>>,
    /// The number of panics outside of callbacks since the last wait that succeeded.
    pub(super) repeated: Cell<u32>,
    running: Arc<Running>,
    numbers: RefCell<HashMap<&'static str, u32>>,
    cache: Box<[Cached; CACHED]>,
}

impl Guard {
    pub(super) fn new() -> Guard {
        Guard {
            policy: Cell::default(),
            panicked: RefCell::default(),
            blamed: Cell::default(),
            owed: Cell::default(),
            resumed: Cell::default(),
            repeated: Cell::default(),
            running: Arc::new(Running { label: AtomicU64::new(0), names: Mutex::default() }),
            numbers: RefCell::default(),
            cache: Box::new(std::array::from_fn(|_| Cell::new((std::ptr::null(), 0, 0)))),
        }
    }

    /// Returns whether a callback runs.
    pub(super) fn is_in_callback(&self) -> bool {
        self.running.label.load(Ordering::Relaxed) != 0
    }

    /// Returns the number of a name. Equal names have equal numbers.
    fn number(&self, name: &'static str) -> u32 {
        let (address, length) = (name.as_ptr(), name.len());
        let cached = &self.cache[(address as usize >> 3) % CACHED];
        let (at, len, number) = cached.get();
        if (at, len) == (address, length) {
            return number;
        }
        let number = self.intern(name);
        cached.set((address, length, number));
        number
    }

    #[cold]
    fn intern(&self, name: &'static str) -> u32 {
        let mut names = self.running.names.lock().unwrap_or_else(PoisonError::into_inner);
        *self.numbers.borrow_mut().entry(name).or_insert_with(|| {
            names.push(name);
            u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl Kernel {
    /// Returns the label of a callback, for callbacks that are made often.
    pub(crate) fn label(&self, kind: CallbackKind, name: &'static str) -> Label {
        Label::new(kind, self.guard.number(name))
    }

    /// Runs a callback. A panic in the callback is logged under its kind and `name`, and returned as an error.
    pub(crate) fn guard<R>(
        &self,
        kind: CallbackKind,
        name: &'static str,
        callback: impl FnOnce() -> R,
    ) -> Result<R, Error> {
        // Methods that are called outside of a turn may call back as well.
        let _entered = self.enter();
        self.guard_labelled(self.label(kind, name), || None, callback)
    }

    /// Runs a callback whose label is known, as [`guard`](Kernel::guard) does. `peer` returns the peer of its
    /// connection. The caller has entered the reactor.
    #[inline]
    pub(crate) fn guard_labelled<'a, R>(
        &self,
        label: Label,
        peer: impl FnOnce() -> Option<&'a Address>,
        callback: impl FnOnce() -> R,
    ) -> Result<R, Error> {
        if may_be_wanted() {
            return self.guard_in_span(label, peer(), callback);
        }
        self.catch_labelled(label, callback)
    }

    /// Runs a callback in its span, so that the events which it logs have a context.
    #[cold]
    fn guard_in_span<R>(&self, label: Label, peer: Option<&Address>, callback: impl FnOnce() -> R) -> Result<R, Error> {
        let Some(kind) = label.kind() else { return self.catch_labelled(label, callback) };
        let span = callback_span(kind.name(), || self.guard.running.name(label), peer);
        span.in_scope(|| self.catch_labelled(label, callback))
    }

    #[inline(always)]
    fn catch_labelled<R>(&self, label: Label, callback: impl FnOnce() -> R) -> Result<R, Error> {
        let running = &self.guard.running.label;
        let outer = running.load(Ordering::Relaxed);
        running.store(label.0, Ordering::Relaxed);
        // Unwind safety: the reactor holds no borrow meanwhile, so only the callback's own state can be left half
        // changed.
        let outcome = catch(callback);
        running.store(outer, Ordering::Relaxed);
        outcome.map_err(|panic| self.panicked(label, panic))
    }

    /// Returns the label of the running callback, for other threads.
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.guard.running
    }

    /// Takes the panic that stopped the loop, if one did.
    pub(crate) fn take_panic(&self) -> Option<Error> {
        self.guard.panicked.take()
    }

    /// Returns whether a panic stops the loop after this turn.
    #[cold]
    pub(super) fn ends_by_panic(&self) -> bool {
        let resumed = self.guard.resumed.take();
        let ends = resumed.is_some() || self.guard.panicked.borrow().is_some();
        self.guard.resumed.set(resumed);
        ends
    }
}

impl Kernel {
    /// Logs a panic in the callback `label`, applies the policy, and returns the panic as an error.
    #[cold]
    pub(crate) fn panicked(&self, label: Label, panic: CaughtPanic) -> Error {
        if let Some((call, _)) = self.guard.blamed.take() {
            let error = self.provider_panicked(call, panic);
            self.apply_owed_policy();
            return error;
        }
        let name = self.guard.running.name(label);
        tracing::error!(callback = name, at = panic.at(), message = panic.message(), "unhandled panic in a callback");
        let error = Error::Panicked(name.into(), panic.message().into());
        self.apply_policy(&error, panic);
        error
    }

    /// Applies the policy to a panic in the provider, and returns the panic as an error. The provider's slot must be
    /// free.
    #[inline]
    pub(super) fn apply_owed_policy(&self) -> Option<Error> {
        let (error, panic) = *self.guard.owed.take()?;
        self.apply_policy(&error, panic);
        Some(error)
    }

    #[cold]
    fn apply_policy(&self, error: &Error, panic: CaughtPanic) {
        match self.guard.policy.get() {
            PanicPolicy::Log => {}
            PanicPolicy::Stop => {
                self.guard.panicked.borrow_mut().get_or_insert(error.clone());
                self.features.each(|hooks| hooks.stop_requested(self));
            }
            PanicPolicy::Resume => {
                let first = self.guard.resumed.take().unwrap_or(panic);
                self.guard.resumed.set(Some(first));
                self.features.each(|hooks| hooks.crash_requested(self));
            }
        }
    }
}

impl Reactor {
    /// Continues a panic of the last turn, if the policy is [`PanicPolicy::Resume`]. A host loop calls this after each
    /// turn.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::PanicPolicy;
    /// use ropewalk::proto::panics::catch;
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// clock.set_panic_policy(PanicPolicy::Resume); // the default of a test's reactor
    /// clock.call_later(Duration::ZERO, |_| panic!("a bug"));
    /// clock.prepare()?; // the call runs
    /// let panic = catch(|| clock.resume_panic()).unwrap_err();
    /// assert_eq!(panic.message(), "a bug");
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Panics
    /// With the panic of the turn. If the thread is already panicking, the turn's panic is dropped instead.
    pub fn resume_panic(&self) {
        if let Some(panic) = self.0.guard.resumed.take() {
            // A second panic would abort the process.
            if !std::thread::panicking() {
                panic.resume();
            }
        }
    }
}

/// Returns the name under which an object logs.
pub(crate) fn name_of(name: impl FnOnce() -> &'static str) -> &'static str {
    catch(name).unwrap_or("(buggy log_prefix)")
}
