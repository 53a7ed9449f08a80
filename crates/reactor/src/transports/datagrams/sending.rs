//! Sending: at once, or together when a callback returns.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use ropewalk_proto::Address;
use ropewalk_sys::{Outgoing, is_out_of_buffers};

use super::port::DatagramPortInner;
use crate::error::{Error, Result};
use crate::kernel::Kernel;

impl DatagramPortInner {
    /// Sends a datagram: at once, or with others when the running callback returns.
    pub(super) fn write(self: &Rc<DatagramPortInner>, mut datagram: Outgoing<'_>) -> Result<()> {
        datagram.to = self.destination(datagram.to)?;
        if !self.is_open() {
            return Err(Error::Closed);
        }
        if self.is_calling() {
            self.keep(&datagram);
            return Ok(());
        }
        let kernel = self.kernel()?;
        match self.transmit(&kernel, &[datagram])? {
            (_, Ok(())) => Ok(()),
            (_, Err(error)) => Err(Error::send(error, datagram.bytes.len())),
        }
    }

    /// Sends datagrams at once. Returns the number that was sent, and the reason why the next one was not.
    pub(super) fn send(self: &Rc<DatagramPortInner>, batch: &[Outgoing<'_>]) -> (usize, Result<()>) {
        let kernel = match self.kernel() {
            Ok(kernel) if self.is_open() => kernel,
            _ => return (0, Err(Error::Closed)),
        };
        // Datagrams that were written before must not be overtaken.
        self.flush(&kernel);
        match self.transmit(&kernel, batch) {
            Ok((sent, Ok(()))) => (sent, Ok(())),
            Ok((sent, Err(error))) => {
                let length = batch.get(sent).map_or(0, |datagram| datagram.bytes.len());
                (sent, Err(Error::send(error, length)))
            }
            Err(error) => (0, Err(error)),
        }
    }

    /// Checks a destination against the peer of a connected port, to which a datagram goes without an address.
    #[inline]
    fn destination<'a>(&self, to: Option<&'a Address>) -> Result<Option<&'a Address>> {
        match (&*self.peer.borrow(), to) {
            (None, Some(_)) | (Some(_), None) => Ok(to),
            (Some(peer), Some(to)) if *peer == plain(to) => Ok(None),
            (Some(peer), Some(to)) => Err(wrong_peer(peer, to)),
            (None, None) => Err(no_destination()),
        }
    }

    /// Calls the provider. A refusal that an earlier datagram caused is reported to the protocol, and the datagram that
    /// met it is sent again.
    fn transmit(
        self: &Rc<DatagramPortInner>,
        kernel: &Kernel,
        batch: &[Outgoing<'_>],
    ) -> Result<(usize, io::Result<()>)> {
        let key = self.key()?;
        let (mut sent, mut refused) = (0, None);
        loop {
            let rest = &batch[sent..];
            let (count, outcome) = kernel.datagrams(|datagrams| datagrams.send_datagrams(key, rest))?;
            sent += count;
            self.counts.add(|counters| counters.sent += count as u64);
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && refused != Some(sent) => {
                    refused = Some(sent);
                    self.refused_later(kernel);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.awaits_room.set(true);
                    return Ok((sent, Err(error)));
                }
                outcome => return Ok((sent, outcome)),
            }
        }
    }

    /// Keeps a datagram until the running callback returns.
    #[inline]
    fn keep(self: &Rc<DatagramPortInner>, datagram: &Outgoing<'_>) {
        let mut cork = self.cork.take().or_else(|| self.buffers.cork.take()).unwrap_or_default();
        cork.push(datagram);
        let is_full = cork.is_full();
        self.cork.set(Some(cork));
        if !is_full {
            return;
        }
        if let Ok(kernel) = self.kernel() {
            self.flush(&kernel);
        }
    }

    /// Sends the datagrams that were kept.
    #[inline]
    pub(super) fn flush(self: &Rc<DatagramPortInner>, kernel: &Kernel) {
        let Some(mut cork) = self.cork.take() else { return };
        cork.lend(|batch| self.flush_batch(kernel, batch));
        cork.clear();
        self.buffers.cork.set(Some(cork));
    }

    fn flush_batch(self: &Rc<DatagramPortInner>, kernel: &Kernel, batch: &[Outgoing<'_>]) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let (sent, error) = match self.transmit(kernel, rest) {
                Ok((_, Ok(()))) => return,
                Ok((sent, Err(error))) => (sent, error),
                // The port was closed, or the provider waits in another thread.
                Err(_) => return self.count_unsent(rest.len()),
            };
            let failed = rest.get(sent).unwrap_or(first);
            match error.kind() {
                io::ErrorKind::WouldBlock => return self.count_unsent(rest.len() - sent),
                io::ErrorKind::ConnectionRefused => self.count_unsent(1),
                _ if is_out_of_buffers(&error) => self.count_unsent(1),
                _ => self.failed_later(kernel, failed.to, Error::send(error, failed.bytes.len())),
            }
            rest = rest.get(sent + 1..).unwrap_or_default();
        }
    }

    fn count_unsent(&self, count: usize) {
        self.counts.add(|counters| counters.unsent += count as u64);
    }

    /// Connects the port to its peer.
    pub(super) fn connect(&self, peer: &Address) -> Result<()> {
        if self.peer.borrow().is_some() {
            return Err(Error::AlreadyConnected);
        }
        let (key, kernel) = (self.key()?, self.kernel()?);
        let connected = kernel.datagrams(|datagrams| datagrams.connect_datagrams(key, peer))?;
        let host = connected.map_err(|error| match Error::send(error, 0) {
            Error::Io(_, cause) => Error::Io("cannot connect a datagram port", cause),
            other => other,
        })?;
        *self.host.borrow_mut() = host;
        *self.peer.borrow_mut() = Some(plain(peer));
        Ok(())
    }
}

#[cold]
fn wrong_peer(peer: &Address, to: &Address) -> Error {
    Error::invalid_address(&to.to_string(), &format!("{peer}, because the port is connected"))
}

#[cold]
fn no_destination() -> Error {
    let cause = ropewalk_sys::system_error(io::ErrorKind::NotConnected);
    Error::io("cannot send a datagram without a destination")(cause)
}

/// Returns an IPv4-mapped address in the form in which its datagrams arrive, and any other address as it is.
pub(super) fn plain(address: &Address) -> Address {
    let mapped = match address {
        Address::Inet(SocketAddr::V6(v6)) => v6.ip().to_ipv4_mapped().map(|ip| SocketAddr::new(ip.into(), v6.port())),
        _ => None,
    };
    mapped.map_or_else(|| address.clone(), Address::Inet)
}
