//! Ports, and the factory behind all of them.

use std::rc::Rc;

use ropewalk::{Address, Error, Factory, Protocol, Reactor};

use crate::walker::Walker;
use crate::world::World;

/// Serves one port, and counts its starts and stops.
pub(crate) struct Server(Rc<World>);

impl Factory for Server {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        if self.0.chance(0.05) {
            self.0.note(|| format!("the factory refuses {peer}"));
            return None;
        }
        let walker = Walker::new(&self.0);
        self.0.note(|| format!("end {} serves {peer}", walker.end().number));
        Some(Box::new(walker))
    }

    fn start_factory(&self) {
        self.0.started.set(self.0.started.get() + 1);
    }

    fn stop_factory(&self) {
        self.0.started.set(self.0.started.get() - 1);
    }
}

/// Listens on one of the places, unless it is in use.
pub(crate) fn listen(world: &Rc<World>, reactor: &Reactor) {
    let place = world.any_place();
    let server = world.sealing.server(place, Server(world.clone()));
    let listening = match place.starts_with('/') {
        true => reactor.listen_unix(place, server),
        false => reactor.listen_tcp(place, server),
    };
    match listening {
        Ok(port) => world.ports.borrow_mut().push(port),
        Err(error) => world.expect(matches!(error, Error::CannotListen(..)), || format!("listen: {error}")),
    }
}

/// Takes a random action on one of the ports.
pub(crate) fn act_on_port(world: &Rc<World>) {
    let ports = world.ports.borrow();
    if ports.is_empty() {
        return;
    }
    let port = ports[world.below(ports.len())].clone();
    drop(ports);
    match world.below(5) {
        0 => drop(port.stop_listening()),
        1 => port.pause_producing(),
        2 => port.resume_producing(),
        _ => {
            // Fails while the port listens or is being stopped, or if its address is in use.
            let outcome = port.start_listening();
            let known = matches!(outcome, Ok(()) | Err(Error::AlreadyListening | Error::CannotListen(..)));
            world.expect(known, || format!("start_listening: {outcome:?}"));
        }
    }
}
