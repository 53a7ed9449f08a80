//! The reactor: what every interface shares.
//!
//! Nothing in [`Kernel`] stays borrowed while user code runs: a callback may use any method of any object.

mod call;
mod choose;
mod current;
mod dispatch;
mod factories;
mod guard;
mod host;
mod pending_events;
mod scratch;
mod sources;
mod turn;

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ropewalk_proto::{Key, Moment, SecondaryMap, TimerQueue};
use ropewalk_sys::{Capabilities, Clock, EventProvider, Events, Received};

pub(crate) use call::{Call, SendCall};
pub use choose::{ReactorInfo, reactors};
pub(crate) use current::enter;
pub use guard::PanicPolicy;
pub(crate) use guard::{Panic, catch, guard, name_of};
pub use host::DetachedWait;
pub(crate) use sources::Source;

use crate::endpoints::Endpoints;
use crate::error::{Error, Result};
use crate::interfaces::core::{RunState, Triggers};
use crate::interfaces::fd_set::Watches;
use crate::interfaces::resolver::{HostnameResolver, ThreadedResolver};
use crate::interfaces::signals::Signals;
use crate::interfaces::threads::{ThreadCalls, ThreadPool, ThreadResults};
use crate::task::{Cooperator, Executor};
use crate::transports::{Lingering, SpareOutboxes, Stream};
use pending_events::PendingEvents;
use scratch::Scratch;

/// A single-threaded event loop over an event provider. A cheap handle: clones are the same reactor.
///
/// There may be many in a process, one a thread, and one that stopped can run again. Only a
/// [`ThreadHandle`](crate::ThreadHandle) crosses threads. All methods may be called from any callback, where
/// [`run`](Reactor::run) is an error and [`iterate`](Reactor::iterate) turns the loop within that callback. They are grouped
/// by interface under [`interfaces`](crate::interfaces).
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

/// A reactor's shared state.
pub(crate) struct Kernel {
    /// Absent while a [`DetachedWait`] owns it.
    provider: RefCell<Option<Box<dyn EventProvider>>>,
    pub(crate) name: &'static str,
    capabilities: Capabilities,
    clock: Clock,
    detached: host::Detached,

    pub(crate) sources: RefCell<SecondaryMap<Source>>,
    pub(crate) timers: RefCell<TimerQueue<Box<dyn Call>>>,
    pub(crate) calls: Arc<ThreadCalls>,
    pub(crate) pool: ThreadPool,
    pub(crate) thread_results: ThreadResults,
    pub(crate) executor: Executor,
    /// Made when it is first asked for.
    pub(crate) cooperator: OnceCell<Cooperator>,
    pub(crate) watches: RefCell<Watches>,
    pub(crate) resolver: RefCell<Rc<dyn HostnameResolver>>,
    pub(crate) signals: Signals,
    pub(crate) endpoints: OnceCell<Endpoints>,

    pub(crate) state: Cell<RunState>,
    pub(crate) triggers: RefCell<Triggers>,
    factories: factories::Factories,
    /// How many ports wait for descriptors.
    starved_ports: Cell<usize>,

    /// When the present turn began to run due work.
    turn_now: Cell<Moment>,
    /// Where a wait puts its events; empty otherwise.
    collected: Cell<Events>,
    /// Events that were not dispatched yet.
    events: RefCell<PendingEvents>,
    scratch: Cell<Scratch>,
    /// Connections to settle before the loop waits.
    unsettled: RefCell<Vec<Rc<Stream>>>,
    pub(crate) spare_outboxes: SpareOutboxes,
    pub(crate) lingering: Lingering,
    /// Calls from threads that are made in this turn.
    batch: RefCell<VecDeque<Box<dyn SendCall>>>,

    /// The process that the provider's descriptors belong to, as a count of forks.
    forks: Cell<u64>,
    panic_policy: Cell<PanicPolicy>,
    panicked: RefCell<Option<Error>>,
    deadline_hook: host::DeadlineHook,
}

impl Reactor {
    /// A reactor on a provider of your own making.
    ///
    /// ```
    /// use ropewalk::Reactor;
    /// use ropewalk::testing::{Faults, Simulated};
    ///
    /// let reactor = Reactor::with_provider(Box::new(Simulated::new(7, Faults::none())));
    /// assert_eq!(reactor.name(), "simulated");
    /// ```
    pub fn with_provider(provider: Box<dyn EventProvider>) -> Reactor {
        let waker = provider.waker();
        let calls = Arc::new(ThreadCalls::new(waker.clone()));
        let now = provider.now();
        Reactor(Rc::new(Kernel {
            name: provider.name(),
            capabilities: provider.capabilities(),
            clock: provider.clock(),
            provider: RefCell::new(Some(provider)),
            detached: host::Detached::default(),
            sources: RefCell::default(),
            timers: RefCell::new(TimerQueue::new()),
            pool: ThreadPool::not_started(),
            thread_results: ThreadResults::default(),
            calls,
            executor: Executor::new(waker.clone()),
            cooperator: OnceCell::new(),
            watches: RefCell::default(),
            resolver: RefCell::new(Rc::new(ThreadedResolver)),
            signals: Signals::new(waker),
            endpoints: OnceCell::new(),
            state: Cell::default(),
            triggers: RefCell::default(),
            factories: factories::Factories::default(),
            starved_ports: Cell::default(),
            turn_now: Cell::new(now),
            collected: Cell::default(),
            events: RefCell::default(),
            scratch: Cell::new(Scratch::new()),
            unsettled: RefCell::default(),
            spare_outboxes: SpareOutboxes::default(),
            lingering: Lingering::default(),
            batch: RefCell::default(),
            forks: Cell::new(ropewalk_sys::forks()),
            panic_policy: Cell::new(PanicPolicy::Log),
            panicked: RefCell::default(),
            deadline_hook: host::DeadlineHook::default(),
        }))
    }

    /// The event provider's name, such as `epoll`.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether this reactor offers `interface`: "some of the interfaces may not be implemented".
    ///
    /// ```
    /// use ropewalk::Interface;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// assert!(net.provides(Interface::Tcp));
    /// assert!(!net.provides(Interface::Signals)); // those belong to a real system
    /// ```
    pub fn provides(&self, interface: Interface) -> bool {
        self.0.capabilities.contains(interface.capability())
    }

    /// How many sources the reactor holds: connections, attempts, ports and watched descriptors. Connections that only
    /// [linger](Reactor::lingering_count) are none.
    ///
    /// ```
    /// use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
    ///
    /// let net = MemoryReactor::new();
    /// net.listen_tcp("10.0.0.1:80", AccumulatingProtocol::new().factory())?;
    /// let _client = net.connect_stream("10.0.0.1:80");
    /// net.settle();
    /// assert_eq!(net.source_count(), 2); // the port and a connection
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn source_count(&self) -> usize {
        self.0.sources.borrow().len()
    }

    pub(crate) fn require(&self, interface: Interface) -> Result<()> {
        if self.provides(interface) {
            return Ok(());
        }
        Err(Error::Unsupported { interface: interface.name(), provider: self.0.name })
    }

    pub(crate) fn downgrade(&self) -> Weak<Kernel> {
        Rc::downgrade(&self.0)
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").field("name", &self.name()).field("running", &self.running()).finish_non_exhaustive()
    }
}

/// An interface that some event providers offer and others do not. Core, time and threads are offered by all.
///
/// ```
/// use ropewalk::{Error, Interface};
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// assert!(!net.provides(Interface::Signals));
/// assert!(matches!(net.on_signal(1, |_| ()), Err(Error::Unsupported { interface: "signals", .. })));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interface {
    /// TCP ports and connections: IReactorTCP.
    Tcp,
    /// UNIX ports and connections: IReactorUNIX.
    Unix,
    /// Descriptors of the user: IReactorFDSet.
    FdSet,
    /// Sockets opened by others: IReactorSocket.
    Socket,
    /// SIGINT and SIGTERM stop the loop.
    Signals,
}

impl Interface {
    const fn capability(self) -> Capabilities {
        match self {
            Interface::Tcp => Capabilities::TCP,
            Interface::Unix => Capabilities::UNIX,
            Interface::FdSet => Capabilities::FD_SET,
            Interface::Socket => Capabilities::SOCKET,
            Interface::Signals => Capabilities::SIGNALS,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Interface::Tcp => "tcp",
            Interface::Unix => "unix",
            Interface::FdSet => "fd_set",
            Interface::Socket => "socket",
            Interface::Signals => "signals",
        }
    }
}

impl Kernel {
    /// Asks the event provider, unless it is away waiting in another thread.
    #[inline]
    pub(crate) fn provider<R>(&self, ask: impl FnOnce(&mut (dyn EventProvider + 'static)) -> R) -> Result<R> {
        match self.provider_slot().as_deref_mut() {
            Some(provider) => Ok(ask(provider)),
            None => Err(Error::Waiting),
        }
    }

    /// Takes bytes that have arrived. None have while the provider is away.
    #[inline(always)]
    pub(crate) fn receive(&self, key: Key, scratch: &mut [u8]) -> io::Result<Received> {
        // Not through `provider`: each message passes here, and the answer would be copied.
        match self.provider_slot().as_deref_mut() {
            Some(provider) => provider.receive(key, scratch),
            None => Ok(Received::Empty),
        }
    }

    /// Where the event provider stands, unless it is away.
    #[inline(always)]
    pub(crate) fn provider_slot(&self) -> RefMut<'_, Option<Box<dyn EventProvider>>> {
        let mut slot = self.provider.borrow_mut();
        if slot.is_none() {
            self.fetch_back(&mut slot);
        }
        slot
    }

    #[cold]
    fn fetch_back(&self, slot: &mut Option<Box<dyn EventProvider>>) {
        *slot = self.detached.take_back();
        if slot.is_some() {
            self.events.borrow_mut().prepend(&mut self.detached.take_events());
        }
    }

    /// Tells the event provider: now, or when it is back from waiting in another thread.
    pub(crate) fn tell_provider(&self, tell: impl FnOnce(&mut dyn EventProvider) + 'static) {
        let mut tell = Some(tell);
        let told = self.provider(|provider| tell.take().map(|tell| tell(provider)));
        if let (Err(_away), Some(tell)) = (told, tell) {
            self.detached.postpone(Box::new(tell));
        }
    }

    /// The provider's clock.
    pub(crate) fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Whether this process is a child of the one that the provider's descriptors belong to.
    pub(crate) fn is_forked(&self) -> bool {
        self.forks.get() != ropewalk_sys::forks()
    }

    /// Makes the provider this process's own, if it was inherited by a fork.
    pub(crate) fn reopen_if_forked(&self) -> Result<()> {
        if self.is_forked() {
            let reopened = self.provider(ropewalk_sys::EventProvider::reopen_after_fork)?;
            reopened.map_err(Error::io("cannot reopen the event provider after a fork"))?;
            self.forks.set(ropewalk_sys::forks());
        }
        Ok(())
    }

    /// When the present turn began to run what was due.
    pub(crate) fn turn_now(&self) -> Moment {
        self.turn_now.get()
    }

    /// The panic that stopped the loop, if one did.
    pub(crate) fn take_panic(&self) -> Option<Error> {
        self.panicked.take()
    }

    pub(crate) fn starved_ports_changed(&self, by: isize) {
        self.starved_ports.set(self.starved_ports.get().saturating_add_signed(by));
    }

    /// A descriptor was closed: ports that ran out of them accept again.
    pub(crate) fn descriptor_closed(&self) {
        if self.starved_ports.get() == 0 {
            return;
        }
        let sources: Vec<_> = self.sources.borrow().iter().map(|(_, source)| source.clone()).collect();
        for source in sources {
            if let Source::Port(port) = source {
                port.feed(self);
            }
        }
    }

    /// Has `stream` settled before the loop waits.
    pub(crate) fn settle_later(&self, stream: Rc<Stream>) {
        self.unsettled.borrow_mut().push(stream);
        self.work_changed();
    }
}

impl Drop for Kernel {
    /// Whoever still holds handles of a dropped reactor must not keep its protocols alive through cycles.
    fn drop(&mut self) {
        self.calls.close();
        self.executor.clear();
        let sources = std::mem::take(self.sources.get_mut());
        for (_, source) in sources.iter() {
            source.forget();
        }
    }
}
