//! Waking a blocked `wait` from another thread or from a signal handler.

use std::sync::Arc;

#[cfg(unix)]
mod bell;
#[cfg(unix)]
#[cfg_attr(linux_like, path = "eventfd.rs")]
#[cfg_attr(not(linux_like), path = "pipe.rs")]
mod channel;
#[cfg(unix)]
mod descriptor;
// The pipe works on Linux as well, so its tests run there.
#[cfg(all(test, linux_like))]
mod pipe;

#[cfg(unix)]
pub(crate) use bell::Bell;

/// The primitives of the bell. Its model (`models/`) has others.
#[cfg(unix)]
mod sync {
    pub(super) use std::sync::atomic;
}

/// Wakes the `wait` of one provider. Cheap to clone; may be used from any thread at any time, also after the provider
/// is gone.
///
/// Wakes coalesce: any number of them between two waits costs one system call. A wake that comes before the wait is not
/// lost.
///
/// ```
/// use ropewalk_sys::providers;
///
/// # #[cfg(unix)] {
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let waker = provider.waker();
/// let thread = std::thread::spawn(move || waker.wake());
/// provider.wait(None, &mut Vec::new())?; // would wait without end
/// thread.join().unwrap();
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Waker(Arc<dyn Wake>);

/// The way to wake one kind of provider.
///
/// An implementation that serves signal handlers must be async-signal-safe, signal-safety(7).
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use ropewalk_sys::{Wake, Waker};
///
/// #[derive(Default)]
/// struct Count(AtomicU32);
///
/// impl Wake for Count {
///     fn wake(&self) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let count = Arc::new(Count::default());
/// Waker::new(count.clone()).wake();
/// assert_eq!(count.0.load(Ordering::Relaxed), 1);
/// ```
pub trait Wake: Send + Sync {
    /// Makes the present `wait`, or else the next one, return.
    fn wake(&self);
}

impl Waker {
    /// Returns a waker that calls `wake`.
    pub fn new(wake: Arc<dyn Wake>) -> Waker {
        Waker(wake)
    }

    /// Makes the present `wait`, or else the next one, return.
    pub fn wake(&self) {
        self.0.wake();
    }
}
