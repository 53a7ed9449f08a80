//! The reactor in a GLib main loop.
//!
//! A program with windows of GTK 4, GTK 3 or GTK 2, a Gio application, or a program without windows runs one loop for
//! its events and for the reactor. [`install`] makes the reactor a guest of the main context of this thread:
//!
//! ```
//! use std::time::Duration;
//! use ropewalk::Reactor;
//!
//! let reactor = Reactor::new()?;
//! let _glib = ropewalk_glib::install(&reactor)?;
//! reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().expect("it runs"));
//! reactor.run()?; // runs the main loop
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! For a `GApplication` or `GtkApplication`, see [`GlibHost::register_gapplication`].
//!
//! A program that runs the main loop itself, by `gtk_main` or `g_main_loop_run`, starts the reactor by
//! [`Reactor::start_running`](ropewalk::Reactor::start_running), and gets the outcome from [`Guest::finish`].
//!
//! Callbacks of the reactor may run the main loop, as a modal dialog does: connections continue meanwhile. After the
//! reactor has stopped, nothing makes its calls any more, so close dialogs in a `before shutdown` trigger. A protocol may
//! outlive the widgets that it writes to: let it hold them by weak references.
//!
//! The reactor has the priority of events (`G_PRIORITY_DEFAULT`). After a few milliseconds of work it waits until the
//! window has been drawn, so neither side can stop the other.
//!
//! Source: `glib2reactor`, `gtk2reactor`, `gtk3reactor` and `gireactor` of Twisted.

#![warn(missing_docs)]

mod application;
mod context;
mod ffi;
mod rests;
mod source;

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Reactor, Result};

pub use application::AsApplication;

use application::Registered;
use context::{Context, Ownership};
use rests::Rests;
use source::{Attachment, Behaviour, Source};

/// `G_PRIORITY_DEFAULT`, at which GTK handles events.
const EVENTS: i32 = 0;
/// Below `GDK_PRIORITY_REDRAW` (120), at which GTK draws, and `G_PRIORITY_LOW` (300), at which wxWidgets passes its events
/// between threads.
const AFTER_ALL_ELSE: i32 = 301;
/// The time of a turn, in which no window is drawn.
const BUDGET: Duration = Duration::from_millis(2);

/// The time of a pass when the sources are gone.
const DETACHED_PASS: Duration = Duration::from_millis(1);

/// Makes `reactor` a guest of the main context of this thread.
///
/// The context is the default one of the thread, or the global one if the thread has none. This thread owns the context
/// until the result is dropped, so no other thread can run it. A provider without a descriptor, such as poll, waits in a
/// thread of its own.
///
/// # Errors
/// The errors of [`Guest::new`] and [`Guest::wait_in_thread`]. [`Error::Failed`](ropewalk::Error::Failed) when another
/// thread owns the context.
///
/// Source: `gtk3reactor.install`.
pub fn install(reactor: &Reactor) -> Result<GlibHost> {
    let context = Context::of_this_thread();
    let ownership = Ownership::of(context.clone())?;
    let guest = Guest::new(reactor)?;
    let watched: Option<RawFd> = guest.handle();
    let main_loop = Rc::new(MainLoop {
        context,
        pass_end: Cell::default(),
        is_woken: Arc::default(),
        waits_in_thread: watched.is_none(),
        is_detached: Cell::default(),
        rests: Rests::default(),
        application: RefCell::default(),
    });
    if watched.is_none() {
        main_loop.wait_in_thread(&guest)?;
    }
    let turns = Rc::new(Turns { guest: guest.clone(), main_loop: main_loop.clone() });
    let after_all_else = Rc::new(AfterAllElse(main_loop.clone()));
    let context = &main_loop.context;
    let turns = Source::attach(turns, context, &Attachment { name: c"ropewalk", priority: EVENTS, watched });
    let attachment = Attachment { name: c"ropewalk rests", priority: AFTER_ALL_ELSE, watched: None };
    let rests = Source::attach(after_all_else, context, &attachment);
    guest.set_host(main_loop.clone());
    let quits = Rc::downgrade(&main_loop);
    guest.on_end(move || {
        if let Some(main_loop) = quits.upgrade() {
            main_loop.quit_application();
        }
    });
    Ok(GlibHost { guest, main_loop, _sources: [turns, rests], _ownership: ownership })
}

/// A reactor in a main context. The reactor is free again when this, and each clone of its guest, has been dropped.
///
/// All methods may be called from any callback.
///
/// ```
/// use ropewalk::{Error, Reactor};
///
/// let reactor = Reactor::new()?;
/// let glib = ropewalk_glib::install(&reactor)?;
/// assert!(matches!(ropewalk_glib::install(&reactor), Err(Error::Hosted)));
/// drop(glib);
/// ropewalk_glib::install(&reactor)?;
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the reactor leaves the main context when this is dropped"]
pub struct GlibHost {
    guest: Guest,
    main_loop: Rc<MainLoop>,
    _sources: [Source; 2],
    _ownership: Ownership,
}

impl GlibHost {
    /// Returns the guest: its outcome when the program runs the main loop itself, and hooks at the end of a run.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let glib = ropewalk_glib::install(&reactor)?;
    /// glib.guest().on_end(|| println!("gtk_main_quit()"));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Registers the application whose main loop [`Reactor::run`](ropewalk::Reactor::run) runs.
    ///
    /// The application is activated at the start. The reactor stops when its last window has been closed, or when the
    /// application quits. When the reactor has stopped, the application quits. An application without windows is held
    /// until then. If another instance of the application runs already, `run` activates that instance, and returns
    /// without a start of this reactor. The application's `startup` precedes that of the reactor.
    ///
    /// GLib runs an application once. So it is not registered any more after `run`, and another one may be.
    ///
    /// The application of `gtk4` 0.11 needs the feature `gio-0_22`, and that of `gtk` 0.18 the feature `gio-0_18`.
    ///
    /// # Errors
    /// [`Error::Failed`](ropewalk::Error::Failed) when an application is registered already, and when the reactor is in
    /// another context than the global one, which is that of every application. `run` fails with the same error if the
    /// application cannot be registered on its bus.
    ///
    /// Source: `gireactor.GIReactor.registerGApplication`.
    pub fn register_gapplication(&self, application: &impl AsApplication) -> Result<()> {
        self.main_loop.register(application)
    }
}

impl std::fmt::Debug for GlibHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GlibHost").field("guest", &self.guest).finish_non_exhaustive()
    }
}

impl Drop for GlibHost {
    /// Stops a run that is left. The reactor makes the turns of its shutdown itself.
    fn drop(&mut self) {
        self.main_loop.is_detached.set(true);
        self.main_loop.quit_application();
        self.main_loop.context.wake();
    }
}

/// Passes of the main loop, for callbacks that wait inside.
impl HostLoop for GlibHost {
    fn may_run(&self, guest: &Guest) -> Result<bool> {
        self.main_loop.may_run(guest)
    }

    fn run(&self, guest: &Guest) {
        self.main_loop.run(guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        self.main_loop.iterate(guest, delay);
    }
}

struct MainLoop {
    context: Context,
    /// The time until which the present pass may sleep.
    pass_end: Cell<Option<Instant>>,
    /// Whether the thread that waits has woken the context.
    is_woken: Arc<AtomicBool>,
    waits_in_thread: bool,
    /// Whether the sources are gone, so that no pass makes a turn.
    is_detached: Cell<bool>,
    rests: Rests,
    application: RefCell<Option<Rc<Registered>>>,
}

impl MainLoop {
    fn wait_in_thread(&self, guest: &Guest) -> Result<()> {
        let (context, is_woken) = (self.context.clone(), self.is_woken.clone());
        guest.wait_in_thread(move || {
            is_woken.store(true, Ordering::Release);
            context.wake();
        })
    }

    fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Acquire)
    }

    /// Returns how long the context may sleep for the guest. The thread wakes the context for delayed calls, too.
    fn timeout(&self, guest: &Guest) -> Option<Duration> {
        if !self.waits_in_thread {
            return guest.timeout();
        }
        self.is_woken().then_some(Duration::ZERO)
    }
}

impl HostLoop for MainLoop {
    fn may_run(&self, _guest: &Guest) -> Result<bool> {
        let Some(application) = self.application() else { return Ok(true) };
        let is_first = application.is_first_instance();
        if !matches!(is_first, Ok(true)) {
            self.application.take();
        }
        is_first
    }

    fn run(&self, guest: &Guest) {
        if let Some(application) = self.application() {
            application.run(guest);
            if let Some(reactor) = guest.reactor() {
                // An error means that the application quits because the reactor has stopped.
                let _ = reactor.stop();
            }
        }
        while guest.is_started() && !self.is_detached.get() {
            self.context.iterate(true);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        if self.is_detached.get() {
            // Only the call that asked for this pass still needs it.
            std::thread::sleep(delay.unwrap_or(DETACHED_PASS).min(DETACHED_PASS));
            return guest.turn(Budget::default());
        }
        let outer = self.pass_end.replace(delay.and_then(|delay| Instant::now().checked_add(delay)));
        self.context.iterate(delay != Some(Duration::ZERO));
        self.pass_end.set(outer);
    }
}

/// The source that makes the turns.
struct Turns {
    guest: Guest,
    main_loop: Rc<MainLoop>,
}

impl Behaviour for Turns {
    fn watches(&self) -> bool {
        self.guest.makes_turns()
    }

    fn sleep(&self) -> Option<Duration> {
        let left = self.main_loop.pass_end.get().map(|end| end.saturating_duration_since(Instant::now()));
        if let Some(rest) = self.main_loop.rests.left(Instant::now) {
            return Some(left.map_or(rest, |left| left.min(rest)));
        }
        match (self.main_loop.timeout(&self.guest), left) {
            (Some(timeout), Some(left)) => Some(timeout.min(left)),
            (timeout, left) => timeout.or(left),
        }
    }

    fn is_ready(&self, is_readable: bool) -> bool {
        let main_loop = &self.main_loop;
        if main_loop.rests.left(Instant::now).is_some() {
            return false;
        }
        is_readable || main_loop.timeout(&self.guest) == Some(Duration::ZERO)
    }

    fn dispatch(&self) -> bool {
        // The pass has ended. A loop that a callback runs may sleep longer.
        self.main_loop.pass_end.set(None);
        self.main_loop.is_woken.store(false, Ordering::Release);
        let begin = Instant::now();
        self.guest.turn(Budget::of(BUDGET));
        self.main_loop.rests.add_turn(begin, Instant::now());
        // A dropped reactor has closed the descriptor, which poll(2) reports in each pass.
        self.guest.reactor().is_some()
    }
}

/// The source that is dispatched when everything of a higher priority has been.
struct AfterAllElse(Rc<MainLoop>);

impl Behaviour for AfterAllElse {
    fn watches(&self) -> bool {
        false
    }

    fn sleep(&self) -> Option<Duration> {
        self.0.rests.is_resting().then_some(Duration::ZERO)
    }

    fn is_ready(&self, _is_readable: bool) -> bool {
        self.0.rests.is_resting()
    }

    fn dispatch(&self) -> bool {
        self.0.rests.end();
        true
    }
}
