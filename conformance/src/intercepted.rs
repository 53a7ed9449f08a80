//! An event provider whose datagrams pass through code of a test.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ropewalk::Address;
use ropewalk::proto::Key;
use ropewalk::sys::{
    Arrival, DatagramOption, DatagramSpec, Datagrams, EventProvider, Events, Outgoing, OwnedSocket, ProviderDecorator,
};

/// The code of a test. Without an implementation, a method changes nothing.
pub(crate) trait Intercept: Send {
    /// Notes a new socket.
    fn opened(&mut self, _key: Key) {}

    /// Notes the datagrams of one receive.
    fn received(&mut self, _key: Key, _arrivals: &[Arrival]) {}

    /// Sends a batch by `datagrams`, or fails instead: [`Datagrams::send_datagrams`].
    fn send(&mut self, datagrams: &mut dyn Datagrams, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>);

    /// Waits by `provider`: [`EventProvider::wait`].
    fn wait(
        &mut self,
        provider: &mut dyn EventProvider,
        timeout: Option<Duration>,
        events: &mut Events,
    ) -> io::Result<()> {
        provider.wait(timeout, events)
    }
}

/// A provider with such code.
pub(crate) struct Intercepted<I> {
    pub(crate) provider: Box<dyn EventProvider>,
    pub(crate) intercept: I,
}

impl<I: Intercept> Intercepted<I> {
    /// Returns the provider's datagrams beside the code.
    fn parts(&mut self) -> (&mut dyn Datagrams, &mut I) {
        let datagrams = self.provider.datagrams().expect("a provider with datagrams keeps them");
        (datagrams, &mut self.intercept)
    }

    fn inner(&mut self) -> &mut dyn Datagrams {
        self.parts().0
    }
}

impl<I: Intercept> ProviderDecorator for Intercepted<I> {
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

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.intercept.wait(&mut *self.provider, timeout, events)
    }
}

impl<I: Intercept> Datagrams for Intercepted<I> {
    fn open_datagrams(&mut self, spec: &DatagramSpec) -> io::Result<(Key, Address)> {
        let opened = self.inner().open_datagrams(spec)?;
        self.intercept.opened(opened.0);
        Ok(opened)
    }

    fn adopt_datagrams(
        &mut self,
        socket: OwnedSocket,
        spec: &DatagramSpec,
    ) -> io::Result<(Key, Address, Option<Address>)> {
        let adopted = self.inner().adopt_datagrams(socket, spec)?;
        self.intercept.opened(adopted.0);
        Ok(adopted)
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
        let before = arrivals.len();
        let (datagrams, intercept) = self.parts();
        let outcome = datagrams.receive_datagrams(key, scratch, most, arrivals);
        intercept.received(key, &arrivals[before..]);
        outcome
    }

    fn send_datagrams(&mut self, key: Key, batch: &[Outgoing<'_>]) -> (usize, io::Result<()>) {
        let (datagrams, intercept) = self.parts();
        intercept.send(datagrams, key, batch)
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
