//! `echo`: the rounds of a lone client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::measured::{Measured, stop};
use crate::server;

const WARM_UP: Duration = Duration::from_millis(300);
const TIME: Duration = Duration::from_secs(3);
const MESSAGE_BYTES: usize = 64;

/// Returns the rounds in a second. The client is a thread that blocks.
pub(crate) fn rounds(measured: &Measured) -> Result<Vec<f64>> {
    let address = server::listen(&measured.reactor, || ())?;
    let handle = measured.reactor.thread_handle();
    let client = thread::spawn(move || {
        let rate = rate(address);
        handle.call_from_thread(stop);
        rate
    });
    measured.run()?;
    Ok(vec![client.join().map_err(|_| "the client has panicked")??])
}

fn rate(address: SocketAddr) -> io::Result<f64> {
    let mut client = Client::connect(address)?;
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        client.round()?;
    }
    let begin = Instant::now();
    let mut rounds = 0.0;
    while begin.elapsed() < TIME {
        client.round()?;
        rounds += 1.0;
    }
    Ok(rounds / begin.elapsed().as_secs_f64())
}

/// A client that has one message in flight.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client(stream))
    }

    /// Sends a message, and waits for all of its echo.
    pub(crate) fn round(&mut self) -> io::Result<()> {
        let mut message = [0; MESSAGE_BYTES];
        self.0.write_all(&message)?;
        self.0.read_exact(&mut message)
    }
}
