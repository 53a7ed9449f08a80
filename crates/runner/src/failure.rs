//! The failure for which a running program stops.

use std::cell::RefCell;

use ropewalk::Reactor;

use crate::launch::ExitError;

thread_local! {
    /// The failure of the run on this thread.
    static FAILURE: RefCell<Option<ExitError>> = const { RefCell::new(None) };
}

/// Stops the program with `message` on standard error and exit status 1.
///
/// Services stop in order, as after [`Reactor::stop`]. The first failure of a run counts. May be called from any
/// callback on the reactor's thread. Outside of [`Runner::run`](crate::Runner::run) only the reactor stops.
///
/// ```
/// use std::process::ExitCode;
/// use std::time::Duration;
/// use ropewalk::application::TimerService;
/// use ropewalk_runner::{Runner, RunnerOptions, fail};
///
/// let status = Runner::new("alive", RunnerOptions::default()).run(|_reactor, services| {
///     services.add(TimerService::new(Duration::from_secs(1), |reactor| fail(reactor, "the disk is full")));
///     Ok(())
/// });
/// assert_eq!(status, ExitCode::from(1)); // alive: the disk is full
/// ```
pub fn fail(reactor: &Reactor, message: impl ToString) {
    fail_with(reactor, ExitError::new(message));
}

/// Stops the run because of `error`, unless it fails already.
pub(crate) fn fail_with(reactor: &Reactor, error: ExitError) {
    FAILURE.with_borrow_mut(|failure| {
        failure.get_or_insert(error);
    });
    // Stopping fails if the reactor is stopping already.
    let _ = reactor.stop();
}

/// Takes the failure of the run.
pub(crate) fn take() -> Option<ExitError> {
    FAILURE.take()
}
