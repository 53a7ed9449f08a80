//! MultiService: services as one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Deferred, Failure, FirstError, gather_results};

use super::Service;
use super::handle::{ServiceHandle, Stage};
use super::stopping::{self, Stopping, UnderWay};
use crate::error::Result;
use crate::kernel::{Kernel, Reactor};

/// A service that consists of others: IServiceCollection. A cheap handle: clones are the same one.
///
/// Starting calls each service in the order in which they were added, without waiting for one before the next, and is
/// done when all have started; the first failure is its own, and then those that did start run on until they are
/// stopped. Stopping goes in reverse order, and is done when all have stopped, whether well or not: failures to stop are
/// logged. A second stop while the first is under way waits for it.
///
/// ```
/// use ropewalk::application::{MultiService, Service, ServiceHandle, TimerService};
/// use ropewalk::testing::Clock;
/// use std::time::Duration;
///
/// let clock = Clock::new();
/// let services = MultiService::new();
/// let tick = services.add(TimerService::new(Duration::from_secs(1), |_| println!("tick")));
/// tick.set_name("tick")?;
/// let all = ServiceHandle::new(services.clone());
/// all.start(&clock);
/// assert!(services.get_service_named("tick").unwrap().running());
/// all.stop(&clock);
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct MultiService(Rc<Siblings>);

#[derive(Default)]
struct Siblings {
    children: RefCell<Vec<ServiceHandle>>,
    stage: Cell<Stage>,
    /// The reactor that the services were started on.
    reactor: RefCell<Weak<Kernel>>,
    stop_limit: Cell<Option<Duration>>,
    stopping: UnderWay,
}

#[derive(Clone)]
pub(super) struct WeakMultiService(Weak<Siblings>);

impl WeakMultiService {
    pub(super) fn upgrade(&self) -> Option<MultiService> {
        self.0.upgrade().map(MultiService)
    }
}

impl MultiService {
    /// No services yet.
    pub fn new() -> MultiService {
        MultiService::default()
    }

    /// Waits no longer than this for services to stop: those that have not are named in the log, their Deferreds
    /// cancelled, and stopping is done. Without a limit, at first, it waits as long as they take.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::application::{MultiService, Service, ServiceHandle};
    /// use ropewalk::testing::Clock;
    /// use ropewalk::{Deferred, Reactor};
    ///
    /// struct NeverStops;
    ///
    /// impl Service for NeverStops {
    ///     fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
    ///         let (stopped, resolver) = Deferred::new();
    ///         std::mem::forget(resolver);
    ///         stopped
    ///     }
    /// }
    ///
    /// let clock = Clock::new();
    /// let services = MultiService::new().stop_within(Duration::from_secs(30));
    /// services.add_named("mule", NeverStops)?;
    /// let all = ServiceHandle::new(services);
    /// all.start(&clock);
    /// let stopped = all.stop(&clock);
    /// clock.advance(Duration::from_secs(30)); // the log names the mule
    /// assert!(stopped.is_done());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn stop_within(self, limit: Duration) -> MultiService {
        self.0.stop_limit.set(Some(limit));
        self
    }

    /// Adds a service, and starts it if this one is running: then a failure to start is logged.
    pub fn add(&self, service: impl Service + 'static) -> ServiceHandle {
        let handle = ServiceHandle::new(service);
        // A handle that is new has no parent and no name.
        let _ = handle.set_parent(self);
        handle
    }

    /// As [`add`](MultiService::add), with a name.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::Error;
    /// use ropewalk::application::{MultiService, TimerService};
    ///
    /// let services = MultiService::new();
    /// let chimes = || TimerService::new(Duration::from_secs(900), |_| println!("ding"));
    /// services.add_named("chimes", chimes())?;
    /// assert!(services.get_service_named("chimes").is_some());
    /// assert!(matches!(services.add_named("chimes", chimes()), Err(Error::ServiceNameTaken(_))));
    /// assert_eq!(services.services().len(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ServiceNameTaken`](crate::Error::ServiceNameTaken).
    pub fn add_named(&self, name: &str, service: impl Service + 'static) -> Result<ServiceHandle> {
        let handle = ServiceHandle::new(service);
        handle.set_name(name)?;
        handle.set_parent(self)?;
        Ok(handle)
    }

    /// The service with this name, if there is one; it is not looked for in services of services.
    pub fn get_service_named(&self, name: &str) -> Option<ServiceHandle> {
        self.services().into_iter().find(|child| child.name().as_deref() == Some(name))
    }

    /// The services, in their order.
    pub fn services(&self) -> Vec<ServiceHandle> {
        self.0.children.borrow().clone()
    }

    pub(super) fn downgrade(&self) -> WeakMultiService {
        WeakMultiService(Rc::downgrade(&self.0))
    }

    /// Takes in a service that names this one as its parent.
    pub(super) fn adopt(&self, child: &ServiceHandle) {
        self.0.children.borrow_mut().push(child.clone());
        let Some(reactor) = self.reactor() else { return };
        let mut started = child.privileged_start(&reactor);
        if self.0.stage.get() == Stage::Running {
            let child = child.clone();
            started = started.and_then(move |()| child.start(&reactor));
        }
        let child = child.clone();
        started.add_errback(move |failure| {
            tracing::error!(service = &*child.label(), failure = format!("{failure:#}"), "cannot start");
        });
    }

    /// Lets a service go. Returns the reactor on which it may have to be stopped.
    pub(super) fn release(&self, child: &ServiceHandle) -> Option<Reactor> {
        self.0.children.borrow_mut().retain(|other| !other.is(child));
        self.reactor()
    }

    /// The reactor, from the first start to the stop.
    fn reactor(&self) -> Option<Reactor> {
        let started = self.0.stage.get() != Stage::Idle;
        started.then(|| self.0.reactor.borrow().upgrade().map(Reactor)).flatten()
    }

    fn advance(
        &self,
        reactor: &Reactor,
        stage: Stage,
        step: fn(&ServiceHandle, &Reactor) -> Deferred<()>,
    ) -> Deferred<()> {
        // First: a child that is added by another one's start is then started by `adopt`.
        self.0.stage.set(stage);
        *self.0.reactor.borrow_mut() = reactor.downgrade();
        let mut started = Vec::new();
        for child in self.services() {
            // One that was started may have disowned another, or stopped everything.
            if self.0.stage.get() == stage && self.has(&child) {
                started.push(step(&child, reactor));
            }
        }
        let all = gather_results(started).add_callback(drop);
        all.or_else(|failure| {
            Err::<(), Failure>(failure.trap::<FirstError>().map_or_else(|other| other, |first| first.failure))
        })
    }

    fn has(&self, child: &ServiceHandle) -> bool {
        self.0.children.borrow().iter().any(|other| other.is(child))
    }
}

impl Service for MultiService {
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        self.advance(reactor, Stage::Prepared, ServiceHandle::privileged_start)
    }

    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        self.advance(reactor, Stage::Running, ServiceHandle::start)
    }

    fn stop(&self, reactor: &Reactor) -> Deferred<()> {
        if self.0.stage.replace(Stage::Idle) == Stage::Idle {
            return self.0.stopping.join();
        }
        let mut stopping = Vec::new();
        for child in self.services().into_iter().rev() {
            stopping.push(Stopping { label: child.label(), stopped: child.stop(reactor) });
        }
        self.0.stopping.begin(stopping::wait_for_all(reactor, self.0.stop_limit.get(), stopping))
    }
}

impl std::fmt::Debug for MultiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MultiService").field(&self.services()).finish()
    }
}
