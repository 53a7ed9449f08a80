//! Connection attempts: how a client connects to a listener.
//!
//! ```text
//!   client: connect ......Asked......> listener: queue, until accept
//!           (delay)  <...Answered.....          or waiting, until the queue has room
//! ```

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ropewalk_proto::{Address, Key, Moment};
use ropewalk_sys::{BindError, ConnectSpec, ListenSpec, system_error};

use super::calendar::Happening;
use super::connection::{Connection, Phase, Place};
use super::listener::Listener;
use super::machines::MachineId;
use super::names;
use super::network::{Network, Source};

/// The number of retransmissions of a SYN: tcp_syn_retries of Linux, tcp(7).
const SYN_RETRANSMISSIONS: u32 = 6;

impl Network {
    pub(crate) fn listen(&mut self, owner: Key, spec: &ListenSpec) -> io::Result<(Key, Address)> {
        let here = self.machine_of(owner)?;
        spec.check()?;
        if let Address::Inet(inet) = &spec.address {
            self.machines.check_bind(here, inet.ip())?;
        }
        let address = self.machines.get_mut(here).names.choose_listening(spec)?;
        let listener = Listener::new(owner, here, address.clone(), spec.backlog);
        let key = self.sources.insert(Source::Listener(listener));
        self.machines.get_mut(here).names.add_listener(key, address.clone(), spec);
        Ok((key, address))
    }

    pub(crate) fn connect(&mut self, owner: Key, spec: &ConnectSpec) -> io::Result<Key> {
        let place = self.place_of_client(owner, spec)?;
        let (here, there) = (place.machine, place.remote_machine);
        let connection = Connection::connecting(place, self.faults.buffer, self.now);
        let client = self.sources.insert(Source::Connection(Box::new(connection)));
        let at = self.now + self.delay(here, there);
        self.calendar.enter(at, here, Happening::Asked { client, lost: 0 });
        Ok(client)
    }

    fn place_of_client(&mut self, owner: Key, spec: &ConnectSpec) -> io::Result<Place> {
        let here = self.machine_of(owner)?;
        let Address::Inet(target) = spec.address else {
            self.check_local_listener(here, &spec.address)?;
            let local = spec.bind.clone().unwrap_or(Address::Unnamed);
            return Ok(Place { owner, machine: here, local, remote_machine: here, remote: spec.address.clone() });
        };
        let target = names::destination(target);
        let bind = spec.bind.as_ref().and_then(Address::inet);
        let local = self.machines.local_for(here, target, bind)?;
        let taken = self.machines.get_mut(here).names.take_outgoing(local);
        let local = if bind.is_some() { taken.map_err(BindError)? } else { taken? };
        let remote_machine = self.machines.route(here, target.ip());
        Ok(Place { owner, machine: here, local: local.into(), remote_machine, remote: target.into() })
    }

    pub(super) fn finish_connect(&self, key: Key) -> io::Result<()> {
        self.connection(key)?.outcome()
    }

    pub(crate) fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let Source::Listener(listener) = self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let Some(accepted) = listener.queue.pop_front() else { return Ok(None) };
        let here = listener.machine;
        let waiting = std::mem::take(&mut listener.waiting);
        let mut waiting: VecDeque<Key> = waiting.into_iter().filter(|&client| self.is_connecting(client)).collect();
        if let Some(client) = waiting.pop_front() {
            self.calendar.enter(self.now, here, Happening::Asked { client, lost: 0 });
        }
        if let Some(listener) = self.listener_mut(key) {
            listener.waiting = waiting;
        }
        let remote = self.connection(accepted)?.place.remote.clone();
        Ok(Some((accepted, remote)))
    }

    /// Makes the checks that connect(2) makes at once for a UNIX socket: unix(7).
    fn check_local_listener(&self, here: MachineId, name: &Address) -> io::Result<()> {
        let listeners = self.machines.get(here).names.listeners_for(name);
        let listeners: Vec<&Listener> = listeners.iter().filter_map(|&key| self.listener(key)).collect();
        match name {
            _ if listeners.iter().any(|listener| !listener.is_full()) => Ok(()),
            _ if !listeners.is_empty() => Err(system_error(io::ErrorKind::WouldBlock)),
            Address::Unix(_) => Err(system_error(io::ErrorKind::NotFound)),
            _ => Err(system_error(io::ErrorKind::ConnectionRefused)),
        }
    }

    pub(super) fn asked(&mut self, client: Key, lost: u32) {
        let Ok(connection) = self.connection(client) else { return };
        if connection.phase != Phase::Connecting {
            return;
        }
        let place = connection.place.clone();
        if place.remote.inet().is_some_and(|target| self.faults.unreachable.contains(&target.ip())) {
            return self.answer(client, Err(io::ErrorKind::HostUnreachable));
        }
        if self.loses_attempt(&place) {
            return self.ask_again(client, lost + 1);
        }
        let refused = self.faults.refused > 0.0 && place.remote.inet().is_some();
        let refused = refused && self.random.chance(self.faults.refused);
        let names = &self.machines.get(place.remote_machine).names;
        let listeners = if refused { Vec::new() } else { names.listeners_for(&place.remote) };
        let Some(&chosen) = listeners.get(self.choose(listeners.len())) else {
            return self.answer(client, Err(io::ErrorKind::ConnectionRefused));
        };
        match self.listener_mut(chosen) {
            Some(listener) if listener.is_full() => {
                listener.waiting.push_back(client);
                let begun = self.now;
                self.give_up(client, begun);
            }
            _ => self.join(client, chosen, place),
        }
    }

    fn loses_attempt(&self, place: &Place) -> bool {
        let black_hole = place.remote.inet().is_some_and(|target| self.faults.black_holes.contains(&target.ip()));
        black_hole || !self.reaches(place.machine, place.remote_machine)
    }

    /// Sends the SYN of `client` again, after `lost` transmissions were lost. The waits are 1 s, 2 s, 4 s and so on.
    pub(super) fn ask_again(&mut self, client: Key, lost: u32) {
        let Ok(connection) = self.connection(client) else { return };
        let (began, here, there) = (connection.began, connection.place.machine, connection.place.remote_machine);
        if lost > SYN_RETRANSMISSIONS {
            return self.give_up(client, began);
        }
        let at = sent(began, lost).max(self.now) + self.delay(here, there);
        self.calendar.enter(at, here, Happening::Asked { client, lost });
    }

    /// Fails the attempt of `client` when a kernel would give up an attempt that began at `begun`.
    fn give_up(&mut self, client: Key, begun: Moment) {
        let at = sent(begun, SYN_RETRANSMISSIONS + 1).max(self.now);
        let Ok(connection) = self.connection(client) else { return };
        let outcome = Err(io::ErrorKind::TimedOut);
        self.calendar.enter(at, connection.place.machine, Happening::Answered { client, outcome });
    }

    /// Creates the listener's end of the connection of `client`, and queues that end to be accepted.
    fn join(&mut self, client: Key, chosen: Key, from: Place) {
        let Some(listener) = self.listener(chosen) else { return };
        let (local, remote) = match (&listener.address, from.remote, from.local) {
            (Address::Inet(at), Address::Inet(to), Address::Inet(from)) if at.is_ipv6() => {
                (names::mapped(to).into(), names::mapped(from).into())
            }
            (_, to, from) => (to, from),
        };
        let (owner, machine) = (listener.owner, listener.machine);
        let place = Place { owner, machine, local, remote_machine: from.machine, remote };
        let accepted = Connection::accepted(place, self.faults.buffer, client, self.now);
        let accepted = self.sources.insert(Source::Connection(Box::new(accepted)));
        if let Some(listener) = self.listener_mut(chosen) {
            listener.queue.push_back(accepted);
        }
        if let Ok(connection) = self.connection_mut(client) {
            connection.peer = Some(accepted);
        }
        self.answer(client, Ok(()));
    }

    fn answer(&mut self, client: Key, outcome: Result<(), io::ErrorKind>) {
        let Ok(connection) = self.connection(client) else { return };
        let (here, there) = (connection.place.machine, connection.place.remote_machine);
        let at = self.now + self.delay(there, here);
        if let Ok(connection) = self.connection_mut(client) {
            connection.incoming.hold_until(at);
        }
        self.calendar.enter(at, there, Happening::Answered { client, outcome });
    }

    pub(super) fn answered(&mut self, client: Key, outcome: Result<(), io::ErrorKind>) {
        let Ok(connection) = self.connection(client) else { return };
        if connection.phase != Phase::Connecting {
            return;
        }
        let (here, there, began) = (connection.place.machine, connection.place.remote_machine, connection.began);
        let gives_up = outcome == Err(io::ErrorKind::TimedOut);
        if !gives_up && self.links.is_cut(there, here) {
            return self.answer_again(client, outcome, began);
        }
        if let Ok(connection) = self.connection_mut(client) {
            connection.phase = outcome.map_or_else(Phase::Failed, |()| Phase::Established);
        }
    }

    /// Sends again an answer that a cut link lost, until the client gives up.
    fn answer_again(&mut self, client: Key, outcome: Result<(), io::ErrorKind>, began: Moment) {
        let again = self.now + Duration::from_secs(1);
        if again >= sent(began, SYN_RETRANSMISSIONS + 1) {
            return self.give_up(client, began);
        }
        let Ok(connection) = self.connection_mut(client) else { return };
        connection.incoming.hold_until(again);
        let there = connection.place.remote_machine;
        self.calendar.enter(again, there, Happening::Answered { client, outcome });
    }
}

/// Returns the time at which a SYN is sent after `lost` lost ones. After the last SYN, this is the time at which the
/// kernel gives up: 127 s after `began`.
fn sent(began: Moment, lost: u32) -> Moment {
    began + Duration::from_secs((1 << lost) - 1)
}
