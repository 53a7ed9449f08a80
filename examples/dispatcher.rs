//! A server that accepts connections in one process and serves them in others.
//!
//! Run `cargo run -p ropewalk-examples --bin dispatcher`, then `nc 127.0.0.1 8012` several times. Each answer starts
//! with the process id of the worker.
//!
//! ```text
//!   client ---- TCP ----> dispatcher: accepts, releases the socket
//!                            |  UNIX socket: one byte, which carries the socket
//!                            v
//!                         worker: adopts the socket, serves the client
//! ```
//!
//! The dispatcher keeps no connection, so a client is not disturbed when the dispatcher ends. Workers use one processor
//! each, and a fault in a worker disconnects only the clients of that worker.

#[cfg(unix)]
mod server {
    use std::cell::Cell;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use ropewalk::Result;
    use ropewalk::prelude::*;
    use ropewalk::protocols::FileDescriptorReceiver;

    /// The byte that carries a connection.
    const CONNECTION: &[u8] = b"c";

    /// The dispatcher's end of the connection to a worker.
    struct ToWorker;

    impl Protocol for ToWorker {
        fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
            transport.abort_connection(); // a worker sends nothing
        }
    }

    /// Passes each new connection to the next worker.
    struct Dispatcher {
        workers: Vec<Transport>,
        next: Cell<usize>,
    }

    impl Dispatcher {
        /// Returns the next worker that lives.
        fn worker(&self) -> Option<&Transport> {
            let first = self.next.replace(self.next.get() + 1);
            let in_turn = (0..self.workers.len()).map(|step| &self.workers[(first + step) % self.workers.len()]);
            in_turn.into_iter().find(|worker| worker.is_connected())
        }
    }

    impl Factory for Dispatcher {
        fn build_protocol(&self, _peer: &Address) -> Option<Box<dyn Protocol>> {
            let worker = self.worker()?.clone();
            Some(Box::new(Passing { worker }))
        }
    }

    /// A connection that a worker will serve.
    struct Passing {
        worker: Transport,
    }

    impl Protocol for Passing {
        fn connection_made(&mut self, transport: &Transport) {
            // Nothing has been received or written yet, so the socket is everything that there is to pass on.
            let passed = transport.release().and_then(|released| self.worker.send_file_descriptor(released.socket));
            match passed {
                Ok(()) => self.worker.write(CONNECTION),
                Err(error) => eprintln!("dispatcher: cannot pass a connection on: {error}"),
            }
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {}
    }

    /// The worker's end of the connection to the dispatcher.
    struct FromDispatcher;

    impl Protocol for FromDispatcher {
        fn file_descriptor_receiver(&mut self) -> Option<&mut dyn FileDescriptorReceiver> {
            Some(self)
        }

        fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {} // each byte has carried a connection

        fn connection_lost(&mut self, transport: &Transport, _reason: &Error) {
            let _ = transport.reactor().stop(); // the dispatcher has ended
        }
    }

    impl FileDescriptorReceiver for FromDispatcher {
        fn file_descriptor_received(&mut self, transport: &Transport, descriptor: OwnedFd) {
            if let Err(error) = transport.reactor().adopt_stream_connection(descriptor, &paced(|| NumberedEcho)) {
                eprintln!("dispatcher: a worker cannot adopt a connection: {error}");
            }
        }
    }

    /// Sends everything back, after the process id.
    struct NumberedEcho;

    impl Protocol for NumberedEcho {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(format!("{} ", std::process::id()).as_bytes());
            transport.write(data);
        }
    }

    /// Starts a worker process, and returns the connection to it.
    fn start_worker(reactor: &Reactor) -> Result<Transport> {
        let (ours, theirs) = UnixStream::pair()?;
        let program = std::env::current_exe()?;
        Command::new(program).arg("--worker").stdin(OwnedFd::from(theirs)).spawn()?;
        reactor.adopt_stream_connection(ours, &|| ToWorker)
    }

    fn work(reactor: &Reactor) -> Result<()> {
        let dispatcher = io::stdin().as_fd().try_clone_to_owned()?;
        reactor.adopt_stream_connection(dispatcher, &|| FromDispatcher)?;
        reactor.run()
    }

    fn dispatch(reactor: &Reactor, address: &str) -> Result<()> {
        let workers = (0..2).map(|_| start_worker(reactor)).collect::<Result<_>>()?;
        let port = reactor.listen_tcp(address, Dispatcher { workers, next: Cell::new(0) })?;
        println!("{} passes connections on from {}", std::process::id(), port.host()?);
        reactor.run()
    }

    pub(crate) fn run(argument: Option<&str>) -> Result<()> {
        let reactor = Reactor::new()?;
        match argument {
            Some("--worker") => work(&reactor),
            address => dispatch(&reactor, address.unwrap_or("127.0.0.1:8012")),
        }
    }
}

#[cfg(unix)]
fn main() -> ropewalk::Result<()> {
    server::run(std::env::args().nth(1).as_deref())
}

#[cfg(not(unix))]
fn main() {
    println!("this example passes sockets to other processes, which needs Unix");
}
