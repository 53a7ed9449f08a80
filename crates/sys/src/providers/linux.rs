//! Linux.

use super::Provider;
use crate::readiness::{Epoll, Poll, Readiness, Select};
use crate::uring::Uring;

pub(super) const PROVIDERS: &[Provider] = &[
    Provider { name: "epoll", description: "epoll(7), for any number of connections", open: Readiness::<Epoll>::open },
    Provider { name: "poll", description: "poll(2), for a few hundred connections", open: Readiness::<Poll>::open },
    Provider { name: "select", description: "select(2), for descriptors below 1024", open: Readiness::<Select>::open },
    Provider { name: "uring", description: "io_uring(7), Linux 6.1, for many busy connections", open: Uring::open },
];
