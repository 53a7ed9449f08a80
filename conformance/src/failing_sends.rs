//! An event provider on a system that refuses some datagrams.

use std::io;
use std::net::IpAddr;

use ropewalk::Address;
use ropewalk::proto::Key;
use ropewalk::sys::{
    Arrival, DatagramOption, DatagramSpec, Datagrams, EventProvider, Outgoing, OwnedSocket, ProviderDecorator,
};

/// A provider that does not send datagrams with certain contents.
pub(crate) struct FailingSends {
    pub(crate) provider: Box<dyn EventProvider>,
    /// Returns the error of a datagram with this content.
    pub(crate) failure: fn(&[u8]) -> Option<io::Error>,
}

impl FailingSends {
    fn inner(&mut self) -> &mut dyn Datagrams {
        self.provider.datagrams().expect("a provider with datagrams keeps them")
    }
}

impl ProviderDecorator for FailingSends {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.provider
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.provider
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        self.provider.datagrams()?;
        Some(self)
    }
}

impl Datagrams for FailingSends {
    fn open_datagrams(&mut self, spec: &DatagramSpec) -> io::Result<(Key, Address)> {
        self.inner().open_datagrams(spec)
    }

    fn adopt_datagrams(
        &mut self,
        socket: OwnedSocket,
        spec: &DatagramSpec,
    ) -> io::Result<(Key, Address, Option<Address>)> {
        self.inner().adopt_datagrams(socket, spec)
    }

    fn connect_datagrams(&mut self, key: Key, peer: &Address) -> io::Result<Address> {
        self.inner().connect_datagrams(key, peer)
    }

    fn receive_datagrams(
        &mut self,
        key: Key,
        scratch: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<bool> {
        self.inner().receive_datagrams(key, scratch, most, arrivals)
    }

    fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        let failures = batch.iter().map(|datagram| (self.failure)(datagram.bytes));
        let first = failures.enumerate().find_map(|(at, failure)| Some((at, failure?)));
        let Some((good, failure)) = first else { return self.inner().send_datagrams(key, batch) };
        match self.inner().send_datagrams(key, &batch[..good]) {
            (sent, Ok(())) => (sent, Err(failure)),
            outcome => outcome,
        }
    }

    fn join_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        self.inner().join_group(key, group, interface)
    }

    fn leave_group(&mut self, key: Key, group: IpAddr, interface: u32) -> io::Result<()> {
        self.inner().leave_group(key, group, interface)
    }

    fn datagram_option(&mut self, key: Key, option: DatagramOption) -> io::Result<u32> {
        self.inner().datagram_option(key, option)
    }

    fn set_datagram_option(&mut self, key: Key, option: DatagramOption, value: u32) -> io::Result<()> {
        self.inner().set_datagram_option(key, option, value)
    }

    fn segments_max(&mut self, key: Key) -> io::Result<usize> {
        self.inner().segments_max(key)
    }

    fn dropped_datagrams(&mut self, key: Key) -> io::Result<u64> {
        self.inner().dropped_datagrams(key)
    }
}
