//! An event provider with host names of its own.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ropewalk::sys::{EventProvider, Names, ProviderDecorator};

/// A provider that looks names up with a function.
pub(crate) struct Naming {
    pub(crate) provider: Box<dyn EventProvider>,
    pub(crate) names: fn(&str) -> io::Result<Vec<IpAddr>>,
}

impl ProviderDecorator for Naming {
    fn decorated(&self) -> &dyn EventProvider {
        &*self.provider
    }

    fn decorated_mut(&mut self) -> &mut dyn EventProvider {
        &mut *self.provider
    }

    fn names(&self) -> Option<Names> {
        Some(Arc::new(self.names))
    }
}
