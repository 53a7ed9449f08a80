//! The loop itself: turns, events and their receivers, time, calls from threads, and the guard around user code.
//!
//! The kernel knows no feature and imports nothing from the folders beside it. A feature keeps its own state
//! ([`Feature`]) and takes part in the loop by [`Source`]s and [`Hooks`].
//!
//! Nothing in [`Kernel`] stays borrowed while user code runs: a callback may use any method of any object.

mod allowance;
mod attention;
mod budget;
mod call;
mod callback_span;
mod catching_up;
mod choose;
mod containment;
mod current;
mod dispatch;
mod feature;
mod guard;
mod host;
mod inbox;
mod panic_log;
mod pending_events;
mod provider_calls;
mod provider_slot;
mod scratch;
mod source;
mod spare_outboxes;
pub(crate) mod sync;
mod thread_calls;
mod turn;
mod weak;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ropewalk_proto::panics::{CaughtPanic, catch, locate_panics};
use ropewalk_proto::{Key, Moment, TimerQueue};
use ropewalk_sys::{Capabilities, Clock, EventProvider, Names};

pub(crate) use attention::Attention;
pub use budget::Budget;
pub(crate) use call::{Call, Internal, SendCall};
pub use choose::{ReactorInfo, reactors};
pub use current::EnterGuard;
pub(crate) use feature::{Feature, Hooks, Order};
pub use guard::{Callback, CallbackKind, PanicPolicy};
pub(crate) use guard::{Label, Running, name_of};
pub use host::DetachedWait;
pub(crate) use host::Hosted;
pub(crate) use panic_log::drop_logged;
pub(crate) use source::Source;
pub(crate) use turn::shorter;
pub use weak::WeakReactor;

use budget::Allowance;
use feature::Features;
use guard::Guard;
use inbox::Inbox;
use scratch::Scratch;
use spare_outboxes::SpareOutboxes;

/// The queue of calls from other threads.
pub(crate) type ThreadCalls = thread_calls::ThreadCalls<dyn SendCall>;

/// A single-threaded event loop over an event provider. Cloning is cheap, and all clones refer to the same reactor.
///
/// A process may have many reactors, for example one on each thread. A reactor that has stopped can run again. Other
/// threads call a reactor through its [`ThreadHandle`](crate::ThreadHandle). A [`DetachedWait`] lets another thread
/// wait for its events.
///
/// All methods may be called from any callback. While the reactor runs, [`run`](Reactor::run) is an error, and
/// [`iterate`](Reactor::iterate) makes a turn within the callback. The methods are grouped by interface under
/// [`interfaces`](crate::interfaces).
///
/// ```
/// use ropewalk::prelude::*;
/// use std::time::Duration;
///
/// let reactor = Reactor::new()?;
/// reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().unwrap());
/// reactor.run()?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct Reactor(pub(crate) Rc<Kernel>);

/// The shared state of a reactor.
pub(crate) struct Kernel {
    itself: Weak<Kernel>,
    /// `None` while a [`DetachedWait`] owns the provider.
    provider: RefCell<Option<Box<dyn EventProvider>>>,
    name: &'static str,
    capabilities: Capabilities,
    clock: Clock,
    /// `None` if the operating system looks names up.
    names: Option<Names>,
    detached: host::Detached,
    /// Whether a host loop watches the provider's handle.
    is_watched: Cell<bool>,
    hosted: RefCell<Option<Weak<dyn Hosted>>>,
    /// The value of `ropewalk_sys::forks` when the provider's descriptors were opened.
    forks: Cell<u64>,

    inbox: RefCell<Inbox<dyn Source>>,
    /// Sources to settle before the loop waits.
    unsettled: RefCell<VecDeque<Rc<dyn Source>>>,
    /// Sources to notify when a descriptor has been closed.
    starved: RefCell<BTreeSet<Key>>,
    /// `None` while events are dispatched.
    scratch: Cell<Option<Box<Scratch>>>,
    pub(crate) spare_outboxes: SpareOutboxes,

    pub(crate) timers: RefCell<TimerQueue<Box<dyn Call>>>,
    /// The time at which the present turn began to run due calls.
    turn_now: Cell<Moment>,
    /// A time shortly before the next wait begins.
    waited: Cell<Moment>,
    /// A time shortly before the provider was last asked for events.
    asked: Cell<Moment>,
    /// Events that arrived before this time have been handled.
    looked: Cell<Moment>,
    allowance: Allowance,
    calls: Arc<ThreadCalls>,
    /// The calls from other threads that this turn makes.
    batch: RefCell<VecDeque<Box<dyn SendCall>>>,

    features: Features,
    attention: Arc<Attention>,
    /// Whether the loop must make another turn without sleeping.
    turns_again: Cell<bool>,
    guard: Guard,
    deadline_hook: host::DeadlineHook,
}

impl Reactor {
    /// Creates a reactor on a custom provider.
    ///
    /// ```
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::{Faults, Simulated};
    ///
    /// let reactor = Reactor::with_provider(Box::new(Simulated::new(7, Faults::none())));
    /// assert_eq!(reactor.name(), "simulated");
    /// ```
    pub fn with_provider(mut provider: Box<dyn EventProvider>) -> Reactor {
        locate_panics();
        let calls = Arc::new(ThreadCalls::new(provider.waker()));
        let attention = Arc::new(Attention::new(provider.waker()));
        let clock = provider.clock();
        Reactor(Rc::new_cyclic(|itself| Kernel {
            itself: itself.clone(),
            name: provider.name(),
            capabilities: Capabilities::of(&mut *provider),
            turn_now: Cell::new(clock()),
            waited: Cell::default(),
            asked: Cell::default(),
            looked: Cell::default(),
            allowance: Allowance::default(),
            clock,
            names: provider.names(),
            provider: RefCell::new(Some(provider)),
            detached: host::Detached::default(),
            is_watched: Cell::default(),
            hosted: RefCell::default(),
            forks: Cell::new(ropewalk_sys::forks()),
            inbox: RefCell::default(),
            unsettled: RefCell::default(),
            starved: RefCell::default(),
            scratch: Cell::new(Some(Scratch::new())),
            spare_outboxes: SpareOutboxes::default(),
            timers: RefCell::new(TimerQueue::new()),
            calls,
            batch: RefCell::default(),
            features: Features::default(),
            attention,
            turns_again: Cell::default(),
            guard: Guard::new(),
            deadline_hook: host::DeadlineHook::default(),
        }))
    }

    /// Returns the event provider's name, such as `epoll`.
    pub fn name(&self) -> &'static str {
        self.0.name
    }
}

impl PartialEq for Reactor {
    /// Returns whether both are handles of the same reactor.
    fn eq(&self, other: &Reactor) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Reactor {}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Returns the interfaces that the provider offers.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Returns the queue of calls from other threads.
    pub(crate) fn thread_calls(&self) -> &Arc<ThreadCalls> {
        &self.calls
    }

    /// Returns the object by which any thread may request a call of the features.
    pub(crate) fn attention(&self) -> &Arc<Attention> {
        &self.attention
    }

    /// Makes the next turn follow without a sleep, because a run has ended in this turn.
    pub(crate) fn turn_again(&self) {
        self.turns_again.set(true);
    }

    /// Returns the time by the provider's clock.
    pub(crate) fn now(&self) -> Moment {
        catch(|| (self.clock)()).unwrap_or_else(|panic| self.clock_panicked(panic))
    }

    /// Logs a panic in the provider's clock. Returns the time of the present turn instead.
    #[cold]
    fn clock_panicked(&self, panic: CaughtPanic) -> Moment {
        self.provider_panicked("clock", panic);
        self.turn_now.get()
    }

    /// Returns the time at which the present turn began to run due calls.
    pub(crate) fn turn_now(&self) -> Moment {
        self.turn_now.get()
    }
}

impl Drop for Kernel {
    /// Breaks cycles, so that handles which outlive the reactor do not keep its protocols alive.
    fn drop(&mut self) {
        self.end_lent_wait();
        for call in self.calls.close().into_iter().chain(self.batch.take()) {
            drop_logged(call.name(), call);
        }
        for call in self.timers.take().into_values() {
            drop_logged(call.name(), call);
        }
        self.features.each(|hooks| hooks.forget());
        let sources = std::mem::take(&mut self.inbox.borrow_mut().sources);
        for source in sources.into_values().chain(self.unsettled.take()) {
            source.forget();
            drop_logged("a source", source);
        }
        for state in self.features.forget() {
            drop_logged("an extension", state);
        }
        drop_logged("the deadline hook", std::mem::take(&mut self.deadline_hook));
        drop_logged(self.name, self.provider.take());
    }
}
