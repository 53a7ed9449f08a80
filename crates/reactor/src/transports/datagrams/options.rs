//! Options of a datagram port.

use std::io;

use ropewalk_proto::Key;
use ropewalk_sys::{DatagramOption, Datagrams};

use super::groups::NetworkInterface;
use super::handle::DatagramPort;
use super::port::DatagramPortInner;
use crate::error::{Error, Result};

const SETTING: &str = "cannot set an option of a datagram port";
const GETTING: &str = "cannot get an option of a datagram port";

impl DatagramPortInner {
    /// Asks the provider about the port.
    pub(super) fn ask<R>(
        &self,
        doing: &'static str,
        ask: impl FnOnce(&mut dyn Datagrams, Key) -> io::Result<R>,
    ) -> Result<R> {
        let (kernel, key) = (self.kernel()?, self.key()?);
        kernel.datagrams(|datagrams| ask(datagrams, key))?.map_err(Error::io(doing))
    }

    fn get(&self, option: DatagramOption) -> Result<u32> {
        self.ask(GETTING, |datagrams, key| datagrams.datagram_option(key, option))
    }

    fn set(&self, option: DatagramOption, value: u32) -> Result<()> {
        self.ask(SETTING, |datagrams, key| datagrams.set_datagram_option(key, option, value))
    }
}

/// Options. Each method fails with [`Error::Closed`] after the end of the port, with [`Error::Waiting`] while the event
/// provider waits in another thread, and with [`Error::Io`] if the system refuses or lacks the option.
impl DatagramPort {
    /// Allows or forbids datagrams to broadcast addresses: setBroadcastAllowed. They are forbidden at first.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn set_broadcast_allowed(&self, allowed: bool) -> Result<()> {
        self.0.set(DatagramOption::Broadcast, allowed.into())
    }

    /// Returns whether datagrams may be sent to broadcast addresses: getBroadcastAllowed.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// assert!(!port.broadcast_allowed()?);
    /// port.set_broadcast_allowed(true)?;
    /// assert!(port.broadcast_allowed()?);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn broadcast_allowed(&self) -> Result<bool> {
        Ok(self.0.get(DatagramOption::Broadcast)? != 0)
    }

    /// Sets the number of routers that a datagram to a group may pass, plus one: setTTL. The default is 1, so that
    /// datagrams stay in the local network.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// port.set_ttl(16)?;
    /// port.set_loopback_mode(false)?;
    /// assert_eq!((port.ttl()?, port.loopback_mode()?), (16, false));
    /// port.set_outgoing_interface("")?; // the system chooses
    /// assert_eq!(port.outgoing_interface()?, 0);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn set_ttl(&self, ttl: u8) -> Result<()> {
        self.0.set(DatagramOption::MulticastTtl, ttl.into())
    }

    /// Returns the value of [`set_ttl`](DatagramPort::set_ttl): getTTL.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn ttl(&self) -> Result<u8> {
        Ok(self.0.get(DatagramOption::MulticastTtl)?.try_into().unwrap_or(u8::MAX))
    }

    /// Sets whether datagrams to a group also reach its members on this machine: setLoopbackMode. They do at first.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn set_loopback_mode(&self, on: bool) -> Result<()> {
        self.0.set(DatagramOption::MulticastLoop, on.into())
    }

    /// Returns the value of [`set_loopback_mode`](DatagramPort::set_loopback_mode): getLoopbackMode.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn loopback_mode(&self) -> Result<bool> {
        Ok(self.0.get(DatagramOption::MulticastLoop)? != 0)
    }

    /// Sets the network interface on which datagrams to groups leave: setOutgoingInterface.
    ///
    /// The address that the port is bound to does not imply the interface.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`]. [`Error::Io`] with `NotFound` for an unknown name.
    pub fn set_outgoing_interface(&self, interface: impl Into<NetworkInterface>) -> Result<()> {
        let number = interface.into().number().map_err(Error::io(SETTING))?;
        self.0.set(DatagramOption::MulticastInterface, number)
    }

    /// Returns the number of the interface that [`set_outgoing_interface`](DatagramPort::set_outgoing_interface) has
    /// set. Zero means that the system chooses.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn outgoing_interface(&self) -> Result<u32> {
        self.0.get(DatagramOption::MulticastInterface)
    }

    /// Sets whether datagrams are neither fragmented nor limited to the known MTU of the path, so that a protocol can
    /// find the MTU by itself: RFC 8899.
    ///
    /// A datagram that does not fit into a packet of the first network fails with [`Error::MessageLength`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// if port.set_mtu_probing(true).is_ok() {
    ///     assert!(port.mtu_probing()?); // not on every system
    /// }
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn set_mtu_probing(&self, on: bool) -> Result<()> {
        self.0.set(DatagramOption::MtuProbing, on.into())
    }

    /// Returns the value of [`set_mtu_probing`](DatagramPort::set_mtu_probing).
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn mtu_probing(&self) -> Result<bool> {
        Ok(self.0.get(DatagramOption::MtuProbing)? != 0)
    }

    /// Sets the size of the receive buffer in bytes. The system may limit it, and drops datagrams when it is full.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use ropewalk::{DatagramProtocol, Reactor};
    ///
    /// struct Silent;
    /// impl DatagramProtocol for Silent {}
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_udp("127.0.0.1:0", Silent)?;
    /// port.set_receive_buffer(50_000)?;
    /// port.set_send_buffer(50_000)?;
    /// assert!(port.receive_buffer()? >= 50_000 && port.send_buffer()? >= 50_000);
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn set_receive_buffer(&self, bytes: u32) -> Result<()> {
        self.0.set(DatagramOption::ReceiveBuffer, bytes)
    }

    /// Returns the size of the receive buffer in bytes. Linux counts its own overhead too: twice what was set.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn receive_buffer(&self) -> Result<u32> {
        self.0.get(DatagramOption::ReceiveBuffer)
    }

    /// Sets the size of the send buffer in bytes. The system may limit it.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn set_send_buffer(&self, bytes: u32) -> Result<()> {
        self.0.set(DatagramOption::SendBuffer, bytes)
    }

    /// Returns the size of the send buffer in bytes. Linux counts its own overhead too: twice what was set.
    ///
    /// # Errors
    /// Those of all options: see [`DatagramPort`].
    pub fn send_buffer(&self) -> Result<u32> {
        self.0.get(DatagramOption::SendBuffer)
    }
}
