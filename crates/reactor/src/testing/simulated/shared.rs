//! The network behind its lock, for providers, their clocks and wakers, and tests.
//!
//! Everything reaches the network through this handle. No user code runs while the lock is held.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ropewalk_proto::{Key, Moment};
use ropewalk_sys::{Events, Wake, Waker};

use super::faults::Faults;
use super::network::Network;
use super::test_ends::TestEnds;

/// A handle to a network, for any thread.
#[derive(Clone)]
pub(crate) struct SharedNetwork(Arc<Shared>);

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

struct World {
    network: Network,
    ends: TestEnds,
    /// Whether a thread blocks until something changes.
    is_waited_for: bool,
}

impl SharedNetwork {
    /// Returns a network at time zero.
    pub(crate) fn new(seed: u64, faults: Faults) -> SharedNetwork {
        let mut network = Network::new(seed, faults);
        let ends = TestEnds::new(&mut network);
        let world = Mutex::new(World { network, ends, is_waited_for: false });
        SharedNetwork(Arc::new(Shared { world, changed: Condvar::new() }))
    }

    /// Reads or changes the network, and wakes a thread that waits for a change.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Network) -> R) -> R {
        self.with_ends(|network, _| act(network))
    }

    /// Reads or changes the network and the test ends on it.
    pub(crate) fn with_ends<R>(&self, act: impl FnOnce(&mut Network, &mut TestEnds) -> R) -> R {
        let mut world = self.0.lock();
        let World { network, ends, .. } = &mut *world;
        let result = act(network, ends);
        // Without a waiting thread, the notification would cost a needless system call.
        if world.is_waited_for {
            self.0.changed.notify_all();
        }
        result
    }

    /// Runs all happenings that are due.
    pub(crate) fn run_due(&self) {
        self.0.lock().run_due();
    }

    /// Waits for events of `owner` as `EventProvider::wait` does, until `deadline` of the network's time.
    pub(super) fn wait(&self, owner: Key, deadline: Option<Moment>, events: &mut Events) -> io::Result<()> {
        events.clear();
        let mut world = self.0.lock();
        loop {
            world.network.machine_of(owner)?;
            world.run_due();
            world.network.report(owner, events);
            let is_woken = world.network.take_woken(owner) || world.network.have_children_events(owner);
            if is_woken || !events.is_empty() {
                return Ok(());
            }
            match world.network.next_stop(deadline) {
                Some(stop) if stop <= world.network.now() => return Ok(()),
                Some(stop) => world.network.jump(stop),
                None if world.network.machines.has_hosts() => return Err(waits_for_ever()),
                // From here on only another thread can change the network.
                None => world = self.wait_for_change(world, owner),
            }
        }
    }

    /// Blocks until another thread changes the network.
    ///
    /// # Panics
    /// When no thread has changed anything while the patience of `owner` lasted.
    fn wait_for_change<'a>(&'a self, mut world: MutexGuard<'a, World>, owner: Key) -> MutexGuard<'a, World> {
        world.is_waited_for = true;
        let patience = world.network.patience(owner);
        let (mut world, is_late) = match patience {
            None => (self.0.changed.wait(world).unwrap_or_else(PoisonError::into_inner), false),
            Some(patience) => {
                let waited = self.0.changed.wait_timeout(world, patience);
                let (world, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                (world, waited.timed_out())
            }
        };
        world.is_waited_for = false;
        if is_late && !world.network.has_events(owner) && world.network.next_happening().is_none() {
            let (now, open) = (world.network.now(), world.network.open_in_words(owner));
            drop(world);
            panic!(
                "the reactor waits without end at {now:?}: no delayed call is scheduled, nothing is under way, and {open}. \
                 No other thread has woken it for {:?}. Stop the reactor in a callback or a delayed call, or drive it with \
                 `advance` or `settle` instead of `run`",
                patience.unwrap_or_default(),
            );
        }
        world
    }

    /// Returns the waker of `owner`.
    pub(super) fn waker(&self, owner: Key) -> Waker {
        Waker::new(Arc::new(OwnerWaker { shared: self.0.clone(), owner }))
    }
}

impl World {
    fn run_due(&mut self) {
        loop {
            self.network.run_due();
            if !self.ends.act(&mut self.network) {
                return;
            }
        }
    }
}

impl Shared {
    /// Ignores a poisoned lock: a second panic would hide the message of the test that panicked under the lock.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct OwnerWaker {
    shared: Arc<Shared>,
    owner: Key,
}

impl Wake for OwnerWaker {
    fn wake(&self) {
        self.shared.lock().network.wake(self.owner);
        self.shared.changed.notify_all();
    }
}

fn waits_for_ever() -> io::Error {
    io::Error::other(
        "a host of a simulated network waits without end, and the other hosts stand still meanwhile: \
         drive them all by SimulatedNetwork::run_until",
    )
}
