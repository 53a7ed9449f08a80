//! The flows of a forwarder, in the order of their last use.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ropewalk::proto::CancelHandle;
use ropewalk::{Address, DatagramPort, Moment};

/// The origin of a flow's datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    /// The number of the port that receives from the client.
    pub(super) listener: usize,
    pub(super) address: Address,
    /// The address that the client sends to, from which its answers leave. `None` if the system does not know it.
    pub(super) local: Option<IpAddr>,
}

/// The socket towards the target.
pub(super) enum Upstream {
    /// The name of the target is being resolved. The datagrams wait.
    Opening(Option<CancelHandle>, Vec<Box<[u8]>>),
    Open(DatagramPort),
    Closed,
}

/// The numbers of datagrams of a flow, or of all flows.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Forwarded to the target.
    pub(super) to_target: u64,
    /// Forwarded to the client.
    pub(super) to_client: u64,
    /// Dropped because a side took no more, or because there was no way to send them.
    pub(super) dropped: u64,
    /// Reports that the target has no port there.
    pub(super) refused: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.to_target += other.to_target;
        self.to_client += other.to_client;
        self.dropped += other.dropped;
        self.refused += other.refused;
    }
}

/// The datagrams between a client and the target.
pub(super) struct Flow {
    pub(super) client: Client,
    /// The port that receives from the client.
    pub(super) downstream: DatagramPort,
    pub(super) upstream: RefCell<Upstream>,
    pub(super) counts: Cell<Counts>,
    /// The place in the order of use, and the time of the last use.
    used: Cell<(u64, Moment)>,
}

impl Flow {
    pub(super) fn new(client: Client, downstream: DatagramPort, now: Moment) -> Flow {
        Flow {
            client,
            downstream,
            upstream: RefCell::new(Upstream::Opening(None, Vec::new())),
            counts: Cell::default(),
            used: Cell::new((0, now)),
        }
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        count(&mut counts);
        self.counts.set(counts);
    }

    /// Returns the time of the last use.
    pub(super) fn last_used(&self) -> Moment {
        self.used.get().1
    }
}

/// Flows by client, and in the order of their last use.
#[derive(Default)]
pub(super) struct Flows {
    by_client: HashMap<Client, Rc<Flow>>,
    by_use: BTreeMap<u64, Rc<Flow>>,
    uses: u64,
}

impl Flows {
    pub(super) fn insert(&mut self, flow: Rc<Flow>, now: Moment) {
        self.by_client.insert(flow.client.clone(), flow.clone());
        self.place_last(flow, now);
    }

    /// Makes `flow` the one that was used last, unless it has been removed.
    pub(super) fn touch(&mut self, flow: &Flow, now: Moment) {
        let (place, _) = flow.used.get();
        // The flow that was used last stays in its place.
        if place + 1 == self.uses {
            flow.used.set((place, now));
        } else if let Some(flow) = self.by_use.remove(&place) {
            self.place_last(flow, now);
        }
    }

    /// Removes `flow`, and returns whether it was there.
    pub(super) fn remove(&mut self, flow: &Flow) -> bool {
        let is_present = self.by_use.remove(&flow.used.get().0).is_some();
        if is_present {
            self.by_client.remove(&flow.client);
        }
        is_present
    }

    fn place_last(&mut self, flow: Rc<Flow>, now: Moment) {
        flow.used.set((self.uses, now));
        self.by_use.insert(self.uses, flow);
        self.uses += 1;
    }

    pub(super) fn get(&self, client: &Client) -> Option<Rc<Flow>> {
        self.by_client.get(client).cloned()
    }

    /// Returns the flow that was idle for longest.
    pub(super) fn oldest(&self) -> Option<Rc<Flow>> {
        self.by_use.first_key_value().map(|(_, flow)| flow.clone())
    }

    pub(super) fn len(&self) -> usize {
        self.by_use.len()
    }
}
