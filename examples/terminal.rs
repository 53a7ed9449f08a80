//! A terminal over TCP: each connection gets a shell in a pseudo-terminal of its own.
//!
//! Run `cargo run -p ropewalk-examples --bin terminal`, and then in another terminal:
//!
//! ```sh
//! stty raw -echo; (echo "$(tput cols)x$(tput lines)"; cat) | nc 127.0.0.1 8023; stty sane
//! ```
//!
//! The first line of a connection is the size of its window. The bytes that follow are keys. The last line for the client
//! is the status of the program. Each direction is read only as fast as the other side takes the bytes.
//!
//! The server has no password and no encryption. A client acts as the user who runs the server. So the server accepts
//! only loopback addresses, unless it gets `--allow-network`. Other users of the machine can connect in any case. A web
//! page in a browser cannot, because its request does not begin with a size. For use, prefer sshd.
//!
//! `tests/terminal.rs` tests the sessions in virtual time with programs that are closures, and then with real ones.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use ropewalk::prelude::*;
use ropewalk::processes::{Command, ExitStatus, Process, Signal, WindowSize};
use ropewalk::protocols::policies::TimeoutFactory;
use ropewalk::task::{AsyncChild, AsyncStream, ReadHalf, Scope, StreamFactory, WriteHalf};

/// The longest first line: `65535x65535`.
const SIZE_BYTES: usize = 11;

/// The bytes that are carried at once.
const PIECE_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The number of connections that are served at the same time.
    pub(crate) sessions: usize,
    /// The time for the first line.
    pub(crate) greeting: Duration,
    /// The time without a byte in either direction after which a session ends.
    pub(crate) idle: Duration,
    /// The time between TERM and KILL.
    pub(crate) grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 16,
            greeting: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            grace: Duration::from_secs(5),
        }
    }
}

/// Serves terminals that run a command.
#[derive(Clone)]
pub(crate) struct Terminals(Rc<State>);

struct State {
    reactor: Reactor,
    command: Command,
    limits: Limits,
    /// The connections whose first line has not arrived.
    greetings: Scope,
    sessions: Scope,
    programs: RefCell<Vec<Process>>,
}

impl Terminals {
    pub(crate) fn new(reactor: &Reactor, command: Command, limits: Limits) -> Terminals {
        Terminals(Rc::new(State {
            reactor: reactor.clone(),
            command,
            limits,
            greetings: Scope::new(reactor),
            sessions: Scope::new(reactor),
            programs: RefCell::default(),
        }))
    }

    /// Returns the factory for the connections.
    pub(crate) fn factory(&self) -> impl Factory + use<> {
        let terminals = self.clone();
        let streams = StreamFactory::new(move |client, _: &Reactor| terminals.admit(client));
        TimeoutFactory::new(streams, self.0.limits.idle)
    }

    /// Hangs up all terminals. The Deferred fires when the clients have got their last line. A client that does not read
    /// is disconnected after some time.
    pub(crate) fn stop(&self) -> Deferred<()> {
        let State { reactor, limits, greetings, sessions, programs, .. } = &*self.0;
        greetings.cancel();
        programs.borrow().iter().for_each(|program| self.hang_up(program));
        let terminals = self.clone();
        sessions.join().add_timeout(2 * limits.grace, reactor).add_both(move |_| terminals.0.sessions.cancel())
    }

    fn admit(&self, client: AsyncStream) {
        let State { limits, greetings, sessions, .. } = &*self.0;
        if greetings.len() + sessions.len() >= limits.sessions {
            return last_line(client.transport(), "too many sessions");
        }
        // Each key is echoed on its own.
        let _ = client.transport().set_tcp_no_delay(true);
        greetings.spawn(self.clone().greet(client));
    }

    async fn greet(self, mut client: AsyncStream) {
        let State { reactor, limits, sessions, .. } = &*self.0;
        let line = match reactor.timeout(limits.greeting, client.next_line(SIZE_BYTES)).await {
            Ok(line) => line.ok().flatten().unwrap_or_default(),
            Err(late) => return last_line(client.transport(), &late.to_string()),
        };
        match window_size(&line) {
            Some(size) => drop(sessions.spawn(self.clone().converse(client, size))),
            None => last_line(client.transport(), "expected the size of the window, such as 80x24"),
        }
    }

    /// Runs the program until it has ended, or the client has.
    async fn converse(self, client: AsyncStream, size: WindowSize) {
        let State { reactor, command, limits, programs, .. } = &*self.0;
        let (mut keys, mut screen) = client.into_split();
        let transport = screen.transport().clone();
        let mut child = match AsyncChild::spawn(reactor, &command.clone().terminal(size)) {
            Ok(child) => child,
            Err(error) => return last_line(&transport, &error.to_string()),
        };
        let program = child.process().clone();
        programs.borrow_mut().push(program.clone());
        let (mut input, mut output) =
            (child.stdin.take().expect("a terminal"), child.stdout.take().expect("a terminal"));

        // A client that is lost. While a full terminal delays its keys, only the idle limit notices that.
        let (terminals, hung_up) = (self.clone(), program.clone());
        transport.when_lost().add_both(move |_| terminals.hang_up(&hung_up));
        // A client that has closed only its sending direction still gets the last bytes. So `input` is kept: it would
        // close the terminal.
        let (terminals, hung_up) = (self.clone(), program.clone());
        let typing = Scope::new(reactor);
        let _kept = typing.spawn(async move {
            let _ = carry(&mut keys, &mut input).await;
            terminals.hang_up(&hung_up);
            input
        });

        let _ = carry(&mut output, &mut screen).await;
        // The terminal has ended, and its program is about to end as well, unless it has closed the terminal.
        if reactor.timeout(limits.grace, program.when_exited()).await.is_err() {
            self.hang_up(&program);
        }
        let status = program.when_exited().await.unwrap_or(ExitStatus::Abandoned);
        programs.borrow_mut().retain(|other| *other != program);
        last_line(&transport, &format!("{}: {status}", command.plan().program.to_string_lossy()));
    }

    /// Ends the programs in a terminal, as the loss of a telephone line does: HUP and TERM now, and KILL after the grace.
    fn hang_up(&self, program: &Process) {
        if program.status().is_none() {
            // It fails if the group has just ended.
            let _ = program.signal_group(Signal::HUP);
            program.end_group(self.0.limits.grace).add_both(drop);
        }
    }
}

/// Reads a size such as `80x24`: columns first.
fn window_size(line: &[u8]) -> Option<WindowSize> {
    let (columns, rows) = std::str::from_utf8(line).ok()?.split_once('x')?;
    Some(WindowSize::new(rows.parse().ok()?, columns.parse().ok()?))
}

/// Carries bytes until their end. Reads no more while too many of them are unsent.
async fn carry(from: &mut ReadHalf, to: &mut WriteHalf) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece).await? {
            0 => return Ok(()),
            count => to.write_all(&piece[..count]).await?,
        }
    }
}

/// Writes a line of the server itself. The connection closes when its stream is dropped.
fn last_line(client: &Transport, text: &str) {
    client.write(format!("\r\n* {text}\r\n").as_bytes());
}

/// Serves a shell in a terminal to each client, without a password
#[derive(Parser)]
#[command(name = "terminal")]
struct Options {
    /// The address to listen at
    #[arg(long, default_value = "127.0.0.1:8023")]
    listen: SocketAddr,
    /// Accepts an address that other machines can reach
    #[arg(long)]
    allow_network: bool,
    /// The number of sessions at the same time
    #[arg(long, default_value_t = Limits::default().sessions)]
    sessions: usize,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, default_values = ["sh"])]
    command: Vec<String>,
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        if self.allow_network || self.listen.ip().is_loopback() {
            return Ok(());
        }
        let text = "is not a loopback address: every machine that reaches it could run programs here, because there is \
                    no password. Listen at 127.0.0.1, or give --allow-network";
        Err(Error::Failed(format!("{} {text}", self.listen).into()))
    }
}

fn main() -> ropewalk::Result<()> {
    let options = Options::parse();
    options.check()?;
    let reactor = Reactor::new()?;
    let command = Command::new(&options.command[0]).args(&options.command[1..]);
    let terminals = Terminals::new(&reactor, command, Limits { sessions: options.sessions, ..Limits::default() });
    let port = reactor.listen_tcp(options.listen, terminals.factory())?;
    println!("terminals at {}, for every user of this machine", port.host()?);
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move |_| {
        let terminals = terminals.clone();
        port.stop_listening().and_then(move |()| terminals.stop())
    });
    reactor.run()
}
