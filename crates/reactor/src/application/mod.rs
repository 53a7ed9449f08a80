//! Services: the parts of a program, started and stopped together. The source is twisted.application.
//!
//! ```text
//!   Application            name, uid, gid
//!     MultiService         in order: privileged_start of each, then (uid and gid change) start of each
//!       ServiceHandle      a service's name and place; in reverse order: stop of each
//!         your Service, StreamServerEndpointService, ClientService, TimerService, another MultiService
//! ```
//!
//! A [`Service`] is anything that starts and stops. A [`MultiService`] is a service made of services, so services form
//! a tree. An [`Application`] is the root of the tree: it starts the tree when the reactor has started. The reactor's
//! shutdown waits until the tree has stopped.
//!
//! ```
//! use std::time::Duration;
//! use ropewalk::application::{Application, TimerService};
//! use ropewalk::testing::MemoryReactor;
//!
//! let net = MemoryReactor::new();
//! let application = Application::new("chimes");
//! application.services().add(TimerService::new(Duration::from_secs(900), |_| println!("ding")));
//! application.start(&net);
//! net.call_later(Duration::from_secs(3600), |reactor| reactor.stop().unwrap());
//! net.run()?;
//! # Ok::<(), ropewalk::Error>(())
//! ```

mod client_service;
mod endpoint_service;
mod failed;
mod handle;
mod multi_service;
mod process_monitor;
mod root;
mod stopping;
#[cfg(test)]
mod tests;
mod timer_service;

use ropewalk_proto::{Deferred, succeed};

pub use client_service::ClientService;
pub use endpoint_service::StreamServerEndpointService;
pub use failed::ServiceFailed;
pub use handle::ServiceHandle;
pub use multi_service::MultiService;
pub use process_monitor::{MonitoredProcess, OutputLine, ProcessMonitor, ProcessReport, ProcessState, Restart};
pub use root::Application;
pub use ropewalk_sys::Identity;
pub use timer_service::TimerService;

pub use crate::protocols::{BackOff, RetryPolicy};

use crate::kernel::Reactor;

/// A part of a program that starts and stops: `IService`.
///
/// A [`ServiceHandle`] calls the methods, on the reactor's thread. It calls `stop` only after a start, and no method
/// twice in a row. Methods take `&self`, because other objects may use a running service: keep state that changes in a
/// `Cell` or `RefCell`. A panic in a method counts as its failure.
///
/// ```
/// use ropewalk::application::Service;
/// use ropewalk::prelude::*;
///
/// struct Greeter;
///
/// impl Service for Greeter {
///     fn start(&self, _reactor: &Reactor) -> Deferred<()> {
///         println!("good morning");
///         Ok(()).into()
///     }
/// }
/// ```
pub trait Service {
    /// Does the work that needs privileges, such as listening on a port below 1024 or opening a device. The process
    /// gives up these privileges before [`start`](Service::start).
    ///
    /// The Deferred fires when the work is done. If the Deferred fails, the application does not start.
    ///
    /// ```
    /// use ropewalk::application::Service;
    /// use ropewalk::prelude::*;
    ///
    /// /// Reads a key that only root may read.
    /// struct Key;
    ///
    /// impl Service for Key {
    ///     fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
    ///         reactor.defer_to_thread(|| std::fs::read("/etc/ssl/private/key.pem")).and_then(|key| key.map(drop))
    ///     }
    /// }
    /// # let _ = Key;
    /// ```
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        let _ = reactor;
        succeed(())
    }

    /// Starts the service's work. The Deferred fires when the work has begun. If the Deferred fails, the application
    /// does not start.
    ///
    /// Must not block: the reactor makes no turn meanwhile and acts on no signal. Work that takes long belongs into
    /// [`Reactor::defer_to_thread`].
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let _ = reactor;
        succeed(())
    }

    /// Stops the service's work. The Deferred fires when the work has ended.
    ///
    /// May be called before the Deferred of a start has fired.
    fn stop(&self, reactor: &Reactor) -> Deferred<()> {
        let _ = reactor;
        succeed(())
    }
}

impl<S: Service + ?Sized> Service for std::rc::Rc<S> {
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        (**self).privileged_start(reactor)
    }

    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        (**self).start(reactor)
    }

    fn stop(&self, reactor: &Reactor) -> Deferred<()> {
        (**self).stop(reactor)
    }
}
