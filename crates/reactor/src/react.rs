//! A whole program as one function: `task.react`.

use std::cell::RefCell;
use std::future::Future;
use std::process::{ExitCode, Termination};
use std::rc::Rc;

use ropewalk_proto::{Cancelled, Failure};

use crate::interfaces::core::{Phase, RunOptions};
use crate::kernel::Reactor;

/// Runs `main` on the best available reactor until its result is ready, and returns the program's exit status.
///
/// `main` returns a future or a [`Deferred`](crate::Deferred). Its output is any type that Rust's own `main` may
/// return. Once the output is ready, the reactor is stopped.
///
/// | event | exit status |
/// |---|---|
/// | `main` returns a value | the value's: 0 for `()` and `Ok(())` |
/// | `main` returns an error, or panics | 1, with the error on standard error |
/// | SIGINT or SIGTERM | 128 plus the signal's number, as in shells; `main` is dropped before the shutdown |
/// | something else stops the reactor | 0; `main` is dropped before the shutdown |
///
/// `main` is called on this thread before the reactor runs. Its future is polled there, in callbacks of the reactor.
///
/// ```
/// use std::process::ExitCode;
/// use std::time::Duration;
///
/// fn main() -> ExitCode {
///     ropewalk::react(|reactor| async move {
///         reactor.timeout(Duration::from_secs(1), reactor.sleep(Duration::from_millis(1))).await
///     })
/// }
/// ```
pub fn react<F>(main: impl FnOnce(Reactor) -> F) -> ExitCode
where
    F: Future<Output: Termination> + 'static,
{
    match Reactor::new() {
        Ok(reactor) => react_on(&reactor, RunOptions::default(), main),
        Err(error) => Err::<(), _>(error).report(),
    }
}

/// Runs `main` like [`react`], on a reactor of your choice.
///
/// Must not be called from a callback of `reactor`, which runs already.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::RunOptions;
/// use ropewalk::testing::MemoryReactor;
///
/// let net = MemoryReactor::new();
/// let status = ropewalk::react_on(&net, RunOptions::default(), |reactor| {
///     reactor.defer_later(Duration::from_secs(3600), |_| Err::<(), _>(std::fmt::Error))
/// });
/// assert_eq!(status, std::process::ExitCode::FAILURE);
/// ```
pub fn react_on<F>(reactor: &Reactor, options: RunOptions, main: impl FnOnce(Reactor) -> F) -> ExitCode
where
    F: Future<Output: Termination> + 'static,
{
    let outcome = Rc::new(RefCell::new(None));
    let (result, handle) = (outcome.clone(), reactor.downgrade());
    let task = reactor.spawn(main(reactor.clone()));
    let end = task.cancel_handle();
    task.add_both(move |output| {
        *result.borrow_mut() = Some(output);
        // `stop` fails if a shutdown cancelled the task, because the reactor is already stopping.
        let _ = handle.upgrade().map(|reactor| reactor.stop());
    });
    let trigger = reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| end.cancel());
    let ran = reactor.run_with(options);
    let _ = reactor.remove_system_event_trigger(&trigger);
    if let Err(error) = ran {
        return Err::<(), _>(error).report();
    }
    let output = outcome.take();
    output.map_or(ExitCode::SUCCESS, |output| status(output, reactor.exit_signal()))
}

fn status(output: Result<impl Termination, Failure>, signal: Option<i32>) -> ExitCode {
    match (output, signal) {
        (Ok(output), _) => output.report(),
        (Err(failure), Some(signal)) if failure.check::<Cancelled>() => {
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        (Err(failure), None) if failure.check::<Cancelled>() => ExitCode::SUCCESS,
        (Err(failure), _) => Err::<(), _>(failure).report(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use ropewalk_proto::{Deferred, succeed};

    use super::*;
    use crate::PanicPolicy;
    use crate::testing::MemoryReactor;

    const SECOND: Duration = Duration::from_secs(1);

    fn react_in_memory<F>(main: impl FnOnce(Reactor) -> F) -> ExitCode
    where
        F: Future<Output: Termination> + 'static,
    {
        let net = MemoryReactor::new();
        net.set_panic_policy(PanicPolicy::Log);
        react_on(&net, RunOptions::default(), main)
    }

    #[test]
    fn the_exit_status_is_that_of_mains_output() {
        assert_eq!(react_in_memory(|reactor| reactor.sleep(SECOND)), ExitCode::SUCCESS);
        assert_eq!(react_in_memory(|_| async { ExitCode::from(7) }), ExitCode::from(7));
        assert_eq!(react_in_memory(|_| async { Err::<(), _>("no such file") }), ExitCode::FAILURE);
        assert_eq!(react_in_memory(|_| async { panic!("in main") }), ExitCode::FAILURE);
    }

    #[test]
    fn main_may_return_a_deferred() {
        assert_eq!(react_in_memory(|_| succeed(())), ExitCode::SUCCESS);
        assert_eq!(react_in_memory(|reactor| reactor.defer_later(SECOND, |_| ())), ExitCode::SUCCESS);
        assert_eq!(react_in_memory(|_| ropewalk_proto::fail::<()>(std::fmt::Error)), ExitCode::FAILURE);
    }

    #[test]
    fn a_stopped_reactor_drops_main_before_its_shutdown() {
        let (deferred, resolver) = Deferred::<()>::new();
        let cancelled = Rc::new(Cell::new(false));
        let seen = cancelled.clone();
        let status = react_in_memory(move |reactor| {
            reactor.add_system_event_trigger(Phase::During, "shutdown", move |_| seen.set(resolver.is_cancelled()));
            reactor.call_later(SECOND, |reactor| reactor.stop().unwrap());
            deferred
        });
        assert_eq!(status, ExitCode::SUCCESS);
        assert!(cancelled.get());
    }

    #[test]
    fn a_main_that_stops_the_reactor_sets_the_exit_status() {
        let status = react_in_memory(|reactor| async move {
            reactor.stop().unwrap();
            ExitCode::from(3)
        });
        assert_eq!(status, ExitCode::from(3));
    }

    #[test]
    fn a_reactor_can_be_used_several_times() {
        let net = MemoryReactor::new();
        for number in 1..=3 {
            let status = react_on(&net, RunOptions::default(), |_| async move { ExitCode::from(number) });
            assert_eq!(status, ExitCode::from(number));
        }
    }
}
