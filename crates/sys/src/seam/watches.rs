//! Handles of the user, watched for readiness.

use std::io;

use ropewalk_proto::Key;

use super::Interest;
use crate::io_handle::RawWaitable;

/// Watches on handles that their owner opens, reads, writes and closes. Events carry only readiness.
///
/// Watching is level-triggered: a handle that stays ready is reported by each `wait`.
///
/// On Windows a handle is a HANDLE. It is ready to read while it is signalled. It is never ready to write, so a watch
/// for [`Interest::WRITE`] fails with `InvalidInput`.
///
/// ```
/// # #[cfg(unix)] {
/// use std::io::Write;
/// use std::os::fd::AsRawFd;
/// use ropewalk_sys::{Interest, providers};
///
/// let mut provider = providers().iter().find_map(|known| (known.open)().ok()).expect("one works here");
/// let (reader, mut writer) = std::os::unix::net::UnixStream::pair()?;
/// let key = provider.watches().unwrap().watch(reader.as_raw_fd(), Interest::READ)?;
/// writer.write_all(b"x")?;
/// let mut events = Vec::new();
/// provider.wait(None, &mut events)?;
/// assert_eq!(events[0].key, key);
/// provider.watches().unwrap().set_interest(key, Interest::empty())?;
/// provider.watches().unwrap().unwatch(key); // and only then close the reader
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Watches {
    /// Begins to watch `handle`. The caller still owns the handle.
    ///
    /// # Errors
    /// The errors of the operating system for a handle that cannot be watched.
    fn watch(&mut self, handle: RawWaitable, interest: Interest) -> io::Result<Key>;

    /// Changes the readiness that a handle is watched for. While the interest is empty, the owner may close the handle.
    ///
    /// # Errors
    /// `NotFound` for a stale key, or an error of the operating system.
    fn set_interest(&mut self, key: Key, interest: Interest) -> io::Result<()>;

    /// Stops watching. The handle stays open.
    fn unwatch(&mut self, key: Key);
}
