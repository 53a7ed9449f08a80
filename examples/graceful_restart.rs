//! A server that is replaced while it serves: `cargo run -p ropewalk-examples --bin graceful_restart`, then
//! `nc 127.0.0.1 8011`, and `kill -HUP` with the number that it greets with.
//!
//! ```text
//!   old   listens ---- SIGHUP: starts its successor ---- SIGTERM: accepts no more, serves to the end, exits
//!                          |  the listening socket          ^
//!   new                    +-> listens on it, too ----------+  "I am here"
//! ```
//!
//! At no moment is the socket closed, so nobody is refused: who comes in between waits in its queue. If the successor does
//! not come up (a mistake in its configuration, say), no SIGTERM arrives and the old one just serves on.
//!
//! The socket is handed down as the successor's standard input, where every process may have one; under systemd the same
//! is done by a socket unit and the endpoint `systemd:`, and needs no code.

#[cfg(unix)]
mod server {
    use std::cell::{Cell, RefCell};
    use std::net::TcpListener;
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::{Child, Command};
    use std::rc::Rc;
    use std::time::Duration;

    use ropewalk::prelude::*;
    use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
    use ropewalk::sys::signals::SIGHUP;
    use ropewalk::{Resolver, succeed};
    use rustix::process::{Pid, Signal, getppid, kill_process};

    pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    /// Guests are not waited for longer than this.
    const FAREWELL: Duration = Duration::from_secs(30);

    /// How many are being served, and who wants to know when they are gone.
    #[derive(Default)]
    struct Guests {
        here: Cell<usize>,
        all_gone: RefCell<Option<Resolver<()>>>,
    }

    impl Guests {
        fn leave(&self) {
            self.here.set(self.here.get() - 1);
            if self.here.get() == 0 {
                // Whoever waited too long has given up.
                let _ = self.all_gone.take().map(|gone| gone.callback(()));
            }
        }

        fn wait_until_gone(&self) -> Deferred<()> {
            if self.here.get() == 0 {
                return succeed(());
            }
            let (gone, resolver) = Deferred::new();
            self.all_gone.replace(Some(resolver));
            gone
        }
    }

    /// Repeats what it hears, and says who it is.
    struct Parrot(Rc<Guests>);

    impl LineProtocol for Parrot {
        fn connection_made(&mut self, lines: &LineTransport) {
            self.0.here.set(self.0.here.get() + 1);
            // It produces for itself: who sends and does not read is not read either.
            let _ = lines.register_producer(lines.transport().clone());
        }

        fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
            lines.send_line(&[std::process::id().to_string().as_bytes(), b" ", line].concat());
        }

        fn read_connection_lost(&mut self, lines: &LineTransport) {
            lines.unregister_producer();
            lines.lose_connection();
        }

        fn connection_lost(&mut self, _lines: &LineTransport, _reason: &Error) {
            self.0.leave();
        }
    }

    /// Starts the next process of this program with `socket` as its standard input, unless one is starting.
    fn start_successor(socket: &OwnedFd, successor: &mut Option<Child>) -> std::io::Result<()> {
        if let Some(child) = successor {
            if child.try_wait()?.is_none() {
                return Ok(());
            }
        }
        // By its name, which may be a newer program by now.
        let program = std::env::args_os().next().unwrap_or_default();
        *successor = Some(Command::new(program).arg("--successor").stdin(socket.try_clone()?).spawn()?);
        Ok(())
    }

    /// The socket to serve on, and who served on it before.
    fn begin(argument: Option<&str>) -> Outcome<(OwnedFd, Option<Pid>)> {
        if argument == Some("--successor") {
            return Ok((std::io::stdin().as_fd().try_clone_to_owned()?, getppid()));
        }
        Ok((TcpListener::bind(argument.unwrap_or("127.0.0.1:8011"))?.into(), None))
    }

    pub(crate) fn run(argument: Option<&str>) -> Outcome {
        let (socket, predecessor) = begin(argument)?;
        let reactor = Reactor::new()?;
        let guests = Rc::new(Guests::default());
        let parrots = guests.clone();
        let factory = move || LineReceiver::new(Parrot(parrots.clone())).delimiter(&b"\n"[..]);
        let port = reactor.adopt_stream_port(socket.try_clone()?, factory)?;
        println!("{} serves on {}", std::process::id(), port.host()?);

        let mut successor = None;
        let _watch = reactor.on_signal(SIGHUP, move |_| {
            if let Err(error) = start_successor(&socket, &mut successor) {
                eprintln!("graceful_restart: cannot start a successor: {error}");
            }
        })?;
        // SIGTERM stops the loop; the loop goes on turning until this has fired.
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
            drop(port.stop_listening());
            guests.wait_until_gone().add_timeout(FAREWELL, reactor).or_else(|_| Ok::<_, Failure>(()))
        });
        reactor.call_when_running(move |_| {
            // Unless it has ended and somebody else has its number.
            if let Some(old) = predecessor.filter(|_| getppid() == predecessor) {
                let _ = kill_process(old, Signal::TERM);
            }
        });
        Ok(reactor.run()?)
    }
}

#[cfg(unix)]
fn main() -> server::Outcome {
    server::run(std::env::args().nth(1).as_deref())
}

#[cfg(not(unix))]
fn main() {
    println!("this example hands a socket to another process, which works differently here");
}
