//! What the service supervisor is told, sd_notify(3): a datagram to the socket that it names.

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

/// A supervisor that listens.
pub(crate) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddrUnix,
}

impl Notifier {
    /// The supervisor that `NOTIFY_SOCKET` names, if there is one.
    pub(crate) fn from_environment() -> Option<Notifier> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let opened = Notifier::new(name.as_bytes());
        opened.map_err(|error| tracing::warn!(socket = ?name, %error, "the supervisor cannot be told anything")).ok()
    }

    fn new(name: &[u8]) -> io::Result<Notifier> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let address = address(name)?;
        Ok(Notifier { socket, address })
    }

    /// Tells it a state, `NAME=VALUE` a line.
    pub(crate) fn tell(&self, state: &str) {
        if let Err(error) = sendto(&self.socket, state.as_bytes(), SendFlags::empty(), &self.address) {
            let name = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
            tracing::warn!(socket = ?name, state, %error, "the supervisor that NOTIFY_SOCKET names was not told");
        }
    }

    /// How often it wants to hear that this process is well; twice as often is safe.
    pub(crate) fn watchdog_interval() -> Option<Duration> {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        // Another process is meant when the number is not ours: our parent, say.
        if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(process::id())) {
            return None;
        }
        number("WATCHDOG_USEC").filter(|&micros| micros > 0).map(Duration::from_micros)
    }
}

/// The time that a supervisor measures a reload by.
pub(crate) fn monotonic_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
