//! What the program can do, a module for each command.

mod chargen;
mod daytime;
mod discard;
mod echo;
mod portforward;
mod serve;

use std::cell::RefCell;
use std::time::Duration;

use ropewalk::application::Service;
use ropewalk::{Deferred, Factory, Port, Reactor, gather_results, succeed};
use ropewalk_runner::{BoxedError, Kinds, announce};

use crate::arguments::{Command, Portforward, Serve, SmallService};
use crate::listen::{Limit, Open, is_standard_streams, listed, listen};

/// A command as a service: it listens from `privileged_start` on, and says so when it starts.
pub(crate) struct Listening {
    command: RefCell<Option<Command>>,
    quiet: bool,
    start_line: RefCell<String>,
    ports: RefCell<Vec<Port>>,
    check: RefCell<Option<Check>>,
    close: RefCell<Option<Close>>,
}

impl Listening {
    pub(crate) fn new(command: Command, quiet: bool) -> Listening {
        Listening {
            command: RefCell::new(Some(command)),
            quiet,
            start_line: RefCell::default(),
            ports: RefCell::default(),
            check: RefCell::default(),
            close: RefCell::default(),
        }
    }
}

impl Service for Listening {
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        // The program starts its services once.
        let Some(command) = self.command.take() else { return succeed(()) };
        match begin(reactor, command) {
            Ok(Begun { start_line, ports, check, close }) => {
                *self.start_line.borrow_mut() = start_line;
                *self.ports.borrow_mut() = ports;
                *self.check.borrow_mut() = check;
                *self.close.borrow_mut() = close;
                succeed(())
            }
            Err(error) => Err(ropewalk::Failure::new(error)).into(),
        }
    }

    /// The loop runs by now, so that a signal stops it in order: who waits for this line may send one.
    fn start(&self, _reactor: &Reactor) -> Deferred<()> {
        if let Some(Err(error)) = self.check.take().map(|check| check()) {
            return Err(ropewalk::Failure::new(error)).into();
        }
        if !self.quiet {
            if let Err(error) = announce::say(&self.start_line.borrow()) {
                // It serves whether or not that was read.
                tracing::warn!(%error, "cannot say on standard output that it has started");
            }
        }
        succeed(())
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        let drained = gather_results(self.ports.take().iter().map(Port::drain).collect()).add_callback(drop);
        // Afterwards: who connects again because a response says that this connection ends must find another server.
        match self.close.take() {
            Some(close) => drained.then(move |_| close()),
            None => drained,
        }
    }
}

/// The commands as kinds of services that a file may describe.
pub(crate) fn kinds(quiet: bool) -> Kinds {
    let mut kinds = Kinds::default();
    let mut small = |name, command: fn(SmallService) -> Command| {
        let needs_foreground = |options: &SmallService| needs_foreground(&options.listen);
        kinds.add_checked(name, needs_foreground, move |_, options| Ok(Listening::new(command(options), quiet)));
    };
    small("echo", Command::Echo);
    small("discard", Command::Discard);
    small("chargen", Command::Chargen);
    small("daytime", Command::Daytime);
    let forwards = |options: &Portforward| needs_foreground(&options.listen);
    kinds.add_checked("portforward", forwards, move |_, options| {
        Ok(Listening::new(Command::Portforward(options), quiet))
    });
    let serves = |options: &Serve| needs_foreground(&options.listen);
    kinds.add_checked("serve", serves, move |_, options| Ok(Listening::new(Command::Serve(options), quiet)));
    kinds
}

impl Command {
    /// Why it cannot go into the background, if it cannot.
    pub(crate) fn needs_foreground(&self) -> Option<String> {
        needs_foreground(match self {
            Command::Echo(small) | Command::Discard(small) | Command::Chargen(small) | Command::Daytime(small) => {
                &small.listen
            }
            Command::Portforward(forward) => &forward.listen,
            Command::Serve(serve) => &serve.listen,
        })
    }
}

fn needs_foreground(places: &[String]) -> Option<String> {
    let place = places.iter().find(|place| is_standard_streams(place))?;
    Some(format!("'{place}' is standard input and output, which a program in the background does not have"))
}

/// Whether the user that the process has become can do it.
type Check = Box<dyn FnOnce() -> Result<(), BoxedError>>;

/// Has the connections of a service end in order; the Deferred fires when they have.
type Close = Box<dyn FnOnce() -> Deferred<()>>;

/// What has begun.
struct Begun {
    /// Says so.
    start_line: String,
    ports: Vec<Port>,
    /// Absent where it needs nothing of the file system.
    check: Option<Check>,
    /// Absent where connections end with the program.
    close: Option<Close>,
}

fn begin(reactor: &Reactor, command: Command) -> Result<Begun, BoxedError> {
    match command {
        Command::Echo(options) => service(reactor, "echo", &options, |idle| move || echo::Echo::new(idle)),
        Command::Discard(options) => service(reactor, "discard", &options, |idle| move || discard::Discard::new(idle)),
        Command::Chargen(options) => service(reactor, "chargen", &options, chargen::factory),
        Command::Daytime(options) => service(reactor, "daytime", &options, |_| daytime::Daytime::default),
        Command::Portforward(options) => portforward::begin(reactor, &options),
        Command::Serve(options) => serve::begin(reactor, options),
    }
}

fn service<F: Factory + 'static>(
    reactor: &Reactor,
    name: &str,
    options: &SmallService,
    factory: impl FnOnce(Option<Duration>) -> F,
) -> Result<Begun, BoxedError> {
    let limit = Limit::new(options.max_connections, 1);
    let open = listen(reactor, &options.listen, &limit, factory(options.idle_timeout.0))?;
    let Open { ports, addresses } = open;
    let start_line = format!("{name} on {}, listening on {}", reactor.name(), listed(&addresses));
    Ok(Begun { start_line, ports, check: None, close: None })
}
