//! A service's name, its place in the tree, and its stage.
//!
//! ```text
//!   idle -- privileged_start --> prepared -- start --> running
//!    ^---------------------- stop ---------------------'
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_proto::{Deferred, fail, succeed};

use super::Service;
use super::failed::named;
use super::multi_service::{MultiService, WeakMultiService};
use super::stopping::UnderWay;
use crate::error::{Error, Result};
use crate::kernel::{CallbackKind, Reactor};

/// The stages of the diagram above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Idle,
    Prepared,
    Running,
}

/// A service with its name and its place in the tree, as [`MultiService::add`] returns it.
///
/// Cloning is cheap, and all clones refer to the same service. A handle may be used in any callback on the reactor's
/// thread.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::application::{MultiService, ServiceHandle, TimerService};
/// use ropewalk::testing::Clock;
///
/// let clock = Clock::new();
/// let all = MultiService::new();
/// let root = ServiceHandle::new(all.clone());
/// let tick = ServiceHandle::new(TimerService::new(Duration::from_secs(1), |_| println!("tick")));
/// tick.set_name("tick")?;
/// tick.set_parent(&all)?;
/// root.start(&clock);
/// assert!(tick.running() && tick.name().as_deref() == Some("tick"));
/// let stopped = tick.disown(); // other services continue to run
/// assert!(stopped.is_done() && tick.parent().is_none() && root.running());
/// # Ok::<(), ropewalk::Error>(())
/// ```
#[derive(Clone)]
pub struct ServiceHandle(Rc<Node>);

struct Node {
    service: Box<dyn Service>,
    name: RefCell<Option<Rc<str>>>,
    parent: RefCell<Option<WeakMultiService>>,
    stage: Cell<Stage>,
    stopping: UnderWay,
}

impl ServiceHandle {
    /// Creates a handle for a service without a name and without a parent. The service is not started.
    pub fn new(service: impl Service + 'static) -> ServiceHandle {
        ServiceHandle(Rc::new(Node {
            service: Box::new(service),
            name: RefCell::default(),
            parent: RefCell::default(),
            stage: Cell::default(),
            stopping: UnderWay::default(),
        }))
    }

    /// Sets the name, by which the parent finds the service and the log reports its failures.
    ///
    /// # Errors
    /// [`Error::ServiceNameTaken`] when the parent has another service of that name.
    pub fn set_name(&self, name: &str) -> Result<()> {
        let namesake = self.parent().and_then(|parent| parent.get_service_named(name));
        if namesake.is_some_and(|namesake| !namesake.is(self)) {
            return Err(Error::ServiceNameTaken(name.into()));
        }
        *self.0.name.borrow_mut() = Some(name.into());
        Ok(())
    }

    /// Returns the service's name, if it has one.
    pub fn name(&self) -> Option<Rc<str>> {
        self.0.name.borrow().clone()
    }

    /// Makes the service a child of `parent`. If `parent` is running, the service is started.
    ///
    /// # Errors
    /// [`Error::ServiceHasParent`] when the service already has a parent: [disown](ServiceHandle::disown) it first.
    /// [`Error::ServiceNameTaken`] when `parent` has another service of that name.
    pub fn set_parent(&self, parent: &MultiService) -> Result<()> {
        if self.parent().is_some() {
            return Err(Error::ServiceHasParent(self.label().as_ref().into()));
        }
        if let Some(name) = self.name().filter(|name| parent.get_service_named(name).is_some()) {
            return Err(Error::ServiceNameTaken(name.as_ref().into()));
        }
        *self.0.parent.borrow_mut() = Some(parent.downgrade());
        parent.adopt(self);
        Ok(())
    }

    /// Returns the service's parent, if it has one.
    pub fn parent(&self) -> Option<MultiService> {
        self.0.parent.borrow().as_ref().and_then(WeakMultiService::upgrade)
    }

    /// Removes the service from its parent, and stops it if it was started. The Deferred fires when the service has
    /// stopped.
    pub fn disown(&self) -> Deferred<()> {
        let parent = self.0.parent.take().and_then(|parent| parent.upgrade());
        let reactor = parent.and_then(|parent| parent.release(self));
        reactor.map_or_else(|| succeed(()), |reactor| self.stop(&reactor))
    }

    /// Returns whether the service has been started and not stopped since.
    pub fn running(&self) -> bool {
        self.0.stage.get() == Stage::Running
    }

    /// Calls [`Service::privileged_start`], unless it has been called already.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// use ropewalk::application::{Service, ServiceHandle};
    /// use ropewalk::testing::Clock;
    /// use ropewalk::{Deferred, Reactor, succeed};
    ///
    /// #[derive(Default)]
    /// struct Web(RefCell<Vec<&'static str>>);
    ///
    /// impl Service for Web {
    ///     fn privileged_start(&self, _reactor: &Reactor) -> Deferred<()> {
    ///         self.0.borrow_mut().push("port 80");
    ///         succeed(())
    ///     }
    ///
    ///     fn start(&self, _reactor: &Reactor) -> Deferred<()> {
    ///         self.0.borrow_mut().push("serving");
    ///         succeed(())
    ///     }
    /// }
    ///
    /// let (clock, web) = (Clock::new(), Rc::new(Web::default()));
    /// let service = ServiceHandle::new(web.clone());
    /// service.privileged_start(&clock);
    /// service.start(&clock);
    /// assert_eq!(*web.0.borrow(), ["port 80", "serving"]);
    /// ```
    pub fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        if self.0.stage.get() != Stage::Idle {
            return succeed(());
        }
        self.0.stage.set(Stage::Prepared);
        named(
            self.name(),
            self.guarded(reactor, "Service::privileged_start", |service, reactor| service.privileged_start(reactor)),
        )
    }

    /// Calls [`Service::start`], unless the service is running.
    pub fn start(&self, reactor: &Reactor) -> Deferred<()> {
        if self.running() {
            return succeed(());
        }
        self.0.stage.set(Stage::Running);
        named(self.name(), self.guarded(reactor, "Service::start", |service, reactor| service.start(reactor)))
    }

    /// Calls [`Service::stop`], if the service was started. If a stop is in progress, the Deferred fires when that stop
    /// completes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::application::{ServiceHandle, TimerService};
    /// use ropewalk::testing::Clock;
    ///
    /// let clock = Clock::new();
    /// let tick = ServiceHandle::new(TimerService::new(Duration::from_secs(1), |_| println!("tick")));
    /// tick.start(&clock);
    /// assert!(tick.stop(&clock).is_done() && !tick.running());
    /// ```
    pub fn stop(&self, reactor: &Reactor) -> Deferred<()> {
        if self.0.stage.replace(Stage::Idle) == Stage::Idle {
            return self.0.stopping.join();
        }
        let stopped = self.guarded(reactor, "Service::stop", |service, reactor| service.stop(reactor));
        self.0.stopping.begin(stopped)
    }

    fn guarded(
        &self,
        reactor: &Reactor,
        what: &'static str,
        method: fn(&dyn Service, &Reactor) -> Deferred<()>,
    ) -> Deferred<()> {
        reactor.call_guarded(CallbackKind::Service, what, || method(&*self.0.service, reactor)).unwrap_or_else(fail)
    }

    /// The name for log messages.
    pub(super) fn label(&self) -> Rc<str> {
        self.name().unwrap_or_else(|| "(a service without a name)".into())
    }

    pub(super) fn is(&self, other: &ServiceHandle) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceHandle").field("name", &self.name()).field("stage", &self.0.stage.get()).finish()
    }
}
