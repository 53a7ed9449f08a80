//! Systems without any provider yet.

use std::io;

use super::Provider;
use crate::seam::EventProvider;

pub(super) const PROVIDERS: &[Provider] =
    &[Provider { name: "none", description: "no event provider for this system yet", open }];

fn open() -> io::Result<Box<dyn EventProvider>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no event provider for this system yet"))
}
