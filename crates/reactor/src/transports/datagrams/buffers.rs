//! Memory that all datagram ports of a reactor share, so that an idle port has none.

use std::cell::Cell;

use ropewalk_sys::Arrival;

use super::cork::Cork;
use crate::kernel::{Feature, Reactor};

/// The buffers that are in use are taken out. A port that finds none, because a callback runs the loop, makes new ones.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) cork: Cell<Option<Box<Cork>>>,
    pub(super) arrivals: Cell<Vec<Arrival>>,
}

impl Feature for Buffers {
    fn new(_reactor: &Reactor) -> Buffers {
        Buffers::default()
    }
}
