//! The event providers of this system, best first: one table for each system.
//!
//! A new selector, such as one on kqueue(2), is a file in `readiness/` and an entry in the tables of its systems. A
//! provider that is not built on readiness has a folder, as io_uring has. The test `every_list_of_reactors_is_complete`
//! then asks for its rows in the documents and its line in the conformance suite.

use std::io;

use crate::seam::EventProvider;

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "android", path = "android.rs")]
#[cfg_attr(bsd_like, path = "bsd.rs")]
#[cfg_attr(all(unix, not(any(linux_like, bsd_like))), path = "unix.rs")]
#[cfg_attr(not(unix), path = "none.rs")]
mod table;

/// An event provider that a user can choose by its name.
///
/// ```
/// use ropewalk_sys::{Provider, providers};
///
/// fn works(provider: &Provider) -> bool {
///     (provider.open)().is_ok()
/// }
///
/// # #[cfg(unix)]
/// assert!(providers().iter().any(works));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Provider {
    /// The name that `-r` takes, such as `epoll`.
    pub name: &'static str,
    /// One line for a list of providers.
    pub description: &'static str,
    /// Opens a provider. Each reactor needs its own.
    ///
    /// # Errors
    /// The reason why the provider does not work on this machine.
    pub open: fn() -> io::Result<Box<dyn EventProvider>>,
}

/// Returns every provider of this system, the preferred one first. May be called from any thread.
///
/// ```
/// for provider in ropewalk_sys::providers() {
///     println!("{}: {}", provider.name, provider.description);
/// }
/// # #[cfg(unix)]
/// assert!(ropewalk_sys::providers().iter().any(|provider| provider.name == "poll"));
/// ```
pub fn providers() -> &'static [Provider] {
    table::PROVIDERS
}
