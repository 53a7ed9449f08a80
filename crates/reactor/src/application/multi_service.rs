//! MultiService: a service made of services.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_proto::{Deferred, Failure, FirstError, gather_results, report};

use super::Service;
use super::handle::{ServiceHandle, Stage};
use super::stopping::{self, Stopping, UnderWay};
use crate::error::Result;
use crate::kernel::{Reactor, WeakReactor};

/// A service that consists of other services: IServiceCollection. Cloning is cheap, and all clones refer to the same
/// service.
///
/// A start calls the services in the order in which they were added, without waiting in between. The start completes
/// when all services have started. The start fails with the first failure of a service. Services that did start then
/// run until they are stopped.
///
/// A stop calls the services in reverse order. The stop completes when all have stopped, whether successfully or not.
/// Failures to stop are logged. A second `stop` waits for the stop in progress.
///
/// The methods may be called from any callback on the reactor's thread.
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
    /// The reactor on which the services were started.
    reactor: RefCell<WeakReactor>,
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
    /// Creates a service that contains no other services yet.
    pub fn new() -> MultiService {
        MultiService::default()
    }

    /// Sets a time limit for stopping. Without a limit, a stop waits until all services have stopped.
    ///
    /// At the limit, the services that have not stopped are logged by name, their Deferreds are cancelled, and the stop
    /// completes.
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
    /// services.add_named("stuck", NeverStops)?;
    /// let all = ServiceHandle::new(services);
    /// all.start(&clock);
    /// let stopped = all.stop(&clock);
    /// clock.advance(Duration::from_secs(30)); // an error about "stuck" is logged
    /// assert!(stopped.is_done());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    #[must_use]
    pub fn stop_within(self, limit: Duration) -> MultiService {
        self.0.stop_limit.set(Some(limit));
        self
    }

    /// Adds `service`, and starts it if this `MultiService` is running. A failure of that start is logged.
    pub fn add(&self, service: impl Service + 'static) -> ServiceHandle {
        let handle = ServiceHandle::new(service);
        // A new handle has no parent and no name, so `add` cannot fail.
        let _ = handle.set_parent(self);
        handle
    }

    /// Adds a service under a name.
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
    /// [`Error::ServiceNameTaken`](crate::Error::ServiceNameTaken) when another service has this name.
    pub fn add_named(&self, name: &str, service: impl Service + 'static) -> Result<ServiceHandle> {
        let handle = ServiceHandle::new(service);
        handle.set_name(name)?;
        handle.set_parent(self)?;
        Ok(handle)
    }

    /// Returns the service with this name. Only direct children are searched.
    pub fn get_service_named(&self, name: &str) -> Option<ServiceHandle> {
        self.services().into_iter().find(|child| child.name().as_deref() == Some(name))
    }

    /// Returns the services, in the order in which they were added.
    pub fn services(&self) -> Vec<ServiceHandle> {
        self.0.children.borrow().clone()
    }

    pub(super) fn downgrade(&self) -> WeakMultiService {
        WeakMultiService(Rc::downgrade(&self.0))
    }

    /// Adds a child that already names this service as its parent.
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
            report!(ERROR, service = child.label(), failure = format_args!("{failure:#}"), "cannot start");
        });
    }

    /// Removes a child. Returns the reactor on which the child may have to be stopped.
    pub(super) fn release(&self, child: &ServiceHandle) -> Option<Reactor> {
        self.0.children.borrow_mut().retain(|other| !other.is(child));
        self.reactor()
    }

    /// Returns the reactor while the services are started.
    fn reactor(&self) -> Option<Reactor> {
        let started = self.0.stage.get() != Stage::Idle;
        started.then(|| self.0.reactor.borrow().upgrade()).flatten()
    }

    fn advance(
        &self,
        reactor: &Reactor,
        stage: Stage,
        step: fn(&ServiceHandle, &Reactor) -> Deferred<()>,
    ) -> Deferred<()> {
        // The stage is set first, so that `adopt` starts a child that the start of another child adds.
        self.0.stage.set(stage);
        *self.0.reactor.borrow_mut() = reactor.downgrade();
        let mut started = Vec::new();
        for child in self.services() {
            // An earlier start may have disowned this child, or stopped the whole service.
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
