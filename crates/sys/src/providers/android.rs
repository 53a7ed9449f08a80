//! Android, whose sandbox denies io_uring to programs.

use super::Provider;
use crate::readiness::{Epoll, Poll, Readiness, Select};

pub(super) const PROVIDERS: &[Provider] =
    &[Readiness::<Epoll>::PROVIDER, Readiness::<Poll>::PROVIDER, Readiness::<Select>::PROVIDER];
