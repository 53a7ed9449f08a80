//! Application: the root of the service tree.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_proto::{Deferred, Failure, Resolver, fail, succeed};
use ropewalk_sys::Identity;

use super::{MultiService, ServiceHandle};
use crate::error::{Error, Result};
use crate::interfaces::core::{Phase, TriggerId};
use crate::interfaces::time::DelayedCall;
use crate::kernel::Reactor;

/// The default time limit for services to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A program made of services: a name, the user and group to run as, and the services.
///
/// Cloning is cheap, and all clones refer to the same application.
///
/// The methods may be called from any callback on the reactor's thread. Only `run` must be called outside the loop.
///
/// ```
/// use ropewalk::application::{Application, Service};
/// use ropewalk::prelude::*;
/// # struct Web; impl Service for Web {}
///
/// let reactor = Reactor::new()?;
/// let application = Application::new("web");
/// application.services().add_named("http", Web)?;
/// # reactor.call_when_running(|reactor| reactor.stop().unwrap());
/// application.run(&reactor)?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Application(Rc<Root>);

#[derive(Debug)]
struct Root {
    name: String,
    identity: Identity,
    services: MultiService,
    handle: ServiceHandle,
    /// The calls of `start` for which the services have not begun to start.
    waiting: RefCell<Vec<Resolver<()>>>,
    /// The start that is in progress.
    starting: RefCell<Option<Rc<Starting>>>,
    /// The call that starts the services if the reactor makes turns without a run.
    turn: RefCell<Option<DelayedCall>>,
    /// The trigger that stops the services.
    shutdown: RefCell<Option<TriggerId>>,
}

/// The calls of `start` that wait for one start of the services.
#[derive(Debug)]
struct Starting(RefCell<Vec<Resolver<()>>>);

impl Application {
    /// Creates an application without services, which keeps the user and group of its process.
    ///
    /// Services get 30 seconds to stop.
    pub fn new(name: &str) -> Application {
        Application::with_identity(name, Identity::default())
    }

    /// Creates an application that switches to `identity` between `privileged_start` and `start` of its services.
    ///
    /// ```
    /// use ropewalk::application::{Application, Identity};
    ///
    /// # #[cfg(unix)] {
    /// let application = Application::with_identity("web", Identity::of_user("root").unwrap());
    /// assert_eq!((application.name(), application.identity().uid), ("web", Some(0)));
    /// # }
    /// ```
    pub fn with_identity(name: &str, identity: Identity) -> Application {
        Application::with_services(name, identity, MultiService::new().stop_within(STOP_LIMIT))
    }

    /// Creates an application from an existing [`MultiService`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::application::{Application, Identity, MultiService, TimerService};
    ///
    /// let services = MultiService::new().stop_within(Duration::from_secs(5));
    /// services.add(TimerService::new(Duration::from_secs(60), |_| println!("alive")));
    /// let application = Application::with_services("web", Identity::new(None, None), services);
    /// assert_eq!(application.services().services().len(), 1);
    /// ```
    pub fn with_services(name: &str, identity: Identity, services: MultiService) -> Application {
        let handle = ServiceHandle::new(services.clone());
        Application(Rc::new(Root {
            name: name.to_owned(),
            identity,
            services,
            handle,
            waiting: RefCell::default(),
            starting: RefCell::default(),
            turn: RefCell::default(),
            shutdown: RefCell::default(),
        }))
    }

    /// Returns the application's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the user and group that the application runs as.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Returns the application's services.
    pub fn services(&self) -> &MultiService {
        &self.0.services
    }

    /// Starts the services when the reactor has started, and stops them before the reactor's shutdown.
    ///
    /// A reactor that makes turns without a run, such as a [`MemoryReactor`](crate::testing::MemoryReactor) under
    /// `advance`, starts the services in its next turn.
    ///
    /// Every `privileged_start` completes before the process changes its user and group. The first `start` follows that
    /// change. The Deferred fires when all services have started.
    ///
    /// If a service fails, the services that were started before are stopped. Then the Deferred fails with the failure
    /// of the service, or with [`Error::Io`] when the user or group cannot be changed. If the reactor is stopped while
    /// the services start, the Deferred fails with [`Error::ReactorNotRunning`]. The reactor continues after a failure,
    /// because the program may use it for other things. [`run`](Application::run) stops the reactor instead.
    ///
    /// While the services start, a further call waits for the same start. If they run already, its Deferred fires and
    /// nothing else happens.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::application::{Application, TimerService};
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let application = Application::new("chimes");
    /// application.services().add(TimerService::new(Duration::from_secs(900), |_| println!("ding")));
    /// let started = application.start(&net);
    /// net.advance(Duration::from_secs(1800)); // two chimes
    /// assert!(started.is_done());
    /// assert!(application.stop(&net).is_done());
    /// assert!(net.get_delayed_calls().is_empty());
    /// ```
    #[must_use = "a service may fail to start: handle the failure"]
    pub fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let (deferred, resolver) = Deferred::new();
        self.0.waiting.borrow_mut().push(resolver);
        let application = self.clone();
        if reactor.call_when_running(move |reactor| application.start_waiting(reactor)).is_some() {
            let application = self.clone();
            let turn = reactor.call_later(Duration::ZERO, move |reactor| {
                // A run that is starting fires the trigger when its startup is complete.
                if !reactor.is_started() {
                    application.start_waiting(reactor);
                }
            });
            if let Some(superseded) = self.0.turn.replace(Some(turn)) {
                let _ = superseded.cancel();
            }
        }
        deferred
    }

    /// Stops the services in the reverse order of their start. The Deferred fires when all have stopped.
    ///
    /// The reactor continues. If the services have not begun to start, the Deferred of [`start`](Application::start)
    /// fails with [`Error::ReactorNotRunning`]. Afterwards the application can be started again. May be called from any
    /// callback.
    ///
    /// ```
    /// use ropewalk::application::Application;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// let application = Application::new("empty");
    /// let started = application.start(&net);
    /// assert!(application.stop(&net).is_done()); // before the next turn
    /// assert!(started.try_result().unwrap().is_err());
    /// ```
    pub fn stop(&self, reactor: &Reactor) -> Deferred<()> {
        self.cancel_turn();
        for resolver in self.0.waiting.take() {
            // The program may have cancelled the Deferred.
            let _ = resolver.errback(Error::ReactorNotRunning);
        }
        if let Some(trigger) = self.0.shutdown.take() {
            // The reactor may be shutting down.
            let _ = reactor.remove_system_event_trigger(&trigger);
        }
        self.stop_services(reactor)
    }

    fn stop_services(&self, reactor: &Reactor) -> Deferred<()> {
        // A start in progress fails by itself, and the next call of `start` begins another one.
        self.0.starting.take();
        self.0.handle.stop(reactor)
    }

    /// Starts the services for the calls of `start` that wait.
    fn start_waiting(&self, reactor: &Reactor) {
        self.cancel_turn();
        let waiting = self.0.waiting.take();
        if waiting.is_empty() {
            return;
        }
        if let Some(starting) = &*self.0.starting.borrow() {
            return starting.0.borrow_mut().extend(waiting);
        }
        if self.0.handle.running() {
            return answer(waiting, Ok(()));
        }
        let starting = Rc::new(Starting(RefCell::new(waiting)));
        self.0.starting.replace(Some(starting.clone()));
        self.stop_before_shutdown(reactor);
        let application = self.clone();
        self.start_now(reactor, &starting).add_both(move |outcome| {
            if application.is_present(&starting) {
                application.0.starting.take();
            }
            answer(starting.0.take(), outcome);
        });
    }

    fn stop_before_shutdown(&self, reactor: &Reactor) {
        if self.0.shutdown.borrow().is_some() {
            return;
        }
        let application = self.clone();
        let stop = move |reactor: &Reactor| {
            application.0.shutdown.take();
            application.stop_services(reactor)
        };
        let trigger = reactor.add_system_event_trigger(Phase::Before, "shutdown", stop);
        self.0.shutdown.replace(Some(trigger));
    }

    /// Returns whether this start is in progress, and the application was not stopped since.
    fn is_present(&self, starting: &Rc<Starting>) -> bool {
        self.0.starting.borrow().as_ref().is_some_and(|present| Rc::ptr_eq(present, starting))
    }

    fn cancel_turn(&self) {
        if let Some(turn) = self.0.turn.take() {
            // Cancelling fails if `turn` is the delayed call that runs now.
            let _ = turn.cancel();
        }
    }

    /// Starts the services, and runs the reactor.
    ///
    /// ```
    /// use ropewalk::application::Application;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.call_when_running(|reactor| reactor.stop().unwrap()); // imitates a signal
    /// Application::new("empty").run(&net)?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`start`](Application::start) and of [`Reactor::run`]. A failure to start stops the reactor.
    pub fn run(&self, reactor: &Reactor) -> Result<()> {
        let failed = Rc::new(RefCell::new(None));
        let (place, weak) = (failed.clone(), reactor.downgrade());
        self.start(reactor).add_errback(move |failure| {
            *place.borrow_mut() = Some(failure);
            let reactor = weak.upgrade();
            // The reactor may already be stopping.
            let _ = reactor.map(|reactor| reactor.stop());
        });
        reactor.run()?;
        failed.take().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn start_now(&self, reactor: &Reactor, starting: &Rc<Starting>) -> Deferred<()> {
        let root = &self.0;
        let (application, weak, own) = (self.clone(), reactor.downgrade(), starting.clone());
        let started = root.handle.privileged_start(reactor).and_then(move |()| {
            // If the application was stopped meanwhile, its start fails.
            let reactor = match weak.upgrade() {
                Some(reactor) if application.is_present(&own) => reactor,
                _ => return fail(Error::ReactorNotRunning),
            };
            let assumed = application.0.identity.assume();
            match assumed.map_err(Error::io("cannot change the user and group")) {
                Ok(()) => application.0.handle.start(&reactor),
                Err(error) => fail(error),
            }
        });
        let (application, weak, own) = (self.clone(), reactor.downgrade(), starting.clone());
        started.or_else(move |failure| {
            // Another start may have begun since the application was stopped.
            let reactor = weak.upgrade().filter(|_| application.is_present(&own));
            let stopped = reactor.map_or_else(|| succeed(()), |reactor| application.0.handle.stop(&reactor));
            stopped.then(move |_| Err::<(), Failure>(failure))
        })
    }
}

/// Fires the Deferreds of `start`. The first call gets the failure itself, and the others get its text.
fn answer(calls: Vec<Resolver<()>>, outcome: Result<(), Failure>) {
    let text = outcome.as_ref().err().map(|failure| format!("{failure:#}"));
    let mut first = Some(outcome);
    for resolver in calls {
        let other = || text.clone().map_or(Ok(()), |text| Err(Failure::new(text).logged()));
        // The program may have cancelled the Deferred.
        let _ = resolver.fire(first.take().unwrap_or_else(other));
    }
}
