//! Ports, and the factory behind all of them.

use std::rc::Rc;

use ropewalk::{Address, Error, Factory, Protocol, Reactor};

use crate::walker::Walker;
use crate::world::{PLACES, World};

/// Serves one port. Counts how often it is started and stopped.
pub(crate) struct Server(Rc<World>);

impl Factory for Server {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        if self.0.chance(0.05) {
            self.0.note(|| format!("nobody serves {peer}"));
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

/// Listens at one of the places, unless somebody does.
pub(crate) fn listen(world: &Rc<World>, reactor: &Reactor) {
    let place = PLACES[world.below(PLACES.len())];
    let server = Server(world.clone());
    let listening = match place.starts_with('/') {
        true => reactor.listen_unix(place, server),
        false => reactor.listen_tcp(place, server),
    };
    match listening {
        Ok(port) => world.ports.borrow_mut().push(port),
        Err(error) => world.expect(matches!(error, Error::CannotListen(..)), || format!("listen: {error}")),
    }
}

/// Does something to one of the ports.
pub(crate) fn disturb(world: &Rc<World>) {
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
            // It fails when it listens already, is being stopped, or when somebody has taken its place.
            let outcome = port.start_listening();
            let known = matches!(outcome, Ok(()) | Err(Error::AlreadyListening | Error::CannotListen(..)));
            world.expect(known, || format!("start_listening: {outcome:?}"));
        }
    }
}
