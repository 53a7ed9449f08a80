//! Linux.

use super::Provider;
use crate::readiness::{Epoll, Poll, Readiness, Select};
use crate::uring::Uring;

pub(super) const PROVIDERS: &[Provider] =
    &[Readiness::<Epoll>::PROVIDER, Readiness::<Poll>::PROVIDER, Readiness::<Select>::PROVIDER, Uring::PROVIDER];
