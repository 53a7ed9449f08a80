//! Certificates that follow their files.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk_tls::{ServerOptions, TlsError, TlsServer};

use super::Interface;
use super::core::Phase;
use crate::error::Result;
use crate::files::{FileWatcher, WatchOptions};
use crate::kernel::Reactor;

/// The time without a change after which changed files are read. Programs write a certificate and its key one after the
/// other.
const QUIET: Duration = Duration::from_secs(1);

/// Keeps the options of a [`TlsServer`] up to date until it is dropped: [`Reactor::keep_tls_current`].
#[must_use = "dropping this stops the reloads"]
pub struct TlsReload(Rc<Reload>);

struct Reload {
    tls: TlsServer,
    load: Box<dyn Fn() -> std::result::Result<ServerOptions, TlsError>>,
    /// The text of the last error, which is logged once.
    logged: RefCell<Option<String>>,
    watcher: Cell<Option<FileWatcher>>,
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
    pub fn reload(&self) -> std::result::Result<(), TlsError> {
        self.0.reload()
    }
}

impl Reload {
    fn reload(&self) -> std::result::Result<(), TlsError> {
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

    /// Watches `files`. Of a folder, the entries are watched.
    fn watch(self: &Rc<Reload>, reactor: &Reactor, files: &[impl AsRef<Path>]) -> Result<()> {
        let weak = Rc::downgrade(self);
        let options = WatchOptions::new().settle(QUIET);
        let watcher =
            reactor.watch_files(options, move |_, _| weak.upgrade().iter().for_each(|it| it.reload_and_log()))?;
        for file in files {
            match file.as_ref().is_dir() {
                true => watcher.add_directory(file)?,
                false => watcher.add_file(file)?,
            }
        }
        self.watcher.set(Some(watcher));
        Ok(())
    }
}

impl Reactor {
    /// Loads the options of `tls` again when one of `files` has changed and with each event `reload`, until the returned
    /// object is dropped.
    ///
    /// A file may be replaced in any way. Of a folder, the entries are watched. The files are read when nothing has
    /// changed for a second. On a system or provider without [`Interface::FileEvents`] only the event counts. The
    /// runner fires it on SIGHUP: see [`fire_system_event`](Reactor::fire_system_event).
    ///
    /// If `load` fails, or if its options cannot be used, the server keeps its present options, and an error is logged.
    /// The same error is logged once. The next change tries again. Connections that exist keep their options. `load` runs
    /// on the loop, so it should read small files only.
    ///
    /// ```
    /// use ropewalk::interfaces::tls_reload::TlsReload;
    /// use ropewalk::prelude::*;
    /// use ropewalk::tls::{Identity, ServerOptions, TlsError, TlsServer};
    ///
    /// const FILES: [&str; 2] = ["/etc/example/certificate.pem", "/etc/example/key.pem"];
    ///
    /// fn load() -> Result<ServerOptions, TlsError> {
    ///     Ok(ServerOptions::new().identity(Identity::read(FILES[0], FILES[1])?))
    /// }
    ///
    /// fn serve(reactor: &Reactor) -> Result<(TlsServer, TlsReload), TlsError> {
    ///     let tls = TlsServer::new(load()?)?;
    ///     let reload = reactor.keep_tls_current(&tls, &FILES, load);
    ///     Ok((tls, reload))
    /// }
    /// # let _ = serve;
    /// ```
    pub fn keep_tls_current(
        &self,
        tls: &TlsServer,
        files: &[impl AsRef<Path>],
        load: impl Fn() -> std::result::Result<ServerOptions, TlsError> + 'static,
    ) -> TlsReload {
        let reload = Rc::new(Reload {
            tls: tls.clone(),
            load: Box::new(load),
            logged: RefCell::default(),
            watcher: Cell::default(),
        });
        reload_with_event(self, Rc::downgrade(&reload));
        if self.provides(Interface::FileEvents) {
            if let Err(error) = reload.watch(self, files) {
                tracing::warn!(%error, "changes of the certificates are not noticed, only the event reload");
            }
        }
        TlsReload(reload)
    }
}

/// A trigger runs once, so each one adds the next, behind the event that runs it.
fn reload_with_event(reactor: &Reactor, reload: Weak<Reload>) {
    reactor.add_system_event_trigger(Phase::During, "reload", move |reactor| {
        if let Some(present) = reload.upgrade() {
            present.reload_and_log();
            reactor.call_later(Duration::ZERO, move |reactor| reload_with_event(reactor, reload));
        }
    });
}
