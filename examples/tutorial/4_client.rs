//! Step 4: a client for the server, in the same program.
//!
//! Run `cargo run -p ropewalk-examples --bin tutorial_4 -- serve 127.0.0.1:8000`, and in another terminal
//! `cargo run -p ropewalk-examples --bin tutorial_4 -- ask 127.0.0.1:8000 "good morning"`.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use ropewalk::endpoints::TcpClientEndpoint;
use ropewalk::prelude::*;
use ropewalk::protocols::basic::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::protocols::policies::TimeoutFactory;
use ropewalk::task::AsyncStream;

/// The time after which the server closes an idle connection.
const IDLE: Duration = Duration::from_secs(60);

/// The time that the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers each line in capital letters.
struct Shout;

impl LineProtocol for Shout {
    fn line_received(&mut self, lines: &LineTransport, line: &[u8]) {
        lines.send_line(&line.to_ascii_uppercase());
    }

    fn connection_lost(&mut self, lines: &LineTransport, reason: &Error) {
        if matches!(reason, Error::TimedOut) {
            println!("{} was silent for too long", lines.peer());
        }
    }
}

/// Builds the protocol of each connection, and closes connections that were idle for `idle`.
fn shouting(idle: Duration) -> impl Factory {
    TimeoutFactory::new(paced(|| LineReceiver::new(Shout).delimiter("\n")), idle)
}

fn serve(address: &str) -> ropewalk::Result<()> {
    let reactor = Reactor::new()?;
    let port = reactor.listen_tcp(address, shouting(IDLE))?;
    println!("listening on {}", port.host()?);
    reactor.run()
}

/// Sends `line` to the server at `address`, and returns the answer.
async fn ask(reactor: Reactor, address: String, line: String) -> Result<String, Failure> {
    let endpoint = TcpClientEndpoint::new(&address)?;
    let conversation = async {
        let mut stream = AsyncStream::connect(&reactor, &endpoint).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = stream.next_line(16 * 1024).await?;
        let answer = answer.ok_or_else(|| Failure::new("the server closed the connection without an answer"))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    reactor.timeout(PATIENCE, conversation).await?
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [command, address] if command == "serve" => serve(address).report(),
        [command, address, line] if command == "ask" => {
            let (address, line) = (address.clone(), line.clone());
            ropewalk::react(move |reactor| async move {
                println!("{}", ask(reactor, address, line).await?);
                Ok::<(), Failure>(())
            })
        }
        _ => {
            eprintln!("usage: tutorial_4 serve ADDRESS, or tutorial_4 ask ADDRESS LINE");
            ExitCode::from(2)
        }
    }
}
