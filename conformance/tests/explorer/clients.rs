//! Connectors, and the factory behind each of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::{Address, ClientFactory, Connector, ConnectorState, Destination, Error, Factory, Protocol, Reactor};

use crate::end::End;
use crate::walker::Walker;
use crate::world::{OUTSIDE_ADDRESS, World};

/// One connector and its factory's record.
pub(crate) struct Client {
    world: Rc<World>,
    pub(crate) connector: RefCell<Option<Connector>>,
    /// Attempts that began.
    began: Cell<usize>,
    /// Attempts that failed, and connections that ended.
    over: Cell<usize>,
    /// This client's side of the current connection, or of the most recent one.
    end: RefCell<Option<Rc<End>>>,
}

impl Client {
    /// Checks that each attempt had exactly one outcome.
    pub(crate) fn check_over(&self) {
        let (began, over) = (self.began.get(), self.over.get());
        self.world.expect(began == over, || format!("{over} of {began} attempts of a connector came to an end"));
    }

    /// Drops the handles of the client.
    pub(crate) fn release(&self) {
        self.connector.take();
        self.end.take();
    }

    fn again(&self, connector: &Connector) {
        let world = &self.world;
        self.over.set(self.over.get() + 1);
        let state = connector.state();
        world.expect(state == ConnectorState::Disconnected, || {
            format!("a connector is {state:?} in the callback of its end")
        });
        if world.chance(0.3) && world.spend() {
            let outcome = connector.connect();
            world.expect(outcome.is_ok(), || format!("connecting again: {outcome:?}"));
        }
    }
}

/// The factory, which the reactor holds.
struct ClientSide(Rc<Client>);

impl Factory for ClientSide {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let world = &self.0.world;
        if world.chance(0.03) {
            self.0.end.take();
            return None;
        }
        let walker = Walker::new(world);
        world.note(|| format!("end {} has connected to {peer}", walker.end().number));
        *self.0.end.borrow_mut() = Some(walker.end().clone());
        Some(Box::new(walker))
    }

    fn start_factory(&self) {
        self.0.world.started.set(self.0.world.started.get() + 1);
    }

    fn stop_factory(&self) {
        self.0.world.started.set(self.0.world.started.get() - 1);
    }
}

impl ClientFactory for ClientSide {
    fn started_connecting(&self, connector: &Connector) {
        self.0.began.set(self.0.began.get() + 1);
        let world = &self.0.world;
        if world.chance(0.03) && world.spend() {
            let outcome = connector.stop_connecting();
            world.expect(outcome.is_ok(), || format!("stop_connecting: {outcome:?}"));
        }
    }

    fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
        self.0.world.note(|| format!("connecting to {} failed: {reason}", connector.destination()));
        self.0.again(connector);
    }

    fn client_connection_lost(&self, connector: &Connector, _reason: &Error) {
        let end = self.0.end.take();
        let protocol_first = end.is_none_or(|end| end.lost.get());
        self.0.world.expect(protocol_first, || "a factory was notified of a loss before its protocol".to_owned());
        self.0.again(connector);
    }
}

/// Connects to one of the places, or to the listener of the outside peers.
pub(crate) fn connect(world: &Rc<World>, reactor: &Reactor) {
    let place = if world.chance(0.3) { OUTSIDE_ADDRESS } else { world.any_place() };
    let client = Rc::new(Client {
        world: world.clone(),
        connector: RefCell::default(),
        began: Cell::default(),
        over: Cell::default(),
        end: RefCell::default(),
    });
    world.clients.borrow_mut().push(client.clone());
    let factory = world.sealing.client(place, ClientSide(client.clone()));
    let connecting = match place.starts_with('/') {
        true => reactor.connect_unix(place, factory),
        false => connect_tcp(world, reactor, place, factory),
    };
    match connecting {
        Ok(connector) => *client.connector.borrow_mut() = Some(connector),
        Err(error) => world.expect(false, || format!("connect: {error}")),
    }
}

/// Half of the attempts have short timeouts, which pass while others are connected.
fn connect_tcp(
    world: &World,
    reactor: &Reactor,
    place: &str,
    factory: Rc<dyn ClientFactory>,
) -> Result<Connector, Error> {
    let mut destination = Destination::try_from(place)?;
    if world.chance(0.5) {
        destination = destination.timeout(Duration::from_micros(world.below(100_000) as u64));
    }
    reactor.connect_tcp(destination, factory)
}

/// Returns the connectors that are connecting.
pub(crate) fn connecting(world: &World) -> Vec<Connector> {
    let clients = world.clients.borrow();
    let connectors = clients.iter().filter_map(|client| client.connector.borrow().clone());
    connectors.filter(|connector| connector.state() == ConnectorState::Connecting).collect()
}

/// Stops all attempts.
pub(crate) fn stop_attempts(world: &World) {
    for connector in connecting(world) {
        connector.disconnect();
    }
}

/// Takes a random action on one of the connectors.
pub(crate) fn act_on_connector(world: &Rc<World>) {
    let clients = world.clients.borrow();
    if clients.is_empty() {
        return;
    }
    let client = clients[world.below(clients.len())].clone();
    drop(clients);
    let Some(connector) = client.connector.borrow().clone() else { return };
    let state = connector.state();
    match world.below(3) {
        0 => {
            let outcome = connector.stop_connecting();
            let fits = outcome.is_ok() == (state == ConnectorState::Connecting);
            world.expect(fits, || format!("stop_connecting when {state:?}: {outcome:?}"));
        }
        1 => {
            let end = client.end.borrow().clone().filter(|_| state == ConnectorState::Connected);
            if let Some(end) = end {
                end.losing.set(true);
            }
            connector.disconnect();
        }
        _ => {
            let outcome = connector.connect();
            let fits = outcome.is_ok() == (state == ConnectorState::Disconnected);
            world.expect(fits, || format!("connect when {state:?}: {outcome:?}"));
        }
    }
}
