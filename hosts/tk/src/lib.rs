//! The reactor in the event loop of Tcl/Tk 8.6.
//!
//! A program with windows of Tk, or with Tcl's event loop alone, runs one loop for its events and for the reactor.
//! [`install`] makes the reactor a guest of the loop of this thread:
//!
//! ```
//! use std::ffi::{c_char, c_int, c_void};
//! use std::time::Duration;
//! use ropewalk::Reactor;
//! use ropewalk_tk::AsInterpreter;
//!
//! unsafe extern "C" {
//!     fn Tcl_CreateInterp() -> *mut c_void;
//!     fn Tcl_DeleteInterp(interpreter: *mut c_void);
//!     fn Tcl_Eval(interpreter: *mut c_void, script: *const c_char) -> c_int;
//! }
//!
//! /// An interpreter of this thread. A binding of Tcl has such a type.
//! struct Interpreter(*mut c_void);
//!
//! // SAFETY: the interpreter exists until the value is dropped. The pointer makes the type neither Send nor Sync.
//! unsafe impl AsInterpreter for Interpreter {
//!     fn as_interpreter(&self) -> *mut c_void {
//!         self.0
//!     }
//! }
//!
//! impl Drop for Interpreter {
//!     fn drop(&mut self) {
//!         unsafe { Tcl_DeleteInterp(self.0) };
//!     }
//! }
//!
//! let interpreter = Interpreter(unsafe { Tcl_CreateInterp() });
//! // A program with windows calls `Tk_Init`, or evaluates `package require Tk`.
//! unsafe { Tcl_Eval(interpreter.0, c"after 1 {set clicked yes}".as_ptr()) };
//! let reactor = Reactor::new()?;
//! let _tk = ropewalk_tk::install(&reactor, &interpreter)?;
//! reactor.call_later(Duration::from_millis(10), |reactor| reactor.stop().expect("it runs"));
//! reactor.run()?; // runs Tcl's event loop
//! assert_eq!(unsafe { Tcl_Eval(interpreter.0, c"set clicked".as_ptr()) }, 0);
//! # Ok::<(), ropewalk::Error>(())
//! ```
//!
//! # The main window
//!
//! The reactor stops when the main window of the interpreter has been destroyed, whatever destroyed it. The run ends
//! after the `during shutdown` triggers, in which connections are closed. If [`Reactor::stop`](ropewalk::Reactor::stop)
//! stopped the run, the windows stay, and the program decides about them.
//!
//! # A program that runs the loop itself
//!
//! A program that calls `Tk_MainLoop`, or waits by `tkwait window .`, starts the reactor by
//! [`Reactor::start_running`](ropewalk::Reactor::start_running). After the loop,
//! [`Guest::finish`](ropewalk::hosting::Guest::finish) makes the turns of the shutdown, and returns the outcome. Such a
//! loop ends only with the windows, so destroy the main window in a hook of
//! [`Guest::on_end`](ropewalk::hosting::Guest::on_end) if the reactor may stop first.
//!
//! # Loops inside callbacks
//!
//! Callbacks of the reactor may run the loop, as `tk_messageBox`, `vwait`, `tkwait` and `update` do: connections
//! continue meanwhile. Mind three things:
//!
//! - After the reactor has stopped, nothing makes its calls any more, and a dialog that is still open keeps its
//!   callback waiting. Close dialogs in a `before shutdown` trigger: `destroy .__tk__messagebox` closes that of
//!   `tk_messageBox`.
//! - A protocol may outlive the widgets that it writes to, because data comes until the shutdown is complete. Ask
//!   `winfo exists` first, or stop to write in a `before shutdown` trigger.
//! - The command `exit` of Tcl exits from the process without a shutdown. Destroy the main window instead.
//!
//! # Drawing
//!
//! Tk draws when there are no events. After 5 ms of work the reactor lets Tk draw, as `update idletasks` does, so a
//! window is drawn although connections are always ready. A turn takes 2 ms unless a callback takes longer.
//!
//! # The price
//!
//! Tcl waits by select(2) in a thread of its own, and each event comes by way of that thread. A message costs about 13
//! system calls, compared with 3 of `run` on epoll. While there is nothing to do, neither thread wakes.
//!
//! A provider without a descriptor, such as poll, waits in another thread. The reactors of a process that are in Tcl's
//! loop share one thread, because Tcl 8.6 can spin for ever when threads with notifiers come and go.
//!
//! Source: `twisted.internet.tksupport`. Twisted makes passes of Tk's loop in its own; here Tk's loop makes the turns.

#![warn(missing_docs)]

mod ffi;
mod main_window;
mod notifier;
mod rests;
mod source;

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Error, Reactor, Result};

pub use main_window::AsInterpreter;

use main_window::MainWindow;
use notifier::Notifier;
use rests::Rests;
use source::{Behaviour, Source};

/// The time of a pass when the source is gone.
const DETACHED_PASS: Duration = Duration::from_millis(1);
/// The time of a turn, in which no window is drawn.
const BUDGET: Duration = Duration::from_millis(2);
/// Tcl waits by select(2), which takes descriptors below this number.
const FD_SETSIZE: RawFd = 1024;

/// Makes `reactor` a guest of the event loop of this thread, and stops it at the end of the interpreter's main window.
///
/// The interpreter may have no main window yet. It may be deleted while the result exists. A provider without a
/// descriptor, such as poll, waits in a thread of its own.
///
/// # Errors
/// The errors of [`Guest::new`] and [`Guest::wait_in_thread`]. [`Error::Failed`] for a null pointer, in a second thread of
/// the process, and when the
/// provider's descriptor is too large for select(2): install the reactor before the program opens a thousand files.
///
/// Source: `tksupport.install`.
pub fn install(reactor: &Reactor, interpreter: &impl AsInterpreter) -> Result<TkHost> {
    let guest = Guest::new(reactor)?;
    let main_window = MainWindow::new(interpreter, &guest)?;
    TkHost::new(reactor, guest, Some(main_window), Notifier::of_this_thread()?)
}

/// Makes `reactor` a guest of the event loop of this thread, for a program that has Tcl's loop but no interpreter.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::Reactor;
///
/// let reactor = Reactor::new()?;
/// let _tk = ropewalk_tk::install_without_interpreter(&reactor)?;
/// reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop().expect("it runs"));
/// reactor.run()?; // runs Tcl's event loop
/// # Ok::<(), ropewalk::Error>(())
/// ```
///
/// # Errors
/// The errors of [`install`].
pub fn install_without_interpreter(reactor: &Reactor) -> Result<TkHost> {
    TkHost::new(reactor, Guest::new(reactor)?, None, Notifier::initialize()?)
}

/// A reactor in Tcl's event loop. The reactor is free again when this is dropped.
///
/// All methods may be called from any callback.
///
/// ```
/// use ropewalk::{Error, Reactor};
///
/// let reactor = Reactor::new()?;
/// let tk = ropewalk_tk::install_without_interpreter(&reactor)?;
/// assert!(matches!(ropewalk_tk::install_without_interpreter(&reactor), Err(Error::Hosted)));
/// drop(tk);
/// let _again = ropewalk_tk::install_without_interpreter(&reactor)?;
/// # Ok::<(), Error>(())
/// ```
///
/// The loop belongs to one thread, and so does this value:
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<ropewalk_tk::TkHost>();
/// ```
#[must_use = "the reactor leaves Tcl's event loop when this is dropped"]
pub struct TkHost {
    guest: Guest,
    main_loop: Rc<MainLoop>,
    _source: Source,
}

impl TkHost {
    fn new(reactor: &Reactor, guest: Guest, main_window: Option<Rc<MainWindow>>, notifier: Notifier) -> Result<TkHost> {
        let watched: Option<RawFd> = guest.handle();
        if let Some(fd) = watched.filter(|fd| *fd >= FD_SETSIZE) {
            let fault = format!(
                "the descriptor {fd} of the provider is too large for Tcl, which takes numbers below {FD_SETSIZE}; \
                 install the reactor before the program opens its files"
            );
            return Err(Error::Failed(fault.into()));
        }
        let main_loop = Rc::new(MainLoop {
            notifier,
            pass_end: Cell::default(),
            is_woken: Arc::default(),
            waits_in_thread: watched.is_none(),
            is_detached: Cell::default(),
            rests: Rests::default(),
        });
        if watched.is_none() {
            main_loop.wait_in_thread(&guest)?;
        }
        let turns = Turns { guest: guest.clone(), main_loop: main_loop.clone(), main_window };
        let source = Source::attach(Rc::new(turns), reactor, watched);
        guest.set_host(main_loop.clone());
        Ok(TkHost { guest, main_loop, _source: source })
    }

    /// Returns the guest: its outcome when the program runs the loop itself, and hooks at the end of a run.
    ///
    /// ```
    /// use ropewalk::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let tk = ropewalk_tk::install_without_interpreter(&reactor)?;
    /// tk.guest().on_end(|| println!("destroy ."));
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn guest(&self) -> &Guest {
        &self.guest
    }
}

impl std::fmt::Debug for TkHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TkHost").field("guest", &self.guest).finish_non_exhaustive()
    }
}

impl Drop for TkHost {
    /// Stops a run that is left. The reactor makes the turns of its shutdown itself.
    fn drop(&mut self) {
        self.main_loop.is_detached.set(true);
        self.main_loop.notifier.alarm().ring();
    }
}

/// Passes of the loop, for callbacks that wait inside.
impl HostLoop for TkHost {
    fn run(&self, guest: &Guest) {
        self.main_loop.run(guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        self.main_loop.iterate(guest, delay);
    }
}

struct MainLoop {
    notifier: Notifier,
    /// The time until which the present pass may sleep.
    pass_end: Cell<Option<Instant>>,
    /// Whether the thread that waits has woken the notifier.
    is_woken: Arc<AtomicBool>,
    waits_in_thread: bool,
    /// Whether the source is gone, so that no pass makes a turn.
    is_detached: Cell<bool>,
    rests: Rests,
}

impl MainLoop {
    fn wait_in_thread(&self, guest: &Guest) -> Result<()> {
        let (alarm, is_woken) = (self.notifier.alarm(), self.is_woken.clone());
        guest.wait_in_thread(move || {
            is_woken.store(true, Ordering::Release);
            alarm.ring();
        })
    }

    /// Returns how long Tcl may sleep for the guest. The thread wakes the notifier for delayed calls, too.
    fn timeout(&self, guest: &Guest) -> Option<Duration> {
        if !self.waits_in_thread {
            return guest.timeout();
        }
        self.is_woken.load(Ordering::Acquire).then_some(Duration::ZERO)
    }

    /// Returns how much of the sleep of the present pass is left.
    fn pass_left(&self) -> Option<Duration> {
        self.pass_end.get().map(|end| end.saturating_duration_since(Instant::now()))
    }
}

impl HostLoop for MainLoop {
    fn run(&self, guest: &Guest) {
        while guest.is_started() && !self.is_detached.get() {
            self.notifier.handle_one_event(true);
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        if self.is_detached.get() {
            // Only the call that asked for this pass still needs it.
            std::thread::sleep(delay.unwrap_or(DETACHED_PASS).min(DETACHED_PASS));
            return guest.turn(Budget::default());
        }
        let outer = self.pass_end.replace(delay.and_then(|delay| Instant::now().checked_add(delay)));
        self.notifier.handle_one_event(delay != Some(Duration::ZERO));
        self.pass_end.set(outer);
    }
}

/// The source that makes the turns.
struct Turns {
    guest: Guest,
    main_loop: Rc<MainLoop>,
    main_window: Option<Rc<MainWindow>>,
}

impl Turns {
    fn make_turn(&self) {
        let main_loop = &self.main_loop;
        // The pass has ended. A loop that a callback runs may sleep longer.
        main_loop.pass_end.set(None);
        main_loop.is_woken.store(false, Ordering::Release);
        let begin = Instant::now();
        self.guest.turn(Budget::of(BUDGET));
        if main_loop.rests.add_turn(begin.elapsed()) {
            main_loop.notifier.make_idle_callbacks();
        }
    }
}

impl Behaviour for Turns {
    fn watches(&self) -> bool {
        self.guest.makes_turns()
    }

    fn sleep(&self) -> Option<Duration> {
        if let Some(main_window) = &self.main_window {
            main_window.trace();
        }
        match (self.main_loop.timeout(&self.guest), self.main_loop.pass_left()) {
            (Some(timeout), Some(left)) => Some(timeout.min(left)),
            (timeout, left) => timeout.or(left),
        }
    }

    fn is_ready(&self) -> bool {
        // Without an event, Tcl would sleep again after the end of the pass.
        self.main_loop.timeout(&self.guest) == Some(Duration::ZERO)
            || self.main_loop.pass_left() == Some(Duration::ZERO)
    }

    fn dispatch(&self) {
        // The turn of another event may have done the work.
        if self.main_loop.timeout(&self.guest) == Some(Duration::ZERO) {
            self.make_turn();
        } else {
            self.main_loop.pass_end.set(None);
        }
    }

    fn dispatch_readable(&self) {
        self.make_turn();
    }
}
