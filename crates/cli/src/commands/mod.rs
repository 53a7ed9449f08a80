//! What the program can do, a module for each command.

mod chargen;
mod daytime;
mod discard;
mod echo;
mod portforward;
mod serve;

use std::error::Error;
use std::time::Duration;

use ropewalk::{Factory, Reactor};

use crate::arguments::{Command, Service};
use crate::listen::{Limit, listed, listen};

/// Begins to listen, and returns the line that says so.
pub(crate) fn start(reactor: &Reactor, command: Command) -> Result<String, Box<dyn Error>> {
    match command {
        Command::Echo(options) => service(reactor, "echo", &options, |idle| move || echo::Echo::new(idle)),
        Command::Discard(options) => service(reactor, "discard", &options, |idle| move || discard::Discard::new(idle)),
        Command::Chargen(options) => service(reactor, "chargen", &options, chargen::factory),
        Command::Daytime(options) => service(reactor, "daytime", &options, |_| daytime::Daytime::default),
        Command::Portforward(options) => portforward::start(reactor, &options),
        Command::Serve(options) => serve::start(reactor, options),
    }
}

fn service<F: Factory + 'static>(
    reactor: &Reactor,
    name: &str,
    options: &Service,
    factory: impl FnOnce(Option<Duration>) -> F,
) -> Result<String, Box<dyn Error>> {
    let limit = Limit::new(options.bounds.max_connections, 1);
    let addresses = listen(reactor, &options.listen, &limit, factory(options.bounds.idle_timeout.0))?;
    Ok(format!("{name} on {}, listening on {}", reactor.name(), listed(&addresses)))
}
