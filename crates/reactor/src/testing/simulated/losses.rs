//! Losses: cut links, machines that crash, and the resets and timeouts by which the other ends learn of them.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ropewalk_proto::Key;

use super::calendar::Happening;
use super::connection::Connection;
use super::machines::{MachineId, OUTSIDE};
use super::names::Names;
use super::network::{Network, Source};
use super::pipe::{Segment, retransmission_delay};

/// Machines and links, as a test controls them.
impl Network {
    /// Starts the host with this address unless it runs already, and returns it.
    pub(crate) fn start_machine(&mut self, address: IpAddr) -> MachineId {
        let host = self.machines.host(address);
        self.machines.get_mut(host).is_down = false;
        host
    }

    /// Returns the host with this address.
    pub(crate) fn find_machine(&self, address: IpAddr) -> Option<MachineId> {
        self.machines.find(address)
    }

    /// Returns the process that runs on `machine`.
    pub(crate) fn owner_on(&self, machine: MachineId) -> Option<Key> {
        self.owners
            .iter()
            .find(|(key, owner)| owner.machine == machine && self.parent_of(*key).is_none())
            .map(|(key, _)| key)
    }

    /// Cuts the link in one direction: segments are lost.
    pub(crate) fn cut_link(&mut self, from: MachineId, to: MachineId) {
        self.links.cut(from, to);
    }

    /// Restores all links.
    pub(crate) fn heal_links(&mut self) {
        self.links.heal();
    }

    /// Sets the latency between two machines.
    pub(crate) fn set_latency(&mut self, one: MachineId, other: MachineId, latency: Duration) {
        self.links.set_latency(one, other, latency);
    }

    /// Stops a machine at once. Its connections vanish, and their other ends receive nothing.
    pub(crate) fn crash(&mut self, machine: MachineId) {
        debug_assert!(machine != OUTSIDE);
        let crashed = self.machines.get_mut(machine);
        (crashed.is_down, crashed.names, crashed.datagrams) = (true, Names::default(), Names::default());
        crashed.locked.clear();
        let owners = self.owners.iter().filter(|(_, owner)| owner.machine == machine).map(|(key, _)| key);
        for owner in Vec::from_iter(owners) {
            for key in self.sources_of(owner) {
                self.vanish(key);
            }
            self.owners.remove(owner);
            self.children.forget(owner);
        }
    }

    fn vanish(&mut self, key: Key) {
        match self.sources.remove(key) {
            Some(Source::Listener(listener)) => listener.waiting.iter().for_each(|&client| self.ask_again(client, 1)),
            Some(Source::Connection(connection)) => self.vanish_from_peer(&connection),
            Some(Source::Datagrams(_) | Source::Process(_)) | None => {}
        }
    }

    /// Leaves segments on the wire to arrive. Drops segments that wait for their retransmission, because their sender
    /// is gone.
    fn vanish_from_peer(&mut self, connection: &Connection) {
        let Some(peer) = connection.peer else { return };
        let Ok(end) = self.connection_mut(peer) else { return };
        if end.incoming.is_stalled() {
            end.incoming.drop_under_way();
        }
        if connection.incoming.has_under_way() {
            self.stray(peer, 0);
        }
    }
}

/// Transmissions that do not arrive.
impl Network {
    /// Whether segments from one machine reach the other. The link must not be cut, and the other machine must run.
    pub(super) fn reaches(&self, from: MachineId, to: MachineId) -> bool {
        !self.links.is_cut(from, to) && !self.machines.get(to).is_down
    }

    /// Loses the segments that are due at `key`. The sender's kernel sends them again, and gives up after many losses.
    pub(super) fn lose_due(&mut self, key: Key) {
        let now = self.now;
        let Ok(connection) = self.connection_mut(key) else { return };
        let (from, peer) = (connection.place.remote_machine, connection.peer);
        if let Some(again) = connection.incoming.lose(now) {
            return self.calendar.enter(again, from, Happening::Arrived { key });
        }
        let sender_waits = connection.incoming.has_under_way();
        connection.incoming.drop_under_way();
        let sender = peer.filter(|_| sender_waits).and_then(|peer| self.connection_mut(peer).ok());
        if let Some(sender) = sender {
            sender.incoming.break_off(io::ErrorKind::TimedOut);
        }
    }

    /// Sends `count` bytes from `key` to a peer that is gone.
    pub(super) fn stray(&mut self, key: Key, count: usize) {
        let Ok(connection) = self.connection_mut(key) else { return };
        connection.strayed += count;
        let (here, there) = (connection.place.machine, connection.place.remote_machine);
        let at = self.now + self.delay(here, there);
        self.calendar.enter(at, here, Happening::Strayed { key, lost: 0 });
    }

    /// Handles bytes that reach the machine of an end that is gone. That machine answers with a reset. If the machine
    /// cannot be reached, the bytes are sent again, until the sender gives up.
    pub(super) fn strayed(&mut self, key: Key, lost: u32) {
        let Ok(connection) = self.connection(key) else { return };
        if connection.incoming.broken().is_some() {
            return;
        }
        let (here, there) = (connection.place.machine, connection.place.remote_machine);
        if self.reaches(here, there) && !self.links.is_cut(there, here) {
            return self.put(key, Segment::Reset, self.now);
        }
        match retransmission_delay(lost) {
            Some(delay) => self.calendar.enter(self.now + delay, here, Happening::Strayed { key, lost: lost + 1 }),
            None => self.time_out(key),
        }
    }

    fn time_out(&mut self, key: Key) {
        if let Ok(connection) = self.connection_mut(key) {
            connection.incoming.break_off(io::ErrorKind::TimedOut);
        }
    }
}
