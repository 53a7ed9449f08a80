//! The echo server, in this process or in one of its own.
//!
//! A process that serves prints its address. It exits when its first connection is closed.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use ropewalk::Reactor;
use ropewalk::prelude::*;

use crate::Result;
use crate::host::Host;
use crate::measured::{Measured, stop};

/// The argument that makes this program serve.
pub(crate) const NAME: &str = "serve";
const AN_HOUR: Duration = Duration::from_secs(3600);

/// The arguments of this program, so that it serves.
pub(crate) type Arguments = [String; 3];

pub(crate) fn arguments(host: &Host, provider: &str) -> Arguments {
    [host.name, provider, NAME].map(str::to_owned)
}

struct Echo {
    closed: Rc<dyn Fn()>,
}

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn connection_lost(&mut self, _transport: &Transport, _reason: &Error) {
        (self.closed)();
    }
}

/// Listens on a free port, and calls `closed` for each connection that is lost.
pub(crate) fn listen(reactor: &Reactor, closed: impl Fn() + 'static) -> Result<SocketAddr> {
    let closed: Rc<dyn Fn()> = Rc::new(closed);
    let port = reactor.listen_tcp("127.0.0.1:0", paced(move || Echo { closed: closed.clone() }))?;
    Ok(port.host()?.to_string().parse()?)
}

/// Serves until the first connection is closed. A delayed call is always due, in an hour.
pub(crate) fn run(measured: &Measured) -> Result<()> {
    let reactor = measured.reactor.clone();
    let address = listen(&measured.reactor, move || stop(&reactor))?;
    measured.reactor.call_later(AN_HOUR, |_| ());
    println!("{address}");
    measured.run()
}

/// A process that serves.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts this program as a server.
    pub(crate) fn start(arguments: &Arguments) -> Result<Server> {
        Server::start_by(Command::new(env::current_exe()?).args(arguments))
    }

    /// Starts a command that runs this program as a server.
    pub(crate) fn start_by(command: &mut Command) -> Result<Server> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| "the server has not started")?;
        Ok(Server { process, address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the server has exited, and returns its standard error, if that is piped.
    pub(crate) fn wait(mut self) -> Result<String> {
        let mut errors = String::new();
        if let Some(mut pipe) = self.process.stderr.take() {
            pipe.read_to_string(&mut errors)?;
        }
        let status = self.process.wait()?;
        if status.success() { Ok(errors) } else { Err(format!("{status} from the server; {errors}").into()) }
    }
}
