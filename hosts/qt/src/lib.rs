//! The reactor in the event loop of Qt 6.
//!
//! [`install`] makes a reactor the guest of Qt's loop in the thread of the application object. That object is the
//! program's: a `QApplication` from a binding of Qt or from C++, or [`application`] in a program without windows.
//!
//! ```no_run
//! use std::time::Duration;
//! use ropewalk::Reactor;
//!
//! # fn main() -> ropewalk::Result<()> {
//! ropewalk_qt::application()?; // or a QApplication, and then its windows
//! let reactor = Reactor::new()?;
//! let _qt = ropewalk_qt::install(&reactor)?;
//! reactor.call_later(Duration::from_secs(1), |reactor| reactor.stop().expect("it runs"));
//! reactor.run() // runs QCoreApplication::exec
//! # }
//! ```
//!
//! `reactor.run()` returns when the reactor has stopped. If Qt's loop ends first, because the last window has been closed
//! or the program has called `quit`, the reactor is stopped.
//!
//! A program that calls `exec` itself starts the reactor with `start_running`, adds a hook that quits the application to
//! [`QtHost::guest`] with `on_end`, and gets the outcome from `finish`.
//!
//! A provider with a handle is watched by a `QSocketNotifier`. Any other waits in a thread, and posts an event to Qt.

mod shim;

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::hosting::{Guest, HostLoop};
use ropewalk::{Budget, Error, Reactor, Result};
use shim::Object;

/// A quarter of a frame at 60 Hz.
const BUDGET: Duration = Duration::from_millis(4);

/// A reactor in Qt's event loop. The reactor leaves the loop when the last clone is dropped.
///
/// ```compile_fail
/// fn is_send<T: Send>() {}
/// is_send::<ropewalk_qt::QtHost>();
/// ```
#[derive(Clone)]
#[must_use = "the reactor leaves Qt's loop when this is dropped"]
pub struct QtHost(Rc<Driver>);

/// Makes the turns. Qt's object has a pointer to it.
struct Driver {
    guest: Guest,
    qt: Rc<Qt>,
}

/// Qt's loop, as the guest knows it. It holds no guest, because the guest holds it.
struct Qt {
    object: Object,
    /// Whether the provider waits in a thread, which posts an event when a turn is due.
    in_thread: Cell<bool>,
    /// Whether the timer is set to the next pass of the loop.
    is_due: Cell<bool>,
    /// Whether the program asked for one pass, by `iterate`.
    iterates: Cell<bool>,
    /// The number of turns, so that a pass knows whether one was made.
    turns: Cell<u64>,
    /// The driver, until it is dropped.
    driver: RefCell<std::rc::Weak<Driver>>,
}

/// Makes `reactor` a guest of Qt's event loop in this thread.
///
/// ```no_run
/// # fn main() -> ropewalk::Result<()> {
/// let reactor = ropewalk::Reactor::new()?;
/// let qt = ropewalk_qt::install(&reactor)?;
/// reactor.run()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Failed`] if this thread has no `QCoreApplication`. The errors of [`Guest::new`] and
/// [`Guest::wait_in_thread`].
pub fn install(reactor: &Reactor) -> Result<QtHost> {
    check()?;
    let guest = Guest::new(reactor)?;
    let qt = Rc::new(Qt {
        object: Object::new(),
        in_thread: Cell::new(false),
        is_due: Cell::new(false),
        iterates: Cell::new(false),
        turns: Cell::new(0),
        driver: RefCell::default(),
    });
    match guest.handle() {
        Some(handle) => {
            qt.object.watch(handle);
            let sooner = qt.clone();
            guest.on_sooner(move || sooner.sooner());
        }
        None => {
            let post = qt.object.poster();
            guest.wait_in_thread(move || post.post())?;
            qt.in_thread.set(true);
        }
    }
    let end = qt.clone();
    guest.on_end(move || end.end());
    guest.set_host(qt.clone());
    let driver = Rc::new(Driver { guest, qt });
    driver.qt.driver.replace(Rc::downgrade(&driver));
    // SAFETY: the drop of the driver takes the pointer away from the object.
    unsafe { driver.qt.object.set_due(due, Rc::as_ptr(&driver).cast()) };
    driver.arm();
    Ok(QtHost(driver))
}

/// Creates a `QCoreApplication` in this thread, for a program without windows. It exists as long as the process.
///
/// Does nothing if this thread has an application object.
///
/// # Errors
/// [`Error::Failed`] if another thread has the application object.
pub fn application() -> Result<()> {
    shim::start();
    check()
}

fn check() -> Result<()> {
    match shim::is_here() {
        true => Ok(()),
        false => Err(Error::Failed("this thread has no QCoreApplication, create it before the reactor's host".into())),
    }
}

impl QtHost {
    /// Returns the guest, for hooks and for [`Guest::finish`].
    pub fn guest(&self) -> &Guest {
        &self.0.guest
    }

    /// Returns the number of turns that were made.
    #[doc(hidden)]
    pub fn turns(&self) -> u64 {
        self.0.qt.turns.get()
    }
}

impl fmt::Debug for QtHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QtHost").field("guest", &self.0.guest).finish_non_exhaustive()
    }
}

/// Runs the host as `reactor.run()` does, for programs that install it a second time by `set_host`.
impl HostLoop for QtHost {
    fn may_run(&self, guest: &Guest) -> Result<bool> {
        self.0.qt.may_run(guest)
    }

    fn run(&self, guest: &Guest) {
        self.0.qt.run(guest);
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        self.0.qt.iterate(guest, delay);
    }
}

/// Qt's timer or notifier: `event` is true for the notifier.
unsafe extern "C" fn due(driver: *const c_void, event: bool) {
    let driver: *const Driver = driver.cast();
    // SAFETY: the driver exists, because its drop takes the pointer away from Qt's object.
    unsafe { Rc::increment_strong_count(driver) };
    // SAFETY: the count was incremented for this.
    let driver = unsafe { Rc::from_raw(driver) };
    driver.due(event);
}

impl Driver {
    fn due(&self, event: bool) {
        self.qt.is_due.set(false);
        if event || self.qt.in_thread.get() || self.guest.timeout() == Some(Duration::ZERO) {
            self.qt.turn(&self.guest);
        } else {
            self.arm();
        }
    }

    fn arm(&self) {
        self.qt.arm(&self.guest);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.qt.object.silence();
        self.qt.end();
    }
}

impl Qt {
    fn turn(&self, guest: &Guest) {
        self.turns.set(self.turns.get() + u64::from(guest.makes_turns()));
        if self.in_thread.get() {
            self.object.stop_timer(); // this turn is the answer to an event that was posted before
        }
        // A pass that the program asks for serves everything that is ready, as in a reactor without a host.
        guest.turn(if self.iterates.get() { Budget::default() } else { Budget::of(BUDGET) });
        self.arm(guest);
    }

    /// Lets Qt sleep until the next turn. Watches nothing between two runs.
    fn arm(&self, guest: &Guest) {
        if self.in_thread.get() {
            return;
        }
        let on = guest.makes_turns() && self.driver.borrow().strong_count() > 0;
        self.object.enable(on);
        self.is_due.set(false);
        match guest.timeout().filter(|_| on) {
            Some(limit) => self.object.sleep(milliseconds(limit)),
            None => self.object.stop_timer(),
        }
    }

    /// Asks the guest in the next pass of the loop, because the hook may be called from within the reactor.
    fn sooner(&self) {
        if !self.is_due.replace(true) {
            self.object.sleep(0);
        }
    }

    fn end(&self) {
        self.object.end();
    }
}

impl HostLoop for Qt {
    fn may_run(&self, _guest: &Guest) -> Result<bool> {
        check().map(|()| true)
    }

    fn run(&self, guest: &Guest) {
        if guest.is_started() && self.driver.borrow().strong_count() > 0 {
            self.arm(guest);
            self.object.run();
        }
    }

    fn iterate(&self, guest: &Guest, delay: Option<Duration>) {
        let before = self.turns.get();
        let outer = self.iterates.replace(true);
        self.arm(guest);
        self.object.pass(delay);
        if self.turns.get() == before {
            self.turn(guest);
        }
        self.iterates.set(outer);
    }
}

/// Rounds up, so that Qt does not wake before a call is due, again and again.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_a_limit() {
        let times = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(2), Duration::MAX];
        assert_eq!(times.map(milliseconds), [0, 1, 2, i32::MAX]);
    }
}
