//! The commands, one module for each.

mod chargen;
pub(crate) mod connect;
mod datagrams;
mod daytime;
mod discard;
mod echo;
mod portforward;
mod procmon;
mod relay;
mod serve;
mod watch;

use std::cell::RefCell;
use std::time::Duration;

use ropewalk::application::Service;
use ropewalk::{DatagramPort, DatagramProtocol, Deferred, Factory, Failure, Port, Reactor, gather_results, succeed};
use ropewalk_runner::{BoxedError, Kinds, LIFECYCLE, console};

use crate::arguments::{Command, Portforward, Serve, SmallService};
use crate::descriptors::connection_limit;
use crate::listen::{Listeners, comma_separated, is_standard_streams, listen_any};
use crate::process_options::Procmon;
use crate::watch_options::NEEDS_FOREGROUND;
use datagrams::{Answers, SmallDatagrams};

/// A command as a service. It listens in `privileged_start`, and prints its start line in `start`.
pub(crate) struct CommandService {
    command: RefCell<Option<Command>>,
    quiet: bool,
    start_line: RefCell<String>,
    ports: RefCell<Vec<Port>>,
    datagram_ports: RefCell<Vec<DatagramPort>>,
    check: RefCell<Option<Check>>,
    work: RefCell<Option<Work>>,
    close: RefCell<Option<Close>>,
}

impl CommandService {
    pub(crate) fn new(command: Command, quiet: bool) -> CommandService {
        CommandService {
            command: RefCell::new(Some(command)),
            quiet,
            start_line: RefCell::default(),
            ports: RefCell::default(),
            datagram_ports: RefCell::default(),
            check: RefCell::default(),
            work: RefCell::default(),
            close: RefCell::default(),
        }
    }
}

impl Service for CommandService {
    fn privileged_start(&self, reactor: &Reactor) -> Deferred<()> {
        // The program starts each service only once.
        let Some(command) = self.command.take() else { return succeed(()) };
        match begin(reactor, command) {
            Ok(Begun { start_line, ports, datagram_ports, check, work, close }) => {
                *self.start_line.borrow_mut() = start_line;
                *self.ports.borrow_mut() = ports;
                *self.datagram_ports.borrow_mut() = datagram_ports;
                *self.check.borrow_mut() = check;
                *self.work.borrow_mut() = work;
                *self.close.borrow_mut() = close;
                succeed(())
            }
            Err(error) => Err(Failure::new(error)).into(),
        }
    }

    /// Prints the start line. The loop is running by now, so a signal sent after the start line stops the program in
    /// order.
    fn start(&self, reactor: &Reactor) -> Deferred<()> {
        if let Some(Err(error)) = self.check.take().map(|check| check()) {
            return Err(Failure::new(error)).into();
        }
        let start_line = self.start_line.borrow();
        tracing::info!(target: LIFECYCLE, "{start_line}");
        if !self.quiet {
            if let Err(error) = console::print(&start_line) {
                tracing::warn!(%error, "cannot write the start line to standard output");
            }
        }
        match self.work.take() {
            Some(work) => work(reactor),
            None => succeed(()),
        }
    }

    fn stop(&self, _reactor: &Reactor) -> Deferred<()> {
        let drained = self.ports.take().iter().map(Port::drain).collect::<Vec<_>>();
        let closed = self.datagram_ports.take().iter().map(DatagramPort::stop_listening).collect::<Vec<_>>();
        let drained = gather_results(drained.into_iter().chain(closed).collect()).add_callback(drop);
        // The ports close first. A client that reconnects after `Connection: close` must reach another server.
        match self.close.take() {
            Some(close) => drained.then(move |_| close()),
            None => drained,
        }
    }
}

/// Returns the commands as kinds of services for the configuration file.
pub(crate) fn kinds(quiet: bool) -> Kinds {
    let mut kinds = Kinds::default();
    let mut small = |name, command: fn(SmallService) -> Command| {
        let needs_foreground = |options: &SmallService| needs_foreground(&options.listen);
        kinds.add_checked(name, needs_foreground, move |_, options| Ok(CommandService::new(command(options), quiet)));
    };
    small("echo", Command::Echo);
    small("discard", Command::Discard);
    small("chargen", Command::Chargen);
    small("daytime", Command::Daytime);
    let forwards = |options: &Portforward| needs_foreground(&options.listen);
    kinds.add_checked("portforward", forwards, move |_, options| {
        Ok(CommandService::new(Command::Portforward(options), quiet))
    });
    kinds.add_checked("process", Procmon::needs_foreground, move |_, options| {
        Ok(CommandService::new(Command::Procmon(Box::new(options)), quiet))
    });
    let serves = |options: &Serve| needs_foreground(options.endpoints());
    kinds.add_checked("serve", serves, move |_, options| Ok(CommandService::new(Command::Serve(options), quiet)));
    kinds
}

impl Command {
    /// Checks options that depend on each other.
    ///
    /// # Errors
    /// A message for the author of the options.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Command::Echo(small) | Command::Chargen(small) | Command::Daytime(small) => {
                datagrams::check_reflection(small)
            }
            Command::Portforward(forward) => portforward::check_transports(forward),
            Command::Serve(serve) => serve::check(serve),
            _ => Ok(()),
        }
    }

    /// Returns the reason if the command cannot run in the background.
    pub(crate) fn needs_foreground(&self) -> Option<String> {
        needs_foreground(match self {
            Command::Echo(small) | Command::Discard(small) | Command::Chargen(small) | Command::Daytime(small) => {
                &small.listen
            }
            Command::Portforward(forward) => &forward.listen,
            Command::Procmon(procmon) => return procmon.needs_foreground(),
            Command::Serve(serve) => return needs_foreground(serve.endpoints()),
            Command::Watch(_) => return Some(NEEDS_FOREGROUND.to_owned()),
        })
    }
}

fn needs_foreground<'a>(endpoints: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let endpoint = endpoints.into_iter().find(|endpoint| is_standard_streams(endpoint))?;
    Some(format!("'{endpoint}' needs standard input and output, which a daemon does not have"))
}

/// The time between two warnings with the same text that clients can cause.
const WARNINGS_APART: Duration = Duration::from_secs(1);

/// Checks file permissions as the user that the process has switched to.
type Check = Box<dyn FnOnce() -> Result<(), BoxedError>>;

/// Closes the connections of a service. The Deferred fires when they are closed.
type Close = Box<dyn FnOnce() -> Deferred<()>>;

/// Begins work that needs the loop. The Deferred fires when the service is ready.
type Work = Box<dyn FnOnce(&Reactor) -> Deferred<()>>;

/// A service that has begun to listen.
#[derive(Default)]
struct Begun {
    start_line: String,
    ports: Vec<Port>,
    datagram_ports: Vec<DatagramPort>,
    /// `None` if the service uses no files.
    check: Option<Check>,
    /// `None` if the service is ready when it listens.
    work: Option<Work>,
    /// `None` if its connections may be cut when the program ends.
    close: Option<Close>,
}

fn begin(reactor: &Reactor, command: Command) -> Result<Begun, BoxedError> {
    // Options of the configuration file were not checked yet.
    command.check()?;
    match command {
        Command::Echo(options) => begin_small(reactor, &options, echo::factory, || echo::EchoDatagrams),
        Command::Discard(options) => {
            let factory = |idle| move || discard::Discard::new(idle);
            begin_small(reactor, &options, factory, || discard::DiscardDatagrams)
        }
        Command::Chargen(options) => begin_small(reactor, &options, chargen::factory, chargen::ChargenDatagrams::new),
        Command::Daytime(options) => {
            begin_small(reactor, &options, |_| daytime::Daytime::default, || daytime::DaytimeDatagrams)
        }
        Command::Portforward(options) => portforward::begin(reactor, &options),
        Command::Procmon(options) => procmon::begin(reactor, *options),
        Command::Serve(options) => serve::begin(reactor, options),
        Command::Watch(options) => watch::begin(reactor, &options),
    }
}

fn begin_small<F: Factory + 'static, A: Answers + 'static>(
    reactor: &Reactor,
    options: &SmallService,
    factory: impl FnOnce(Option<Duration>) -> F,
    answers: impl Fn() -> A,
) -> Result<Begun, BoxedError> {
    let (limit, factory) = (connection_limit(options.max_connections, 1), factory(options.idle_timeout.0));
    let protocol = |reactor: &Reactor| -> ropewalk::Result<Box<dyn DatagramProtocol>> {
        Ok(Box::new(SmallDatagrams::new(reactor, answers())))
    };
    let Listeners { ports, datagram_ports, places } = listen_any(reactor, &options.listen, limit, factory, protocol)?;
    let name = answers().log_prefix();
    let start_line = format!("{name} on {}, listening on {}", reactor.name(), comma_separated(&places));
    Ok(Begun { start_line, ports, datagram_ports, ..Begun::default() })
}
