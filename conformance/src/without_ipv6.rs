//! An event provider on a machine without IPv6.

use std::io;

use ropewalk::Address;
use ropewalk::proto::Key;
use ropewalk::sys::{EventProvider, ListenSpec, ProviderDecorator, Streams, StreamsDecorator};

/// A provider that cannot listen on IPv6 addresses.
pub(crate) struct WithoutIpv6 {
    pub(crate) provider: Box<dyn EventProvider>,
    /// The kind of the error of listening on an IPv6 address.
    pub(crate) kind: io::ErrorKind,
}

impl ProviderDecorator for WithoutIpv6 {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.provider
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.provider
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        self.provider.streams()?;
        Some(self)
    }
}

impl StreamsDecorator for WithoutIpv6 {
    fn listen(&mut self, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        if spec.address.inet().is_some_and(|address| address.is_ipv6()) {
            return Err(self.kind.into());
        }
        self.decorated_streams().listen(spec)
    }
}
