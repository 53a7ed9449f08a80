//! The links between machines: the cut ones, and the latency of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::machines::MachineId;

/// The state of all links. A link has a direction.
#[derive(Default)]
pub(super) struct Links {
    cut: BTreeSet<(MachineId, MachineId)>,
    latencies: BTreeMap<(MachineId, MachineId), Duration>,
}

impl Links {
    /// Cuts the link in one direction.
    pub(super) fn cut(&mut self, from: MachineId, to: MachineId) {
        self.cut.insert((from, to));
    }

    /// Restores all links.
    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether segments from one machine to the other are lost.
    pub(super) fn is_cut(&self, from: MachineId, to: MachineId) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Sets the latency of the link in both directions.
    pub(super) fn set_latency(&mut self, one: MachineId, other: MachineId, latency: Duration) {
        self.latencies.insert((one, other), latency);
        self.latencies.insert((other, one), latency);
    }

    /// Returns the latency that was set for the link, if any was.
    pub(super) fn latency(&self, from: MachineId, to: MachineId) -> Option<Duration> {
        self.latencies.get(&(from, to)).copied()
    }
}
