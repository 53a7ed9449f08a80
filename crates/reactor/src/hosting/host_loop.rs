//! The loop of a host, for programs that run it by way of the reactor.

use std::time::Duration;

use super::Guest;
use crate::error::Result;

/// A host's loop, which [`Reactor::run`](crate::Reactor::run) and [`Reactor::iterate`](crate::Reactor::iterate) run.
///
/// [`Guest::set_host`] installs it. An adapter need not hold its [`Guest`], because each method is given it.
/// The methods are called on the reactor's thread. `iterate` may also be called from any callback of the reactor.
///
/// ```
/// use std::rc::Rc;
/// use std::time::Duration;
/// use ropewalk::hosting::{Guest, HostLoop};
/// use ropewalk::{Budget, Reactor};
///
/// /// A game that makes a turn in each frame.
/// struct Game;
///
/// impl HostLoop for Game {
///     fn run(&self, guest: &Guest) {
///         while guest.is_started() {
///             self.iterate(guest, None);
///         }
///     }
///
///     fn iterate(&self, guest: &Guest, _delay: Option<Duration>) {
///         // ... draw ...
///         std::thread::sleep(Duration::from_millis(1));
///         guest.turn(Budget::of(Duration::from_millis(4)));
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let guest = Guest::new(&reactor)?;
/// guest.set_host(Rc::new(Game));
/// reactor.call_later(Duration::from_millis(5), |reactor| reactor.stop().expect("it runs"));
/// reactor.run()?;
/// # Ok::<(), ropewalk::Error>(())
/// ```
pub trait HostLoop {
    /// Returns whether a run may begin. [`Reactor::run`](crate::Reactor::run) asks before the `startup` event, and does
    /// nothing otherwise: for example, because another instance of the program runs already.
    ///
    /// # Errors
    /// An error is the outcome of [`Reactor::run`](crate::Reactor::run), and no run begins.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use ropewalk::hosting::{Guest, HostLoop};
    /// use ropewalk::Reactor;
    ///
    /// /// A second instance of a program.
    /// struct Second;
    ///
    /// impl HostLoop for Second {
    ///     fn may_run(&self, _guest: &Guest) -> ropewalk::Result<bool> {
    ///         println!("the first instance shows its window");
    ///         Ok(false)
    ///     }
    ///
    ///     fn run(&self, _guest: &Guest) {}
    ///     fn iterate(&self, _guest: &Guest, _delay: Option<Duration>) {}
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let guest = Guest::new(&reactor)?;
    /// guest.set_host(Rc::new(Second));
    /// reactor.call_when_running(|_| unreachable!("no run begins"));
    /// reactor.run()?;
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    fn may_run(&self, _guest: &Guest) -> Result<bool> {
        Ok(true)
    }

    /// Runs the host's loop until the run of the reactor has ended: until [`Guest::is_started`] returns false.
    ///
    /// May return sooner, for example because the user has closed the last window. The reactor is stopped then, and
    /// makes the turns of its shutdown by itself.
    fn run(&self, guest: &Guest);

    /// Makes one pass of the host's loop, which handles events of the host and of its guest.
    ///
    /// Sleeps at most for `delay`, and at most for [`timeout`](Guest::timeout) of the guest:
    /// [`timeout_within`](Guest::timeout_within) is the shorter one. `None` sets no limit.
    fn iterate(&self, guest: &Guest, delay: Option<Duration>);
}
