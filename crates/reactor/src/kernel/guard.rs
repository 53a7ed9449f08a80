//! Callbacks that panic are logged by name, and the loop lives.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Kernel, Reactor};
use crate::error::Error;

/// What a panic in a callback does beyond being logged and ending its connection.
///
/// ```
/// use std::time::Duration;
/// use ropewalk::testing::MemoryReactor;
/// use ropewalk::{Error, PanicPolicy};
///
/// let net = MemoryReactor::new();
/// net.set_panic_policy(PanicPolicy::Stop);
/// net.call_later(Duration::from_secs(1), |_| panic!("a bug"));
/// assert!(matches!(net.run(), Err(Error::Panicked(..))));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// Nothing: the loop goes on.
    #[default]
    Log,
    /// The loop stops in order, and `run` returns the panic as an error.
    Stop,
}

impl Reactor {
    /// Chooses what a panic in a callback does; [`PanicPolicy::Log`] at first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::PanicPolicy;
    /// use ropewalk::testing::MemoryReactor;
    ///
    /// let net = MemoryReactor::new();
    /// net.set_panic_policy(PanicPolicy::Log); // as at first
    /// net.call_later(Duration::from_secs(1), |_| panic!("a bug, which is logged"));
    /// net.call_later(Duration::from_secs(2), |reactor| reactor.stop().unwrap());
    /// net.run()?;
    /// assert_eq!(net.seconds(), 2.0);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    pub fn set_panic_policy(&self, policy: PanicPolicy) {
        self.0.panic_policy.set(policy);
    }
}

/// Runs a callback. A panic in it is logged under `name` and returned as an error.
pub(crate) fn guard<R>(kernel: &Kernel, name: &'static str, callback: impl FnOnce() -> R) -> Result<R, Error> {
    catch(callback).map_err(|panic| panic.log(kernel, name))
}

/// Runs a callback whose name is not worth asking for unless it panics.
#[inline]
pub(crate) fn catch<R>(callback: impl FnOnce() -> R) -> Result<R, Panic> {
    // What the callback could have left half done is its own: the reactor holds no borrow while it runs.
    catch_unwind(AssertUnwindSafe(callback)).map_err(Panic)
}

/// What a callback panicked with.
pub(crate) struct Panic(Box<dyn Any + Send>);

impl Panic {
    /// Logs it under `name`, and makes an error of it.
    #[cold]
    pub(crate) fn log(self, kernel: &Kernel, name: &'static str) -> Error {
        panicked(kernel, name, &*self.0)
    }
}

/// What an object calls itself, for [`guard`].
pub(crate) fn name_of(name: impl FnOnce() -> &'static str) -> &'static str {
    catch_unwind(AssertUnwindSafe(name)).unwrap_or("(buggy log_prefix)")
}

#[cold]
fn panicked(kernel: &Kernel, name: &'static str, payload: &(dyn Any + Send)) -> Error {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)");
    tracing::error!(callback = name, message, "unhandled panic in a callback");
    let error = Error::Panicked(name.into(), message.into());
    if kernel.panic_policy.get() == PanicPolicy::Stop {
        kernel.panicked.borrow_mut().get_or_insert(error.clone());
        kernel.request_stop();
    }
    error
}
