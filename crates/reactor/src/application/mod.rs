//! Services: what a program is made of, started and stopped as one. twisted.application.
//!
//! ```text
//!   Application            name, uid, gid
//!     MultiService         in order: privileged_start of each, then (uid and gid change) start of each
//!       ServiceHandle      a service's name and place; in reverse order: stop of each
//!         your Service, StreamServerEndpointService, ClientService, TimerService, another MultiService
//! ```
//!
//! A [`Service`] is anything that starts and stops. [`MultiService`] is a service of services, so services form a tree.
//! [`Application`] is its root: it starts the tree when the reactor has started, and has the reactor's shutdown wait until
//! the tree has stopped.
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

mod back_off;
mod client_service;
mod endpoint_service;
mod failed;
mod handle;
mod multi_service;
mod root;
mod stopping;
#[cfg(test)]
mod tests;
mod timer_service;

use ropewalk_proto::{Deferred, succeed};

pub use back_off::{BackOff, RetryPolicy};
pub use client_service::ClientService;
pub use endpoint_service::StreamServerEndpointService;
pub use failed::ServiceFailed;
pub use handle::ServiceHandle;
pub use multi_service::MultiService;
pub use root::Application;
pub use ropewalk_sys::Identity;
pub use timer_service::TimerService;

use crate::kernel::Reactor;

/// Something that starts and stops: IService.
///
/// The methods are called on the reactor's thread, by a [`ServiceHandle`]: `stop` only after one of the others, and none
/// of them twice in a row. They take `&self`, so that a service can be reached while it runs; what changes goes into a
/// `Cell`. One that panics has failed.
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
    /// What needs the rights that the process gives up before [`start`](Service::start): listening on a port below 1024,
    /// opening a device. The Deferred fires when it is done; a failure keeps the application from starting.
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

    /// Begins its work. The Deferred fires when it has begun; a failure keeps the application from starting.
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        let _ = reactor;
        succeed(())
    }

    /// Ends its work, also while the Deferred of a start is still waiting. The Deferred fires when it has ended.
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
