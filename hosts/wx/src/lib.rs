//! The reactor in the main loop of wxWidgets.
//!
//! On GTK, the loop of wxWidgets is that of GLib, so [`ropewalk_glib`] makes the turns. This crate adds the application:
//! [`Reactor::run`](ropewalk::Reactor::run) runs its main loop, the reactor stops when the last frame has been closed, and
//! the main loop ends when the reactor has stopped. Other ports of wxWidgets are not supported.
//!
//! There are three ways:
//!
//! 1. The reactor runs the application (`wxreactor` of Twisted). [`install`] the reactor, register the application by
//!    [`WxHost::register_wx_app`], and call `reactor.run()`. The frame is created before, in `OnInit`.
//! 2. The program runs the application (`wxsupport` of Twisted). [`install`] the reactor, start it by
//!    [`Reactor::start_running`](ropewalk::Reactor::start_running), call `wxApp::OnRun`, and then
//!    [`Guest::finish`](ropewalk::hosting::Guest::finish).
//! 3. The reactor runs in a thread of its own, without this crate. The window calls the reactor by
//!    [`ThreadHandle::call_from_thread`](ropewalk::ThreadHandle::call_from_thread), and the reactor calls the window by
//!    `wxEvtHandler::CallAfter`. This works on every port. The example `wx_thread` shows it.
//!
//! A dialog's `ShowModal` in a callback keeps connections going. Modal dialogs are closed when the reactor has stopped. A
//! protocol may outlive the widgets that it writes to.
//!
//! ```no_run
//! use ropewalk::Reactor;
//!
//! # fn application() -> *mut std::ffi::c_void { std::ptr::null_mut() }
//! let reactor = Reactor::new()?;
//! let wx = ropewalk_wx::install(&reactor)?;
//! // SAFETY: the application lives until the program exits.
//! unsafe { wx.register_wx_app(application()) }?;
//! reactor.run()?; // returns when the last frame has been closed, or the reactor has stopped
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! Source: `wxreactor` and `wxsupport` of Twisted.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Error, Reactor, Result};
use ropewalk_glib::GlibHost;

unsafe extern "C" {
    fn ropewalk_wx_run(app: *mut c_void);
    fn ropewalk_wx_exit(app: *mut c_void);
}

/// The time of a pass when the host is gone.
const DETACHED_PASS: Duration = Duration::from_millis(1);

/// Makes `reactor` a guest of the main loop of this thread, which is the one that will run the application.
///
/// # Errors
/// The errors of [`ropewalk_glib::install`].
///
/// Source: `wxreactor.install`.
pub fn install(reactor: &Reactor) -> Result<WxHost> {
    let glib = Rc::new(ropewalk_glib::install(reactor)?);
    let main_loop = Rc::new(MainLoop { glib: Rc::downgrade(&glib), app: RefCell::default() });
    glib.guest().set_host(main_loop.clone());
    let exits = Rc::downgrade(&main_loop);
    glib.guest().on_end(move || {
        if let Some(main_loop) = exits.upgrade() {
            main_loop.exit();
        }
    });
    Ok(WxHost { glib, main_loop })
}

/// A reactor in the main loop of wxWidgets. The reactor is free again when this is dropped.
///
/// All methods may be called from any callback.
#[must_use = "the reactor leaves the main loop when this is dropped"]
pub struct WxHost {
    glib: Rc<GlibHost>,
    main_loop: Rc<MainLoop>,
}

impl WxHost {
    /// Returns the guest: its outcome when the program runs the main loop itself, and hooks at the end of a run.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let wx = ropewalk_wx::install(&reactor)?;
    /// assert!(!wx.guest().is_started());
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn guest(&self) -> &Guest {
        self.glib.guest()
    }

    /// Registers the application, whose main loop [`Reactor::run`](ropewalk::Reactor::run) runs from now on. When the
    /// reactor has stopped, modal dialogs are closed and the main loop ends.
    ///
    /// # Errors
    /// [`Error::Failed`] when an application is registered already, or the pointer is null.
    ///
    /// # Safety
    /// `app` is a `wxApp` of this thread, and lives at least as long as this object and the reactor's run.
    ///
    /// Source: `wxreactor.WxReactor.registerWxApp`.
    pub unsafe fn register_wx_app(&self, app: *mut c_void) -> Result<()> {
        let Some(app) = NonNull::new(app) else {
            return Err(Error::Failed("there is no application at a null pointer".into()));
        };
        if self.main_loop.app.borrow().is_some() {
            return Err(Error::Failed("another application is registered with this reactor".into()));
        }
        self.main_loop.app.replace(Some(app));
        Ok(())
    }
}

impl std::fmt::Debug for WxHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WxHost").field("guest", self.guest()).finish_non_exhaustive()
    }
}

impl Drop for WxHost {
    /// Stops a run that is left. The reactor makes the turns of its shutdown itself.
    fn drop(&mut self) {
        self.main_loop.exit();
        // The promise of `register_wx_app` is over, and a clone of the guest may live longer.
        self.main_loop.app.take();
    }
}

/// Passes of the main loop, for callbacks that wait inside.
impl HostLoop for WxHost {
    fn run(&self, guest: &Guest) {
        self.main_loop.run(guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        self.main_loop.iterate(guest, delay);
    }
}

struct MainLoop {
    /// The guest owns this object, and the host owns the guest.
    glib: Weak<GlibHost>,
    app: RefCell<Option<NonNull<c_void>>>,
}

impl MainLoop {
    fn exit(&self) {
        let app = *self.app.borrow();
        if let Some(app) = app {
            // SAFETY: `register_wx_app` has promised that the application lives.
            unsafe { ropewalk_wx_exit(app.as_ptr()) };
        }
    }
}

impl HostLoop for MainLoop {
    fn run(&self, guest: &Guest) {
        let app = *self.app.borrow();
        if let Some(app) = app {
            // SAFETY: `register_wx_app` has promised that the application lives.
            unsafe { ropewalk_wx_run(app.as_ptr()) };
            if let Some(reactor) = guest.reactor() {
                // An error means that the loop has ended because the reactor has stopped.
                let _ = reactor.stop();
            }
        }
        // The rest of the shutdown, or the whole run if there is no application.
        if let Some(glib) = self.glib.upgrade() {
            glib.run(guest);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        match self.glib.upgrade() {
            Some(glib) => glib.iterate(guest, delay),
            // Only the call that asked for this pass still needs it.
            None => {
                std::thread::sleep(delay.unwrap_or(DETACHED_PASS).min(DETACHED_PASS));
                guest.turn(Budget::default());
            }
        }
    }
}
