//! Unix with neither epoll(7) nor kqueue(2).

use super::Provider;
use crate::readiness::{Poll, Readiness, Select};

pub(super) const PROVIDERS: &[Provider] = &[Readiness::<Poll>::PROVIDER, Readiness::<Select>::PROVIDER];
