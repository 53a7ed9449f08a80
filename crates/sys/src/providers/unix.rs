//! Unix without epoll(7).

use super::Provider;
use crate::readiness::{Poll, Readiness, Select};

pub(super) const PROVIDERS: &[Provider] = &[
    Provider { name: "poll", description: "poll(2), for a few hundred connections", open: Readiness::<Poll>::open },
    Provider { name: "select", description: "select(2), for descriptors below 1024", open: Readiness::<Select>::open },
];
