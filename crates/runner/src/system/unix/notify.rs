//! Notifies the service supervisor, sd_notify(3): sends a datagram to the socket that it names.

use std::env;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use rustix::time::{ClockId, clock_gettime};

#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "address/with_abstract.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "address/paths_only.rs")]
mod address;

use address::address;

/// A socket for messages to the supervisor.
pub(crate) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddrUnix,
}

impl Notifier {
    /// Opens a socket for the supervisor that `NOTIFY_SOCKET` names, if any.
    pub(crate) fn from_environment() -> Option<Notifier> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let opened = Notifier::new(name.as_bytes());
        opened
            .map_err(
                |error| tracing::warn!(socket = ?name, %error, "cannot notify the supervisor: invalid NOTIFY_SOCKET"),
            )
            .ok()
    }

    fn new(name: &[u8]) -> io::Result<Notifier> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let address = address(name)?;
        Ok(Notifier { socket, address })
    }

    /// Sends a state: lines of the form `NAME=VALUE`.
    ///
    /// # Errors
    /// The errors of sendto(2), such as ECONNREFUSED when the supervisor is gone.
    pub(crate) fn send(&self, state: &str) -> io::Result<()> {
        sendto(&self.socket, state.as_bytes(), SendFlags::empty(), &self.address)?;
        Ok(())
    }

    /// Returns the longest interval between two keep-alive messages, if the supervisor wants them.
    pub(crate) fn watchdog_interval() -> Option<Duration> {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        // Another id means another process, such as our parent.
        if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(process::id())) {
            return None;
        }
        number("WATCHDOG_USEC").filter(|&micros| micros > 0).map(Duration::from_micros)
    }
}

/// Returns the monotonic time in microseconds, which a reload message contains.
pub(crate) fn monotonic_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
