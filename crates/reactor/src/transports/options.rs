//! The options of a connection's socket: ITCPTransport.

use ropewalk_sys::{KeepAliveTimes, PeerCredentials, SocketOption};

use super::Transport;
use crate::error::{Error, Result};

impl Transport {
    /// Returns whether small writes are sent at once: TCP_NODELAY. `false` for a UNIX connection.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection.
    pub fn tcp_no_delay(&self) -> Result<bool> {
        self.tcp_option(SocketOption::NoDelay)
    }

    /// Switches TCP_NODELAY on or off. Has no effect on a UNIX connection.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.set_tcp_no_delay(true)?;
    /// assert!(transport.tcp_no_delay()?);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection.
    pub fn set_tcp_no_delay(&self, on: bool) -> Result<()> {
        self.set_tcp_option(SocketOption::NoDelay, on)
    }

    /// Returns whether an idle connection is probed: SO_KEEPALIVE. `false` for a UNIX connection.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection.
    pub fn tcp_keep_alive(&self) -> Result<bool> {
        self.tcp_option(SocketOption::KeepAlive)
    }

    /// Switches SO_KEEPALIVE on or off. Has no effect on a UNIX connection.
    ///
    /// ```
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// transport.set_tcp_keep_alive(true)?;
    /// assert!(transport.tcp_keep_alive()?);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection.
    pub fn set_tcp_keep_alive(&self, on: bool) -> Result<()> {
        self.set_tcp_option(SocketOption::KeepAlive, on)
    }

    /// Returns the times of keep-alive probes: TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection. [`Error::Io`] for a UNIX connection, and on a system without
    /// these options.
    pub fn tcp_keep_alive_times(&self) -> Result<KeepAliveTimes> {
        self.0.ask("cannot get the times of keep-alive probes", |sockets, key| sockets.keep_alive_times(key))
    }

    /// Sets the times of keep-alive probes, and switches the probes on. Has no effect on a UNIX connection.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ropewalk::sys::KeepAliveTimes;
    /// use ropewalk::testing::StringTransport;
    ///
    /// let transport = StringTransport::new();
    /// let times = KeepAliveTimes { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 3 };
    /// transport.set_tcp_keep_alive_times(times)?;
    /// assert!(transport.tcp_keep_alive()? && transport.tcp_keep_alive_times()? == times);
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection. [`Error::Io`] if the system does not allow such a time, and
    /// on a system without these options. The probes are not switched on then.
    pub fn set_tcp_keep_alive_times(&self, times: KeepAliveTimes) -> Result<()> {
        if self.0.peer.inet().is_some() {
            let doing = "cannot set the times of keep-alive probes";
            self.0.ask(doing, |sockets, key| sockets.set_keep_alive_times(key, times))?;
        }
        self.set_tcp_keep_alive(true)
    }

    /// Returns the process at the other end of a UNIX connection: its process ID, and its effective user and group. The
    /// kernel vouches for the numbers, which are those of the moment when the peer connected or began to listen.
    ///
    /// May be called from any callback. On a simulated network every peer is this process.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::prelude::*;
    /// use ropewalk::sys::PeerCredentials;
    ///
    /// /// Serves the user that the server runs as, and closes other connections.
    /// struct Private;
    ///
    /// impl Protocol for Private {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         let own = PeerCredentials::of_this_process().expect("Unix has users");
    ///         if !transport.peer_credentials().is_ok_and(|peer| peer.uid == own.uid) {
    ///             transport.abort_connection();
    ///         }
    ///     }
    ///
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         transport.write(data);
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] after the end of the connection. [`Error::Io`] for a connection of another kind, and on a
    /// system without such a call.
    pub fn peer_credentials(&self) -> Result<PeerCredentials> {
        self.0.ask("cannot ask for the process at the other end", |sockets, key| sockets.peer_credentials(key))
    }

    fn tcp_option(&self, option: SocketOption) -> Result<bool> {
        if self.0.peer.inet().is_none() {
            return if self.is_connected() { Ok(false) } else { Err(Error::Closed) };
        }
        self.0.ask("cannot get a socket option", |sockets, key| sockets.option(key, option))
    }

    fn set_tcp_option(&self, option: SocketOption, on: bool) -> Result<()> {
        if self.0.peer.inet().is_none() {
            return if self.is_connected() { Ok(()) } else { Err(Error::Closed) };
        }
        self.0.ask("cannot set a socket option", |sockets, key| sockets.set_option(key, option, on))
    }
}
