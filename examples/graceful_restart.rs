//! A server that is replaced without refusing a connection.
//!
//! Run `cargo run -p ropewalk-examples --bin graceful_restart`, then `nc 127.0.0.1 8011`. Each answer starts with the
//! process id. `kill -HUP` with that id replaces the server.
//!
//! ```text
//!   old   listens ---- SIGHUP: starts its successor ---- SIGTERM: stops accepting, serves its clients, exits
//!                          |  passes the socket             ^
//!   new                    +-> listens on it, too ----------+  is ready
//! ```
//!
//! The listening socket is never closed, so connections made in between wait in its queue. If the successor cannot
//! start, for example because of a wrong configuration, no SIGTERM arrives and the old process continues.
//!
//! The socket is passed as standard input of the successor. Under systemd, a socket unit and the endpoint `systemd:` do
//! the same without any code.

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

    /// The maximum time that an old process continues to serve its clients.
    const DRAIN_TIME: Duration = Duration::from_secs(30);

    /// Counts the open connections, and notifies a waiter when the last one closes.
    #[derive(Default)]
    struct OpenConnections {
        count: Cell<usize>,
        all_closed: RefCell<Option<Resolver<()>>>,
    }

    impl OpenConnections {
        fn remove(&self) {
            self.count.set(self.count.get() - 1);
            if self.count.get() == 0 {
                // This fails if the waiter has timed out.
                let _ = self.all_closed.take().map(|resolver| resolver.callback(()));
            }
        }

        fn when_all_closed(&self) -> Deferred<()> {
            if self.count.get() == 0 {
                return succeed(());
            }
            let (deferred, resolver) = Deferred::new();
            self.all_closed.replace(Some(resolver));
            deferred
        }
    }

    /// Echoes each line, after the process id.
    struct NumberedEcho(Rc<OpenConnections>);

    impl LineProtocol for NumberedEcho {
        fn connection_made(&mut self, _lines: &LineTransport) {
            self.0.count.set(self.0.count.get() + 1);
        }

        fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
            lines.send_line(&[std::process::id().to_string().as_bytes(), b" ", line].concat());
        }

        fn connection_lost(&mut self, _lines: &LineTransport, _reason: &Error) {
            self.0.remove();
        }
    }

    /// Starts this program again with `socket` as its standard input, unless a successor is already starting.
    fn start_successor(socket: &OwnedFd, successor: &mut Option<Child>) -> std::io::Result<()> {
        if let Some(child) = successor {
            if child.try_wait()?.is_none() {
                return Ok(());
            }
        }
        // The path of the program, which may be a newer version by now.
        let program = std::env::args_os().next().unwrap_or_default();
        *successor = Some(Command::new(program).arg("--successor").stdin(socket.try_clone()?).spawn()?);
        Ok(())
    }

    /// Returns the listening socket, and the process that listened on it before.
    fn listening_socket(argument: Option<&str>) -> Outcome<(OwnedFd, Option<Pid>)> {
        if argument == Some("--successor") {
            return Ok((std::io::stdin().as_fd().try_clone_to_owned()?, getppid()));
        }
        Ok((TcpListener::bind(argument.unwrap_or("127.0.0.1:8011"))?.into(), None))
    }

    pub(crate) fn run(argument: Option<&str>) -> Outcome {
        let (socket, predecessor) = listening_socket(argument)?;
        let reactor = Reactor::new()?;
        let open = Rc::new(OpenConnections::default());
        let counted = open.clone();
        let factory = paced(move || LineReceiver::new(NumberedEcho(counted.clone())).delimiter("\n"));
        let port = reactor.adopt_stream_port(socket.try_clone()?, factory)?;
        println!("{} serves on {}", std::process::id(), port.host()?);

        let mut successor = None;
        let _watch = reactor.on_signal(SIGHUP, move |_| {
            if let Err(error) = start_successor(&socket, &mut successor) {
                eprintln!("graceful_restart: cannot start a successor: {error}");
            }
        })?;
        // SIGTERM stops the reactor, which continues to run until this Deferred has fired.
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move |reactor| {
            drop(port.stop_listening());
            open.when_all_closed().add_timeout(DRAIN_TIME, reactor).or_else(|_| Ok::<_, Failure>(()))
        });
        reactor.call_when_running(move |_| {
            // If the old process has exited, its id may belong to another process.
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
    println!("this example passes a socket to another process, which needs Unix");
}
