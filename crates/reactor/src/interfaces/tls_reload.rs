//! Certificates that follow their files.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_tls::{ServerOptions, TlsError, TlsServer};

use super::core::Phase;
use crate::kernel::Reactor;

/// Keeps the options of a [`TlsServer`] up to date until it is dropped: [`Reactor::keep_tls_current`].
#[must_use = "dropping this stops the reloads"]
pub struct TlsReload(Rc<Reload>);

struct Reload {
    tls: TlsServer,
    load: Box<dyn Fn() -> Result<ServerOptions, TlsError>>,
    /// The text of the last error, which is logged once.
    logged: RefCell<Option<String>>,
}

impl fmt::Debug for TlsReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsReload").field("tls", &self.0.tls).finish_non_exhaustive()
    }
}

impl TlsReload {
    /// Loads the options now. If they cannot be used, the server keeps its present ones. May be called from any callback.
    ///
    /// # Errors
    /// The error of the function that loads, or [`TlsError::Configuration`] if the options cannot be used.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.reload()
    }
}

impl Reload {
    fn reload(&self) -> Result<(), TlsError> {
        (self.load)().and_then(|options| self.tls.replace(options))
    }

    fn reload_and_log(&self) {
        match self.reload() {
            Ok(()) => {
                self.logged.take();
                tracing::info!("the certificates were loaded again");
            }
            Err(error) => {
                let text = error.to_string();
                if self.logged.replace(Some(text.clone())).is_none_or(|last| last != text) {
                    tracing::error!(%error, "the certificates were not loaded again, so the present ones stay in use");
                }
            }
        }
    }
}

impl Reactor {
    /// Loads the options of `tls` again with each event `reload`, until the returned object is dropped.
    ///
    /// The runner fires this event on SIGHUP: see [`fire_system_event`](Reactor::fire_system_event). If `load` fails, or
    /// if its options cannot be used, the server keeps its present options, and an error is logged. The same error is
    /// logged once.
    ///
    /// `load` runs on the loop, so it should read small files only. Connections that exist keep their options.
    ///
    /// ```
    /// use ropewalk::interfaces::tls_reload::TlsReload;
    /// use ropewalk::prelude::*;
    /// use ropewalk::tls::{Identity, ServerOptions, TlsError, TlsServer};
    ///
    /// fn load() -> Result<ServerOptions, TlsError> {
    ///     Ok(ServerOptions::new().identity(Identity::read("/etc/example/certificate.pem", "/etc/example/key.pem")?))
    /// }
    ///
    /// fn serve(reactor: &Reactor) -> Result<(TlsServer, TlsReload), TlsError> {
    ///     let tls = TlsServer::new(load()?)?;
    ///     let reload = reactor.keep_tls_current(&tls, load);
    ///     Ok((tls, reload))
    /// }
    /// # let _ = serve;
    /// ```
    pub fn keep_tls_current(
        &self,
        tls: &TlsServer,
        load: impl Fn() -> Result<ServerOptions, TlsError> + 'static,
    ) -> TlsReload {
        let reload = Rc::new(Reload { tls: tls.clone(), load: Box::new(load), logged: RefCell::default() });
        reload_next_time(self, &reload);
        TlsReload(reload)
    }
}

/// A trigger runs once, so each one adds the next, behind the event that runs it.
fn reload_next_time(reactor: &Reactor, reload: &Rc<Reload>) {
    let weak = Rc::downgrade(reload);
    reactor.add_system_event_trigger(Phase::During, "reload", move |reactor| {
        if let Some(reload) = weak.upgrade() {
            reload.reload_and_log();
            reactor.call_later(Duration::ZERO, move |reactor| reload_next_time(reactor, &reload));
        }
    });
}
