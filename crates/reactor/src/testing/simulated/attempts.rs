//! Connection attempts: who listens, who asks, and how the two come together.
//!
//! ```text
//!   client: connect ......Asked......> listener: queue, until accept
//!           (delay)  <...Answered.....          or waiting, until the queue has room
//! ```

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ropewalk_proto::{Address, Key};
use ropewalk_sys::{ConnectSpec, ListenSpec};

use super::calendar::Happening;
use super::connection::{Connection, Phase};
use super::listener::Listener;
use super::names;
use super::network::{Network, Source};

/// How long a kernel goes on trying to connect: Linux with tcp_syn_retries of 6, tcp(7).
const CONNECT_GIVES_UP: Duration = Duration::from_secs(127);

impl Network {
    pub(crate) fn listen(&mut self, spec: &ListenSpec, is_test: bool) -> io::Result<(Key, Address)> {
        let address = self.names.choose_listening(spec)?;
        let key = self.sources.insert(Source::Listener(Listener::new(address.clone(), spec.backlog, is_test)));
        self.names.add_listener(key, address.clone(), spec);
        Ok((key, address))
    }

    pub(crate) fn connect(&mut self, spec: &ConnectSpec) -> io::Result<Key> {
        let (local, remote) = match &spec.address {
            Address::Inet(target) => {
                let target = names::destination(*target);
                let bind = spec.bind.as_ref().and_then(Address::inet);
                (self.names.take_outgoing(target, bind)?.into(), target.into())
            }
            name => {
                self.check_local_listener(name)?;
                (spec.bind.clone().unwrap_or(Address::Unnamed), name.clone())
            }
        };
        let host = remote.inet().map(|inet| inet.ip());
        let connection = Connection::connecting(local, remote, self.faults.buffer);
        let client = self.sources.insert(Source::Connection(Box::new(connection)));
        if host.is_some_and(|host| self.faults.black_holes.contains(&host)) {
            self.give_up_later(client);
        } else {
            let at = self.now + self.delay();
            self.calendar.enter(at, Happening::Asked { client });
        }
        Ok(client)
    }

    pub(super) fn finish_connect(&self, key: Key) -> io::Result<()> {
        self.connection(key)?.outcome()
    }

    pub(crate) fn accept(&mut self, key: Key) -> io::Result<Option<(Key, Address)>> {
        let Source::Listener(listener) = self.sources.get_mut(key).ok_or(io::ErrorKind::NotFound)? else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let Some(accepted) = listener.queue.pop_front() else { return Ok(None) };
        let waiting = std::mem::take(&mut listener.waiting);
        let mut waiting: VecDeque<Key> = waiting.into_iter().filter(|&client| self.is_connecting(client)).collect();
        if let Some(client) = waiting.pop_front() {
            self.calendar.enter(self.now, Happening::Asked { client });
        }
        if let Some(listener) = self.listener_mut(key) {
            listener.waiting = waiting;
        }
        let remote = self.connection(accepted)?.remote.clone();
        Ok(Some((accepted, remote)))
    }

    /// connect(2) of a UNIX socket fails at once, unix(7).
    fn check_local_listener(&self, name: &Address) -> io::Result<()> {
        let listeners = self.names.listeners_for(name);
        let listeners: Vec<&Listener> = listeners.iter().filter_map(|&key| self.listener(key)).collect();
        match name {
            _ if listeners.iter().any(|listener| !listener.is_full()) => Ok(()),
            _ if !listeners.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            Address::Unix(_) => Err(io::ErrorKind::NotFound.into()),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn give_up_later(&mut self, client: Key) {
        let outcome = Err(io::ErrorKind::TimedOut);
        self.calendar.enter(self.now + CONNECT_GIVES_UP, Happening::Answered { client, outcome });
    }

    pub(super) fn asked(&mut self, client: Key) {
        let Ok(connection) = self.connection(client) else { return };
        if connection.phase != Phase::Connecting {
            return;
        }
        let (from, to) = (connection.local.clone(), connection.remote.clone());
        let unlucky = self.faults.refused > 0.0 && to.inet().is_some() && self.random.chance(self.faults.refused);
        let listeners = if unlucky { Vec::new() } else { self.names.listeners_for(&to) };
        let Some(&chosen) = listeners.get(self.random_index(listeners.len())) else {
            return self.answer(client, Err(io::ErrorKind::ConnectionRefused));
        };
        match self.listener_mut(chosen) {
            Some(listener) if listener.is_full() => {
                listener.waiting.push_back(client);
                self.give_up_later(client);
            }
            _ => self.join(client, chosen, from, to),
        }
    }

    /// Makes the other end for `client`, and lets it wait to be accepted.
    fn join(&mut self, client: Key, chosen: Key, from: Address, to: Address) {
        let Some(listener) = self.listener(chosen) else { return };
        let (local, remote) = match (&listener.address, to, from) {
            (Address::Inet(at), Address::Inet(to), Address::Inet(from)) if at.is_ipv6() => {
                (names::mapped(to).into(), names::mapped(from).into())
            }
            (_, to, from) => (to, from),
        };
        let is_test = listener.is_test;
        let accepted = Connection::accepted(local, remote, self.faults.buffer, client);
        let accepted = self.sources.insert(Source::Connection(Box::new(accepted)));
        if is_test {
            self.make_test_end(accepted);
        }
        if let Some(listener) = self.listener_mut(chosen) {
            listener.queue.push_back(accepted);
        }
        if let Ok(connection) = self.connection_mut(client) {
            connection.peer = Some(accepted);
        }
        self.answer(client, Ok(()));
    }

    fn answer(&mut self, client: Key, outcome: Result<(), io::ErrorKind>) {
        let at = self.now + self.delay();
        if let Ok(connection) = self.connection_mut(client) {
            connection.incoming.hold_until(at);
        }
        self.calendar.enter(at, Happening::Answered { client, outcome });
    }

    pub(super) fn answered(&mut self, client: Key, outcome: Result<(), io::ErrorKind>) {
        let Ok(connection) = self.connection_mut(client) else { return };
        if connection.phase == Phase::Connecting {
            connection.phase = outcome.map_or_else(Phase::Failed, |()| Phase::Established);
            self.test_end_changed(client);
        }
    }
}
